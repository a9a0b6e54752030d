"""The numbers behind the explorers, and the HTML that carries them."""

import base64
import gzip
import json
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmhqc import failure, thresholds, view

SCORE = [0.9, 0.8, 0.6, 0.4, 0.2]
DICE = [0.8, 0.3, 0.7, 0.4, 0.6]


def table(**columns):
    return pd.DataFrame({"case": list("abcde"), "q": SCORE, "lesion_dice": DICE, **columns})


def test_counts_of_a_worked_example():
    # 0.4 and 0.2 are flagged: one failure (Dice 0.4) caught, one good case (0.6) in review,
    # one failure (0.3) used.
    numbers = view.threshold_numbers(SCORE, DICE, 0.5)
    assert (numbers["tp"], numbers["fp"], numbers["fn"], numbers["tn"]) == (1, 1, 1, 2)
    assert numbers["sensitivity"] == 1 / 2 and numbers["ppv"] == 1 / 2
    assert numbers["specificity"] == 2 / 3 and numbers["npv"] == 2 / 3
    assert numbers["coverage"] == 3 / 5
    assert numbers["dice_before"] == pytest.approx(0.56)
    assert numbers["dice_after"] == pytest.approx(0.6)


def test_a_score_at_the_threshold_is_used_and_a_dice_at_tau_is_good():
    numbers = view.threshold_numbers([1.0], [0.5], 1.0, tau=0.5)
    assert numbers["tn"] == 1
    assert view.threshold_numbers([1.0], [0.5], 1.0, tau=0.5, confidence=-1)["tn"] == 1


def test_nothing_flagged_leaves_ppv_undefined_not_one():
    numbers = view.threshold_numbers(SCORE, DICE, -1)
    assert np.isnan(numbers["ppv"]) and numbers["sensitivity"] == 0
    everything = view.threshold_numbers(SCORE, DICE, 2)
    assert np.isnan(everything["npv"]) and np.isnan(everything["dice_after"])


def test_a_case_without_a_dice_is_left_out_and_counted():
    numbers = view.threshold_numbers([0.7, *SCORE], [np.nan, *DICE], 0.5)
    assert numbers == {**view.threshold_numbers(SCORE, DICE, 0.5), "left_out": 1}


@pytest.mark.parametrize("confidence", [1, -1])
def test_a_case_without_a_score_always_goes_to_review(confidence):
    numbers = view.threshold_numbers([np.nan, *SCORE], [0.1, *DICE], -9 * confidence, confidence=confidence)
    assert (numbers["tp"], numbers["flagged"], numbers["kept"]) == (1, 1, 5)


cases = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 10)), min_size=1, max_size=30)


@given(cases, st.integers(-1, 10), st.integers(0, 10))
def test_turning_the_score_around_changes_nothing(cases, threshold, tau):
    scores, dice = np.array(cases, float).T
    up = view.threshold_numbers(scores, dice / 10, threshold, tau / 10, 1)
    down = view.threshold_numbers(-scores, dice / 10, -threshold, tau / 10, -1)
    assert str(up) == str(down)
    assert up["tp"] + up["fp"] + up["fn"] + up["tn"] == up["cases"] == len(cases)


def test_the_page_has_the_state_and_one_module_and_asks_for_nothing():
    widget = view.threshold(table(), "q", confidence=1, threshold=0.5)
    page = widget._repr_mimebundle_()[0]["text/html"]
    assert "application/vnd.jupyter.widget-view+json" in widget._repr_mimebundle_()[0]
    state = json.loads(re.search(r"^const state = (.*);$", page, re.M).group(1))
    assert state["cases"]["scores"][0]["values"] == SCORE and state["value"] == 0.5 and state["tau"] == 0.5
    assert page.count("export default") == 0 and page.count("const explorer =") == 1
    outside = set(re.findall(r"https?://[^\s\"'`]+", page)) - {"http://www.w3.org/2000/svg"}
    assert not outside and "import" not in re.findall(r"^\w+", page, re.M)


def test_no_name_of_a_case_can_end_the_script():
    page = view.threshold(table(case=["</script><b>", "<!--", "c", "d", "e"]), "q", confidence=1).to_html()
    assert page.count("</script>") == 1 and "<!--" not in page and "<b>" not in page


