"""The question of six slices, the threshold with trays, and the window of volume: numbers and refusals."""

import base64
import gzip
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmhqc import reference, slices, view
from wmhqc.book import brains as brains_of_the_book
from wmhqc.view import brains


def picture(case="a", size=(6, 8), seed=0):
    rng = np.random.default_rng(seed)
    masks = rng.random((2, *size)) > 0.6
    return slices.Slice(case, rng.integers(0, 256, size).astype(np.uint8), *masks, (1.0, 2.0))


def test_packed_slices_are_those_that_went_in():
    given = [picture("a"), picture("b", (5, 7), 1)]
    packed = brains.pack(given)
    data = np.frombuffer(gzip.decompress(base64.b64decode(packed["data"])), np.uint8)
    for each, shape in zip(given, packed["shapes"], strict=True):
        nx, ny = shape
        size, bits = nx * ny, -(-nx * ny // 8)
        levels, one, two, data = np.split(data, np.cumsum([size, bits, bits]))
        assert np.array_equal(levels.reshape(ny, nx).T, np.round(each.flair * (63 / 255)))
        for mask, packed_bits in ((each.predicted, one), (each.manual, two)):
            assert np.array_equal(np.unpackbits(packed_bits, count=size).reshape(ny, nx).T, mask)
    assert len(data) == 0 and packed["ratios"] == [6 / 16, 5 / 14]


# ---------------------------------------------------------------- quiz


@given(st.lists(st.floats(0, 1), min_size=6, max_size=30))
def test_six_different_cases_are_picked_half_of_them_failed_where_possible(dice):
    chosen = brains.pick(dice)
    assert len(chosen) == len(set(chosen)) == 6
    picked, clear = np.array(dice)[chosen], np.array(dice)[np.abs(np.array(dice) - 0.5) >= 0.05]
    among = clear if len(clear) >= 6 else np.array(dice)
    failed, good = (among < 0.5).sum(), (among >= 0.5).sum()
    assert (picked < 0.5).sum() == min(failed, max(3, 6 - good))


def test_the_quiz_knows_who_failed_and_refuses_a_question_without_answer():
    widget = view.quiz([picture()] * 3, [0.2, 0.5, 0.8], [1, 2, 3], [3, 2, 1], tau=0.5)
    assert [case["failed"] for case in widget.data["cases"]] == [True, False, False]
    assert [case["name"] for case in widget.data["cases"]] == ["Patient A", "Patient B", "Patient C"]
    for dice, message in (
        ([0.9] * 3, "failed and good"),
        ([0.1] * 3, "failed and good"),
        ([9, 0, 1], "0 to 1"),
        ([0.1], "two volumes"),
    ):
        with pytest.raises(ValueError, match=message):
            view.quiz([picture()] * 3, dice, [1, 2, 3], [3, 2, 1])


# ---------------------------------------------------------------- trays


def cases(n=12, seed=0):
    rng = np.random.default_rng(seed)
    dice = rng.random(n).round(2)
    return pd.DataFrame({
        "case": [f"sub-{i:02d}" for i in range(n)],
        "pairwise_dice": dice, "mean_entropy": rng.random(n), "lesion_dice": dice,
        "hd95_mm": 40 * rng.random(n),
    })  # fmt: skip


def test_looks_of_a_worked_example():
    # trusted least: Dice 0.1 (failed) and 0.6 (good); used: 0.3 (failed) and 0.9 (good)
    found = view.trays_numbers([1, 2, 3, 4], [0.1, 0.6, 0.3, 0.9], 2, 0.5, costs=(1, 20))
    assert found == {"tp": 1, "fp": 1, "fn": 1, "tn": 1, "looks": 2, "cost": 22}
    turned = view.trays_numbers([-1, -2, -3, -4], [0.1, 0.6, 0.3, 0.9], 2, 0.5, confidence=-1, costs=(1, 20))
    assert turned == found
    assert view.trays_numbers([1, 2], [30, 10], 0, 20, bad="over")["fn"] == 1


def test_cases_of_one_score_go_together_and_those_without_go_first():
    assert view.trays_numbers([1, 1, 1, 2], [0] * 4, 1, 0.5)["looks"] == 3
    found = view.trays_numbers([np.nan, 1, 2], [np.nan, 0.9, 0.9], 0, 0.5)
    assert (found["looks"], found["tp"], found["fp"]) == (1, 1, 0)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=20), st.integers(0, 20))
