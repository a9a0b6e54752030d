"""The reports of judged scans: opened in a browser from a file, read, and attacked with names."""

import re

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from browser import accessibility, check_page, overflow, watch
from wmhqc import preprocess
from wmhqc.features import FEATURES, scan_features
from wmhqc.screen import group as groups
from wmhqc.screen import judge, render, report, verdict
from wmhqc.screen import records as records_
from wmhqc.screen.labels import SCORE

HOSTILE = "</script><img src=x onerror=alert(1)>\"'&_FLAIR.nii.gz"


def calibration(n=40):
    rng = np.random.default_rng(0)
    predicted = rng.uniform(0.2, 0.95, n)
    table = pd.DataFrame({SCORE: predicted, "lesion_dice": predicted, "volume_ml": rng.uniform(1, 20, n)})
    return table.assign(**{name: 100 + 10 * rng.standard_normal(n) for name in FEATURES})


def judgement(case="sub-a", given=True, predicted=0.7, path="scans/sub-a_FLAIR.nii.gz"):
    """What `judge.judge` would give for a ball with a lesion, with scores made up."""
    grid = np.stack(np.meshgrid(*[np.arange(40) - 19.5] * 3, indexing="ij"))
    brain = ((grid / np.array([14, 17, 15]).reshape(3, 1, 1, 1)) ** 2).sum(0) < 1
    lesion = (np.abs(grid - np.array([6, 4, 2]).reshape(3, 1, 1, 1)) < 2.6).all(0)
    affine = np.diag([3.4, 3.4, 3.4, 1])

    def image(array):
        return nib.Nifti1Image(array.astype(np.float32), affine)

    flair = brain * (100 + 5 * np.abs(grid).sum(0)) + 200 * lesion
    images = {"t1": image(brain * (200 - flair / 4)), "flair": image(flair), "brainmask": image(brain),
              "prediction": image(0.8 * lesion), "mask": image(lesion), "uncertainty": image(0.7 * lesion),
              "error": image(0.3 * lesion), "lesion": image(lesion)}  # fmt: skip
    if given:
        images["segmentation"] = image(np.roll(lesion, 2, axis=0))
    prepared = preprocess.prepare(case, images["t1"], images["flair"], images["lesion"], images["brainmask"], size=32)
    scores = {SCORE: predicted, "volume_ml": 30.0, "volume_on_scan_ml": 29.0, "contrast": 0.97, "mean_entropy": np.nan}
    features = scan_features(prepared)
    record = {
        "case": case, "patient": case, "judged": "given" if given else "own", "program": "LST <1>" if given else "",
        **verdict.decide(scores | features, calibration(), given),
        "orientation": {"upright": True, "fit": 0.9, "best_fit": 0.9, "words": "The brain lies as the header says."},
        "truth": {"dice_on_scan": 0.61, "lesion_dice": 0.6, "lesion_f1": 0.5, "true_ml": 12.0, "hd95_mm": 4.0}
        | {"true_on_scan_ml": 12.5},
        "scores": scores, "features": features, "ranges": {"volume_ml": [1.0, 20.0]},
        "inputs": {"flair": {"path": path, "sha256": "ab" * 32}}, "files": {"mask": f"{case}_mask.nii.gz"},
        "software": {"wmhqc": "0"}, "reference": "cd" * 32, "created": "2026-11-24T10:00:00+00:00",
        "calibration": "The calibration cases are made up.", "notes": [path], "report": f"{case}.html",
    }  # fmt: skip
    return judge.Judgement(records_.to_json(record), prepared, images)


@pytest.fixture
def page(chromium):
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    yield page
    page.close()


@pytest.fixture
def written(tmp_path):
    def write(name, html):
        path = tmp_path / name
        path.write_text(html, encoding="utf-8")
        return path.as_uri()

    return write


def test_report_of_a_case_is_in_order(page, written):
    url = written("sub-a.html", report.case(judgement()))
    assert check_page(page, url) == [] and accessibility(page, "body") == []
    text = page.inner_text("body")
    assert "Review: a person should look at it" in text and "0.70" in text and "0.61" in text
    assert "No guarantee was made for such a scan and mask." in text and "it does not hold here" in text
    assert "correct it by hand" in text
    assert "30 ▲" in text and "1 to 20" in text  # beyond the calibration cases


