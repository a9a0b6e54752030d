"""The explorer that breaks a scan, on a static page in a real browser."""

import pytest
from test_artefacts import THRESHOLDS, spoilt
from test_explorers import write

from browser import accessibility, check_page
from wmhqc import view

SCANS = spoilt()


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write(tmp_path_factory.mktemp("broken") / "page.html", view.artefacts(SCANS, THRESHOLDS))


def test_the_dice_stays_covered_until_the_reader_commits(watched, file):
    page, problems = watched
    page.goto(file)
    root, truth = page.locator(".wmhqc"), SCANS[2]["row"]["lesion_dice"]
    assert root.get_attribute("data-covered") == "true" and root.get_attribute("data-open") == "1"  # the clean scan
    severity, guess = (root.get_by_role("slider", name=name) for name in ("Severity", "Your guess"))
    severity.press("Home")
    assert root.get_attribute("data-covered") == "false" and not guess.is_visible()
    severity.press("End")
    assert guess.input_value() == "0.5"
    assert (
        root.get_attribute("data-covered") == "true"
        and f"{truth:.2f}" not in root.locator(".summary, .cover").all_inner_texts()[0]
    )
    assert root.locator(".trail").count() == 0 and not root.get_by_text("manual").is_visible()
    guess.press("Home")
    root.get_by_role("button", name="Lift the cover").click()
    assert root.locator(".cover").inner_text() == f"{truth:.2f}"
    assert "your guess 0.00" in root.locator(".summary").inner_text()
    assert root.locator(".trail").count() == 1 and root.get_by_text("manual").is_visible()
    assert "Mo: motion, Sp: spike" in root.locator(".remark").inner_text()
    assert f"off by {truth:.2f}" in root.locator(".remark").inner_text()
    root.get_by_role("button", name="Lift all covers").click()
    assert root.locator(".trail").count() == 4 and root.get_attribute("data-open") == "5"
    assert not problems


def test_what_the_scores_say_follows_the_thresholds(page, file):
    page.goto(file)
    root = page.locator(".wmhqc")
    root.get_by_role("combobox", name="Artefact").select_option("spike")
    root.get_by_role("slider", name="Severity").press("End")
    row = SCANS[4]["row"]
    said = [text.split("\t") for text in root.locator("tbody tr").all_inner_texts()]
    assert [float(cells[2]) for cells in said] == pytest.approx([row["pairwise_dice"], row["mean_entropy"]], abs=0.005)
    use = [row["pairwise_dice"] >= 0.5, row["mean_entropy"] <= 0.9]
    assert [cells[3] for cells in said] == ["use it" if fine else "look at it" for fine in use]
    root.get_by_role("combobox", name="Score on the axis").select_option("mean_entropy")
    assert "mean_entropy" in root.locator("svg.chart").text_content()


def test_page_is_accessible_narrow_and_quiet(page, file):
    assert check_page(page, file) == []
    assert accessibility(page, ".wmhqc") == []
