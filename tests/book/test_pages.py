"""Every page of the built book (`WMHQC_BOOK`, the folder of its HTML) in a real browser."""

import json
import math
import re

import pytest

import browser
from browser import check_page, overflow
from built import HTML, PAGES, need
from wmhqc import view

EXPLORERS = [f"book/{page}.html" for page in ("vs_thresholds", "dice_regression", "published", "promises")]


@pytest.mark.parametrize("name", ["index.html", "search.html", "genindex.html", *PAGES])
def test_page_is_in_order(page, name):
    """One load a page, all that is asked of each."""
    path = need(HTML / name)
    problems = check_page(page, path.as_uri(), themes=("light",))
    if name in PAGES:
        problems += overflow(page, 1920) + pictures_without_words(page) + wrongly_printed(page)
    if path.stat().st_size > 3_000_000:
        problems.append(f"{path.stat().st_size} bytes, more than three megabytes")
    assert problems == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["index.html", "search.html", "genindex.html", *PAGES])
def test_page_is_in_order_in_the_dark(page, name):
    assert check_page(page, need(HTML / name).as_uri(), themes=("dark",)) == []


def pictures_without_words(page) -> list[str]:
    """What the page's pictures and figures are called, where that says too little."""
    pictures = "[...document.querySelectorAll('article img')].map((image) => image.alt)"
    figures = "[...document.querySelectorAll('.wmhqc-plotly')].map((figure) => figure.getAttribute('aria-label') || '')"
    names = page.evaluate(pictures) + page.evaluate(figures)
    return [f"a picture is called {name!r}" for name in names if len(name) <= 20 or name.endswith(".png")]


def wrongly_printed(page) -> list[str]:
    """The page prints without its frame and with the solutions that are folded."""
    page.emulate_media(media="print")
    seen = "(nodes) => nodes.filter((node) => node.checkVisibility()).length"
    frame = ".bd-sidebar-primary, .bd-sidebar-secondary, .bd-header-article, .prev-next-footer"
    solutions = page.locator("article .admonition.dropdown > *")
    problems = []
    if page.locator(frame).evaluate_all(seen):
        problems.append("the frame is printed")
    if solutions.evaluate_all(seen) != solutions.count():
        problems.append("a folded solution is not printed")
    return problems


CONTROLS = ".wmhqc :is(button, input, select, summary, a[href], [tabindex='0'])"


OTHERS = ["book/index.html", "book/error_maps.html", "book/which_score.html", "book/literature.html"]


@pytest.mark.parametrize("name", [*OTHERS, *EXPLORERS])
def test_explorers_are_reached_by_keyboard_and_show_where_one_is(page, name):
    page.goto(need(HTML / name).as_uri())
    first = page.locator(CONTROLS).locator("visible=true").first
    first.wait_for()
    total = page.evaluate(
        """(controls) => [...document.querySelectorAll(controls)].filter((e) => e.checkVisibility() && !e.disabled
             && !e.matches('.tile')  // the scans of a tray are one stop, which moves among them
             && e.tabIndex >= 0 && (e.type !== 'radio' || e.checked)).map((e, i) => (e.dataset.stop = i)).length""",
        CONTROLS,
    )
    first.focus()
    reached = set()
    for _ in range(total + 250):  # links of the text lie between the explorers of a page
        if len(reached) == total:
            break
        stop = page.evaluate(
            """() => {
              const e = document.activeElement, style = getComputedStyle(e);
              const shown = style.outlineStyle !== 'none' || style.boxShadow !== 'none';
              return e.dataset.stop === undefined ? null : [e.dataset.stop, shown, e.outerHTML.slice(0, 120)];
            }"""
        )
        if stop:
            assert stop[1], f"no visible focus: {stop[2]}"
            reached.add(stop[0])
        page.keyboard.press("Tab")
    assert total >= 2 and len(reached) == total