def test_report_is_one_file_that_may_load_nothing(page, written):
    html = report.case(judgement())
    assert not re.search(r"""(?:src|href)=["']?(?:https?:|//)|@import|url\(""", html)
    assert "Content-Security-Policy" in html and "default-src 'none'" in html
    problems = watch(page)
    page.goto(written("sub-a.html", html))
    with page.expect_console_message():
        page.evaluate("new Image().src = 'https://example.org/x.png'; fetch('https://example.org/').catch(() => 0)")
    # The policy stops it before there is a request.
    assert problems and all("Content Security Policy" in problem for problem in problems)
    assert len(html) < 3e6


def test_viewer_shows_the_judged_mask_first_and_moves(page, written):
    page.goto(written("sub-a.html", report.case(judgement())))
    page.wait_for_selector(".wmhqc canvas")
    assert page.locator(".wmhqc .buttons button").all_inner_texts() == [
        "given segmentation",
        "our segmentation",
        "manual mask",
    ]
    slider = page.locator('.wmhqc input[type="range"]')
    before = page.get_attribute(".wmhqc", "data-slice")
    slider.press("ArrowRight")
    assert int(page.get_attribute(".wmhqc", "data-slice")) == int(before) + 1
    # The lesion is drawn: some pixel of the prediction is bright.
    slider.press("ArrowLeft")
    bright = (
        "(c => Math.max(...c.getContext('2d').getImageData(0, 0, c.width, c.height).data.filter((v, i) => i % 4 == 0)))"
    )
    assert page.evaluate(f"{bright}(document.querySelectorAll('.wmhqc canvas')[2])") > 200


def test_a_page_shows_the_first_part_and_opens_the_whole(page, written):
    """Nothing is cut within the first part, light and dark follow the page, the button opens all of it."""
    framed = report.frame(report.case(judgement()), "QC report").data
    page.goto(written("page.html", f'<!doctype html><html data-theme="dark"><body>{framed}</body></html>'))
    frame = page.frame_locator("iframe")
    end = frame.locator("#rest").evaluate("e => e.offsetTop")
    page.wait_for_function("end => document.querySelector('iframe').clientHeight === end", arg=end)
    assert frame.locator("html").get_attribute("data-theme") == "dark"
    page.evaluate("document.documentElement.dataset.theme = 'light'")
    page.wait_for_function("document.querySelector('iframe').contentDocument.documentElement.dataset.theme === 'light'")
    with page.expect_popup() as opened:
        page.get_by_role("button", name="Open the whole report").press("Enter")
    whole = opened.value
    whole.wait_for_selector("h2:has-text('Files')")
    assert "–" in whole.inner_text("body"), "the text's encoding"
    whole.close()


def test_the_manual_outline_is_drawn_as_on_all_pages(page, written):
    """Orange and solid, whatever stands before it; the judged ones are dashed."""
    page.goto(written("sub-a.html", report.case(judgement())))
    drawn = page.locator(".wmhqc .buttons .sample span").evaluate_all("all => all.map((e) => e.style.background)")
    assert len(drawn) == 3 and "rgb(255, 157, 60)" in drawn[2] and "gradient" not in drawn[2]
    assert all("gradient" in line for line in drawn[:2])


def test_our_own_segmentation_has_two_outlines(page, written):
    page.goto(written("sub-a.html", report.case(judgement(given=False))))
    page.wait_for_selector(".wmhqc canvas")
    assert page.locator(".wmhqc .buttons button").all_inner_texts() == ["our segmentation", "manual mask"]


def test_names_from_outside_stay_names(page, written):
    hostile = judgement(path=HOSTILE)
    hostile.record["findings"].append({"kind": "scan", "short": HOSTILE, "detail": HOSTILE})
    html = report.case(hostile)
    assert "<img" not in html and html.count("</script>") == 1
    problems = watch(page)
    page.on("dialog", lambda dialog: problems.append("a script ran"))
    page.goto(written("sub-a.html", html))
    page.wait_for_timeout(200)
    assert problems == [] and HOSTILE in page.inner_text("main") and page.locator("img").count() == 0


def records(count=12):
    made = [judgement(f"sub-{i:02d}", given=False, predicted=0.3 + 0.05 * i).record for i in range(count)]
    if made:
        made[1]["verdict"] = "accept"
    return [*made, {"case": "sub-bad", "verdict": "not judged", "reasons": [HOSTILE]}]


def group(made):
    gathered = groups.Group()
    for record in made:
        gathered.add(record)
    return gathered


def test_a_group_that_was_not_judged_alike_says_so():
    made = records(3)
    assert "not all judged by the same rule" not in group(made).html()
    made[0]["guarantee"] |= {"asked": 0.3}
    html = group(made).html()
    assert "not all judged by the same rule" in html and "at most 30 %" in html and "2 of them" in html


