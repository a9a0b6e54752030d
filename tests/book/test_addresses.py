"""No page of the built book names a folder of the machine that built it."""

import pytest

from built import HTML, PAGES, need
from execute import addresses


@pytest.mark.parametrize("name", ["index.html", "genindex.html", "searchindex.js", *PAGES])
def test_no_page_names_a_folder_of_this_machine(name):
    text = need(HTML / name).read_text(encoding="utf-8")
    found = addresses().search(text)
    assert not found, text[max(0, found.start() - 80) : found.end() + 80]
