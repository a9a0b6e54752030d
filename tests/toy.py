"""A toy head on disk, for tests of readers and checks."""

import nibabel as nib
import numpy as np

from wmhqc import cohort

SHAPE = (24, 26, 22)
AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])  # the brain has 348 ml


def scan(seed=0):
    """A toy head: T1, FLAIR, lesion, brain mask; the lesions are bright and not symmetric."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij"))
    brain = (grid**2).sum(0) < 0.9
    lesion = np.zeros(SHAPE, bool)
    for _ in range(3):
        x, y, z = rng.integers(6, 12, 3)
        lesion[x : x + 3, y : y + 3, z : z + 3] = True
    t1 = brain * (100 + rng.normal(0, 5, SHAPE))
    flair = brain * (100 + rng.normal(0, 5, SHAPE)) + 60 * lesion
    return {
        "T1w": t1.astype(np.float32),
        "FLAIR": flair.astype(np.float32),
        "lesion": lesion.astype(np.uint8),
        "brainmask": brain.astype(np.uint8),
    }


def write(array, path, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def case(folder, name="sub-a", seed=0, **changes):
    for kind, array in (scan(seed) | changes).items():
        if array is not None:
            write(array, folder / name / f"{name}_{kind}.nii.gz")
    return folder


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def problems(table):
    try:
        return cohort.check(table)[1]["problem"].tolist()
    except cohort.CohortError as error:
        return error.report["problem"].tolist()
