"""The table explorer on a static page, in a real browser, by keyboard and by mouse."""

import re

import pandas as pd
import pytest
from test_explorers import write

from browser import accessibility, check_page, overflow
from wmhqc import view

FRAME = pd.DataFrame(
    {
        "study": ["Zeta, 2019", "alpha, 2020", "Beta, 2018", "Gamma <b>, 2017"],
        "year": [2019, 2020, 2018, 2017],
        "family": ["dropout; ensemble", "dropout", "", "ensemble"],
        "r": [0.5, None, -0.25, 0.5],
        "reported": ["r 0.5 of predicted and true Dice, in many long words so that the table is wide"] * 4,
        "more": ["further words that make it wider still"] * 4,
        "url": ["https://example.org/z", "", "https://example.org/b", "https://example.org/g"],
    }
)
SHOWN = {"study": "Study", "year": "Year", "family": "Family", "r": "r", "reported": "Reported", "more": "More"}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    widget = view.table(FRAME, SHOWN, ["family"], link="url", caption="Four studies", noun="studies")
    return write(tmp_path_factory.mktemp("table") / "page.html", widget)


@pytest.fixture
def root(watched, file):
    page, problems = watched
    page.goto(file)
    yield page.locator(".wmhqc")
    assert problems == []


def names(root):
    return [text.split(",")[0] for text in root.locator("tbody th").all_text_contents()]


def test_it_opens_in_the_order_of_the_frame_and_says_how_many(root):
    assert names(root) == ["Zeta", "alpha", "Beta", "Gamma <b>"]
    assert root.get_by_role("status").text_content() == "All 4 studies."
    assert root.locator("[aria-sort]").count() == 0
    assert root.get_by_role("button", name="Clear").is_disabled()
    assert root.get_by_role("link", name="Zeta, 2019").get_attribute("href") == "https://example.org/z"
    assert root.get_by_role("link").count() == 3


def test_sorting_by_keyboard_is_announced_and_missing_values_stay_last(root):
    button = root.get_by_role("button", name="r", exact=True)
    button.focus()
    button.press("Enter")
    assert names(root) == ["Beta", "Zeta", "Gamma <b>", "alpha"]
    assert root.get_by_role("columnheader", name="r", exact=True).get_attribute("aria-sort") == "ascending"
    assert root.get_by_role("status").text_content() == "All 4 studies, sorted by r, rising."
    button.press("Space")
    assert names(root) == ["Zeta", "Gamma <b>", "Beta", "alpha"]  # like values keep their order
    assert root.get_by_role("columnheader", name="r", exact=True).get_attribute("aria-sort") == "descending"
    root.get_by_role("button", name="Study").click()
    assert names(root) == ["alpha", "Beta", "Gamma <b>", "Zeta"]
    assert root.locator("[aria-sort]").count() == 1
    assert root.get_by_role("columnheader", name="Study").get_attribute("aria-sort") == "ascending"


def test_a_cell_with_two_values_is_found_under_each_and_the_empty_one_too(root):
    chooser = root.get_by_role("combobox", name="Family")
    assert chooser.locator("option").all_text_contents() == ["all", "dropout (2)", "ensemble (2)", "not reported (1)"]
    for value, expected in {
        "dropout": ["Zeta", "alpha"],
        "ensemble": ["Zeta", "Gamma <b>"],
        "not reported": ["Beta"],
        "": ["Zeta", "alpha", "Beta", "Gamma <b>"],
    }.items():
        chooser.select_option(value)
        assert names(root) == expected
    chooser.focus()
    chooser.press("ArrowDown")
    assert root.get_by_role("status").text_content() == "2 of 4 studies."


def test_all_words_of_a_search_must_stand_in_the_row(root):
    search = root.get_by_role("searchbox", name="Search")
    search.fill("ENSEMBLE 2017")
    assert names(root) == ["Gamma <b>"]
    search.fill("nothing of the kind")
    assert names(root) == [] and "No studies match." in root.locator("tbody").text_content()
    assert root.get_by_role("status").text_content() == "0 of 4 studies."
    root.get_by_role("button", name="Year").click()
    root.get_by_role("button", name="Clear").click()
    assert names(root) == ["Zeta", "alpha", "Beta", "Gamma <b>"] and search.input_value() == ""
    assert search.evaluate("node => node === document.activeElement")
    assert root.locator("[aria-sort]").count() == 0