def test_a_widget_shown_twice_has_two_ids():
    widget = view.threshold(table(), "q", confidence=1)
    ids = [re.search(r'id="(.+?)"', widget.to_html()).group(1) for _ in range(2)]
    assert ids[0] != ids[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": "nothing"}, "no column 'nothing'"),
        ({"dice": "nothing"}, "no column 'nothing'"),
        ({"confidence": 0}, "must be \\+1"),
        ({"tau": 50}, "0 to 1"),
        ({"presets": (("drop", 0.5),)}, "preset"),
        ({"table": table(lesion_dice=[80, 30, 70, 40, 60])}, "5 do not"),
        ({"table": table(q=[np.nan] * 5)}, "no row of the table"),
        ({"validation": table(q=[np.nan] * 5)}, "no row of the table of validation cases"),
        ({"validation": table().drop(columns="q")}, "validation cases has no column 'q'"),
        ({"presets": (("keep", 80),)}, "preset"),
    ],
)
def test_bad_input_is_refused_with_a_reason(change, message):
    with pytest.raises(ValueError, match=message):
        view.threshold(**{"table": table(), "score": "q", "confidence": 1, **change})


def drawn(n, seed):
    """Cases whose score `q` follows the Dice, and `vs` the other way round."""
    rng = np.random.default_rng(seed)
    q = rng.random(n)
    dice = np.clip(0.25 + 0.6 * q + rng.normal(0, 0.1, n), 0, 1)
    names = [f"case-{i}" for i in range(n)]
    return pd.DataFrame({"case": names, "q": q, "vs": 100 * (1 - q), "volume_ml": rng.random(n), "lesion_dice": dice})


SIGNS = {"q": 1, "vs": -1}


def chosen(widget, score, kind, tau):
    """The threshold of a button, as the page looks it up."""
    found = next(s for s in widget.cases["scores"] if s["name"] == score)
    place = [preset[0] for preset in widget.cases["presets"]].index(kind)
    return [step for step in found["presets"][place] if step[0] <= round(100 * tau)][-1][1:]


@pytest.mark.parametrize("score", SIGNS)
@pytest.mark.parametrize("tau", [0.37, 0.5, 0.83])
def test_buttons_are_the_rules_of_thresholds_on_validation_cases(score, tau):
    test, validation = drawn(60, 1), drawn(90, 2)
    widget = view.threshold(test, ["q", "vs"], validation=validation, confidence=SIGNS)
    truth, trust = validation["lesion_dice"], SIGNS[score] * validation[score]
    rules = {
        "keep": thresholds.for_coverage(truth, trust, tau, 0.8),
        "catch": thresholds.for_sensitivity(truth, trust, tau, 0.9),
        "guarantee": thresholds.guaranteed_risk(truth, trust, tau, 0.1),
    }
    for kind, choice in rules.items():
        value, message = chosen(widget, score, kind, tau)
        assert message == choice.message
        assert value == (SIGNS[score] * choice.threshold if choice.possible else None)
    # The cases shown have no say in it.
    other = view.threshold(drawn(60, 3), ["q", "vs"], validation=validation, confidence=SIGNS)
    assert [s["presets"] for s in widget.cases["scores"]] == [s["presets"] for s in other.cases["scores"]]


def test_what_cannot_be_guaranteed_says_so_and_has_no_threshold():
    widget = view.threshold(drawn(60, 1), "q", 0.3, drawn(21, 2), confidence=1, presets=(("guarantee", 0.1),))
    value, message = chosen(widget, "q", "guarantee", 0.3)
    assert value is None and "cannot be guaranteed with these cases: 21" in message
    assert widget.value == pytest.approx(drawn(60, 1)["q"].median())


def test_undefined_validation_scores_leave_a_threshold_that_can_be_written_down():
    validation = drawn(20, 2)
    validation.loc[:9, "q"] = np.nan
    widget = view.threshold(drawn(60, 1), "q", validation=validation, confidence=1)
    assert chosen(widget, "q", "keep", 0.5)[0] == validation["q"].min()
    widget.to_html()


