"""Every page of a built book (`WMHQC_BOOK`, the folder of its HTML) in a real browser."""

import os
from pathlib import Path

import pytest

from browser import check_page

ROOT = Path(__file__).resolve().parents[2]
BOOK = Path(os.environ.get("WMHQC_BOOK", ROOT / "_build" / "smoke" / "site" / "_build" / "html")).resolve()
PAGES = [path for path in sorted(BOOK.rglob("*.html")) if "_static" not in path.parts]


@pytest.mark.skipif(not PAGES, reason=f"no built book in {BOOK}: build it, or set WMHQC_BOOK")
@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(BOOK)))
def test_page_is_in_order(page, path):
    assert check_page(page, path.as_uri()) == []
