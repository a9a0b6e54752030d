"""A line through scores: recovered, out of fold, JSON, and better than what it starts from on the shipped run."""

import json
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest

from wmhqc import calibrated, reference, regression, thresholds


def rows(n=60, seed=0):
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({"mean_entropy": rng.uniform(0.2, 0.8, n), "tta_pairwise_dice": rng.uniform(0.3, 0.9, n)})
    error = rng.normal(0, 0.2 * table["mean_entropy"])
    return table.assign(lesion_dice=np.clip(1.1 - table["mean_entropy"] + error, 0, 1))


def test_a_line_is_found_again_and_survives_json():
    table = rows(400)
    line = calibrated.fit(table, ("mean_entropy",))
    assert line.weights[0] == pytest.approx(-1, abs=0.1) and line.intercept == pytest.approx(1.1, abs=0.05)
    again = calibrated.Line(**json.loads(json.dumps(asdict(line))))
    assert np.array_equal(line.predict(table), again.predict(table))
    assert np.array_equal(line.expected_error([0, 0.5, 1]), again.expected_error([0, 0.5, 1]))


def test_the_expected_error_follows_the_prediction():
    line = calibrated.fit(rows(1000), ("mean_entropy",))
    # the mean of |normal| is 0.8 of its standard deviation, which is 0.16 at an entropy of 0.8, a Dice of 0.3
    assert line.expected_error(0.3) == pytest.approx(0.8 * 0.16, rel=0.2)
    assert line.expected_error(0.9) == pytest.approx(calibrated.LEAST_SPREAD * 0.8 * 0.1, rel=0.15)


def test_out_of_fold_does_not_use_the_own_row_nor_another_of_the_patient():
    table = rows(40)
    before = calibrated.out_of_fold(table, ("mean_entropy",))
    moved = table.copy()
    moved.loc[7, "lesion_dice"] = 5.0
    assert calibrated.out_of_fold(moved, ("mean_entropy",))[7] == before[7]
    patients = table.assign(patient=np.arange(40) // 2)
    moved = patients.copy()
    moved.loc[6, "lesion_dice"] = 5.0
    before, after = (calibrated.out_of_fold(t, ("mean_entropy",)) for t in (patients, moved))
    assert after[6] == before[6] and after[7] == before[7] and after[8] != before[8]


def test_what_has_no_score_has_no_prediction():
    table = rows()
    table.loc[3, "mean_entropy"] = np.nan
    assert np.flatnonzero(np.isnan(calibrated.out_of_fold(table, ("mean_entropy",)))).tolist() == [3]
    assert np.isnan(calibrated.fit(table, ("mean_entropy",)).predict(table)[3])
    with pytest.raises(ValueError, match="2 of 2 rows have .* 3 are needed"):
        calibrated.fit(table[:2], ("mean_entropy",))
    with pytest.raises(ValueError, match="none of the 60 rows can be used"):
        calibrated.choose(table.drop(columns=["mean_entropy", "tta_pairwise_dice"]))


def test_no_line_goes_through_the_case_that_it_predicts():
    table = rows(40).assign(case=[f"sub-{i}" for i in range(40)], fold=np.arange(40) % 2)
    validation, test = table.assign(fold=1 - table["fold"]), table
    before = calibrated.per_fold(validation, test, ["mean_entropy"])
    moved = validation.copy()
    moved.loc[4, "lesion_dice"] = 5.0  # of fold 0 as a test case, so of no line of that fold
    after = calibrated.per_fold(moved, test, ["mean_entropy"])
    assert np.array_equal(before[::2], after[::2]) and not np.isclose(before[1::2], after[1::2]).any()
    assert np.isnan(calibrated.per_fold(validation[:2], test, ["mean_entropy"])).all()


def test_the_best_scores_are_chosen():
    found = calibrated.compare(rows(200))
    assert found.index[-1] == "changed inputs" and found.loc["uncertainty", "cases"] == 200
    assert "mean_entropy" in calibrated.choose(rows(200)) and found["mae"].iloc[0] <= found["mae"].iloc[-1] / 2


def test_on_the_shipped_run_the_line_beats_the_network_it_replaces():
    """Chosen and fitted on the validation rows of other cases; measured on test rows."""
    test, validation = reference.cases("test"), reference.cases("validation")
    errors, held, widths = [], [], []
    for _, cases in test.groupby("fold"):
        known = thresholds.one_row_a_case(validation, cases["case"]).reset_index(drop=True)
        scores = calibrated.choose(known)
        line = calibrated.fit(known, scores)
        predicted = line.predict(cases)
        of_known = calibrated.out_of_fold(known, scores)
        spreads = line.expected_error(predicted), line.expected_error(of_known)
        low, high = regression.conformal_interval(predicted, of_known, known["lesion_dice"], 0.9, *spreads)
        errors += np.abs(predicted - cases["lesion_dice"]).tolist()
        held += ((low <= cases["lesion_dice"]) & (cases["lesion_dice"] <= high)).tolist()
        widths += (high - low).tolist()
    plain = (test["predicted_dice_mask"] - test["lesion_dice"]).abs().mean()
    assert np.mean(errors) < 0.1 and np.mean(errors) < plain
    assert np.mean(held) >= 0.85 and np.mean(widths) < 0.5
