"""The simulated guarantee: JavaScript and Python follow one rule, on a static page in a real browser."""

import json

import numpy as np
import pytest
from test_explorers import write

from browser import accessibility, check_page
from wmhqc import thresholds, view
from wmhqc.view.widget import module

SCRIPT = module("common", "chart", "guarantee").replace("export default { render };", "")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write(tmp_path_factory.mktemp("guarantee") / "page.html", view.guarantee())


def evaluate(page, expression, *given):
    """What an expression of the explorer's own functions gives."""
    return page.evaluate(f"(given) => {{ {SCRIPT}; return {expression}; }}", list(given))


def drawn(page, seed, cases):
    made = evaluate(page, "study(given[0], given[1])", seed, cases)
    return np.array(made["q"]), np.array(made["failed"], bool)


@pytest.mark.parametrize("level", [0.8, 0.9, 0.95])
@pytest.mark.parametrize("risk", [0.05, 0.1, 0.2])
def test_the_threshold_is_that_of_guaranteed_risk(page, file, risk, level):
    page.goto(file)
    found = []
    for seed, cases in enumerate([20, 60, 100, 101, 200, 400, 400, 400], 1):
        q, failed = drawn(page, seed, cases)
        q = np.round(q, 2) if seed % 2 else q  # with ties and without
        mine = evaluate(page, "String(guaranteed(given[0], given[1], given[2], given[3], given[4]))",
                        q.tolist(), failed.tolist(), risk, level, thresholds.START)  # fmt: skip
        choice = thresholds.guaranteed_risk(np.where(failed, 0.0, 1.0), q, 0.5, risk, level=level)
        assert float(mine) == pytest.approx(choice.threshold, nan_ok=True)
        found.append(choice.possible)
    assert not all(found) and (risk < 0.2 or any(found))


@pytest.mark.parametrize("drift", [0, 1])
def test_the_cases_and_their_true_failures_are_those_of_simulate(page, file, drift):
    page.goto(file)
    fixed = thresholds.simulate(lambda d, q, t: thresholds.Choice(0.6, ""), 30, 1, drift)["failed_of_accepted"].item()
    assert evaluate(page, "truth(0.6, given[0])", drift) == pytest.approx(fixed, abs=1e-4)
    q, failed = drawn(page, 3, 20_000)
    assert q.min() >= 0 and q.max() < 1 and q.mean() == pytest.approx(0.5, abs=0.01)
    chance = 1 / (1 + np.exp(8 * q - 2.5))
    for low in (0, 0.25, 0.5):
        inside = (q >= low) & (q < low + 0.25)
        assert failed[inside].mean() == pytest.approx(chance[inside].mean(), abs=0.03)


def test_the_page_counts_what_python_counts(watched, file):
    page, problems = watched
    page.goto(file)
    root = page.locator(".wmhqc")
    root.get_by_role("slider", name="Calibration cases").press("PageUp")
    state = {name: float(root.get_attribute(f"data-{name}")) for name in ("cases", "broken", "none", "accepted")}
    rates = []
    for k in range(200):
        q, failed = drawn(page, k + 1, int(state["cases"]))
        threshold = thresholds.guaranteed_risk(np.where(failed, 0.0, 1.0), q, 0.5, 0.1).threshold
        rates.append((threshold, evaluate(page, "truth(given[0], 0)", threshold) if threshold == threshold else np.nan))
    t, rate = np.array(rates).T
    assert state["broken"] == (rate > 0.1).sum() and state["none"] == np.isnan(t).sum()
    assert state["accepted"] == pytest.approx(np.nanmean(1 - t))
    assert root.locator("path.fn").count() == state["broken"] and root.locator("circle.none").count() == state["none"]
    assert not problems


def test_a_shift_breaks_more_and_changes_no_threshold(page, file):
    page.goto(file)
    root = page.locator(".wmhqc")
    root.get_by_role("slider", name="Calibration cases").press("End")
    before = {name: float(root.get_attribute(f"data-{name}")) for name in ("broken", "none")}
    root.get_by_role("slider", name="Shift").press("End")
    assert float(root.get_attribute("data-broken")) > 100 > before["broken"]
    assert float(root.get_attribute("data-none")) == before["none"]
    root.get_by_role("slider", name="Shift").press("Home")
    first = root.locator(".summary").inner_text()
    root.get_by_role("button", name="new studies").click()
    assert root.get_attribute("data-seed") == "1" and root.locator(".summary").inner_text() != first
    root.get_by_role("combobox", name="At most").select_option("0.2")
    root.get_by_role("combobox", name="Confidence level").select_option("0.8")
    assert json.loads(root.get_attribute("data-level")) == 0.8 and "above 20 %" in root.locator("svg").text_content()


def test_page_is_accessible_narrow_and_quiet(page, file):
    assert check_page(page, file) == []
    assert accessibility(page, ".wmhqc") == []


@pytest.mark.parametrize("change", [{"cases": 5}, {"drift": 3}, {"risk": 0.3}, {"level": 0.5}])
def test_what_the_controls_do_not_offer_is_refused(change):
    with pytest.raises(ValueError, match="expected"):
        view.guarantee(**change)
