"""The chance of failure is calibrated, knows how little it knows, and the number of failures left follows from it."""

import numpy as np
import pytest
from scipy.special import expit

from wmhqc.screen import triage


def draw(n, seed=0, steep=12):
    rng = np.random.default_rng(seed)
    predicted = rng.uniform(0.2, 0.9, n)
    return predicted, rng.random(n) < expit(steep * (0.5 - predicted))


def test_the_curve_is_found_again():
    curve = triage.fit(*draw(20_000))
    for predicted in (0.3, 0.5, 0.8):
        chance, low, high = curve.chance(predicted)
        assert chance == pytest.approx(expit(12 * (0.5 - predicted)), abs=0.02) and low < chance < high
    assert np.isnan(curve.chance(np.nan)).all()


def test_the_interval_holds_the_true_chance_as_often_as_it_says():
    held = [low <= 0.5 <= high for low, high in (triage.fit(*draw(80, seed)).chance(0.5)[1:] for seed in range(300))]
    assert 0.85 < np.mean(held) < 0.95


def test_it_is_scikit_learns_curve():
    from sklearn.linear_model import LogisticRegression

    predicted, failed = draw(60)
    curve = triage.fit(predicted, failed)
    x = np.column_stack([np.ones(60), (predicted - curve.centre) / triage.UNIT])
    theirs = LogisticRegression(C=triage.PRIOR**2, fit_intercept=False, tol=1e-8).fit(x, failed)
    assert curve.coefficients == pytest.approx(theirs.coef_[0], abs=1e-3)


def test_few_cases_say_little_and_none_say_nothing():
    wide, narrow = (np.subtract(*triage.fit(*draw(n)).chance(0.5)[:0:-1]) for n in (15, 500))
    assert wide > 3 * narrow
    assert triage.fit(*draw(triage.MIN_CASES - 1)) is None and triage.fit(np.full(40, np.nan), np.ones(40)) is None
    with pytest.raises(ValueError, match="one outcome for each"):
        triage.fit([0.5], [True, False])


def test_where_none_failed_the_chance_is_small_but_not_none():
    chance, _, high = triage.fit(draw(30)[0], np.zeros(30)).chance(0.8)
    assert 0 < chance < 0.05 < high < 0.5


def test_failures_left_by_hand():
    certain = triage.expected_left([1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0])
    assert certain["low"] == certain["high"] == [2, 1, 0, 0, 0] and certain["mean"] == pytest.approx([2, 1, 0, 0, 0])
    unknown = triage.expected_left([np.nan, 0], [np.nan, 0], [np.nan, 0])
    assert unknown["low"] == [1, 0, 0]
    assert triage.expected_left([], [], [])["mean"] == [0]


def test_failures_left_are_those_of_new_scans():
    """The interval holds the number of failures among new scans, over many calibration sets."""
    held = []
    for seed in range(100):
        curve = triage.fit(*draw(80, seed))
        predicted, failed = draw(50, 1000 + seed)
        order = np.argsort(predicted)
        found = triage.expected_left(*np.transpose([curve.chance(value) for value in predicted[order]]))
        left = failed[order][20:].sum()
        held.append(found["low"][20] <= left <= found["high"][20])
    assert np.mean(held) > 0.85


def test_each_look_takes_as_many_failures_as_the_scan_is_likely_to_be_one():
    chance = np.array([0.9, 0.5, 0.1])
    mean = triage.expected_left(chance, chance, chance)["mean"]
    assert mean == pytest.approx([1.5, 0.6, 0.1, 0])
