"""The explorers on a static page, in a real browser, opened from a file."""

import math

import numpy as np
import pandas as pd
import pytest

from browser import accessibility, check_page, overflow
from wmhqc import failure, thresholds, view


def cases(n, seed):
    """Cases with a score `q` that rises with the Dice, `vs` that falls, and `volume_ml`; q is undefined in two."""
    rng = np.random.default_rng(seed)
    q = rng.random(n)
    table = pd.DataFrame({"case": [f"sub-{i:02}" for i in range(n)], "q": q, "volume_ml": q + rng.random(n)})
    table["lesion_dice"] = np.clip(0.3 + 0.5 * q + rng.normal(0, 0.1, n), 0, 1)
    table["vs"] = 1e4 * (1 - q) * rng.uniform(0.8, 1, n)
    table.loc[[3, 9], "q"] = np.nan
    return table


TEST, VALIDATION = cases(40, 7), cases(90, 8)
TEST.loc[5, "lesion_dice"] = np.nan
SIGNS = {"q": 1, "vs": -1}
COUNTS = ("tp", "fp", "fn", "tn", "kept", "flagged")
RATIOS = ("sensitivity", "ppv", "specificity", "npv", "coverage", "dice_before", "dice_after")


def write(path, *widgets):
    body = "".join(widget.to_html() for widget in widgets)
    path.write_text(
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>Explorers</title><body><main><h1>Explorers</h1>{body}</main></body></html>",
        encoding="utf-8",
    )
    return path.as_uri()


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A page with two explorers, one for each direction of a score."""
    labels = {"q": "Score <b>&</b> more", "vs": "VS (mm³·bit)"}
    first = view.threshold(TEST, ["q", "vs"], validation=VALIDATION, confidence=SIGNS, label=labels)
    second = view.threshold(TEST, "vs", confidence=-1, threshold=4000, mark="the rule")
    return write(tmp_path_factory.mktemp("page") / "page.html", first, second)


def compare(root):
    """The numbers on the page are those of Python; returns them."""
    value, tau, score = (
        float(root.get_attribute("data-value")),
        float(root.get_attribute("data-tau")),
        root.get_attribute("data-score"),
    )
    trust = SIGNS[score] * TEST[score]
    expected = view.threshold_numbers(TEST[score], TEST["lesion_dice"], value, tau, SIGNS[score])
    for name in (*COUNTS, *RATIOS):
        shown = root.locator(f'[data-name="{name}"]').first
        if name in COUNTS:
            assert int(shown.text_content()) == expected[name], name
        elif math.isnan(expected[name]):
            assert shown.text_content() == "undefined", name
        else:
            assert float(shown.get_attribute("value")) == pytest.approx(expected[name], abs=1e-12), name
    text = root.locator(".summary").text_content()
    assert f"{expected['kept']} of {expected['cases']} cases are used" in text
    assert f"{expected['fn']} poor segmentation" in text
    # The same decision and the same point of the risk-coverage curve as in wmhqc.failure.
    judged = TEST["lesion_dice"].notna()
    dice, trust = TEST.loc[judged, "lesion_dice"], trust[judged]
    counts = failure.confusion(dice, failure.flag(trust, SIGNS[score] * value), tau)
    assert [expected[name] for name in ("tp", "fp", "fn", "tn")] == [counts[name] for name in ("tp", "fp", "fn", "tn")]
    here = root.locator("circle.here")
    assert here.count() == (expected["kept"] > 0)
    if expected["kept"]:
        curve = failure.risk_coverage(dice, trust).iloc[expected["kept"] - 1]
        assert float(here.get_attribute("data-coverage")) == pytest.approx(curve["coverage"])
        assert float(here.get_attribute("data-risk")) == pytest.approx(curve["risk"], abs=1e-6)
        assert curve["risk"] == pytest.approx(1 - expected["dice_after"])
    aurc = float(root.locator('[data-name="aurc_score"]').get_attribute("value"))
    assert aurc == pytest.approx(float(failure.aurc(dice, trust)))
    return {**expected, "value": value, "tau": tau, "score": score}


def test_a_score_without_the_mark_says_so(page, tmp_path):
    asked = view.threshold(TEST, ["q", "vs"], confidence=SIGNS, threshold={"q": 0.4}, mark="the rule")
    page.goto(write(tmp_path / "page.html", asked))
    root, said = page.locator(".wmhqc"), "The rule: none for this score; the threshold starts at the median."
    assert said not in root.locator(".remark").inner_text()
    root.get_by_role("combobox", name="Score").select_option("vs")
    assert said in root.locator(".remark").inner_text() and root.get_by_role("button", name="The rule").is_disabled()


@pytest.mark.parametrize("place", [0, 1])
def test_slider_by_keyboard_gives_pythons_numbers(watched, file, place):
    page, problems = watched
    page.goto(file)
    root = page.locator(".wmhqc").nth(place)
    slider = root.locator('input[type="range"]').first
    compare(root)
    slider.focus()
    values = []
    for key in ("ArrowRight", "PageUp", "PageUp", "PageDown", "ArrowLeft", "ArrowLeft", "End", "Home"):
        slider.press(key)
        values.append(compare(root))
    assert values[0]["value"] < values[1]["value"] < values[2]["value"]
    # The two ends use everything that has a score, or nothing, and say "undefined" rather than 1.
    assert {values[-1]["kept"], values[-2]["kept"]} == {0, 39 - 2 * (place == 0)}
    assert any(math.isnan(v["npv"]) for v in values)
    assert place == 0 or any(math.isnan(v["ppv"]) for v in values)
    limit = root.locator('input[type="range"]').nth(1)
    limit.focus()
    limit.press("PageUp")
    assert 0.5 < compare(root)["tau"] < 0.7
    assert not problems


def test_slider_by_mouse_and_the_line_above_it(watched, file):
    page, problems = watched
    page.goto(file)
    root = page.locator(".wmhqc").first
    slider = root.locator('input[type="range"]').first
    box = slider.bounding_box()
    seen = set()
    for share in (0.35, 0.5, 0.8):
        page.mouse.click(box["x"] + share * box["width"], box["y"] + box["height"] / 2)
        seen.add(compare(root)["value"])
        line = root.locator("svg").first.locator("line.threshold").bounding_box()
        assert line["x"] + line["width"] / 2 == pytest.approx(box["x"] + share * box["width"], abs=2)
    assert len(seen) == 3 and not problems


def test_a_score_chosen_by_keyboard_keeps_the_rule_and_gives_pythons_numbers(watched, file):
    page, problems = watched
    page.goto(file)
    root = page.locator(".wmhqc").first
    root.get_by_role("button", name="Catch 90 %").click()
    first = compare(root)
    chooser = root.get_by_role("combobox", name="Score", exact=True)
    chooser.focus()
    chooser.press("ArrowDown")
    second = compare(root)
    assert (first["score"], second["score"]) == ("q", "vs")
    assert root.get_by_role("button", name="Catch 90 %").get_attribute("aria-pressed") == "true"
    assert "VS (mm³·bit)" in root.locator("svg.chart").first.text_content()
    assert not problems


@pytest.mark.parametrize("tau", [0.5, 0.4, 0.6])
@pytest.mark.parametrize("score", SIGNS)
def test_buttons_go_where_python_says_from_validation_cases(page, file, score, tau):
    page.goto(file)
    root = page.locator(".wmhqc").first
    root.get_by_role("combobox", name="Score", exact=True).select_option(score)
    limit = root.locator('input[type="range"]').nth(1)
    for _ in range(abs(round(100 * tau) - 50)):
        limit.press("ArrowUp" if tau > 0.5 else "ArrowDown")
    assert float(root.get_attribute("data-tau")) == tau
    truth, trust = VALIDATION["lesion_dice"], SIGNS[score] * VALIDATION[score]
    rules = {"Keep 80 %": thresholds.for_coverage(truth, trust, tau, 0.8),
             "Catch 90 % of failures": thresholds.for_sensitivity(truth, trust, tau, 0.9),
             "Guarantee at most 10 % failures": thresholds.guaranteed_risk(truth, trust, tau, 0.1)}  # fmt: skip
    for name, choice in rules.items():
        button = root.get_by_role("button", name=name)
        assert button.is_enabled() == choice.possible
        if choice.possible:
            button.click()
            assert compare(root)["value"] == pytest.approx(SIGNS[score] * choice.threshold, abs=1e-12)
            assert choice.message.removeprefix("validation: ") in root.locator(".remark").text_content()
        else:
            assert choice.message in root.locator(".remark").text_content()
    assert "chosen on 90 validation cases" in root.locator(".remark").text_content()
    second = page.locator(".wmhqc").nth(1)
    second.get_by_role("button", name="The rule").click()
    assert compare(second)["value"] == 4000


def test_risk_coverage_is_drawn_from_pythons_curves(page, file):
    page.goto(file)
    root = page.locator(".wmhqc").first
    known = TEST.dropna(subset="lesion_dice")
    curves = {
        "score": known["q"],
        "baseline": known["volume_ml"],
        "oracle": known["lesion_dice"],
        "random": 0 * known["vs"],
    }
    for name, trust in curves.items():
        points = root.locator(f"polyline.{name}").get_attribute("points").split()
        drawn = np.array([point.split(",") for point in points], float)
        risk = failure.risk_coverage(known["lesion_dice"], trust)["risk"].to_numpy()
        assert len(drawn) == len(risk)
        if name != "random":  # the picture is the curve upside down, to the rounding of its pixels
            assert np.corrcoef(drawn[:, 1], risk)[0, 1] < -0.999, name
        area = float(root.locator(f'[data-name="aurc_{name}"]').get_attribute("value"))
        assert area == pytest.approx(float(failure.aurc(known["lesion_dice"], trust))), name


def test_explorers_on_a_page_do_not_touch_each_other(page, file):
    page.goto(file)
    page.wait_for_function("document.querySelectorAll('.wmhqc')[1]?.innerText.includes('Their mean Dice')")
    before = page.locator(".wmhqc").nth(1).inner_text()
    page.locator(".wmhqc").first.locator("input").first.press("PageUp")
    assert page.locator(".wmhqc").nth(1).inner_text() == before
    assert page.locator(".wmhqc").count() == 2


def test_left_out_cases_are_counted_and_labels_are_text(page, file):
    page.goto(file)
    root = page.locator(".wmhqc").first
    assert "1 case without a Dice left out" in root.inner_text()
    assert "2 cases have no score and go to review" in root.inner_text()
    assert "Score <b>&</b> more" in root.locator("svg.chart").first.text_content()


def test_a_screen_reader_hears_the_result(page, file):
    page.goto(file)
    root = page.locator(".wmhqc").first
    root.locator("input").first.press("End")
    heard = root.locator('[role="status"]', has_text="0 of 39 cases are used")
    heard.wait_for(state="attached")
    assert heard.text_content().startswith("Threshold")


def test_page_is_accessible_narrow_and_quiet(page, file):
    assert check_page(page, file) == []
    assert accessibility(page, ".wmhqc") == []


@pytest.mark.parametrize("width", [360, 768, 1920])
def test_no_sideways_scrolling(page, file, width):
    page.goto(file)
    assert overflow(page, width) == []


def test_dark_theme_is_dark(page, file):
    page.goto(file)
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    light = "getComputedStyle(document.querySelector('.wmhqc')).backgroundColor.match(/[0-9.]+/g).map(Number)"
    assert max(page.evaluate(light)) < 60
    assert accessibility(page) == []


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A page with a slice explorer: on slice z, a block of size z + 1 in the right anterior corner."""
    volume = np.zeros((20, 24, 8), np.float32)
    for z in range(8):
        volume[-2 * (z + 1) :, -2 * (z + 1) :, z] = 1
    widget = view.slices(
        {"Image": volume, "Entropy (bit)": volume, "Error": -volume},
        {"Prediction": volume > 0, "Lesion": np.roll(volume > 0, 1, 2)},
        {"Entropy (bit)": "cividis", "Error": "diverging"},
        caption="Synthetic blocks",
    )
    widget.slice = 3
    return write(tmp_path_factory.mktemp("pictures") / "page.html", widget)