def test_table_has_one_row_a_scan():
    table = group(records()).table()
    assert len(table) == 13 and table["case"].is_unique
    row = table.set_index("case").loc["sub-00"]
    assert (
        row[SCORE] == 0.3
        and row["dice_on_scan"] == 0.61
        and row["report"] == "sub-00.html"
        and not row["guarantee_applies"]
    )
    assert "volume of the brain" in row["outside"]
    assert table.set_index("case").loc["sub-bad", "reasons"] == HOSTILE


def test_group_report_is_in_order(page, written, tmp_path):
    made = records()
    html = group(made).html()
    assert "<img" not in html
    problems = watch(page)
    url = written("group.html", html)
    page.goto(url)
    assert problems == [] and accessibility(page, "body") == [] and overflow(page) == []
    text = page.inner_text("body")
    assert "13 scans: 1 accepted, 11 to review, 1 not judged." in text
    assert "confidence level of 90 %" in text
    assert re.search(r"\(\d+ %\)", text), "a chance that is a guess stands in brackets"
    assert not re.search(r"0\.\d\d \(0\.\d\d to", text), "an interval that does not hold is not there"
    assert page.locator(".strips circle.accept").count() == len(page.query_selector_all(".strips svg")) > 2


def test_the_worst_come_first_and_a_slider_says_what_is_left(page, written):
    made = records()
    page.goto(written("group.html", group(made).html()))
    names = [name.strip() for name in page.locator("tbody th").all_inner_texts()]
    assert names == [*(f"sub-{i:02d}" for i in range(12)), "sub-bad"]  # a higher prediction, a lower chance of failure
    said, slider, count = page.locator("#left"), page.locator("#slider"), page.locator("#count")
    left = [float(re.search(r"Then ([\d.e-]+) with", said.inner_text())[1])]
    slider.focus()
    for _ in range(12):
        page.keyboard.press("ArrowRight")
        left.append(float(re.search(r"Then ([\d.e-]+) with", said.inner_text())[1]))
    assert left == sorted(left, reverse=True) and left[0] > 2 and left[-1] == 0
    assert page.locator("tr.looked").count() == 12 and count.input_value() == "12"
    count.fill("3")
    count.press("Enter")
    assert page.locator("tr.looked").count() == 3 and slider.input_value() == "3"
    # One short sentence first; the numbers unfold by keyboard.
    detail = page.locator("tbody details").first
    assert "distance" not in detail.inner_text()
    detail.locator("summary").press("Enter")
    assert "distance" in detail.inner_text()


def test_group_table_sorts_by_a_click(page, written):
    made = records()
    page.goto(written("group.html", group(made).html()))
    head = page.get_by_role("button", name="Predicted Dice")
    first = "document.querySelector('tbody th').textContent.trim()"
    last = "[...document.querySelectorAll('tbody th')].at(-1).textContent.trim()"
    head.click()
    assert page.evaluate(first) == "sub-00" and page.evaluate(last) == "sub-bad"
    head.press("Enter")
    assert page.evaluate(first) == "sub-11" and page.evaluate(last) == "sub-bad"
    assert page.locator("th[aria-sort=descending]").count() == 1


def test_on_a_phone_the_table_scrolls_and_the_names_stay(page, written):
    page.set_viewport_size({"width": 400, "height": 800})
    page.goto(written("group.html", group(records()).html()))
    box = page.locator(".wide")
    assert box.evaluate("e => { e.scrollLeft = e.scrollWidth; return e.scrollLeft }") > 100
    name, reason = (box.locator(f"tbody tr:first-child > :{place}-child").bounding_box() for place in ("first", "last"))
    assert name["x"] >= 0 and reason["x"] >= name["x"] + name["width"] and reason["x"] + reason["width"] <= 400
    assert overflow(page) == []


def test_group_of_nothing_judged():
    made = records(0)
    html = group(made).html()
    assert "1 scan:" in html and "1 not judged" in html and "Scores of all scans" not in html


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (float("nan"), "–"), (0.12345, "0.123"), (-1234.5, "−1,234"), (0, "0"), (1e-5, "1e−05")],
)
def test_numbers_for_readers(value, text):
    assert render.number(value) == text


def test_a_guarantee_is_rounded_up_and_a_chance_is_never_certain():
    assert render.at_most(0.141) == "15 %" and render.at_most(0.1) == "10 %"
    assert [render.chance(value) for value in (0.001, 0.146, 0.999, None)] == ["< 1 %", "15 %", "> 99 %", "–"]