def test_no_case_is_lost(scores, looks):
    dice = np.linspace(0, 1, len(scores))
    found = view.trays_numbers(scores, dice, min(looks, len(scores)), 0.5)
    assert found["tp"] + found["fp"] + found["fn"] + found["tn"] == len(scores)
    assert found["looks"] == found["tp"] + found["fp"] >= min(looks, len(scores))


def test_trays_carry_the_table_and_the_slices_of_their_cases():
    table = cases()
    table.loc[3, "mean_entropy"] = np.nan
    widget = view.trays(
        table, ["pairwise_dice", "mean_entropy"], [picture("sub-02"), picture("other"), picture("sub-05")]
    )
    data = widget.data
    assert data["places"] == [{"sub-02": 0, "sub-05": 1}.get(name, -1) for name in table["case"]]
    assert len(data["scans"]["shapes"]) == 2
    assert [score["confidence"] for score in data["scores"]] == [1, -1] and data["scores"][1]["values"][3] is None
    assert [measure["name"] for measure in data["measures"]] == ["lesion_dice", "hd95_mm"]
    assert widget.looks == 3 and widget.limit == 0.5 and data["kinds"] == [""] * 12
    assert (
        view.trays(table.assign(synthetic=[True] * 11 + [False]), ["mean_entropy"]).data["kinds"][-1] == "real patient"
    )


@pytest.mark.parametrize(
    ("table", "scores", "message"),
    [
        (cases(), ["volume_ml"], "no column 'volume_ml'"),
        (cases().assign(q=1.0), ["q"], "in the catalogue, got q"),
        (cases(), [], "got none"),
        (cases().drop(columns=["lesion_dice", "hd95_mm"]), ["mean_entropy"], "no measure of failure"),
        (pd.concat([cases(), cases()]), ["mean_entropy"], "more than one row"),
        (cases().assign(mean_entropy=np.nan), ["mean_entropy"], "no number"),
    ],
)
def test_tables_that_cannot_be_shown_are_refused(table, scores, message):
    with pytest.raises(ValueError, match=message):
        view.trays(table, scores)


# ---------------------------------------------------------------- window of volume


