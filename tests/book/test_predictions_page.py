"""Commit first, in a browser: answering, what unfolds, what is remembered, and the reader's diagram."""

import json

import pandas as pd
import pytest

from browser import accessibility, check_page
from wmhqc import view

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Test</title><main><h1>Test</h1>{body}</main></html>"""
FOLDED = '<details class="hide below-input"><summary>Show code cell output</summary><p>output {}</p></details>'


@pytest.fixture
def questions(tmp_path):
    """A choice, a number and an order, each followed by a folded output; then the diagram."""
    widgets = [
        view.commit("Which one?", "b", ["a", "b", "c"], because="So it is."),
        view.commit("How much?", 3.0, within=0.5, unit="ml"),
        view.commit("In which order?", ["z", "y", "x"], ["x", "y", "z"]),
    ]
    body = "".join(widget.to_html() + FOLDED.format(k) for k, widget in enumerate(widgets))
    network = pd.DataFrame({"probability": [0.2, 0.8], "frequency": [0.3, 0.7], "voxels": [5, 5]})
    path = tmp_path / "page.html"
    path.write_text(PAGE.format(body=body + view.calibration(network).to_html()))
    return path.as_uri()


def unfolded(page):
    return page.locator("details.hide").evaluate_all("(nodes) => nodes.map((node) => node.open)")


def sure(question, percent):
    question.get_by_role("slider").fill(str(percent))


def test_a_commitment_unfolds_its_own_output_and_is_remembered(watched, questions):
    page, problems = watched
    page.goto(questions)
    choice, number, order = (page.locator(".wmhqc.commit").nth(k) for k in range(3))
    assert unfolded(page) == [False] * 3
    assert choice.get_by_role("button", name="Commit").is_disabled(), "nothing is answered yet"
    choice.get_by_label("b", exact=True).check()
    sure(choice, 90)
    choice.get_by_role("button", name="Commit").click()
    assert unfolded(page) == [True, False, False]
    assert "You said b, 90 % sure: right. Answer: b." in choice.inner_text() and "So it is." in choice.inner_text()

    field = number.get_by_role("spinbutton")
    field.fill("3.6")
    sure(number, 40)
    field.press("Enter")
    assert "You said 3.6 ml, 40 % sure: not so. Answer: 3 ml." in number.inner_text()

    order.get_by_role("button", name="Move x down").press("Enter")  # y x z
    order.get_by_role("button", name="Move x down").press("Enter")  # y z x
    order.get_by_role("button", name="Move z up").press("Enter")  # z y x
    order.get_by_role("button", name="Commit").click()
    assert "z, y, x, 70 % sure: right" in order.inner_text() and unfolded(page) == [True] * 3

    memory = json.loads(page.evaluate("localStorage.getItem('wmhqc-predictions')"))
    assert {key: (said["sure"], said["right"]) for key, said in memory.items()} == {
        "Which one?": (0.9, True),
        "How much?": (0.4, False),
        "In which order?": (0.7, True),
    }
    page.reload()
    assert page.locator(".wmhqc.commit").nth(1).get_attribute("data-right") == "false", "the first answer stands"
    diagram = page.locator(".wmhqc.calibration")
    expected = view.calibration_numbers([0.9, 0.4, 0.7], [True, False, True])
    for name in ("sure", "right", "brier", "auroc"):
        assert float(diagram.get_attribute(f"data-{name}")) == pytest.approx(expected[name])
    bins = json.loads(diagram.get_attribute("data-bins"))
    assert [pytest.approx(row) for row in bins] == [list(row) for row in expected["bins"]]
    diagram.get_by_role("button", name="Show as text").click()
    assert "How much?" in diagram.get_by_role("textbox").input_value()
    diagram.get_by_role("button", name="Forget all").click()
    page.reload()
    assert "no prediction yet" in page.locator(".wmhqc.calibration").inner_text()
    assert page.locator(".wmhqc.commit").first.get_attribute("data-done") is None and not problems


def test_one_may_look_without_answering(page, questions):
    page.goto(questions)
    second = page.locator(".wmhqc.commit").nth(1)
    second.get_by_role("button", name="Show without answering").click()
    assert "Answer: 3 ml." in second.inner_text() and unfolded(page) == [False, True, False]
    assert page.evaluate("localStorage.getItem('wmhqc-predictions')") is None


def test_certainty_is_not_below_chance(page, questions):
    page.goto(questions)
    sliders = page.locator(".wmhqc.commit").get_by_role("slider")
    assert [sliders.nth(k).get_attribute("min") for k in range(3)] == ["40", "0", "0"]


@pytest.mark.parametrize("broken", ["'no json'", "'[1]'", "'null'", '\'{"q": 3, "r": {"sure": "much"}}\''])
def test_a_broken_memory_harms_nothing(watched, questions, broken):
    page, problems = watched
    page.goto(questions)
    page.evaluate(f"localStorage.setItem('wmhqc-predictions', {broken})")
    page.reload()
    assert "no prediction yet" in page.locator(".wmhqc.calibration").inner_text() and not problems


def test_without_javascript_everything_can_be_unfolded(chromium, questions):
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(questions)
    assert page.get_by_text("Show the answer").count() == 3
    page.get_by_text("Show the answer").first.click()
    assert page.get_by_text("b. So it is.").is_visible()
    context.close()


def test_page_is_accessible_narrow_and_quiet(page, questions):
    assert check_page(page, questions) == []
    assert accessibility(page, ".wmhqc") == []
