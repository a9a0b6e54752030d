"""Scores of small cases worked out by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp

from wmhqc import catalogue, metrics, scores
from wmhqc.uncertainty import summarise

N = 12


def cube(*boxes, n=N):
    """Mask of boxes given as (start, stop) of all three axes, or as three slices."""
    mask = np.zeros((n, n, n), bool)
    for box in boxes:
        mask[box if isinstance(box[0], slice) else (slice(*box),) * 3] = True
    return mask


def monte_carlo(*masks):
    return summarise(np.where(mask, 1.0, 0.0) for mask in masks)


def prepared(lesion=None, brain=None, spacing=(1.0, 1.0, 1.0), n=N):
    return SimpleNamespace(
        case="sub-x",
        lesion=lesion,
        brain=np.ones((n, n, n), np.uint8) if brain is None else brain,
        affine=np.diag([*spacing, 1]),
        box=((0, n),) * 3,
    )


# ---------------------------------------------------------------- size and sums


def test_voxel_sum_keeps_its_sign_and_does_not_depend_on_the_grid():
    values = np.full((4, 4, 4), -0.5, np.float32)
    assert scores.voxel_sum(values, 8.0) == -256
    fine = values.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    assert scores.voxel_sum(fine, 1.0) == scores.voxel_sum(values, 8.0)


def test_vs_per_volume():
    entropy = np.full((2, 2, 2), 0.5)
    assert scores.vs_per_volume(entropy, cube((0, 1), n=2), 3.0) == 12 / 4  # 12 mm^3 bit, 3 + 1 mm^3
    assert scores.vs_per_volume(entropy, cube(n=2), 3.0) == 12  # empty mask, yet finite


def test_residual_is_fitted_on_training_rows_only():
    import pandas as pd

    volume = np.array([0.0, 0.999, 9.999, 99.999, 9.999])
    vs = 2 * (volume * 1000 + 1) ** 0.8 - 1
    vs[4] = (vs[4] + 1) * 3 - 1  # three times as uncertain as its size says
    table = pd.DataFrame({"volume_ml": volume, "vs_uncertainty": vs}, index=list("abcde"))
    residual = scores.vs_residual(table, [True, True, True, True, False])
    assert residual.to_numpy() == pytest.approx([0, 0, 0, 0, np.log(3)], abs=1e-9) and list(residual.index) == list(
        "abcde"
    )
    with pytest.raises(ValueError, match="two training cases"):
        scores.vs_residual(table, [True, False, False, False, False])


# ---------------------------------------------------------------- means


def test_mean_inside():
    values = np.arange(8.0).reshape(2, 2, 2)
    assert scores.mean_inside(values, values > 5) == 6.5
    assert np.isnan(scores.mean_inside(values, values > 9))


def test_non_boundary_mean_leaves_out_both_sides_of_the_edge():
    mask = cube((4, 8))
    inner, shell = cube((5, 7)), cube((4, 8)) & ~cube((5, 7))
    around = sum((np.roll(mask, s, a) for a in range(3) for s in (1, -1)), np.zeros_like(mask)) & ~mask
    values = np.where(shell | around, 1.0, 0.0)
    brain = np.ones_like(mask)
    assert scores.non_boundary_mean(values, mask, brain) == 0
    values[inner] = 1
    assert scores.non_boundary_mean(values, mask, brain) == 8 / (N**3 - shell.sum() - around.sum())
    assert scores.non_boundary_mean(values, cube(), mask) == values[mask].mean()  # no lesion, no edge
    assert np.isnan(scores.non_boundary_mean(values, mask, cube()))


def test_patch_maximum_is_a_window_in_mm():
    values = cube((2, 5)).astype(float)  # 3 x 3 x 3 voxels
    assert scores.patch_maximum(values, (1, 1, 1), 3) == pytest.approx(1)
    assert scores.patch_maximum(values, (1, 1, 1), 5) == pytest.approx(27 / 125)
    assert scores.patch_maximum(values, (2, 2, 2), 6) == pytest.approx(1)
    assert scores.patch_maximum(values, (100, 100, 100), 3) == 1  # never less than a voxel


# ---------------------------------------------------------------- agreement


def test_agreement_of_two_samples_by_hand():
    # 8 and 4 voxels, 4 shared; their mean is 0.5 where they differ, so the final mask has 8.
    a, b = cube((0, 2)), cube((slice(0, 2), slice(0, 2), slice(0, 1)))
    result = scores.sample_agreement(monte_carlo(a, b))
    assert result["pairwise_dice"] == pytest.approx(2 * 4 / 12)
    assert result["iou_disagreement"] == pytest.approx(1 - (1 + 0.5) / 2)
    assert result["volume_cv"] == pytest.approx(2 / 6)
    assert result["empty_share"] == 0


def test_pairwise_dice_is_the_mean_over_pairs():
    rng = np.random.default_rng(0)
    masks = rng.random((5, N, N, N)) > 0.7
    dice = [metrics.lesion_dice(masks[i], masks[j]) for i in range(5) for j in range(i)]
    assert scores.sample_agreement(monte_carlo(*masks))["pairwise_dice"] == pytest.approx(np.mean(dice))


def test_empty_samples_agree_but_are_reported():
    result = scores.sample_agreement(monte_carlo(cube(), cube(), cube((0, 1))))
    assert result["pairwise_dice"] == pytest.approx(1 / 3) and result["empty_share"] == pytest.approx(2 / 3)
    nothing = scores.sample_agreement(monte_carlo(cube(), cube()))
    assert nothing["pairwise_dice"] == 1 and nothing["iou_disagreement"] == 0
    assert nothing["empty_share"] == 1 and np.isnan(nothing["volume_cv"])


def test_one_pass_has_no_pair():
    assert np.isnan(scores.sample_agreement(monte_carlo(cube((0, 2))))["pairwise_dice"])


# ---------------------------------------------------------------- expected Dice, calibration


def test_expected_dice_by_hand():
    assert scores.expected_dice(np.array([0.9, 0.6, 0.2, 0.1])) == pytest.approx(2 * 1.5 / (1.8 + 2))
    assert scores.expected_dice(np.array([1.0, 0.0])) == 1 and scores.expected_dice(np.zeros(3)) == 1
    assert scores.expected_dice(np.array([0.4, 0.0])) == 0  # nothing segmented, something expected


def test_temperature():
    assert scores.scale(np.array([0.0, 0.5, 1.0]), 3.0).tolist() == [0, 0.5, 1]
    assert scores.scale(np.array([0.9]), 2.0) == pytest.approx(0.75)  # odds 9 become 3
    assert scores.expected_dice(np.array([0.9, 0.1]), 2.0) == pytest.approx(2 * 0.75 / 2)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_fitted_temperature_is_the_one_that_was_used(temperature):
    rng = np.random.default_rng(0)
    p = rng.random(50_000)
    lesion = rng.random(p.size) < p
    assert scores.fit_temperature(scores.scale(p, 1 / temperature), lesion) == pytest.approx(temperature, rel=0.05)


def test_temperature_accepts_certain_voxels_and_refuses_one_class():
    assert np.isfinite(scores.fit_temperature(np.float32([0, 1, 1, 0.5]), np.array([0, 1, 0, 1])))
    with pytest.raises(ValueError, match="needs both"):
        scores.fit_temperature(np.array([0.1, 0.2]), np.array([0, 0]))


def test_reliability_and_calibration_error_by_hand():
    diagram = scores.reliability(np.array([0.1, 0.1, 0.1, 0.9, 1.0]), np.array([0, 0, 1, 1, 1]), bins=2)
    assert diagram["voxels"].tolist() == [3, 2]
    assert diagram["probability"].to_numpy() == pytest.approx([0.1, 0.95])
    assert diagram["frequency"].to_numpy() == pytest.approx([1 / 3, 1])
    assert scores.calibration_error(diagram) == pytest.approx((3 * (1 / 3 - 0.1) + 2 * 0.05) / 5)
    assert scores.reliability(np.array([0.95]), np.array([1])).index.tolist() == [9]  # empty bins are left out


# ---------------------------------------------------------------- lesions


def test_lesion_uncertainty_by_hand():
    # Two lesions of 8 voxels: one found whole by all 5 passes, one whole by three and by half in one.
    a, b, half = (1, 3), (6, 8), (slice(6, 8), slice(6, 8), slice(6, 7))
    mc = monte_carlo(cube(a, b), cube(a, b), cube(a, b), cube(a, half), cube(a))
    table = scores.lesion_table(mc, 1.0)
    assert table["volume_ml"].tolist() == [0.008, 0.008]
    assert table["uncertainty"].to_numpy() == pytest.approx([0, 1 - (3 + 0.5 + 0) / 5])


def test_lesion_uncertainty_takes_the_best_component():
    # In the second pass the lesion of 3 voxels falls apart into 1 and 1: best IoU 1/3.
    line, ends = cube((slice(2, 5), slice(2, 3), slice(2, 3))), cube((2, 3))
    ends[4, 2, 2] = True
    table = scores.lesion_table(monte_carlo(line, line, ends), 1.0)
    assert table["uncertainty"].to_numpy() == pytest.approx([1 - (1 + 1 + 1 / 3) / 3])


def test_lesions_touch_by_corners():
    mask = cube((1, 2), (2, 3), (6, 7))
    assert scores.lesion_table(monte_carlo(mask), 1.0)["volume_ml"].tolist() == [0.002, 0.001]
    assert scores.lesion_table(monte_carlo(cube()), 1.0).empty


def test_samples_of_other_sources_have_names_of_their_own():
    mc = monte_carlo(cube((0, 2)), cube((slice(0, 2), slice(0, 2), slice(0, 1))))
    found = scores.of_samples("tta", mc, 2.0)
    assert found == pytest.approx({"tta_pairwise_dice": 2 * 4 / 12, "tta_vs_uncertainty": 4 * 2.0})


def test_maps_of_another_grid_are_refused():
    with pytest.raises(ValueError, match="sub-x: maps have shape"):
        scores.row(prepared(n=10), monte_carlo(cube()))


@given(hnp.arrays(bool, (4, 4, 4)))
@settings(max_examples=40, deadline=None)
def test_certain_probabilities_promise_a_dice_of_one(mask):
    assert scores.expected_dice(mask.astype(float)) == 1


# ---------------------------------------------------------------- the row


def test_row_of_a_case():
    lesion = cube((2, 6))
    row = scores.row(
        prepared(lesion, spacing=(1, 1, 2)), monte_carlo(lesion, lesion, cube((2, 5))), np.full((N,) * 3, -0.5)
    )
    assert row["case"] == "sub-x" and row["volume_ml"] == row["true_ml"] == 0.128 and row["lesion_dice"] == 1
    h = -(1 / 3 * np.log2(1 / 3) + 2 / 3 * np.log2(2 / 3))
    assert row["vs_uncertainty"] == pytest.approx(37 * 2 * h, rel=1e-5)  # 64 - 27 voxels of 2 mm^3
    assert row["mean_entropy"] == pytest.approx(37 / 64 * h, rel=1e-5)
    assert row["mean_variance"] == pytest.approx(37 / 64 * 2 / 9, rel=1e-5)
    # The passes are certain, so all uncertainty is disagreement between them.
    assert row["mean_expected_entropy"] == pytest.approx(0, abs=1e-6)
    assert row["mean_mutual_information"] == pytest.approx(row["mean_entropy"], abs=1e-6)
    assert row["expected_dice"] == pytest.approx(2 * (27 + 37 * 2 / 3) / (27 + 37 * 2 / 3 + 64), rel=1e-5)
    assert row["vs_error"] == -0.5 * 2 * N**3 and row["brain_share"] == 64 / N**3 and row["lesion_count"] == 1
    assert row["hd95_mm"] == 0 and row["lesion_f1"] == 1


def test_row_holds_every_score_of_one_case_and_no_truth_without_a_mask():
    row = scores.row(prepared(), monte_carlo(cube((2, 6)), cube((2, 5))), np.zeros((N,) * 3))
    later = {name for name in catalogue.scores() if name.startswith(("vs_residual", "predicted_", "tta_", "ensemble_"))}
    later |= {"expected_dice_scaled"}
    assert set(catalogue.scores()) - later == set(row) - {"case", "brain_ml", "empty_share"}
    assert "lesion_dice" not in row and "vs_error" not in scores.row(prepared(), monte_carlo(cube((2, 6))))


def test_row_of_an_empty_prediction():
    row = scores.row(prepared(cube()), monte_carlo(cube(), cube()))
    undefined = {name for name, value in row.items() if name != "case" and np.isnan(value)}
    assert undefined == {
        "mean_entropy",
        "mean_variance",
        "mean_expected_entropy",
        "mean_mutual_information",
        "volume_cv",
        "lesion_uncertainty",
        "hd95_mm",
        "volume_difference_percent",
    }
    assert row["volume_ml"] == 0 and row["lesion_dice"] == 1 and row["empty_share"] == 1 and row["lesion_count"] == 0


def test_spacing_follows_the_axes_of_the_grid():
    # A scan stored superior, right, anterior: its axes of 6, 1 and 2 mm become R 1, A 2, S 6.
    affine = np.array([[0, 1, 0, 0], [0, 0, 2, 0], [6, 0, 0, 0], [0, 0, 0, 1.0]])
    case = SimpleNamespace(affine=affine, box=((0, 6), (10, 34), (2, 14)), brain=np.ones((12, 12, 12)))
    assert scores.grid_spacing(case) == pytest.approx((2, 2, 3))


def test_row_of_a_real_case_on_its_coarse_grid(shared):
    from wmhqc.preprocess import prepare

    folder = shared / "data" / "real" / "sub-tab01"
    paths = [folder / f"sub-tab01_{kind}.nii.gz" for kind in ("T1w", "FLAIR", "lesion", "brainmask")]
    case = prepare("sub-tab01", *paths, size=32)
    assert np.prod(scores.grid_spacing(case)) == pytest.approx(case.voxel_mm3)
    row = scores.row(case, monte_carlo(case.lesion > 0, case.lesion > 0))
    assert row["lesion_dice"] == row["pairwise_dice"] == 1 and row["vs_uncertainty"] == 0 and row["hd95_mm"] == 0
    assert 500 < row["brain_ml"] < 2000 and row["volume_ml"] == row["true_ml"] > 1