def states(path):
    """The tables that the threshold explorers of a page carry."""
    found = re.findall(r"^const state = (\{.*\});$", path.read_text(encoding="utf-8"), re.M)
    return [state["cases"] for state in map(json.loads, found) if "tau" in state]


@pytest.mark.parametrize("name", EXPLORERS)
def test_sliders_give_pythons_numbers(watched, name):
    page, problems = watched
    page.goto(need(HTML / name).as_uri())
    tables = states(HTML / name)
    roots = page.locator(".wmhqc:has([data-name=sensitivity])")
    assert len(tables) == roots.count() >= 1
    for place, cases in enumerate(tables):
        root = roots.nth(place)
        threshold, limit = (root.locator('input[type="range"]').nth(i) for i in (0, 1))
        seen = set()
        keys = [None, "PageUp", "PageUp", "ArrowLeft", "Home", "End", "PageDown"]
        for slider, key in [(threshold, key) for key in keys] + [(limit, "PageDown"), (limit, "ArrowRight")]:
            if key:
                slider.press(key)
            value, tau = float(root.get_attribute("data-value")), float(root.get_attribute("data-tau"))
            seen.add((value, tau))
            score = next(score for score in cases["scores"] if score["name"] == root.get_attribute("data-score"))
            expected = view.threshold_numbers(score["values"], cases["dice"], value, tau, score["confidence"])
            for label, number in expected.items():
                shown = root.locator(f'[data-name="{label}"]')
                if shown.count() and math.isnan(number):
                    assert shown.text_content() == "undefined", (label, value)
                elif shown.count():
                    assert float(shown.get_attribute("value")) == pytest.approx(number, abs=1e-12), (label, value)
            assert (
                f"{expected['kept']} of {expected['cases']} cases are used" in root.locator(".summary").text_content()
            )
        assert len(seen) >= 7
    assert problems == []


def test_landing_page_begins_with_six_scans_and_says_what_they_are(page):
    from wmhqc.book import published

    page.goto(need(HTML / "book/index.html").as_uri())
    page.wait_for_selector(".wmhqc.quiz[data-ready]")
    quiz = page.locator(".wmhqc.quiz")
    box = quiz.bounding_box()
    assert quiz.locator(".card").count() == 6 and box["y"] + box["height"] < 800, "seen without scrolling"
    wrong = int(quiz.locator('[data-name="fn"]').get_attribute("value"))
    text = " ".join(page.locator("article").inner_text().split())
    assert f"{['No', 'One', 'Two', 'Three', 'Four', 'Five'][wrong]} of the six outlines are wrong. Which?" in text
    assert ("six real patients" in text and "CC BY" in text) or "six synthetic cases" in text
    table = published.table()
    numbers = view.threshold_numbers(
        table["predicted_dice_uncertainty"], table["paper_dice"], published.TAU, published.TAU
    )
    failed = numbers["tp"] + numbers["fn"]
    said = f"predicted from the uncertainty sends {numbers['flagged']} and catches {numbers['tp']} of {failed}"
    assert said in text
    assert page.get_by_role("img", name="From a scan to a decision").count() == 1


def test_without_a_browser_the_tests_say_how_to_get_one(monkeypatch):
    monkeypatch.setattr(browser, "_present", lambda: None)
    with pytest.raises(RuntimeError, match="no Chromium or Chrome was found.*Install one"):
        browser.find_browser()


def test_names_of_rows_leave_a_plot_its_width_on_a_phone(page):
    page.set_viewport_size({"width": 400, "height": 800})
    page.goto(need(HTML / "book/which_score.html").as_uri())
    figure = page.locator(".wmhqc-plotly").first
    figure.scroll_into_view_if_needed()
    figure.locator(".ytick text").first.wait_for()
    widths = figure.locator(".ytick text").evaluate_all(
        "(names) => names.map((name) => name.getBoundingClientRect().width)"
    )
    assert max(widths) < 0.4 * figure.bounding_box()["width"]
