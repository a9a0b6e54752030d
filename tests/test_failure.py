"""Metrics of failure detection: worked examples, limits, and the libraries as referees."""

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics

from wmhqc import failure

# Risks 0.1, 0.2, 0.6 and 0.7; the score swaps the two in the middle.
DICE = np.array([0.9, 0.8, 0.4, 0.3])
SCORE = np.array([4.0, 2.0, 3.0, 1.0])
TAU = 0.5


def cases(n=60, seed=0, ties=False):
    rng = np.random.default_rng(seed)
    dice = rng.random(n)
    score = dice + rng.normal(size=n) / 2
    return dice, np.round(score * 2) / 2 if ties else score


def test_confusion_by_hand():
    result = failure.confusion([0.9, 0.8, 0.7, 0.4, 0.3, 0.2], np.array([True, False, False, True, True, False]), TAU)
    assert [result[k] for k in ("tp", "fp", "fn", "tn", "flagged")] == [2, 1, 1, 2, 3]
    assert [result[k] for k in ("sensitivity", "ppv", "specificity", "npv")] == pytest.approx([2 / 3] * 4)


def test_confusion_agrees_with_scikit_learn():
    dice, score = cases()
    flagged = score < 0.4
    tn, fp, fn, tp = metrics.confusion_matrix(dice < TAU, flagged, labels=[0, 1]).ravel()
    result = failure.confusion(dice, flagged, TAU)
    assert [result[k] for k in ("tn", "fp", "fn", "tp")] == [tn, fp, fn, tp]


def test_rates_of_nothing_are_undefined():
    nothing = failure.confusion(DICE, np.zeros(4, bool), TAU)
    assert np.isnan(nothing["ppv"]) and nothing["specificity"] == 1 and nothing["npv"] == 0.5
    good = failure.confusion([0.9, 0.8], np.array([True, True]), TAU)
    assert np.isnan(good["sensitivity"]) and np.isnan(good["npv"])


@pytest.mark.parametrize(
    "dice, flagged, text",
    [
        (DICE, [True, False], "one True or False per case"),
        (DICE, [1, 0, 1, 0], "make it with `flag`"),
        ([0.1, np.nan], [True, False], "1 cases have no Dice"),
    ],
)
def test_confusion_refuses(dice, flagged, text):
    with pytest.raises(ValueError, match=text):
        failure.confusion(dice, np.array(flagged), TAU)


def test_flag_takes_the_undefined_for_untrusted():
    assert failure.flag([0.2, 0.5, np.nan], 0.5).tolist() == [True, False, True]
    assert failure.flag([0.2, np.inf], np.nan).all()  # no threshold, no case accepted
    assert failure.flag([0.2, np.nan], -np.inf).tolist() == [False, True]


def test_removal():
    assert failure.removal(DICE, SCORE < 2.5) == {
        "before": pytest.approx(0.6),
        "after": pytest.approx(0.65),
        "removed": 2,
    }
    assert np.isnan(failure.removal(DICE, np.ones(4, bool))["after"])


def test_clopper_pearson():
    # None of n: upper bound 1 - (alpha/2)^(1/n).
    assert failure.proportion_interval(0, 22, 0.8) == pytest.approx((0, 1 - 0.1 ** (1 / 22)))
    assert failure.proportion_interval(5, 20) == pytest.approx((0.0866, 0.4910), abs=5e-5)
    assert np.isnan(failure.proportion_interval(0, 0)).all()


def test_auroc_and_average_precision_by_hand():
    # Of the 4 pairs (failed, good) one is in the wrong order.
    assert failure.auroc(DICE, SCORE, TAU) == 0.75
    # Flagging from below: failed, good, failed: PPV 1/1 and 2/3.
    assert failure.average_precision(DICE, SCORE, TAU) == pytest.approx((1 + 2 / 3) / 2)
    assert np.isnan(failure.auroc([0.9, 0.8], [1, 2], TAU)) and np.isnan(failure.average_precision([0.9], [1], TAU))