PIXEL = """([map, x, y]) => {
  const canvas = document.querySelectorAll('.wmhqc canvas')[map];
  const copy = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
  copy.drawImage(canvas, -Math.floor(x * canvas.width), -Math.floor(y * canvas.height));
  return [...copy.getImageData(0, 0, 1, 1).data].slice(0, 3);
}"""


def test_the_patients_right_is_left_and_anterior_is_up(watched, pictures):
    page, problems = watched
    page.goto(pictures)
    page.wait_for_function("document.querySelector('.wmhqc').dataset.slice === '3'")
    corners = {(x, y): page.evaluate(PIXEL, [0, x, y]) for x in (0.15, 0.85) for y in (0.15, 0.85)}
    assert corners.pop((0.15, 0.15)) == [255, 255, 255]
    assert all(colour == [0, 0, 0] for colour in corners.values())
    red, _, blue = page.evaluate(PIXEL, [2, 0.15, 0.15])
    assert blue > 200 > red  # below zero: blue
    assert page.get_by_text("the patient’s right (R) is on the left").count() == 1
    assert not problems


def test_slices_by_keyboard_outlines_by_button_values_by_pointer(watched, pictures):
    page, problems = watched
    page.goto(pictures)
    root = page.locator(".wmhqc")
    page.wait_for_function("document.querySelector('.wmhqc').dataset.slice === '3'")
    slider = root.locator("input")
    slider.press("Home")
    assert root.get_attribute("data-slice") == "0" and page.evaluate(PIXEL, [0, 0.3, 0.25]) == [0, 0, 0]
    slider.press("End")
    assert root.get_attribute("data-slice") == "7" and page.evaluate(PIXEL, [0, 0.3, 0.25]) == [255, 255, 255]
    assert root.get_by_role("img", name="Image, axial slice 8 of 8").count() == 1
    shown = "document.querySelector('.wmhqc canvas').toDataURL()"
    before = page.evaluate(shown)
    button = root.get_by_role("button", name="Prediction")
    button.click()
    assert button.get_attribute("aria-pressed") == "false" and page.evaluate(shown) != before
    box = root.locator("canvas").first.bounding_box()
    page.mouse.move(box["x"] + 0.1 * box["width"], box["y"] + 0.1 * box["height"])
    assert [value.text_content() for value in root.locator(".reading").all()] == ["1", "1", "−1"]
    assert not problems