def test_every_control_is_reached_by_tab_and_the_box_scrolls_by_arrow_keys(page, file):
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(file)
    reached = []
    for _ in range(3 + 1 + len(SHOWN)):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.className || document.activeElement.tagName"))
    assert (
        reached.count("rows") == 1
        and reached.count("BUTTON") == len(SHOWN)
        and "INPUT" in reached
        and "SELECT" in reached
    )
    box = page.get_by_role("region", name="Four studies")
    assert box.evaluate("node => node.scrollWidth > node.clientWidth")
    box.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.querySelector('.rows').scrollLeft > 0")
    assert overflow(page, 360) == []


def test_the_heading_stays_in_view(page, file):
    page.goto(file)
    moved = page.evaluate(
        """() => {
          const box = document.querySelector('.rows');
          box.style.maxHeight = '90px';
          box.scrollTop = 60;
          return box.querySelector('thead th').getBoundingClientRect().top - box.getBoundingClientRect().top;
        }"""
    )
    assert 0 <= moved <= 2


def test_the_name_of_a_row_stays_in_view_where_there_is_room(page, file):
    page.goto(file)
    where = (
        "document.querySelector('.rows').scrollLeft = 200, "
        "document.querySelector('tbody th').getBoundingClientRect().left"
    )
    box = "document.querySelector('.rows').getBoundingClientRect().left"
    page.set_viewport_size({"width": 700, "height": 800})
    assert page.evaluate(where) == pytest.approx(page.evaluate(box), abs=2)
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate(where) < page.evaluate(box) - 50


def test_page_is_accessible_in_both_themes_narrow_and_quiet(page, file):
    assert check_page(page, file) == []
    assert accessibility(page, ".wmhqc") == []


@pytest.fixture(scope="module")
def folded(tmp_path_factory):
    """The reviewed studies, of which four columns stand in a row and the rest below it."""
    from wmhqc.book import literature

    widget = view.table(
        literature.studies(),
        literature.SHOWN,
        list(literature.CATEGORIES),
        link="url",
        noun="studies",
        brief=["study", "family", "kind", "r"],
        page=6,
    )
    return write(tmp_path_factory.mktemp("folded") / "page.html", widget)


@pytest.mark.parametrize(("width", "height"), [(1280, 652), (400, 800)])
def test_a_long_table_fits_its_window_and_nothing_scrolls_within(page, folded, width, height):
    page.set_viewport_size({"width": width, "height": height})
    page.goto(folded)
    for _ in range(5):
        assert page.locator(".wmhqc").bounding_box()["height"] <= height
        assert page.locator(".rows").evaluate(
            "box => box.scrollHeight <= box.clientHeight + 1 && box.scrollWidth <= box.clientWidth + 1"
        )
        if page.get_by_role("button", name="Next").is_enabled():
            page.get_by_role("button", name="Next").click()
    assert accessibility(page, ".wmhqc") == []


def test_pages_and_folds_go_by_keyboard_and_a_new_choice_begins_at_its_first_row(page, folded):
    page.goto(folded)
    first = page.get_by_role("rowheader").first
    assert "Brusini" in first.text_content() and page.get_by_role("rowheader").count() == 6
    arrow = page.get_by_role("button", name="More of Brusini et al., 2020")
    arrow.press("Enter")
    assert arrow.get_attribute("aria-expanded") == "true"
    assert page.locator(".more dt").all_text_contents()[:2] == ["Reported", "Target"]
    arrow.press("Enter")
    assert page.locator(".more").count() == 0
    onward, back = page.get_by_role("button", name="Next"), page.get_by_role("button", name="Previous")
    for _ in range(4):
        onward.press("Enter")
    assert page.get_by_text("25 to 29 of 29").count() == 1 and page.get_by_role("rowheader").count() == 5
    assert onward.is_disabled() and back.evaluate("node => node === document.activeElement")
    page.get_by_role("button", name="r", exact=True).press("Enter")
    assert "Xia" in page.get_by_role("rowheader").first.text_content()
    page.get_by_text("Choose by target").press("Enter")
    page.get_by_role("combobox", name="Target").select_option("pancreas")
    assert page.get_by_role("rowheader").count() == 3 and not onward.is_visible()


def test_a_number_that_a_phone_has_no_column_for_unfolds_below_its_row(page, folded):
    page.goto(folded)
    page.get_by_role("button", name="r", exact=True).press("Enter")  # those with a number come first
    for width, seen in ((400, True), (1280, False)):
        page.set_viewport_size({"width": width, "height": 800})
        if not page.locator(".more").count():
            page.locator(".unfold").first.press("Enter")
        assert page.locator(".more dt", has_text=re.compile("^r$")).is_visible() is seen
        assert page.locator("tbody td.number").first.is_visible() is not seen


def test_all_rows_are_printed(page, folded):
    page.goto(folded)
    page.emulate_media(media="print")
    assert page.get_by_role("rowheader").count() == 29
