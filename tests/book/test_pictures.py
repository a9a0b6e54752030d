"""Pictures on a phone and in the dark: seen whole, no white slab, and no scan changed."""

import io

import numpy as np
import pytest

from built import HTML, PAGES, need

PICTURES = "article div.cell_output img"
UNFOLD = "for (const fold of document.querySelectorAll('article details')) fold.open = true"


def opened(page, name, width, theme="light"):
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(need(HTML / name).as_uri())
    page.evaluate(UNFOLD)
    page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
    page.wait_for_timeout(200)
    return [each for each in page.locator(PICTURES).all() if each.is_visible()]


@pytest.mark.parametrize("name", PAGES)
def test_a_phone_shows_pictures_whole(page, name):
    for picture in opened(page, name, 400):
        box = picture.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 400, picture.get_attribute("alt")


@pytest.mark.parametrize("name", PAGES)
def test_in_the_dark_no_picture_is_a_white_slab_and_no_scan_is_changed(page, name):
    from PIL import Image

    for picture in opened(page, name, 1280, "dark"):
        alt, chart = picture.get_attribute("alt"), picture.evaluate("image => image.classList.contains('chart')")
        seen = np.asarray(Image.open(io.BytesIO(picture.screenshot())).convert("L"))
        edge = np.concatenate([seen[2], seen[-3], seen[:, 2], seen[:, -3]])
        assert np.median(edge) < 60, f"a light frame: {alt}"
        assert (seen > 200).mean() < 0.35, f"a white slab: {alt}"
        assert (picture.evaluate("image => getComputedStyle(image).filter") == "none") != chart, alt
        if chart:  # scans stand on black: what is turned must have stood on white
            assert np.median(seen) < 60, f"dark before it was turned: {alt}"


def test_a_figure_with_two_layouts_is_tall_on_a_phone_and_wide_on_a_desk(page):
    shapes = []
    for width in (400, 1280):
        assert opened(page, "book/training.html", width), "the other tests of this file would see nothing either"
        shapes.append(page.locator("picture img").first.evaluate("image => image.naturalHeight > image.naturalWidth"))
    assert shapes == [True, False]