def test_curves_are_those_of_the_failure_module():
    test = drawn(40, 1)
    test.loc[3, "vs"] = np.nan
    cases = view.threshold(test, ["q", "vs"], confidence=SIGNS, baseline="volume_ml").cases
    expected = {"q": test["q"], "vs": -test["vs"]}
    for found in cases["scores"]:
        trust = expected[found["name"]]
        assert found["risk"] == pytest.approx(
            failure.risk_coverage(test["lesion_dice"], trust)["risk"].tolist(), abs=1e-6
        )
        assert found["aurc"] == pytest.approx(failure.aurc(test["lesion_dice"], trust))
    curves = {name: curve["aurc"] for name, curve in cases["curves"].items()}
    assert curves["random"] == pytest.approx(1 - test["lesion_dice"].mean())
    assert curves["oracle"] == pytest.approx(failure.aurc(test["lesion_dice"], test["lesion_dice"]))
    assert curves["baseline"] == pytest.approx(failure.aurc(test["lesion_dice"], test["volume_ml"]))


def test_it_starts_at_a_threshold_set_beforehand_else_at_the_first_that_can_be_had():
    test, validation = drawn(60, 1), drawn(60, 2)
    assert view.threshold(test, "q", confidence=1, threshold=0.25).value == 0.25
    by_score = view.threshold(test, ["q", "vs"], confidence=SIGNS, threshold={"vs": 7}, validation=validation)
    assert by_score.value == chosen(by_score, "q", "keep", 0.5)[0]
    assert [score["fixed"] for score in by_score.cases["scores"]] == [None, 7]


def unpacked(widget):
    """The levels (map, z, y, x) and masks (contour, z, y, x) that the page receives."""
    nx, ny, nz = widget.maps["shape"]
    data = np.frombuffer(gzip.decompress(base64.b64decode(widget.maps["data"])), np.uint8)
    n = len(widget.maps["maps"]) * nx * ny * nz
    bits = data[n:].reshape(len(widget.maps["contours"]), -1)
    masks = np.unpackbits(bits, axis=1, count=nx * ny * nz)
    return data[:n].reshape(-1, nz, ny, nx), masks.reshape(-1, nz, ny, nx).astype(bool)


def test_slices_carry_the_maps_and_the_masks():
    rng = np.random.default_rng(1)
    image, mask = rng.random((5, 6, 7)), rng.random((5, 6, 7)) > 0.5
    mask[:, :, 4] = True
    widget = view.slices({"image": image}, {"mask": mask}, {"image": "cividis"})
    levels, masks = unpacked(widget)
    assert np.array_equal(levels[0].T, np.round(63 * image / image.max()))
    assert np.array_equal(masks[0].T, mask)
    assert widget.slice == 4  # where the mask is largest


def test_arrays_of_any_orientation_give_one_picture():
    rng = np.random.default_rng(2)
    ras = rng.random((4, 5, 6)).astype(np.float32)
    lps = ras[::-1, ::-1]
    slr = ras.transpose(2, 0, 1)[:, ::-1]  # S, L, A
    first = view.slices({"a": ras}, spacing=(1, 2, 3)).maps
    assert view.slices({"a": lps}, axes="LPS", spacing=(1, 2, 3)).maps == first
    assert view.slices({"a": slr}, axes="SLA", spacing=(3, 1, 2)).maps == first


def test_large_maps_shrink_and_keep_their_form():
    volume = np.zeros((128, 64, 32), np.float32)
    volume[64:] = 1
    widget = view.slices({"a": volume}, {"m": volume > 0}, size=64)
    assert widget.maps["shape"] == [64, 32, 16] and widget.maps["spacing"] == [2, 2, 2]
    levels, masks = unpacked(widget)
    assert levels[0, :, :, :31].max() == 0 and levels[0, :, :, 33:].min() == 63
    assert np.array_equal(masks[0], levels[0] >= 32)


