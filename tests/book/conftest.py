"""Fixtures of the tests that open pages in a browser."""

import pytest

from browser import watch


@pytest.fixture
def page(chromium):
    """A fresh page, 1280 x 800 px."""
    page = chromium.new_page(viewport={"width": 1280, "height": 800})
    yield page
    page.close()


@pytest.fixture
def watched(page):
    """The page and the list of its problems."""
    return page, watch(page)