@pytest.mark.parametrize("ties", [False, True])
def test_auroc_and_average_precision_agree_with_scikit_learn(ties):
    dice, score = cases(ties=ties)
    assert failure.auroc(dice, score, TAU) == pytest.approx(metrics.roc_auc_score(dice < TAU, -score))
    assert failure.average_precision(dice, score, TAU) == pytest.approx(
        metrics.average_precision_score(dice < TAU, -score)
    )


def test_risk_coverage_by_hand():
    curve = failure.risk_coverage(DICE, SCORE)  # order of trust: risks 0.1, 0.6, 0.2, 0.7
    assert curve["coverage"].tolist() == [0.25, 0.5, 0.75, 1]
    assert curve["risk"].to_numpy() == pytest.approx([0.1, 0.35, 0.3, 0.4])
    assert failure.aurc(DICE, SCORE) == pytest.approx(0.2875)
    oracle = (0.1 + 0.15 + 0.3 + 0.4) / 4
    assert failure.aurc(DICE, DICE) == pytest.approx(oracle)
    assert failure.excess_aurc(DICE, SCORE) == pytest.approx(0.05)
    assert failure.normalised_aurc(DICE, SCORE) == pytest.approx(0.05 / (0.4 - oracle))
    # Generalised curve coverage * risk at 0, 1/4 ... 1 is 0, .025, .175, .225, .4; trapezoids of width 1/4.
    assert failure.augrc(DICE, SCORE) == pytest.approx((0.025 + 0.175 + 0.225 + 0.2) / 4)


def test_limits_of_the_curves():
    assert failure.normalised_aurc(DICE, DICE) == 0
    constant = np.zeros(4)
    assert failure.aurc(DICE, constant) == pytest.approx(0.4)  # chance: the mean risk
    assert failure.normalised_aurc(DICE, constant) == pytest.approx(1)
    assert failure.augrc(DICE, constant) == pytest.approx(0.2)  # chance: half of it
    assert np.isnan(failure.normalised_aurc([0.5, 0.5], [1, 2]))
    # The average of many random orders approaches chance.
    dice = cases()[0]
    random = np.random.default_rng(0).random((4000, dice.size))
    dice = np.broadcast_to(dice, random.shape)
    assert failure.aurc(dice, random).mean() == pytest.approx(1 - dice[0].mean(), abs=0.005)
    assert failure.augrc(dice, random).mean() == pytest.approx((1 - dice[0].mean()) / 2, abs=0.005)


def test_ties_are_averaged_over_all_orders():
    # The two middle cases tie: the mean of both orders.
    tied = np.array([3.0, 2.0, 2.0, 1.0])
    for measure in (failure.aurc, failure.augrc):
        both = measure(DICE, [4.0, 3.0, 2.0, 1.0]), measure(DICE, [4.0, 2.0, 3.0, 1.0])
        assert measure(DICE, tied) == pytest.approx(np.mean(both))


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 5)), min_size=3, max_size=20))
@settings(max_examples=60, deadline=None)
def test_properties_of_the_curves(pairs):
    dice, score = np.array(pairs, float).T
    oracle, worst = failure.aurc(dice, dice), failure.aurc(dice, -dice)
    assert oracle - 1e-12 <= failure.aurc(dice, score) <= worst + 1e-12
    order = np.random.default_rng(0).permutation(len(dice))  # neither order nor monotone rescaling matters
    assert failure.aurc(dice[order], np.exp(score[order])) == pytest.approx(failure.aurc(dice, score))
    up, down = failure.auroc(dice, score, 0.5), failure.auroc(dice, -score, 0.5)
    assert np.isnan(up) or up + down == pytest.approx(1)


