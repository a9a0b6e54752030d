"""Small scans and calibration cases for tests."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from wmhqc.features import FEATURES
from wmhqc.screen.labels import SCORE


def make_scan(folder, case, seed=0, flair_name="FLAIR", lesion=True):
    """Write a scan of 40 voxels a side: a ball of brain, a box of lesion."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(40) - 19.5] * 3, indexing="ij"))
    brain = (grid**2).sum(0) < 17**2
    box = (np.abs(grid - np.array([6, 4, 2]).reshape(3, 1, 1, 1)) < 2.6).all(0)
    noise = rng.normal(0, 20, (2, *brain.shape))
    images = {
        "T1w": np.where(brain, 600 + noise[0], 0).clip(0).astype(np.int16),
        flair_name: np.where(brain, 400 + noise[1] + 300 * box, 0).clip(0).astype(np.int16),
        "brainmask": brain.astype(np.uint8),
    } | ({"lesion": box.astype(np.uint8)} if lesion else {})
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in images.items():
        nib.save(nib.Nifti1Image(array, np.diag([3.4, 3.4, 3.4, 1])), folder / f"{case}_{name}.nii.gz")
    return folder


def resave(row, name, change=lambda array: array, affine=None):
    image = nib.load(row[name])
    made = nib.Nifti1Image(change(np.asanyarray(image.dataobj)), image.affine if affine is None else affine)
    path = row[name].replace(".nii.gz", "-new.nii.gz")
    nib.save(made, path)
    return row | {name: path}


def cases(n=60, seed=0):
    """Calibration cases that a threshold can be guaranteed for."""
    rng = np.random.default_rng(seed)
    predicted = rng.uniform(0.2, 0.95, n)
    table = pd.DataFrame({"case": [f"c{i}" for i in range(n)], SCORE: predicted})
    table["lesion_dice"] = np.clip(predicted + rng.normal(0, 0.03, n), 0, 1)
    for i, name in enumerate(FEATURES):
        table[name] = 100 + i + 10 * rng.standard_normal(n)
    return table


def like(table, **change):
    """Scores of a case in the middle of the calibration cases."""
    return table[list(FEATURES)].mean().to_dict() | {SCORE: 0.9, "contrast": 0.95} | change


def files(folder):
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns for path in Path(folder).rglob("*") if path.is_file()
    }


def one(scans, case="sub-a", **changes):
    paths = {"flair": "FLAIR", "t1": "T1w", "brainmask": "brainmask"}
    given = {name: str(scans / case / f"{case}_{ending}.nii.gz") for name, ending in paths.items()} | changes
    return ["qc", *(word for name, path in given.items() if path for word in (f"--{name}", path))]


def row(folder, case="sub-a"):
    """Write a scan; its row, as `wmhqc.screen.inputs.read` takes it."""
    make_scan(folder, case)
    names = {"t1": "T1w", "flair": "FLAIR", "brainmask": "brainmask", "lesion": "lesion"}
    return {"case": case} | {name: str(folder / f"{case}_{ending}.nii.gz") for name, ending in names.items()}
