"""The question of six slices, the threshold with trays and the window of volume, in a browser."""

import re

import numpy as np
import pandas as pd
import pytest

from browser import accessibility, check_page
from wmhqc import slices, view

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Test</title><style>main {{ max-width: 688px; margin: 0 auto; }}</style><main><h1>Test</h1>{body}</main></html>"""


def write(path, *widgets):
    path.write_text(PAGE.format(body="".join(widget.to_html() for widget in widgets)))
    return path.as_uri()


def picture(case, column):
    """A grey slice whose manual mask is one column of pixels, and the predicted one the next."""
    manual, predicted = np.zeros((2, 20, 24), bool)
    manual[column], predicted[column + 1] = True, True
    return slices.Slice(case, np.full((20, 24), 120, np.uint8), predicted, manual, (1.0, 1.0))


def cases(n=16):
    rng = np.random.default_rng(5)
    volume = np.exp(rng.uniform(0, 4, n))
    dice = np.clip(0.2 + 0.14 * np.log(volume) + rng.normal(0, 0.08, n), 0, 1)
    table = pd.DataFrame(
        {
            "case": [f"sub-{i:02d}" for i in range(n)],
            "pairwise_dice": (dice + rng.normal(0, 0.1, n)).round(1),  # rounded: some are equal
            "mean_entropy": 1 - dice,
            "vs_uncertainty": 9000 * np.log(volume) * (1.5 - dice),
            "volume_ml": volume,
            "lesion_dice": dice,
            "hd95_mm": 40 * rng.random(n),
        }
    )
    table.loc[2, "hd95_mm"] = np.nan
    table.loc[5, "mean_entropy"] = np.nan
    return table


TABLE = cases()
SCORES = {"pairwise_dice": 1, "mean_entropy": -1}


@pytest.fixture(scope="module")
def quiz(tmp_path_factory):
    widget = view.quiz(
        [picture(f"s{i}", 2 + 2 * i) for i in range(6)], [0.2, 0.8, 0.3, 0.7, 0.6, 0.1], range(6), range(6)
    )
    return write(tmp_path_factory.mktemp("quiz") / "page.html", widget)


@pytest.fixture(scope="module")
def trays(tmp_path_factory):
    shown = [picture(name, i) for i, name in enumerate(TABLE["case"][:9])]
    return write(tmp_path_factory.mktemp("trays") / "page.html", view.trays(TABLE, list(SCORES), shown, looks=4))


@pytest.fixture(scope="module")
def hold(tmp_path_factory):
    widget = view.hold(TABLE, {"vs_uncertainty": ("sum", "sum (mm³·bit)"), "mean_entropy": ("mean", "mean (bit)")})
    return write(tmp_path_factory.mktemp("hold") / "page.html", widget)


def counts(root):
    return {
        kind: int(root.locator(f'[data-name="{kind}"]').get_attribute("value")) for kind in ("tp", "fp", "fn", "tn")
    }


# ---------------------------------------------------------------- quiz


ORANGE = """(i) => {
  const canvas = document.querySelectorAll('.card canvas')[i], context = canvas.getContext('2d');
  const data = context.getImageData(0, 0, canvas.width, canvas.height).data;
  let found = 0;
  for (let k = 0; k < data.length; k += 4) if (data[k] > 200 && data[k + 2] < 120) found++;
  return found;
}"""


def test_a_look_shows_the_manual_outline_and_counts(watched, quiz):
    page, problems = watched
    page.goto(quiz)
    root = page.locator(".wmhqc[data-ready]")
    root.wait_for()
    assert counts(root) == {"tp": 0, "fp": 0, "fn": 3, "tn": 3} and page.evaluate(ORANGE, 0) == 0
    root.locator(".card").nth(0).click()
    assert counts(root) == {"tp": 1, "fp": 0, "fn": 2, "tn": 3}
    assert page.evaluate(ORANGE, 0) > 50 and page.evaluate(ORANGE, 1) == 0
    second = root.locator(".card").nth(1)
    second.focus()
    second.press("Enter")
    assert counts(root) == {"tp": 1, "fp": 1, "fn": 2, "tn": 2}
    words = root.locator(".summary").inner_text()
    assert "Patient B is fine" in words and "1 of 3 wrong ones caught, 1 false alarm" in words
    assert second.get_attribute("aria-pressed") == "true" and "overlap 0.80" in second.inner_text()
    root.get_by_role("button", name="Show the others").click()
    assert page.evaluate(ORANGE, 5) > 50 and counts(root)["fn"] == 2, "to show is not to have looked"
    root.get_by_role("button", name="Start again").click()
    assert counts(root) == {"tp": 0, "fp": 0, "fn": 3, "tn": 3} and page.evaluate(ORANGE, 0) == 0
    assert [text for text in problems if "Canvas2D" not in text] == []  # that is the reading above


# ---------------------------------------------------------------- trays


def expected(score, looks, measure="lesion_dice", limit=0.5, bad="under", costs=(1, 20)):
    return view.trays_numbers(TABLE[score], TABLE[measure], looks, limit, bad, SCORES[score], costs)


def shown(root):
    return counts(root) | {name: float(root.get_attribute(f"data-{name}")) for name in ("looks", "cost")}


def test_trays_give_pythons_numbers_at_every_step(watched, trays):
    page, problems = watched
    page.goto(trays)
    root = page.locator(".wmhqc[data-ready]")
    slider = root.get_by_role("slider")
    for score in SCORES:
        root.get_by_label("Score").select_option(score)
        slider.press("Home")
        seen = set()
        for _ in range(len(TABLE) + 1):
            looks = int(root.get_attribute("data-looks"))
            assert shown(root) == expected(score, looks)
            seen.add(looks)
            slider.press("ArrowRight")
        assert seen == {expected(score, looks)["looks"] for looks in range(len(TABLE) + 1)}
        for _ in range(len(TABLE)):
            slider.press("ArrowLeft")
        assert int(root.get_attribute("data-looks")) == min(seen), "one comes back out of a group of equal scores"
        costs = {looks: expected(score, looks)["cost"] for looks in seen}
        assert costs[int(root.get_attribute("data-best"))] == min(costs.values())
    assert not problems


def test_another_score_keeps_the_looks_and_another_failure_its_own_limit(page, trays):
    page.goto(trays)
    root = page.locator(".wmhqc[data-ready]")
    root.get_by_role("slider").press("End")
    for _ in range(6):
        root.get_by_role("slider").press("ArrowLeft")
    looks = int(root.get_attribute("data-looks"))
    root.get_by_label("Score").select_option("mean_entropy")
    assert int(root.get_attribute("data-looks")) == looks
    root.get_by_role("combobox", name="Failed if").select_option("hd95_mm")
    assert shown(root) == expected("mean_entropy", looks, "hd95_mm", 20, "over")
    root.get_by_label("Limit of failure").fill("12")
    root.get_by_label("Cost of a missed failure").fill("3.5")
    assert shown(root) == expected("mean_entropy", looks, "hd95_mm", 12, "over", (1, 3.5))
    root.get_by_label("Limit of failure").fill("")
    assert root.get_attribute("data-limit") == "12", "an empty field changes nothing"


def test_every_point_opens_its_scan_and_every_scan_knows_its_point(page, trays):
    page.goto(trays)
    root = page.locator(".wmhqc[data-ready]")
    assert root.locator(".chart [data-case]").count() == root.locator(".tile").count() == len(TABLE)
    root.locator('.chart [data-case="sub-07"]').dispatch_event("click")
    assert root.locator(".tile.open").get_attribute("aria-label").startswith("sub-07, ")
    assert root.locator(".scan .title").inner_text() == "sub-07"
    ring, point = (root.locator(sel).bounding_box() for sel in (".ring", '.chart [data-case="sub-07"]'))
    assert abs(ring["x"] + ring["width"] / 2 - point["x"] - point["width"] / 2) < 3
    tile = root.locator(".tray").nth(1).locator(".tile").first
    tile.focus()
    case = root.get_attribute("data-case")
    assert tile.get_attribute("aria-label").startswith(case)
    tile.press("ArrowRight")
    assert root.get_attribute("data-case") != case
    assert root.locator(".tile.open").evaluate("(e) => e === document.activeElement")


def test_a_tile_crosses_with_the_slider_and_what_slipped_through_can_be_seen(page, trays):
    page.goto(trays)
    root = page.locator(".wmhqc[data-ready]")
    sizes = lambda: [root.locator(".tray").nth(k).locator(".tile").count() for k in (0, 1)]  # noqa: E731
    before = sizes()
    root.get_by_role("slider").press("ArrowRight")
    after = sizes()
    assert after[0] > before[0] and sum(after) == sum(before) == len(TABLE)
    button = root.get_by_role("button", name="Show one that slipped through")
    if counts(root)["fn"]:
        button.click()
        assert "failed, used without looking" in root.locator(".scan").inner_text()
    root.get_by_role("slider").press("End")
    assert button.is_disabled() and sizes() == [len(TABLE), 0]


def test_a_drag_shows_its_numbers_and_its_scan_without_scrolling(page, trays):
    page.goto(trays)
    root = page.locator(".wmhqc[data-ready]")
    slider = root.get_by_role("slider").bounding_box()
    for part in (".stage .summary", "table", ".scan canvas", ".price"):
        box = root.locator(part).bounding_box()
        assert abs(box["y"] - slider["y"]) < 400 and box["y"] + box["height"] < 800, part
    assert root.bounding_box()["height"] < 800


# ---------------------------------------------------------------- window of volume


def test_window_gives_pythons_line(watched, hold):
    page, problems = watched
    page.goto(hold)
    root = page.locator(".wmhqc")
    count, place = root.get_by_role("slider").nth(0), root.get_by_role("slider").nth(1)
    whole = TABLE[TABLE["mean_entropy"].notna()]
    assert int(root.get_attribute("data-count")) == len(whole) and place.is_disabled()
    seen = set()
    for button in ("sum", "mean"):
        root.get_by_role("button", name=button, exact=True).click()
        for slider, key in (
            (count, "Home"),
            (place, "Home"),
            (place, "ArrowRight"),
            (place, "End"),
            (count, "ArrowRight"),
        ):
            slider.press(key)
            score, first, size = (root.get_attribute(f"data-{name}") for name in ("score", "first", "count"))
            found = view.hold_numbers(whole, score, int(first), int(size))
            assert float(root.get_attribute("data-r")) == pytest.approx(found["r"])
            assert float(root.get_attribute("data-slope")) == pytest.approx(found["slope"])
            said = root.locator(".summary").inner_text()
            assert f"r = {'−' if found['r'] < 0 else '+'}{abs(found['r']):.2f}" in said
            seen.add((score, first, size))
    assert len(seen) >= 8 and not problems


def test_the_window_is_dragged_over_the_strip(page, hold):
    page.goto(hold)
    root, strip = page.locator(".wmhqc"), page.locator(".strip")
    box = strip.bounding_box()
    page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + 15)
    page.mouse.down()
    last = int(root.get_attribute("data-first"))
    assert int(root.get_attribute("data-count")) == 8 and last > 0
    page.mouse.move(box["x"] + 0.15 * box["width"], box["y"] + 15, steps=4)
    page.mouse.up()
    assert int(root.get_attribute("data-first")) == 0 < last


# ---------------------------------------------------------------- all of them


@pytest.mark.parametrize("kind", ["quiz", "trays", "hold"])
def test_pages_are_accessible_narrow_and_quiet(page, request, kind):
    assert check_page(page, request.getfixturevalue(kind)) == []
    assert accessibility(page, ".wmhqc") == []


def test_what_is_seen_is_small(tmp_path):
    """The reference run's slices, all of them, stay below 0.8 MB."""
    from wmhqc.book import brains

    table, shown = brains.with_slices([])
    size = len(view.trays(table, ["mean_entropy"], shown).to_html())
    assert size < 800_000, size
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", view.trays(table, ["mean_entropy"], shown).to_html())
