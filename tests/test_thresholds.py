"""Thresholds: small cases by hand, and guarantees kept over many draws."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from wmhqc import thresholds
from wmhqc.failure import confusion, flag, proportion_interval

TAU = 0.5
#                 failed                good
DICE = np.array([0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9, 0.9, 0.9])
CONF = np.array([1.0, 2.0, 3.0, 6.0, 4.0, 5.0, 7.0, 8.0, 9.0, 10.0])


def flagged(choice, confidence=CONF):
    return flag(confidence, choice.threshold)


def draw(n, seed):
    rng = np.random.default_rng(seed)
    q = rng.random(n)
    return np.where(rng.random(n) < 1 / (1 + np.exp(8 * q - 2.5)), 0.0, 1.0), q


# ---------------------------------------------------------------- without a guarantee


@pytest.mark.parametrize("sensitivity, count", [(0.75, 3), (0.76, 6), (0.25, 1)])
def test_sensitivity_flags_as_few_as_it_can(sensitivity, count):
    choice = thresholds.for_sensitivity(DICE, CONF, TAU, sensitivity)
    assert flagged(choice).sum() == count
    assert confusion(DICE, flagged(choice), TAU)["sensitivity"] >= sensitivity


def test_sensitivity_needs_a_failure():
    choice = thresholds.for_sensitivity(DICE + 1, CONF, TAU)
    assert not choice.possible and "no validation case failed" in choice.message and flagged(choice).all()


@pytest.mark.parametrize("coverage, accepted", [(0.8, 8), (0.75, 8), (0.1, 1), (0.99, 10)])
def test_coverage(coverage, accepted):
    assert (~flagged(thresholds.for_coverage(DICE, CONF, TAU, coverage))).sum() == accepted


def test_message_tells_what_was_reached():
    choice = thresholds.for_coverage(DICE, CONF, TAU, 0.7)
    assert choice.message == "validation: 3 of 10 flagged, 3 of 4 failed caught, 1 of 7 accepted failed"


def test_agreement_is_youdens_index():
    assert flagged(thresholds.for_agreement(DICE, CONF, TAU)).sum() == 3  # 3/4 + 1 beats 1 + 4/6
    assert not thresholds.for_agreement(DICE + 1, CONF, TAU).possible


# ---------------------------------------------------------------- with a guarantee


def test_cases_needed():
    assert thresholds.cases_needed(0.10) == 22 and thresholds.cases_needed(0.05) == 45
    assert thresholds.cases_needed(0.10, level=0.95) == 29  # the rule of three
    n = thresholds.cases_needed(0.10, failed=1)
    assert n == 38 and proportion_interval(1, n, 0.8)[1] <= 0.1 < proportion_interval(1, n - 1, 0.8)[1]


@pytest.mark.parametrize("n, possible", [(21, False), (22, True)])
def test_guarantee_needs_22_without_a_failure(n, possible):
    choice = thresholds.guaranteed_risk(np.ones(n), np.arange(n), TAU)
    assert choice.possible == possible
    if not possible:
        assert "21 with a score, 0 of them failed; 22 with none failed are needed" in choice.message
        assert flagged(choice).all()


def one_failure_at_the_eleventh(n):
    dice, q = np.ones(n), np.arange(n)[::-1]
    dice[10] = 0.0
    return dice, q


def test_guarantee_says_truly_what_is_missing():
    choice = thresholds.guaranteed_risk(*one_failure_at_the_eleventh(60), TAU)
    assert not choice.possible and "1 of the 22 most trusted failed; if no greater share fails" in choice.message
    enough = int(choice.message.split("about ")[1].split()[0])
    # The claim is kept: with so many cases, as many in a hundred failed, there is a guarantee.
    start = -(-enough // 3)
    dice = np.ones(enough)
    dice[np.linspace(0, start - 1, int(np.ceil(start / 22))).astype(int)] = 0.0
    assert thresholds.guaranteed_risk(dice, -np.arange(enough), TAU).possible
    hopeless = thresholds.guaranteed_risk(np.r_[np.zeros(3), np.ones(57)], -np.arange(60), TAU)
    assert "3 of the 22 most trusted failed; more cases would not mend that" in hopeless.message
    close = thresholds.guaranteed_risk(np.tile(np.r_[np.zeros(99), np.ones(901)], 3), np.zeros(3000), TAU)
    assert "too close to what is asked" in close.message


@pytest.mark.parametrize("n", [500, 10_000])
def test_one_failure_among_the_most_trusted_ends_nothing_where_there_are_many(n):
    choice = thresholds.guaranteed_risk(*one_failure_at_the_eleventh(n), TAU)
    assert choice.possible and choice.coverage == 1 and choice.risk == 0.1


def test_coverage_grows_with_the_cases_and_the_guarantee_is_kept():
    """A score whose trusted half fails in 3 %: with a start at 22, power stayed at a half, whatever n."""
    rng, found = np.random.default_rng(0), {}
    for n in (60, 200, 1000):
        q = rng.random((300, n))
        failed = rng.random(q.shape) < np.where(q > 0.5, 0.03, 0.6)
        chosen = [thresholds.guaranteed_risk(1.0 - f, c, TAU).threshold for f, c in zip(failed, q)]
        lowest = np.where(np.isnan(chosen), 1, chosen)
        risk = np.where(lowest > 0.5, 0.03, (0.015 + 0.6 * (0.5 - lowest)) / (1 - np.minimum(lowest, 0.5)))
        assert stats.binomtest(int((~np.isnan(chosen) & (risk > 0.1)).sum()), 300, 0.1, "greater").pvalue > 0.01
        found[n] = (1 - lowest).mean()
    assert found[60] + 0.1 < found[200] < found[1000] - 0.05 and found[1000] > 0.5  # at best 0.57


def start(n):
    return max(22, -(-n // 3))


def test_guarantee_is_the_clopper_pearson_walk():
    for seed in range(20):
        dice, q = draw(150, seed)
        expected = np.nan
        for t in np.sort(q)[::-1][start(150) - 1 :]:
            accepted = q >= t
            failed = int((dice[accepted] < TAU).sum())
            if proportion_interval(failed, int(accepted.sum()), 0.8)[1] > 0.1:
                break
            expected = t
        assert np.array_equal(thresholds.guaranteed_risk(dice, q, TAU).threshold, expected, equal_nan=True)


# ---------------------------------------------------------------- the best that can be guaranteed


def test_eleven_cases_none_failed_guarantee_19_percent():
    choice = thresholds.best_guarantee(np.ones(11), np.arange(11), TAU)
    assert choice.risk == pytest.approx(1 - 0.1 ** (1 / 11)) == pytest.approx(0.189, abs=1e-3)
    assert choice.coverage == 1 and not flagged(choice, np.arange(11)).any()


def test_best_guarantee_is_the_one_asked_for_if_there_is_one():
    for seed in range(20):
        dice, q = draw(150, seed)
        asked, best = (rule(dice, q, TAU) for rule in (thresholds.guaranteed_risk, thresholds.best_guarantee))
        assert best == asked if asked.possible else best.risk > 0.1
        if not asked.possible:
            accepted = q >= best.threshold
            failed = int((dice[accepted] < TAU).sum())
            assert accepted.sum() == start(150) and best.coverage == pytest.approx(1 / 3)
            assert best.risk == pytest.approx(proportion_interval(failed, start(150), 0.8)[1])


def test_where_all_fail_the_best_guarantee_is_none():
    assert thresholds.best_guarantee(np.zeros(40), np.arange(40), TAU).risk == 1
    assert not thresholds.best_guarantee(np.ones(3), np.full(3, np.nan), TAU).possible


def test_to_ask_for_too_much_costs_nothing():
    dice, q = draw(60, 3)
    plain, strict = (thresholds.best_guarantee(dice, q, TAU, risk) for risk in (0.1, 0.01))
    assert strict.coverage == pytest.approx(22 / 60) and strict.risk < 0.25
    assert plain.risk <= max(0.1, strict.risk)


@pytest.mark.parametrize("asked", [0.01, 0.03, 0.1, 0.2])
def test_one_level_covers_both_answers(asked):
    """A useless score: the true risk of whatever is accepted is 12 %."""
    rng, broken = np.random.default_rng(1), 0
    for _ in range(400):
        choice = thresholds.best_guarantee(1.0 - (rng.random(100) < 0.12), rng.random(100), TAU, asked)
        broken += choice.risk < 0.12
    assert stats.binomtest(broken, 400, 0.1, "greater").pvalue > 0.01


def test_a_threshold_set_beforehand_has_its_own_guarantee():
    choice = thresholds.guarantee_at(DICE, CONF, TAU, 5.0)  # accepts 6 of 10, of which the one with 0.4 failed
    assert choice.threshold == 5 and choice.coverage == 0.6
    assert choice.risk == pytest.approx(proportion_interval(1, 6, 0.8)[1])
    assert not thresholds.guarantee_at(DICE, CONF, TAU, 11.0).possible


# ---------------------------------------------------------------- MAPIE as referee


def test_mapies_fixed_sequence_on_our_p_values_is_the_same_walk():
    control = pytest.importorskip("mapie.risk_control")
    for seed in range(20):
        dice, q = draw(150, seed)
        steps = np.sort(q)[::-1][start(150) - 1 :]
        failed = [(dice[q >= t] < TAU).sum() for t in steps]
        chance = stats.binom.cdf(failed, np.arange(start(150), 151), 0.1)
        passed = control.control_fwer(chance, 0.1, "fixed_sequence")
        expected = steps[passed[-1]] if len(passed) else np.nan
        assert np.array_equal(thresholds.guaranteed_risk(dice, q, TAU).threshold, expected, equal_nan=True)


@pytest.mark.filterwarnings("ignore")
def test_mapies_controller_breaks_more_guarantees_than_it_may_and_ours_does_not():
    """A useless score, failures just above the limit: whatever is guaranteed is wrong."""
    control = pytest.importorskip("mapie.risk_control")
    failure_rate = control.BinaryRisk(lambda good, accept: good == 0, lambda good, accept: accept == 1, False)
    rng, ours, theirs, draws = np.random.default_rng(0), 0, 0, 1000
    for _ in range(draws):
        q, good = rng.random(52), rng.random(52) > 0.1001
        controller = control.BinaryClassificationController(
            lambda q: np.column_stack([q, q]),
            failure_rate,
            0.1,
            0.9,
            control.predicted_positive_fraction,
            np.sort(q)[::-1][21:],
            "fixed_sequence",
        ).calibrate(q, good)
        theirs += len(controller.valid_predict_params) > 0
        ours += thresholds.guaranteed_risk(good.astype(float), q, TAU).possible
    assert stats.binomtest(ours, draws, 0.1, "greater").pvalue > 0.01
    assert stats.binomtest(theirs, draws, 0.1, "greater").pvalue < 1e-3


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_mapies_controller_agrees_where_it_does_not_turn_round():
    control = pytest.importorskip("mapie.risk_control")
    failure_rate = control.BinaryRisk(lambda good, accept: good == 0, lambda good, accept: accept == 1, False)
    same = 0
    for seed in range(10):
        dice, q = draw(150, seed)
        controller = control.BinaryClassificationController(
            lambda q: np.column_stack([q, q]),
            failure_rate,
            0.1,
            0.9,
            control.predicted_positive_fraction,
            np.sort(q)[::-1][start(150) - 1 :],
            "fixed_sequence",
        ).calibrate(q, dice >= TAU)
        theirs = min(controller.valid_predict_params, default=np.nan)
        mine = thresholds.guaranteed_risk(dice, q, TAU).threshold
        same += np.array_equal(mine, theirs, equal_nan=True)
        # MAPIE rounds n * (k / n) up, now and then to k + 1: stricter, never laxer.
        assert np.isnan(theirs) or theirs >= mine
    assert same >= 8


def test_conformal_risk_by_hand():
    # 10 cases, 30 %: (missed + 1) / 11 <= 0.3 allows 2 missed.
    choice = thresholds.conformal_risk(DICE, CONF, TAU, 0.3)
    assert flagged(choice).tolist() == (CONF <= 2).tolist()
    assert thresholds.conformal_risk(DICE, CONF, TAU, 0.46).threshold == -np.inf  # all 4 may be missed
    assert flagged(thresholds.conformal_risk(DICE, CONF, TAU, 0.1)).tolist() == (CONF <= 6).tolist()
    short = thresholds.conformal_risk(DICE, CONF, TAU, 0.05)
    assert not short.possible and "10, 19 are needed" in short.message


def test_neyman_pearson_by_hand():
    # With 22 failed the guarantee of 10 % at 90 % takes them all; with 38 one may be left out.
    for n, left in [(22, 0), (37, 0), (38, 1)]:
        dice, q = np.r_[np.zeros(n), np.ones(5)], np.arange(n + 5.0)
        choice = thresholds.neyman_pearson(dice, q, TAU)
        assert flagged(choice, q).sum() == n - left
    assert "4 failed, 22 failed are needed" in thresholds.neyman_pearson(DICE, CONF, TAU).message


RULES = {
    "guaranteed": lambda d, q, t: thresholds.guaranteed_risk(d, q, t),
    "conformal": lambda d, q, t: thresholds.conformal_risk(d, q, t),
    "neyman_pearson": lambda d, q, t: thresholds.neyman_pearson(d, q, t),
}


def test_guaranteed_risk_is_kept_in_nine_of_ten_draws():
    result = thresholds.simulate(RULES["guaranteed"], cases=200, draws=300)
    broken = (result["failed_of_accepted"] > 0.1).sum()
    assert stats.binomtest(broken, 300, 0.1, "greater").pvalue > 0.01
    assert result["coverage"].mean() > 0.3  # and not by accepting nothing


def test_neyman_pearson_is_kept_in_nine_of_ten_draws():
    result = thresholds.simulate(RULES["neyman_pearson"], cases=200, draws=300)
    assert stats.binomtest((result["accepted_of_failed"] > 0.1).sum(), 300, 0.1, "greater").pvalue > 0.01


def test_conformal_risk_is_kept_on_average_and_bounds_something_else():
    result = thresholds.simulate(RULES["conformal"], cases=200, draws=300)
    assert 0.09 < result["accepted_and_failed"].mean() < 0.102
    assert result["failed_of_accepted"].mean() > 0.12  # it is no bound on the failures among the accepted


def test_a_threshold_without_a_guarantee_keeps_none():
    result = thresholds.simulate(lambda d, q, t: thresholds.for_sensitivity(d, q, t, 0.9), cases=200, draws=100)
    assert (result["accepted_of_failed"] > 0.1).mean() > 0.3


@pytest.mark.parametrize("rule", RULES)
def test_an_artefact_breaks_the_guarantee(rule):
    column, level = {
        "guaranteed": ("failed_of_accepted", 0.1),
        "conformal": ("accepted_and_failed", 0.1),
        "neyman_pearson": ("accepted_of_failed", 0.1),
    }[rule]
    clean, drifted = (thresholds.simulate(RULES[rule], 200, 60, drift) for drift in (0.0, 2.0))
    assert drifted[column].mean() > 1.3 * level and clean[column].mean() < 1.1 * level


def test_simulation_is_seeded():
    a, b = (thresholds.simulate(RULES["conformal"], draws=5, seed=4) for _ in range(2))
    assert a.equals(b)


def test_simulated_rates_are_those_of_new_cases():
    result = thresholds.simulate(lambda d, q, t: thresholds.Choice(0.4, ""), draws=1).iloc[0]
    dice, q = draw(400_000, 0)
    accepted, failed = q >= 0.4, dice < TAU
    assert result["coverage"] == pytest.approx(0.6)
    assert result["failed_of_accepted"] == pytest.approx(failed[accepted].mean(), abs=0.003)
    assert result["accepted_and_failed"] == pytest.approx((failed & accepted).mean(), abs=0.003)
    assert result["accepted_of_failed"] == pytest.approx(accepted[failed].mean(), abs=0.005)


# ---------------------------------------------------------------- over folds


def folds():
    """Two folds of three test cases; "shared" is test in fold 0 and validation in both folds."""
    test = pd.DataFrame(
        {
            "case": ["shared", "b", "c", "d", "e", "f"],
            "fold": [0, 0, 0, 1, 1, 1],
            "vs_per_volume": [1.0, 5.0, 9.0, 1.0, 5.0, 9.0],
            "lesion_dice": [0.9, 0.4, 0.3, 0.9, 0.8, 0.2],
        }
    )
    validation = pd.DataFrame(
        {
            "case": ["x", "y", "shared", "z", "shared"],
            "fold": [0, 0, 0, 1, 1],
            "vs_per_volume": [2.0, 4.0, 3.0, 6.0, 8.0],
            "lesion_dice": [0.9, 0.1, 0.8, 0.9, 0.2],
        }
    )
    return validation, test


def half(dice, confidence, tau):
    return thresholds.for_sensitivity(dice, confidence, tau, 0.5)


def test_each_fold_has_the_threshold_of_its_own_validation_cases():
    validation, test = folds()
    flagged, choices = thresholds.per_fold(half, validation, test, "vs_per_volume", TAU)
    # The lowest failed confidence is -4 in fold 0 and -8 in fold 1, each just flagged.
    assert choices["threshold"].tolist() == pytest.approx([4, 8]) and choices["cases"].tolist() == [3, 2]
    assert flagged.tolist() == [False, True, True, False, False, True]
    shuffled = test.sample(frac=1, random_state=1)
    again, _ = thresholds.per_fold(half, validation, shuffled, "vs_per_volume", TAU)
    assert again.tolist() == pd.Series(flagged, test.index).loc[shuffled.index].tolist()


def test_pooled_cases_count_once_and_never_judge_themselves():
    validation, test = folds()
    assert thresholds.one_row_a_case(validation)["fold"].tolist() == [0, 0, 0, 1]
    assert thresholds.one_row_a_case(validation, ["shared"])["case"].tolist() == ["x", "y", "z"]
    _, choices = thresholds.per_fold(half, validation, test, "vs_per_volume", TAU, pooled=True)
    assert choices["cases"].tolist() == [3, 4]
    # A test case's own outcome cannot move its threshold.
    validation.loc[validation["case"] == "shared", "lesion_dice"] = 0.0
    again = thresholds.per_fold(half, validation, test, "vs_per_volume", TAU, pooled=True)[1]
    assert again.loc[0, "threshold"] == choices.loc[0, "threshold"]


def test_where_nothing_can_be_chosen_the_fold_is_flagged_whole():
    validation, test = folds()
    flagged, choices = thresholds.per_fold(RULES["guaranteed"], validation, test, "vs_per_volume", TAU, pooled=True)
    assert flagged.all() and choices["threshold"].isna().all()
    assert choices["message"].str.contains("cannot be guaranteed with these cases").all()


def test_outcome_by_hand():
    found = thresholds.outcome(DICE, CONF < 6, TAU)  # of 5 accepted the one with 0.4 failed; 4 of 10 failed
    assert {name: found[name] for name in ("accepted", "slipped")} == {"accepted": 5, "slipped": 1}
    assert found["coverage"] == 0.5 and found["failed_of_accepted"] == pytest.approx(0.2)
    assert (found["low"], found["high"]) == proportion_interval(1, 5)
    assert found["accepted_and_failed"] == 0.1 and found["accepted_of_failed"] == pytest.approx(0.25)
    nothing = thresholds.outcome(DICE, np.ones(10, bool), TAU)
    assert nothing["coverage"] == 0 and np.isnan(nothing["failed_of_accepted"]) and np.isnan(nothing["high"])


def test_without_folds_all_cases_are_one():
    validation, test = (table.drop(columns="fold") for table in folds())
    flagged, choices = thresholds.per_fold(half, validation.drop_duplicates("case"), test, "vs_per_volume", TAU)
    assert len(choices) == 1 and choices["threshold"].tolist() == pytest.approx([4])
    assert flagged.tolist() == [False, True, True] * 2


# ---------------------------------------------------------------- odd input


def test_undefined_confidence_is_always_flagged():
    q = CONF.copy()
    q[9] = np.nan  # a good case without a score
    for rule in (thresholds.for_coverage, thresholds.for_agreement, RULES["conformal"]):
        choice = rule(DICE, q, TAU)
        assert choice.possible and flagged(choice, q)[9]
    assert "21 with a score" in thresholds.guaranteed_risk(np.ones(22), np.r_[np.arange(21), np.nan], TAU).message


def test_a_tie_is_accepted_or_flagged_whole():
    for rule in (thresholds.for_sensitivity, thresholds.for_coverage, thresholds.for_agreement):
        assert len(set(flagged(rule(DICE, np.ones(10), TAU), np.ones(10)))) == 1


@pytest.mark.parametrize(
    "call, text",
    [
        (lambda: thresholds.for_coverage([0.5, np.nan], [1, 2], TAU), "1 Dice missing"),
        (lambda: thresholds.for_coverage([0.5], [1, 2], TAU), "one Dice and one confidence"),
        (lambda: thresholds.for_coverage(DICE, CONF, TAU, 80), "coverage must lie between 0 and 1, got 80"),
        (lambda: thresholds.guaranteed_risk(DICE, CONF, TAU, risk=10), "risk must lie between 0 and 1"),
    ],
)
def test_bad_input_is_refused(call, text):
    with pytest.raises(ValueError, match=text):
        call()