def test_both_signs_share_one_scale():
    volume = np.linspace(-2, 1, 64).reshape(4, 4, 4)
    low, high = (view.slices({"e": volume}, colors={"e": "diverging"}).maps["maps"][0][k] for k in ("low", "high"))
    assert low == -high and high == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"volumes": {}}, "one map or more"),
        ({"contours": {"m": np.zeros((2, 2, 2))}}, "one shape"),
        ({"colors": {"a": "rainbow"}}, "rainbow"),
        ({"colors": {"b": "grey"}}, "name of a map"),
        ({"volumes": {"a": np.full((3, 3, 3), np.nan)}}, "NaN"),
    ],
)
def test_bad_slices_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        view.slices(**{"volumes": {"a": np.zeros((3, 3, 3))}, **change})


def test_the_direction_of_a_known_score_is_looked_up():
    from wmhqc import catalogue

    score = next(iter(catalogue.scores()))
    widget = view.threshold(table().rename(columns={"q": score}), score)
    assert widget.cases["scores"][0]["confidence"] == catalogue.sign(score)
    with pytest.raises(ValueError, match="must be"):
        view.threshold(table(), "q")


def test_undefined_numbers_are_none_on_a_page():
    from wmhqc.view.widget import numbers

    assert numbers(np.array([1, np.nan, -2.5])) == [1.0, None, -2.5]


@pytest.mark.parametrize("name", ["table", "table of validation cases"])
def test_a_missing_column_is_named_with_those_that_are_there(name):
    with pytest.raises(ValueError, match=f"the {name} has no column 'q'; it has case, dice"):
        failure.check_columns(pd.DataFrame(columns=["case", "dice"]), ["case", "q"], name)


# ---------------------------------------------------------------- cases


def maps_of(seed, shape=(12, 14, 10)):
    """Maps as `figures.maps` makes them: brain in the middle, most lesion in the slice 3 + seed."""
    rng = np.random.default_rng(seed)
    brain = np.zeros(shape, bool)
    brain[2:-2, 3:-3, 1:-1] = True
    lesion = np.zeros(shape, bool)
    lesion[4:7, 5:8, 3 + seed] = True
    prediction = np.where(brain, rng.random(shape), 0)
    return {
        "t1": 0 * prediction,
        "flair": np.where(brain, 50 + 100 * rng.random(shape), 0),
        "lesion": lesion,
        "prediction": prediction,
        "uncertainty": prediction,
        "error": rng.normal(0, 0.1, shape),
        "spacing": (2, 2, 3),
    }


def opened(data, name):
    """The levels (map, z, y, x) and masks (contour, z, y, x) that the page receives of a case."""
    nx, ny, nz = data["cases"][name]["shape"]
    values = np.frombuffer(gzip.decompress(base64.b64decode(data["cases"][name]["data"])), np.uint8)
    n = len(data["maps"]) * nx * ny * nz
    masks = np.unpackbits(values[n:].reshape(len(data["contours"]), -1), axis=1, count=nx * ny * nz)
    return values[:n].reshape(-1, nz, ny, nx), masks.reshape(-1, nz, ny, nx).astype(bool)


def test_cases_carry_cropped_maps_every_second_slice_with_most_lesion_among_them():
    maps = {"a": maps_of(0), "c": maps_of(1)}
    widget = view.cases(table(), maps, "q")
    assert [point[0] for point in widget.data["points"]] == list("edcba")
    assert [m["name"] for m in widget.data["maps"]] == ["FLAIR", "Prediction", "Uncertainty (bit)", "Error map"]
    for name, seed in (("a", 0), ("c", 1)):
        case, z = widget.data["cases"][name], slice(2 - (3 + seed) % 2, 9, 2)
        levels, masks = opened(widget.data, name)
        assert case["shape"] == [8, 8, 4] and case["spacing"] == [2, 2, 3]
        inside = (slice(2, 10), slice(3, 11), z)
        assert np.array_equal(levels[1].T, np.round(63 * maps[name]["prediction"][inside]))
        assert np.array_equal(masks[0].T, maps[name]["lesion"][inside])
        assert np.array_equal(masks[1].T, maps[name]["prediction"][inside] >= 0.5)
        assert masks[0][case["slice"]].sum() == 9
    assert widget.case == "c" and widget.slice == widget.data["cases"]["c"]["slice"]  # Dice 0.7 against 0.8