def paradox(n=60):
    """The score rises with the Dice over all cases, since both rise with the volume; at one volume it falls."""
    rng = np.random.default_rng(3)
    size, quality = np.repeat(np.arange(6.0), n // 6), rng.normal(0, 0.05, n)
    return pd.DataFrame({
        "case": [f"c{i}" for i in range(n)],
        "volume_ml": 2.0**size + 0.001 * rng.random(n), "sum": 10 * size - 60 * quality,
        "mean": 1 - quality, "lesion_dice": 0.2 + 0.1 * size + quality,
    })  # fmt: skip


def test_the_line_turns_round_when_the_volume_is_held():
    table = paradox()
    whole = view.hold_numbers(table, "sum", 0, 60)
    part = view.hold_numbers(table, "sum", 20, 10)
    assert whole["r"] > 0.8 and part["r"] == pytest.approx(-1) and part["slope"] == pytest.approx(-1 / 60)
    assert whole["r"] == pytest.approx(np.corrcoef(table["sum"], table["lesion_dice"])[0, 1])
    assert part["low"] >= 4 and part["high"] < 5
    assert np.isnan(view.hold_numbers(table.assign(sum=1.0), "sum", 0, 10)["r"])


def test_the_window_begins_open_in_order_of_volume_without_rows_that_lack_a_number():
    table = paradox().sample(frac=1, random_state=0)
    table.iloc[0, table.columns.get_loc("sum")] = np.nan
    table.iloc[1, table.columns.get_loc("volume_ml")] = 0.0
    widget = view.hold(table, {"sum": ("sum", "sum (a)"), "mean": ("mean", "mean (b)")})
    assert widget.count == 58 and widget.data["volume"] == sorted(widget.data["volume"])
    with pytest.raises(ValueError, match="no column 'gone'"):
        view.hold(table, {"gone": ("a", "b")})
    with pytest.raises(ValueError, match="ten cases"):
        view.hold(table.head(9), {"sum": ("a", "b")})


# ---------------------------------------------------------------- what the pages say


def test_the_sum_is_the_volume_in_disguise_and_the_mean_is_not():
    """Stated on the first page and in "From maps to thresholds"; if this fails, these pages must say something else."""
    tested = reference.cases("test")
    fifth = len(tested) // 5

    def r(score, place=None):
        first, count = (0, len(tested)) if place is None else (place * fifth, fifth)
        return view.hold_numbers(tested, score, first, count)["r"]

    assert r("vs_uncertainty") > 0.2
    assert sum(r("vs_uncertainty", place) < 0 for place in range(5)) >= 3
    patients = reference.cases("test", "real")
    alone = [view.hold_numbers(patients, score, 0, len(patients))["r"] for score in ("vs_uncertainty", "mean_entropy")]
    assert alone[0] > 0 > alone[1]
    assert r("mean_entropy") < -0.6 and all(r("mean_entropy", place) < 0 for place in range(5))


def test_six_are_real_where_they_are_at_hand_and_synthetic_elsewhere():
    none, kind, _ = brains_of_the_book.six([])
    assert kind == "synthetic cases" and len(none) == 6 and 0 < (none["dice"] < 0.5).sum() < 6
    patient = {"ml": 1.0, "true_ml": 2.0, "licence": "CC BY", "citation": "Somebody"}
    patients = [patient | {"slice": picture(f"r{i}"), "dice": i / 7} for i in range(8)]
    some, kind, credit = brains_of_the_book.six(patients)
    assert kind == "real patients" and credit == "CC BY. Somebody" and {s.case[0] for s in some["slice"]} == {"r"}
    assert brains_of_the_book.six(patients[:5])[1] == "synthetic cases", "too few"
    assert brains_of_the_book.six(patients[:3] * 2)[1] == "synthetic cases", "all failed"


def test_without_a_folder_of_patients_there_are_none(monkeypatch, tmp_path):
    monkeypatch.setenv("WMHQC_SHARED", str(tmp_path))
    assert brains_of_the_book.real() == []
    table, shown = brains_of_the_book.with_slices([])
    assert table["synthetic"].all() and {each.case for each in shown} == set(table["case"])


def test_a_real_patients_numbers_are_those_of_its_mask(shared):
    from wmhqc import metrics, preprocess
    from wmhqc.sources import available

    masks = slices.load()[1]
    patients, _ = available.real_patients(ms17=False)
    row = next(row for row in patients.to_dict("records") if row["case"] in masks)
    found = brains_of_the_book._patient(row, masks[row["case"]])
    prepared = preprocess.prepare_row(row, len(masks[row["case"]]))
    assert found["dice"] == metrics.lesion_dice(masks[row["case"]], prepared.lesion > 0)
    assert found["slice"].case == row["case"] and found["licence"]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_picture_of_the_dice_is_true(place):
    svg = (Path(__file__).parents[1] / "book" / "_assets" / "dice.svg").read_text()
    found = re.findall(r'data-dice="([\d.]+)".*?cx="([\d.]+)".*?r="([\d.]+)".*?cx="([\d.]+)"', svg, re.S)[place]
    dice, left, radius, right = map(float, found)
    d = (right - left) / radius
    shared = 2 * np.arccos(d / 2) - d / 2 * np.sqrt(4 - d * d)  # of two circles of radius 1
    assert shared / np.pi == pytest.approx(dice, abs=1e-3)
