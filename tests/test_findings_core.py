"""What the chapters on error maps, thresholds and the predicted Dice say of the shipped tables."""

import numpy as np
import pytest

from wmhqc import calibrated, failure, reference

TAU = 0.5


@pytest.fixture(scope="module")
def tested():
    return reference.cases("test", "synthetic")


def auroc(table, name):
    return failure.auroc(table["lesion_dice"].to_numpy(), failure.confidence(table, name), TAU)


def gain(table, name):
    """AUROC less that of the predicted volume, with its interval."""
    trust = failure.confidence(table, name), failure.confidence(table, "volume_ml")
    return failure.bootstrap(
        lambda dice, one, volume: failure.auroc(dice, one, TAU) - failure.auroc(dice, volume, TAU),
        table["lesion_dice"].to_numpy(),
        *trust,
    )


def test_the_holes_do_not_decide_the_sum_of_the_error_map(tested):
    total, holes = tested["vs_error"], tested["vs_error_inside"]
    share = (holes / total).abs()
    assert share.median() < 0.02 and share.quantile(0.9) < 0.2  # where the sum is near 0 the share says little
    assert np.corrcoef(total, total - holes)[0, 1] > 0.99


def test_the_sum_of_the_error_map_knows_little_beyond_the_volume(tested):
    dice, total, volume = (tested[name].to_numpy() for name in ("lesion_dice", "vs_error", "volume_ml"))
    assert failure.bootstrap(failure.pearson, dice, total)[2] < 0
    # the page says whether that can be chance
    assert -0.35 < failure.partial_correlation(dice, total, np.log1p(volume))[0] < 0
    assert 0.5 < 1 - auroc(tested, "vs_error") < auroc(tested, "volume_ml")


def test_the_sum_of_the_uncertainty_is_worse_than_the_volume_and_the_mean_better(tested):
    assert gain(tested, "vs_uncertainty")[2] < 0
    assert all(gain(tested, name)[1] > 0 for name in ("mean_entropy", "pairwise_dice", "tta_pairwise_dice"))


def test_removing_the_cases_with_a_low_sum_raises_the_mean_dice(tested):
    ranked = tested.sort_values("vs_uncertainty", ascending=False)["lesion_dice"].to_numpy()
    assert ranked[:35].mean() > ranked.mean() + 0.1


def test_at_like_volume_more_uncertainty_is_worse(tested):
    by_volume = tested.sort_values("volume_ml")
    assert failure.pearson(tested["lesion_dice"].to_numpy(), tested["vs_uncertainty"].to_numpy()) > 0.3
    groups = [by_volume.iloc[part] for part in np.array_split(np.arange(len(by_volume)), 5)]
    by_sum, by_mean = (
        [failure.pearson(held["lesion_dice"].to_numpy(), held[score].to_numpy()) for held in groups]
        for score in ("vs_uncertainty", "mean_entropy")
    )
    assert sum(r < 0 for r in by_sum) >= 4 and np.mean(by_sum) < -0.2
    assert max(by_mean) < -0.4


def test_the_networks_do_not_beat_a_straight_line(tested):
    validation, dice = reference.cases("validation", "synthetic"), tested["lesion_dice"]
    by_line = {
        score: np.abs(calibrated.per_fold(validation, tested, [score]) - dice)
        for score in ("volume_ml", "tta_pairwise_dice")
    }
    nets = [f"predicted_dice_{pair}" for pair in ("image", "uncertainty", "error")]
    errors = tested[nets].sub(dice, axis=0).abs()
    best = errors.mean().idxmin()
    gap = failure.bootstrap(lambda values: values.mean(-1), (by_line["volume_ml"] - errors[best]).to_numpy())
    assert gap[1] < 0 < gap[2]  # as good as a line through nothing but the volume
    assert by_line["tta_pairwise_dice"].mean() < errors[best].mean() / 1.5
    assert all(gain(tested, name)[1] < 0 for name in nets)
    assert (tested.loc[dice < TAU, nets].sub(dice[dice < TAU], axis=0).mean() > 0.05).all()


def test_a_third_of_the_segmentations_failed():
    assert 0.3 < (reference.cases("test")["lesion_dice"] < TAU).mean() < 0.4