def test_cases_share_one_scale_for_each_map():
    bright = maps_of(1)
    bright["error"] = 3 * bright["error"]
    low, high = (
        view.cases(table(), {"a": maps_of(0), "b": bright}, "q").data["maps"][3][end] for end in ("low", "high")
    )
    assert -low == high == pytest.approx(np.quantile(np.abs([maps_of(0)["error"], bright["error"]]), 0.999), rel=1e-6)


def test_cases_without_manual_outline_or_without_error_map_lack_only_that():
    maps = maps_of(0)
    del maps["lesion"], maps["error"]
    data = view.cases(table(), {"a": maps}, "q").data
    assert data["contours"] == ["Prediction"] and len(data["maps"]) == 3


def test_facts_are_those_of_the_table():
    data = view.cases(
        table(ml=[1.5, 2, 3, 4, np.nan]), {"a": maps_of(0), "e": maps_of(1)}, "q", facts={"ml": "manual ml"}
    ).data
    assert data["facts"] == {"a": [["manual ml", 1.5]], "e": []}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"maps": {}}, "no case of the table has maps"),
        ({"maps": {"z": {}}}, "no case of the table has maps"),
        ({"score": "nothing"}, "no column 'nothing'"),
        ({"facts": {"nothing": "x"}}, "no column 'nothing'"),
    ],
)
def test_bad_cases_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        view.cases(**{"table": table(), "maps": {"a": maps_of(0)}, "score": "q", **change})


# ---------------------------------------------------------------- burden


def test_burden_is_what_the_failure_module_says_within_thirds():
    test = drawn(60, 5)
    data = view.burden(test, ["q"], tau=0.55, draws=200).data
    thirds, dice = failure.volume_tertile(test["volume_ml"]), test["lesion_dice"].to_numpy()
    board = failure.per_group(test, thirds, ["q", "volume_ml"], 0.55)
    for name in ("q", "volume_ml"):
        found = data["results"][name]["auroc"]
        assert found["all"] == list(
            failure.bootstrap(lambda d, q: failure.auroc(d, q, 0.55), dice, test[name], strata=thirds, draws=200)
        )
        assert {third: found[third][0] for third in ("small", "medium", "large")} == pytest.approx(
            board.loc[name].drop("mean").to_dict()
        )
        assert found["within"][0] == pytest.approx(board.loc[name, "mean"])
        assert all(low <= estimate <= high for estimate, low, high in found.values())
    inside = thirds == "small"
    assert data["results"]["q"]["spearman"]["small"][0] == pytest.approx(
        failure.spearman(dice[inside], test["q"].to_numpy()[inside])
    )
    assert data["groups"]["small"] == {
        "cases": 20,
        "failed": int((dice[inside] < 0.55).sum()),
        "volume": [test["volume_ml"].min(), np.sort(test["volume_ml"])[19]],
    }


def test_a_score_that_is_the_volume_in_disguise_has_no_skill_among_cases_of_like_volume():
    rng = np.random.default_rng(0)
    volume = np.repeat([1.0, 10.0, 100.0], 100) * rng.uniform(0.9, 1.1, 300)
    dice = np.repeat([0.3, 0.5, 0.7], 100) + rng.normal(0, 0.1, 300)
    cases = pd.DataFrame({"case": range(300), "volume_ml": volume, "q": 2 * volume, "lesion_dice": dice})
    found = view.burden(cases, ["q"], draws=100).data["results"]["q"]["auroc"]
    assert found["all"][0] > 0.8 and found["within"][1] < 0.5 < found["within"][2]


def test_where_no_case_failed_the_skill_is_undefined():
    cases = drawn(30, 5)
    cases["volume_ml"] = cases["lesion_dice"]  # so that only the smallest fail
    found = view.burden(cases, ["q"], tau=0.3, draws=50)
    auroc = found.data["results"]["q"]["auroc"]
    assert auroc["large"] is None and auroc["within"][0] == auroc["small"][0]
    found.to_html()


@pytest.mark.filterwarnings("error")
def test_three_cases_are_enough_and_two_are_not():
    view.burden(drawn(3, 1), ["q"], draws=20).to_html()
    with pytest.raises(ValueError, match="three cases or more, got 2"):
        view.burden(drawn(2, 1), ["q"])
    with pytest.raises(ValueError, match="no column 'nothing'"):
        view.burden(drawn(9, 1), ["nothing"])
