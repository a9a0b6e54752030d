"""Lesion statistics of boxes with known answers, and of the real patients."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from wmhqc.book import realism
from wmhqc.sources import anatomy

VOXEL = np.array([2.0, 2.0, 3.0])


@pytest.fixture(scope="module")
def atlas():
    return anatomy.atlas()


@pytest.fixture
def row(tmp_path, atlas):
    """The atlas brain on a coarse grid: white matter 100, ventricles 10, two lesions of 150."""
    step = tuple(slice(None, None, int(v)) for v in VOXEL)
    brain, depth = atlas.brain[step] > 0.5, atlas.depth[step]
    flair = np.where(brain, np.where(depth < 0, 10, 100), 0).astype(np.int16)
    lesion = np.zeros(brain.shape, np.uint8)
    x, y, z = np.argwhere(brain & (depth > 20) & (depth < 22))[0]
    lesion[x : x + 2, y, z] = 1  # 2 voxels
    lesion[x + 2, y + 1, z + 1] = 1  # touches a corner: the same lesion
    x, y, z = np.argwhere(brain & (depth > 20) & (depth < 22))[-1]
    lesion[x, y, z] = 1
    flair[lesion > 0] = 150
    affine = np.diag([*VOXEL, 1])
    row = {"case": "sub-a", "lesion_rule": ""}
    for name, array in {"t1": flair, "flair": flair, "lesion": lesion, "brainmask": brain.astype(np.uint8)}.items():
        row[name] = str(tmp_path / f"{name}.nii.gz")
        nib.save(nib.Nifti1Image(array, affine), row[name])
    return row


def test_count_size_volume_contrast_of_two_lesions(row):
    found = realism.measures(row)
    assert found["case"] == "sub-a" and found["lesion_count"] == 2
    assert found["lesion_ml"] == pytest.approx(4 * 12 / 1000)
    assert found["lesion_mm3"] == pytest.approx(np.median([3 * 12, 12]))
    assert found["flair_contrast"] == pytest.approx(50)
    assert found["ventricle_mm"] == pytest.approx(21, abs=3)


def test_nothing_changes_when_the_images_are_stored_in_another_orientation(row):
    found = realism.measures(row)
    for name in ("t1", "flair", "lesion", "brainmask"):
        image = nib.load(row[name])
        turned = image.as_reoriented(nib.orientations.axcodes2ornt("PSL"))
        nib.save(nib.Nifti1Image(np.asarray(turned.dataobj), turned.affine), row[name])
    assert realism.measures(row) == pytest.approx(found)


def test_an_empty_mask_has_no_size(row):
    image = nib.load(row["lesion"])
    nib.save(nib.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine), row["lesion"])
    found = realism.measures(row)
    assert found["lesion_count"] == 0 and found["lesion_ml"] == 0
    assert all(np.isnan(found[name]) for name in ("lesion_mm3", "ventricle_mm", "flair_contrast"))


def test_a_brain_without_fluid_has_no_distance():
    brain = np.ones((20, 20, 20), bool)
    mask = np.zeros_like(brain)
    mask[5, 5, 5] = True
    assert np.isnan(realism.ventricle_distance(mask, np.full(brain.shape, 7.0), brain, np.eye(4))).all()


def test_groups_that_are_alike_and_groups_that_are_not():
    rows = [
        {"synthetic": kind, **dict.fromkeys(realism.MEASURES, value)} for kind in (True, False) for value in (1, 2, 3)
    ]
    table = pd.DataFrame(rows)
    assert (realism.compare(table)["real_larger"] == 0.5).all()
    table.loc[~table["synthetic"], "lesion_ml"] += 10
    compared = realism.compare(table)
    assert compared.loc["volume of all lesions (ml)"].tolist() == [2, 12, 1]


def test_without_real_cases_nothing_is_compared():
    table = pd.DataFrame([{"synthetic": True, **dict.fromkeys(realism.MEASURES, 1.0)}])
    compared = realism.compare(table)
    assert compared["real_larger"].isna().all() and (compared["synthetic"] == 1).all()


def test_distance_agrees_with_outlined_ventricles(shared):
    """As far as the docstring says, in two of the patients whose ventricles were outlined."""
    from scipy import ndimage

    for case in ("sub-tab01", "sub-tab12"):
        names = ("FLAIR", "lesion", "ventricles", "brainmask")
        image = {name: nib.load(shared / "data" / "real" / case / f"{case}_{name}.nii.gz") for name in names}
        array, affine = {name: np.asarray(image[name].dataobj) for name in names}, image["FLAIR"].affine
        lesion, outlined = array["lesion"] > 0, array["ventricles"] > 0
        true = ndimage.distance_transform_edt(~outlined, sampling=nib.affines.voxel_sizes(affine))[lesion]
        about = realism.ventricle_distance(lesion, array["FLAIR"], array["brainmask"] > 0, affine)
        assert -0.5 < np.median(about) - np.median(true) < 2.5