def test_slice_page_is_accessible_narrow_and_quiet(page, pictures):
    assert check_page(page, pictures) == []
    assert accessibility(page, ".wmhqc") == []


def block(size, z):
    """Maps of a case: a bright block of `size` voxels in the right anterior corner of slice `z`."""
    flair = np.full((20, 24, 8), 50.0)
    flair[-size:, -size:, z] = 255
    lesion = flair > 200
    return {
        "flair": flair,
        "lesion": lesion,
        "prediction": 0.4 * lesion,
        "uncertainty": 0.97 * lesion,
        "error": -0.5 * lesion,
        "spacing": (2, 2, 2),
    }


@pytest.fixture(scope="module")
def chosen(tmp_path_factory):
    """A page with a case explorer: of 37 cases with score and Dice three can be chosen."""
    known = TEST.dropna().sort_values("q")["case"]
    names = [known.iloc[0], known.iloc[len(known) // 2], known.iloc[-1]]
    maps = {name: block(4 + 4 * k, 2 + k) for k, name in enumerate(names)}
    widget = view.cases(TEST, maps, "q", label="Score", facts={"volume_ml": "predicted ml"})
    return write(tmp_path_factory.mktemp("cases") / "page.html", widget), names


def seen(page, name):
    """The page shows this case: its numbers are the table's, its maps its own."""
    page.wait_for_function("([name]) => document.querySelector('.wmhqc').dataset.case === name", arg=[name])
    page.wait_for_timeout(200)
    row = TEST.set_index("case").loc[name]
    text = page.locator(".summary").text_content()
    assert f"{name}: Lesion Dice {row['lesion_dice']:.2f}, {'failed' if row['lesion_dice'] < 0.5 else 'good'}" in text
    assert f"Score {row['q']:.4f}"[:11] in text and "predicted ml" in text
    return text


def test_a_case_is_chosen_by_click_and_its_maps_follow(watched, chosen):
    page, problems = watched
    file, names = chosen
    page.goto(file)
    root = page.locator(".wmhqc")
    assert root.locator("[data-case]").count() == 3 and root.locator(".case").count() == 37
    for size, name in zip((4, 8, 12), names):
        box = root.locator(f'[data-case="{name}"]').bounding_box()
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        seen(page, name)
        edges = [page.evaluate(PIXEL, [0, x, 0.05]) == [255, 255, 255] for x in (0.3, 0.5)]
        assert edges == [size > 6, size > 10]  # the block reaches over so much of the picture
        assert root.get_by_role("combobox", name="Case", exact=True).input_value() == name
    assert page.evaluate(PIXEL, [3, 0.3, 0.05])[2] > 200  # below zero: blue
    page.mouse.click(1, 1)
    assert root.get_attribute("data-case") == names[2]
    assert not problems


def test_a_case_is_chosen_by_keyboard_and_slices_too(watched, chosen):
    page, problems = watched
    file, names = chosen
    page.goto(file)
    root = page.locator(".wmhqc")
    select = root.get_by_role("combobox", name="Case", exact=True)
    select.focus()
    select.press("Home")
    seen(page, names[0])
    select.press("ArrowDown")
    seen(page, names[1])
    # Opened at the slice with most lesion; on the next one there is none.
    assert page.evaluate(PIXEL, [0, 0.05, 0.05]) == [255, 255, 255]
    assert "In the picture: Manual outline." in root.inner_text()
    slider = root.locator("input[type=range]")
    slider.press("ArrowRight")
    assert page.evaluate(PIXEL, [0, 0.05, 0.05]) != [255, 255, 255] and "no outline" in root.inner_text()
    assert not problems


def test_case_page_is_accessible_narrow_and_quiet(page, chosen):
    assert check_page(page, chosen[0]) == []
    assert accessibility(page, ".wmhqc") == []


@pytest.fixture(scope="module")
def skill(tmp_path_factory):
    widget = view.burden(TEST, ["q", "vs"], draws=100, label={"volume_ml": "predicted volume (ml)"})
    return write(tmp_path_factory.mktemp("burden") / "page.html", widget)


def test_burden_shows_pythons_skill_within_thirds(watched, skill):
    page, problems = watched
    page.goto(skill)
    root = page.locator(".wmhqc")
    judged = TEST.dropna(subset="lesion_dice")
    thirds = failure.volume_tertile(judged["volume_ml"])
    for score in ("q", "vs"):
        root.get_by_role("combobox", name="Score", exact=True).select_option(score)
        for measure in ("auroc", "spearman"):
            root.get_by_role("combobox", name="Measure", exact=True).select_option(measure)
            assert (root.get_attribute("data-score"), root.get_attribute("data-measure")) == (score, measure)
            for group in ("all", "small", "medium", "large"):
                part = judged[(thirds == group) | (group == "all")]
                dice, trust = part["lesion_dice"].to_numpy(), failure.confidence(part, score)
                expected = failure.auroc(dice, trust, 0.5) if measure == "auroc" else failure.spearman(dice, trust)
                row = root.locator(f'tr[data-group="{group}"]')
                if np.isnan(expected):
                    assert "undefined" in row.inner_text()
                    continue
                assert float(row.get_attribute("data-value")) == pytest.approx(float(expected), abs=1e-9)
                assert f"{expected:.2f}".replace("-", "") in row.inner_text()
                assert float(row.get_attribute("data-low")) <= expected <= float(row.get_attribute("data-high"))
                if group != "all":
                    assert f"{len(part)}, {(dice < 0.5).sum()} failed" in row.inner_text()
    assert "over all cases" in root.locator(".summary").inner_text()
    assert not problems


def test_burden_by_keyboard(page, skill):
    page.goto(skill)
    root = page.locator(".wmhqc")
    score = root.get_by_role("combobox", name="Score", exact=True)
    score.focus()
    score.press("ArrowDown")
    assert root.get_attribute("data-score") == "vs" and "of vs" in root.locator(".summary").inner_text()


def test_burden_page_is_accessible_narrow_and_quiet(page, skill):
    assert check_page(page, skill) == []
    assert accessibility(page, ".wmhqc") == []


def test_checks_can_fail(page, tmp_path):
    """A page with every fault that `check_page` should see."""
    bad = tmp_path / "bad.html"
    bad.write_text(
        '<!doctype html><html lang="en"><title>Bad</title><main><h1>Bad</h1>'
        '<img src="https://example.org/a.png"><img alt="" src="gone.png">'
        '<div class="wmhqc-static"></div><div style="width:900px">wide</div>'
        "<script>console.error('oh'); throw new Error('no');</script></main></html>"
    )
    text = "\n".join(check_page(page, bad.as_uri()))
    for part in (
        "outside request",
        "missing file",
        "console: oh",
        "script error: no",
        "did not start",
        "sideways",
        "axe image-alt",
    ):
        assert part in text, part
