"""The chain from a prepared scan to maps and a row, with small untrained networks."""

import dataclasses

import nibabel as nib
import numpy as np
import pytest

from wmhqc import catalogue, networks, scores, uncertainty
from wmhqc.assess import assess, on_scan
from wmhqc.preprocess import Prepared
from wmhqc.regression import PAIRS

SIZE = 16


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(0)
    brain = np.zeros((SIZE,) * 3, np.uint8)
    brain[2:-2, 2:-2, 2:-2] = 1
    volume = np.round(rng.uniform(50, 200, (SIZE, SIZE, SIZE, 2))).astype(np.float32) * brain[..., None]
    lesion = np.zeros_like(brain)
    lesion[5:8, 5:8, 5:8] = 1
    return Prepared("sub-a", volume, lesion, brain, (SIZE,) * 3, np.eye(4), ((0, SIZE),) * 3)


@pytest.fixture(scope="module")
def nets():
    kinds = {"mc_unet": [networks.mc_unet(SIZE) for _ in range(2)], "rec_unet": [networks.rec_unet(SIZE)]}
    return kinds | {
        f"reg_net_{pair}": [networks.reg_net(SIZE, "sigmoid" if pair == "mask" else "linear")] for pair in PAIRS
    }


def test_a_row_has_every_score_that_one_case_can_have(case, nets):
    maps, row = assess(case, nets, passes=4)
    fitted_elsewhere = {"vs_residual", "expected_dice_scaled"}
    assert set(catalogue.scores()) - fitted_elsewhere <= set(row)
    assert {"lesion_dice", "true_ml", "ssim"} <= set(row) and row["case"] == "sub-a"
    assert maps["mc"].passes == 4 and set(maps) == {"mc", "mean", "entropy", "mask", "reconstruction", "error"}
    np.testing.assert_allclose(maps["error"], case.volume[..., 1] / 255 - maps["reconstruction"])


def test_passes_are_dealt_among_the_networks(case, nets):
    both, one = (list(uncertainty.deal(nets["mc_unet"][:n], case.volume, 5)) for n in (2, 1))
    assert len(both) == len(one) == 5
    alone = uncertainty.monte_carlo(nets["mc_unet"][0], case.volume, 5)
    np.testing.assert_allclose(np.mean(one, axis=0), alone.mean, atol=1e-6)
    assert abs(np.mean(both, axis=0) - alone.mean).max() > 1e-4, "the second network has a say"


def test_without_other_networks_their_scores_are_left_out(case, nets):
    maps, row = assess(case, {"mc_unet": nets["mc_unet"][:1]}, passes=2, other_samples=False)
    assert "error" not in maps and not [
        name for name in row if name.startswith(("vs_error", "predicted", "tta", "ensemble"))
    ]


def test_the_answers_of_several_networks_are_averaged(case, nets):
    several = nets | {"reg_net_mask": [networks.reg_net(SIZE, "sigmoid"), networks.reg_net(SIZE, "sigmoid")]}
    each = [
        assess(case, nets | {"reg_net_mask": [net]}, passes=2, other_samples=False)[1]
        for net in several["reg_net_mask"]
    ]
    both = assess(case, several, passes=2, other_samples=False)[1]
    assert both["predicted_dice_mask"] == pytest.approx(np.mean([row["predicted_dice_mask"] for row in each]), abs=1e-5)


def test_a_mask_of_another_program_is_judged_and_not_ours(case, nets):
    given = case.lesion > 0
    maps, row = assess(case, nets, given, passes=2)
    assert (maps["mask"] == given).all() and row["lesion_dice"] == 1 and row["volume_ml"] == pytest.approx(27 / 1000)
    assert 0 <= row["agreement_dice"] <= 1 and "pairwise_dice" not in row
    assert "predicted_dice_mask" in row and "predicted_dice_image" not in row, "that one reads our own prediction"


def test_expected_dice_of_a_given_mask_by_hand(case):
    """Mean 0.5 everywhere in the brain, mask of m voxels: 2 m/2 / (N/2 + m)."""
    mean = np.full((SIZE,) * 3, 0.5, np.float32)
    m, n = int(case.lesion.sum()), int(case.brain.sum())
    row = scores.row(case, uncertainty.summarise([mean]), mask=case.lesion > 0)
    assert row["expected_dice"] == pytest.approx(m / (n / 2 + m))
    assert row["agreement_dice"] == pytest.approx(2 * m / (m + mean.size))


def test_without_a_manual_mask_there_is_no_truth(case, nets):
    _, row = assess(dataclasses.replace(case, lesion=None), nets, passes=2, other_samples=False)
    assert "lesion_dice" not in row and "expected_dice" in row


def test_on_the_scans_grid_volume_contrast_and_dice():
    """Two bright lesions of 64 voxels of 2 mm3 in a grey brain; one is found: 0.128 ml, Dice 2/3."""
    rng = np.random.default_rng(0)
    flair = rng.uniform(90, 110, (24, 24, 24)).astype(np.float32)
    lesion = np.zeros(flair.shape, np.uint8)
    lesion[4:8, 4:8, 4:8] = lesion[14:18, 14:18, 14:18] = 1
    flair[lesion > 0] += 100
    found = np.zeros(flair.shape, bool)
    found[4:8, 4:8, 4:8] = True
    affine = np.diag([1, 1, 2, 1])
    images = {name: nib.Nifti1Image(array, affine) for name, array in (("t1", flair), ("flair", flair))}
    row, truth = on_scan(images, found)
    assert truth == {} and row["volume_on_scan_ml"] == pytest.approx(0.128) and row["contrast"] == 1
    row, truth = on_scan(images | {"lesion": nib.Nifti1Image(lesion, affine)}, found)
    assert truth["dice_on_scan"] == pytest.approx(2 / 3) and truth["true_on_scan_ml"] == pytest.approx(0.256)
    assert truth["true_contrast"] == 1
    row, _ = on_scan(images, np.roll(found, 12, axis=0))
    assert row["contrast"] == pytest.approx(0.5, abs=0.1), "a mask that has nothing to do with the image"
    assert np.isnan(on_scan(images, np.zeros_like(found))[0]["contrast"])
