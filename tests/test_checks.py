"""Is what is given a brain, and is a mask one of lesions? Contrast of a mask on FLAIR."""

import re

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import AFFINE, SHAPE, scan

from wmhqc import checks
from wmhqc.images import load_image

TOY = scan()


def toy_images(affine=AFFINE, **changes):
    names = {"T1w": "t1", "FLAIR": "flair", "lesion": "lesion", "brainmask": "brainmask"}
    arrays = {name: (TOY | changes)[kind] for kind, name in names.items()}
    return {name: nib.Nifti1Image(array, affine) for name, array in arrays.items() if array is not None}


def found(**changes):
    return " ".join(" ".join(problem) for problem in checks.fit_problems(toy_images(**changes)))


# ---------------------------------------------------------------- what should be the brain


def test_a_head_with_its_skull_needs_a_brain_mask():
    """Background above 0: all of the grid counts as brain (review S6)."""
    head = {kind: TOY[kind] + 1 for kind in ("T1w", "FLAIR")}
    big = np.diag([6.0, 6, 6, 1])  # 2,965 ml, the brain 1,176 ml
    text = found(affine=big, brainmask=None, lesion=None, **head)
    assert "2965 ml are above 0" in text and "SynthStrip" in text and "column brainmask" in text
    assert found(affine=big, lesion=None, **head) == ""
    assert found(affine=big, brainmask=None, lesion=None) == ""


@pytest.mark.parametrize("edge, problem", [(3.0, "has 147 ml; a brain has 300 to 2200"), (8.0, "has 2793 ml")])
def test_a_brain_has_the_size_of_a_brain(edge, problem):
    assert problem in found(affine=np.diag([edge, edge, edge, 1]))
    without = found(affine=np.diag([edge, edge, edge, 1]), brainmask=None)
    assert "ml are above 0 in T1 and FLAIR" in without


def test_z_scores_need_a_brain_mask():
    scores = {kind: (TOY[kind] - 100) * TOY["brainmask"] for kind in ("T1w", "FLAIR")}
    assert "z-scores" in found(brainmask=None, lesion=None, **scores) and found(**scores) == ""


def test_an_image_that_is_constant_in_the_brain():
    flat = np.where(TOY["brainmask"] > 0, 7, TOY["T1w"] + 1).astype(np.float32)
    assert "T1 is constant in the brain (7)" in found(T1w=flat)


# ---------------------------------------------------------------- a mask of the brain is none of lesions


@pytest.mark.parametrize("masked", [True, False])
def test_a_brain_mask_given_as_lesions(masked):
    """It has no surroundings in the brain, so that its contrast is NaN; NaN must not pass."""
    text = found(lesion=TOY["brainmask"], **({} if masked else {"brainmask": None}))
    assert "not a mask of the brain" in text


def test_a_mask_without_surroundings_in_the_brain():
    lesion = np.zeros(SHAPE, np.uint8)
    lesion[9:15, 9:15, 9:13] = 1
    brain = lesion.copy()
    brain[2:8, 2:24, 2:20] = 1  # far from the lesion
    text = found(lesion=lesion, brainmask=brain, affine=np.diag([5.0, 5, 5, 1]))
    assert "has no surroundings in the brain" in text


def test_contrast_known_values():
    mask = np.zeros((20, 20, 20), bool)
    mask[8:12, 8:12, 8:12] = True
    brain = np.ones_like(mask)
    flat = np.random.default_rng(0).normal(size=mask.shape)
    assert checks.contrast(mask, flat + 100 * mask, brain, np.eye(4)) == 1
    assert checks.contrast(mask, flat - 100 * mask, brain, np.eye(4)) == 0
    assert checks.contrast(mask, flat, brain, np.eye(4)) == pytest.approx(0.5, abs=0.15)
    assert checks.contrast(mask, np.ones_like(flat), brain, np.eye(4)) == 0.5
    assert np.isnan(checks.contrast(np.zeros_like(mask), flat, brain, np.eye(4)))
    assert np.isnan(checks.contrast(mask, flat, mask, np.eye(4)))  # nothing around it


@settings(max_examples=15, deadline=None)
@given(factor=st.floats(0.01, 100), offset=st.floats(-50, 50))
def test_contrast_does_not_depend_on_the_scale(factor, offset):
    brain, lesion, flair = TOY["brainmask"] > 0, TOY["lesion"] > 0, TOY["FLAIR"].astype(float)
    assert checks.contrast(lesion, factor * flair + offset, brain, AFFINE) == pytest.approx(
        checks.contrast(lesion, flair, brain, AFFINE), abs=1e-9
    )


# ---------------------------------------------------------------- a mask that lies some voxels away


def test_a_mask_of_few_voxels_is_not_said_to_be_shifted():
    brain, flair = np.ones((30,) * 3, bool), np.random.default_rng(0).normal(size=(30,) * 3)
    mask = np.zeros(brain.shape, bool)
    mask[10:13, 10:13, 10:13] = True  # 27 voxels
    assert checks.shift(np.roll(mask, 3, 0), flair + 9 * mask, brain, np.eye(4)) == ""
    mask[10:14, 10:14, 10:14] = True
    assert "(-3, +0, +0)" in checks.shift(np.roll(mask, 3, 0), flair + 9 * mask, brain, np.eye(4))
    assert checks.shift(mask, flair + 9 * mask, brain, np.eye(4)) == ""


def test_no_true_mask_is_said_to_be_shifted_and_by_three_voxels_all_are(shared):
    for folder in sorted((shared / "data" / "real").glob("sub-*")):
        flair, brain = (load_image(folder / f"{folder.name}_{name}.nii.gz") for name in ("FLAIR", "brainmask"))
        scan = np.asanyarray(flair.dataobj), np.asanyarray(brain.dataobj) > 0, flair.affine
        for path in sorted(folder.glob("*_lesion.nii.gz")) + sorted(folder.glob("pred/*_pred-*")):
            mask = np.asanyarray(load_image(path).dataobj) > 0
            assert checks.shift(mask, *scan) == "", path
            # one that was drawn at 1 mm lies best a voxel beside
            assert re.search(r"\(-[34], \+0, \+0\)", checks.shift(np.roll(mask, 3, 0), *scan)), path
