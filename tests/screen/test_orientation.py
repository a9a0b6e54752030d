"""A brain upside down, back to front or on its side is seen; left and right are not."""

from dataclasses import replace

import numpy as np
import pytest

from wmhqc import preprocess
from wmhqc.screen import orientation

PATIENTS = 11


def like_the_template():
    cube = orientation.template().repeat(2, 0).repeat(2, 1).repeat(2, 2)
    noise = np.random.default_rng(0).normal(0, 20, cube.shape)
    cube = np.stack([cube + noise] * 2, axis=-1)
    return preprocess.Prepared("sub-a", cube, None, cube[..., 0] > 0, cube.shape[:3], np.eye(4), ((0, 32),) * 3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: v, "as the header says"),
        (lambda v: v[::-1], "as the header says"),  # left and right
        (lambda v: v[:, ::-1], "seem front to back ("),
        (lambda v: v[:, :, ::-1], "seem upside down ("),
        (lambda v: v[:, ::-1, ::-1], "seem front to back and upside down"),
        (lambda v: v.transpose(0, 2, 1, 3), "axes of the images seem exchanged"),
        (lambda v: v.transpose(1, 0, 2, 3), "axes of the images seem exchanged"),
    ],
)
def test_the_atlas_tells_how_a_brain_lies(change, words):
    prepared = like_the_template()
    found = orientation.orientation(replace(prepared, volume=change(prepared.volume)))
    assert words in found["words"] and found["upright"] == ("header says" in words and "axes" not in words)
    assert found["best_fit"] > 0.9


def test_what_fits_no_way_better_is_believed():
    prepared = like_the_template()
    ball = ((np.indices(prepared.brain.shape) - 15.5) ** 2).sum(0) < 15**2
    assert orientation.orientation(replace(prepared, volume=np.stack([ball * 200.0] * 2, axis=-1)))["upright"]


def test_no_real_patient_is_accused_and_no_flip_is_missed(shared):
    found = []
    for folder in sorted((shared / "data" / "real").glob("sub-*")):
        paths = (str(folder / f"{folder.name}_{name}.nii.gz") for name in ("T1w", "FLAIR", "brainmask"))
        t1, flair, mask = paths
        prepared = preprocess.prepare(folder.name, t1, flair, brainmask=mask, size=32)
        ways = [prepared.volume, *(np.flip(prepared.volume, axes) for axes in ((0,), (1,), (2,), (1, 2), (0, 2)))]
        found.append([orientation.orientation(replace(prepared, volume=way))["upright"] for way in ways])
    assert found == [[True, True, False, False, False, False]] * len(found) and len(found) >= PATIENTS
