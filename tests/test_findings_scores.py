"""What the pages on scores and guarantees say of the reference run is what its tables hold."""

import numpy as np
import pytest

from wmhqc import catalogue, failure, reference, thresholds
from wmhqc.screen.calibration import with_features
from wmhqc.screen.verdict import evaluate_guarantee
from wmhqc.view import looks

TAU, DRAWS = 0.5, 2000


@pytest.fixture(scope="module")
def test():
    return reference.cases("test", "synthetic")


@pytest.fixture(scope="module")
def validation():
    return reference.cases("validation", "synthetic")


@pytest.fixture(scope="module")
def stress():
    return reference.table("stress")


def gain(table, score):
    """AURC of the predicted volume less that of a score: estimate, low, high."""
    dice, volume = table["lesion_dice"], failure.confidence(table, "volume_ml")
    return failure.bootstrap(
        lambda d, q, v: failure.aurc(d, v) - failure.aurc(d, q),
        dice, failure.confidence(table, score), volume, draws=DRAWS,
    )  # fmt: skip


def test_most_failures_have_little_lesion(test):
    failed = (test["lesion_dice"] < TAU).groupby(failure.volume_tertile(test["true_ml"])).sum()
    assert failed["small"] > failed.sum() / 2


def test_the_uncertainty_map_beats_the_volume_as_a_mean_and_loses_as_a_sum(test):
    assert gain(test, "mean_entropy")[1] > 0 and gain(test, "vs_per_volume")[1] > 0
    assert gain(test, "vs_uncertainty")[2] < 0


@pytest.mark.parametrize("pair", ["image", "uncertainty", "error", "mask"])
def test_no_predicted_dice_ranks_better_than_the_volume(test, validation, pair):
    assert gain(test, f"predicted_dice_{pair}")[1] <= 0
    constant = test["fold"].map(validation.groupby("fold")["lesion_dice"].mean())
    dice = test["lesion_dice"]
    assert failure.mae(dice, test[f"predicted_dice_{pair}"]) < failure.mae(dice, constant)


def test_the_sum_turns_its_sign_at_equal_volume(test):
    dice, vs = test["lesion_dice"], test["vs_uncertainty"]
    assert failure.pearson(dice, vs) > 0.2
    assert failure.partial_correlation(dice, vs, np.log1p(test["volume_ml"]))[0] < -0.2
    within = failure.per_group(
        test, failure.volume_tertile(test["volume_ml"]), ["vs_uncertainty", "vs_per_volume"], TAU
    )
    assert within.loc["vs_uncertainty", "mean"] < 0.5 < within.loc["vs_per_volume", "mean"]


def test_motion_is_silent_and_does_not_make_the_volume_smaller(stress):
    means = stress.groupby(["artefact", "severity"])[["lesion_dice", "pairwise_dice", "volume_ml"]].mean()
    clean, full = means.loc[("none", 0)], means.xs(1, level="severity")
    lost = clean - full
    assert lost.loc["motion", "lesion_dice"] > 2 * lost.loc["motion", "pairwise_dice"]
    kept = (lost["pairwise_dice"] / lost["lesion_dice"])[lost["lesion_dice"] > 0.1]
    assert kept.idxmin() == "motion"
    assert full.index[full["volume_ml"] > clean["volume_ml"]].tolist() == ["motion"]


def test_within_a_case_the_sum_goes_the_wrong_way(stress):
    rho = failure.per_group(
        stress.drop(columns="case"), stress["case"], ["vs_uncertainty", "pairwise_dice"], TAU,
        measure=lambda d, q, tau: failure.spearman(d, q),
    )["mean"]  # fmt: skip
    assert rho["vs_uncertainty"] < 0 < rho["pairwise_dice"]


def test_the_network_is_too_sure_and_calibration_mends_the_bias_only(test):
    bins = reference.table("reliability")
    high = bins[(bins["temperature"] == 1) & (bins["probability"] > 0.5)]
    assert np.average(high["probability"] - high["frequency"], weights=high["voxels"]) > 0.05
    dice, raw, scaled = (test[name] for name in ("lesion_dice", "expected_dice", "expected_dice_scaled"))
    assert failure.bias(dice, raw) > failure.bias(dice, scaled) > 0
    assert failure.auroc(dice, scaled, TAU) <= failure.auroc(dice, raw, TAU)


def test_one_in_ten_can_be_guaranteed_and_one_in_twenty_for_fewer_cases_but_not_by_the_sum(test, validation):
    def accepted(score, risk):
        def rule(dice, confidence, tau):
            return thresholds.guaranteed_risk(dice, confidence, tau, risk)

        flagged, _ = thresholds.per_fold(rule, validation, test, score, TAU, pooled=True)
        return (~flagged).sum()

    assert accepted("pairwise_dice", 0.1) > accepted("pairwise_dice", 0.05) > 0
    assert accepted("vs_uncertainty", 0.1) == accepted("vs_uncertainty", 0.05) == 0


def test_the_chance_of_one_accepted_patient_is_below_the_share_that_is_guaranteed():
    known, asked = (with_features(reference.cases(part)) for part in ("validation", "test"))
    patients = asked[~asked["synthetic"].astype(bool)]
    found = evaluate_guarantee(known, patients.assign(fold=patients["case"]))
    accepted = found[found["accepted"]]
    assert len(accepted) > 5 and not accepted["failed"].any()
    assert (accepted["chance_high"] < accepted["risk"]).all() and accepted["risk"].between(0.25, 0.35).all()


def test_the_same_masks_fail_mostly_in_whatever_fold_they_are_judged(test, validation):
    bad = [thresholds.one_row_a_case(part).set_index("case")["lesion_dice"] < TAU for part in (validation, test)]
    assert 0 < (bad[0] != bad[1].reindex(bad[0].index)).sum() < 6


def test_the_dice_between_changed_inputs_is_best(test):
    board = failure.scoreboard(test, tau=TAU).drop(index=["oracle", "random"])
    assert board["auroc"].idxmax() == board["aurc"].idxmin() == "tta_pairwise_dice"


def test_of_spoilt_scans_the_volume_lets_more_failures_through(stress, validation):
    known = thresholds.one_row_a_case(validation, stress["case"].unique())
    used = {}
    for score in ("volume_ml", "pairwise_dice"):
        half = thresholds.for_coverage(known["lesion_dice"], failure.confidence(known, score), TAU, 0.5).threshold
        used[score] = stress[~failure.flag(failure.confidence(stress, score), half)]
    failed = (used["volume_ml"]["lesion_dice"] < TAU).groupby(used["volume_ml"]["severity"]).mean()
    assert failed[1] > failed[0] + 0.1
    spoilt = used["pairwise_dice"].query("severity > 0")
    assert 0 < len(spoilt) < len(used["volume_ml"]) / 2 and (spoilt["lesion_dice"] < TAU).mean() < 0.2


def test_the_best_number_of_looks_follows_the_price_of_a_failure():
    tested = reference.cases("test")  # the first page asks for it: a missed failure that costs 1, then 5

    def cheapest(score, cost):
        sign = catalogue.sign(score)
        counts = [
            looks.trays_numbers(tested[score], tested["lesion_dice"], n, TAU, confidence=sign, costs=(1, cost))
            for n in range(len(tested) + 1)
        ]
        return min(counts, key=lambda found: found["cost"])["looks"]

    for score in ("pairwise_dice", "mean_entropy", "predicted_dice_uncertainty", "vs_uncertainty", "volume_ml"):
        assert cheapest(score, 1) == 0 and cheapest(score, 5) >= len(tested) / 3
