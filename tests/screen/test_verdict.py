"""Accept or review, and why."""

import math

import numpy as np
import pandas as pd
import pytest
from scans import cases, like

from wmhqc.screen import verdict
from wmhqc.screen.labels import KINDS, SCORE
from wmhqc.screen.rule import calibrate


def detail(made):
    return " ".join(finding["detail"] for finding in made["findings"])


def test_accepts_what_the_guarantee_holds_for():
    table = cases()
    made = verdict.decide(like(table), table, given=False)
    assert made["verdict"] == "accept" and made["reasons"] == []
    assert made["guarantee"]["applies"] and 0.4 < made["guarantee"]["threshold"] < 0.9
    assert made["predicted_dice"]["low"] < 0.9 < made["predicted_dice"]["high"]


@pytest.mark.parametrize(
    ("change", "applies", "reason"),
    [
        ({"contrast": math.nan, "volume_ml": 0}, True, "The mask is empty"),
        ({"contrast": math.nan}, True, "outside the brain"),
        ({"volume_ml": 900.0}, False, "The mask is larger than any"),
        ({SCORE: 0.3}, True, "The predicted Dice is too low"),
        ({SCORE: math.nan}, True, "No Dice could be predicted"),
        ({"contrast": 0.5}, True, "hardly brighter than its surroundings"),
        ({"brain_ml": 5000}, False, "The scan is unlike the calibration cases"),
    ],
)
def test_reviews_with_a_reason(change, applies, reason):
    table = cases().assign(volume_ml=np.linspace(0, 50, 60))
    made = verdict.decide(like(table, **change), table, given=False)
    assert made["verdict"] == "review" and made["guarantee"]["applies"] is made["predicted_dice"]["valid"] is applies
    assert len(made["reasons"]) == 1 and reason in made["reasons"][0]
    assert made["findings"][0]["short"] == made["reasons"][0] and made["findings"][0]["detail"]
    assert made["findings"][0]["kind"] in KINDS


def test_the_interval_is_that_of_the_calibration_cases():
    table = cases(19)
    found = verdict.decide(like(table, **{SCORE: 0.5}), table, given=False)["predicted_dice"]
    made = calibrate(table, np.ones(19, bool))
    expected = made.predict(pd.DataFrame({SCORE: [0.5]})).iloc[0]
    assert [found[name] for name in ("value", "low", "high")] == expected.tolist() and found["cases"] == 19
    assert found["scores"] == [SCORE]


def test_guarantees_are_tried_on_cases_that_did_not_make_them():
    table = cases(120)
    validation = table[:60].assign(fold=np.arange(60) % 2)
    test = table[60:].assign(fold=np.arange(60) % 2)
    found = verdict.evaluate_guarantee(validation, test)
    assert found["case"].tolist() == test["case"].tolist()
    assert found["inside"].mean() > 0.8 and 0.3 < found["accepted"].mean() < 0.8
    assert found.loc[found["accepted"], "failed"].mean() <= 0.1
    assert (found["failed"] == (test["lesion_dice"] < 0.5)).all()
    # A test case that is also a validation case of the other fold does not judge itself.
    twice = pd.concat([validation, test[test["fold"] == 0].assign(fold=1, lesion_dice=0.0)])
    assert found[found["fold"] == 0].equals(verdict.evaluate_guarantee(twice, test).query("fold == 0"))


def test_no_guarantee_with_few_calibration_cases():
    table = cases(21)
    made = verdict.decide(like(table), table, given=False)
    assert made["verdict"] == "review" and not made["guarantee"]["possible"] and not made["guarantee"]["applies"]
    assert "cannot be guaranteed with these cases" in made["findings"][0]["detail"]


def test_a_given_segmentation_needs_calibration_of_its_kind():
    table = cases()
    made = verdict.decide(like(table), table, given=True)
    assert made["verdict"] == "review" and "(theirs: our own; this one: a program without a name)" in detail(made)
    assert not made["guarantee"]["possible"] and not made["predicted_dice"]["valid"]
    theirs = table.assign(judged="given", program="LST")
    assert verdict.decide(like(table), theirs, given=True, program="LST")["verdict"] == "accept"
    other = verdict.decide(like(table), theirs, given=True, program="BIANCA")
    assert other["verdict"] == "review" and "(theirs: LST; this one: BIANCA)" in detail(other)
    alone = verdict.decide(like(table), theirs[:0], given=True, program="LST")
    assert alone["verdict"] == "review" and "none is left but this patient's own" in detail(alone)


def test_a_given_mask_that_agrees_less_than_any_calibration_case_is_for_review():
    table = cases().assign(judged="given", agreement_dice=np.linspace(0.5, 0.9, 60))
    assert verdict.decide(like(table, agreement_dice=0.7), table, given=True)["verdict"] == "accept"
    made = verdict.decide(like(table, agreement_dice=0.0), table, given=True)
    assert made["verdict"] == "review" and "Dice with our own segmentation" in detail(made)