@pytest.mark.parametrize("ties", [False, True])
def test_correlations_agree_with_scipy_and_skip_the_undefined(ties):
    dice, score = cases(ties=ties)
    score[::7] = np.nan
    keep = ~np.isnan(score)
    assert failure.pearson(dice, score) == pytest.approx(stats.pearsonr(dice[keep], score[keep])[0])
    assert failure.spearman(dice, score) == pytest.approx(stats.spearmanr(dice[keep], score[keep])[0])
    assert failure.slope(dice, score) == pytest.approx(stats.linregress(dice[keep], score[keep]).slope)
    assert np.isnan(failure.pearson(dice, np.full(dice.size, 0.3)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a bootstrap draw may hold no defined score
        assert np.isnan(failure.spearman(dice, np.full(dice.size, np.nan)))


def test_errors_of_a_predicted_dice():
    assert failure.mae([0.5, 0.7], [0.6, 0.5]) == pytest.approx(0.15)
    assert failure.bias([0.5, 0.7], [0.6, 0.5]) == pytest.approx(-0.05)
    assert failure.slope([0.2, 0.4, 0.6], [0.5, 0.6, 0.7]) == pytest.approx(0.5)


def test_partial_correlation_removes_what_size_explains():
    rng = np.random.default_rng(0)
    size = rng.normal(size=200)
    dice, score = size + rng.normal(size=200), size + rng.normal(size=200)
    assert failure.pearson(dice, score) > 0.3
    r, p = failure.partial_correlation(dice, score, size)
    # The formula from the three pairwise correlations.
    c = np.corrcoef([dice, score, size])
    assert r == pytest.approx((c[0, 1] - c[0, 2] * c[1, 2]) / np.sqrt((1 - c[0, 2] ** 2) * (1 - c[1, 2] ** 2)))
    assert abs(r) < 0.2 and p > 0.01
    with pytest.raises(ValueError, match="4 cases"):
        failure.partial_correlation([1, 2, 3], [1, 2, 4], [1, 1, 2])


def test_bootstrap_agrees_with_scipy():
    dice, score = cases(40)
    mine = failure.bootstrap(failure.pearson, dice, score, draws=4000)
    theirs = stats.bootstrap(
        (dice, score), failure.pearson, paired=True, vectorized=False, n_resamples=999, method="percentile", rng=0
    ).confidence_interval
    assert mine[0] == pytest.approx(failure.pearson(dice, score)) and mine[1:] == pytest.approx(tuple(theirs), abs=0.03)


def test_bootstrap_is_seeded_and_a_score_does_not_differ_from_itself():
    dice, score = cases(30)
    assert failure.bootstrap(failure.aurc, dice, score, seed=3) == failure.bootstrap(failure.aurc, dice, score, seed=3)

    def gain(d, a, b):
        return failure.aurc(d, a) - failure.aurc(d, b)

    assert failure.bootstrap(gain, dice, score, score) == (0, 0, 0)


def test_resampling_keeps_the_size_of_every_stratum():
    strata = np.array(["a", "b", "a", "b", "b"])
    drawn = failure.resample(strata, 50, seed=0)
    assert drawn.shape == (50, 5) and (strata[drawn] == strata).all()
    missing = failure.resample(np.array(["a", None, "a", None], object), 50, seed=0)
    assert (missing[:, [1, 3]] % 2 == 1).all() and (missing[:, [0, 2]] % 2 == 0).all()


def frame(n=60):
    dice, score = cases(n)
    return pd.DataFrame(
        {
            "case": [f"sub-{i}" for i in range(n)],
            "fold": np.arange(n) % 3,
            "lesion_dice": dice,
            "volume_ml": np.random.default_rng(1).random(n),
            "mean_entropy": -score,
            "expected_dice": score,
        }
    )


def test_scoreboard():
    table = frame()
    table.loc[0, "mean_entropy"] = np.nan
    board = failure.scoreboard(table, tau=TAU, strata="fold", draws=200)
    assert board.index.tolist() == ["volume_ml", "mean_entropy", "expected_dice", "random", "oracle"]
    assert board.loc["expected_dice", "auroc"] == pytest.approx(
        failure.auroc(table["lesion_dice"], table["expected_dice"], TAU)
    )
    assert board.loc["mean_entropy", "undefined"] == 1
    assert board.loc["mean_entropy", "auroc"] > 0.5  # low entropy is trusted
    assert (board["auroc_low"] <= board["auroc"])[:3].all() and (board["auroc"] <= board["auroc_high"])[:3].all()
    assert board.loc["random", ["auroc", "normalised_aurc"]].tolist() == pytest.approx([0.5, 1])
    assert board.loc["oracle", ["auroc", "excess_aurc"]].tolist() == pytest.approx([1, 0])
    assert board.loc["volume_ml", "auroc_gain"] == 0 and board.loc["expected_dice", "auroc_gain_low"] > 0
    assert np.isnan(board.loc["volume_ml", "mae"]) and board.loc["expected_dice", "mae"] > 0


def test_scoreboard_refuses_what_cannot_be_judged():
    table = frame()
    with pytest.raises(ValueError, match="without manual masks"):
        failure.scoreboard(table.assign(lesion_dice=np.nan))
    with pytest.raises(ValueError, match="no column 'entropie'"):
        failure.scoreboard(table, ["entropie"])
    with pytest.raises(ValueError, match="sub-1 stands in more than one row"):
        failure.scoreboard(pd.concat([table, table.iloc[[1]]]))


def test_scoreboard_leaves_out_cases_without_truth():
    table = frame()
    table.loc[:4, "lesion_dice"] = np.nan
    assert failure.scoreboard(table, draws=20)["cases"].eq(55).all()


def test_a_score_without_any_value_is_left_out_unless_asked_for():
    table = frame().assign(predicted_dice_error=np.nan)
    assert "predicted_dice_error" not in failure.scoreboard(table, draws=20).index


def test_per_group_by_column_and_by_tertile():
    table = frame()
    folds = failure.per_group(table, "fold", ["expected_dice"], TAU)
    part = table[table["fold"] == 1]
    assert folds.loc["expected_dice", 1] == pytest.approx(
        failure.auroc(part["lesion_dice"], part["expected_dice"], TAU)
    )
    assert folds.loc["expected_dice", "mean"] == pytest.approx(folds.loc["expected_dice", [0, 1, 2]].mean())
    tertiles = failure.per_group(table, failure.volume_tertile(table["volume_ml"]), ["expected_dice"], TAU)
    assert set(tertiles) == {"small", "medium", "large", "mean"}


def test_a_score_that_only_tells_sites_apart_is_unmasked_within_sites():
    rng = np.random.default_rng(0)
    site = np.repeat(["a", "b"], 100)
    failed = rng.random(200) < np.where(site == "a", 0.1, 0.6)
    table = pd.DataFrame(
        {"site": site, "lesion_dice": np.where(failed, 0.2, 0.8), "volume_ml": (site == "a") + rng.random(200) / 10}
    )
    assert failure.auroc(table["lesion_dice"], table["volume_ml"], TAU) > 0.65
    assert failure.per_group(table, "site", ["volume_ml"], TAU).loc["volume_ml", "mean"] == pytest.approx(0.5, abs=0.1)


def test_tertiles_are_thirds():
    assert failure.volume_tertile([5, 1, 3, 9, 7, 2]).tolist() == [
        "medium",
        "small",
        "medium",
        "large",
        "large",
        "small",
    ]


def test_larger_counts_pairs():
    assert failure.larger([2, 3], [1, 2, 4]) == (1 + 0.5 + 1 + 1) / 6  # 2 over 1, 2 beside 2; 3 over 1 and 2
    assert failure.larger([5.0], [1.0]) == 1 and np.isnan(failure.larger([], [1.0]))
