"""A run is a folder with one subfolder a chapter; what a chapter makes, later ones read.

    runs/cpu/data/cohort.csv                  the cases and how they are split
    runs/cpu/data/prepared/<case>.npz         `preprocess.Prepared`
    runs/cpu/training/<network>/              histories and weights (`training.fit`)
    runs/cpu/uncertainty/maps/<case>_*.nii.gz  maps on the scan's own grid
    runs/cpu/<chapter>/cases.csv              one row a case: all that is known so far
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from wmhqc.files import replacing

TITLES = {
    "data": "The data",
    "training": "Training the segmentation network",
    "uncertainty": "Uncertainty maps",
    "error_maps": "Error maps",
    "vs_thresholds": "From maps to thresholds",
    "dice_regression": "Predicting Dice",
    "published": "The published numbers",
    "which_score": "Which score should you trust?",
    "promises": "What can be promised?",
    "your_scan": "Your own scan",
    "speed": "How fast is it, and why",
    "literature": "What others found",
}


def need(run: str | Path, chapter: str, name: str = "") -> Path:
    """Path of a result of an earlier chapter.

    Raises
    ------
    FileNotFoundError
        It is not there; the message says which chapter makes it.
    """
    path = Path(run) / chapter / name
    if not path.exists():
        raise FileNotFoundError(
            f"{path} does not exist; run the chapter '{TITLES[chapter]}' (book/{chapter}) "
            f"first, with the same `run`, from the same folder ({Path.cwd()})"
        )
    return path


def read_cases(run: str | Path, chapter: str) -> pd.DataFrame:
    """The table of cases that a chapter wrote."""
    return pd.read_csv(need(run, chapter, "cases.csv"))


def write_cases(table: pd.DataFrame, run: str | Path, chapter: str) -> Path:
    """Write a chapter's table of cases; it is there whole or not at all."""
    path = Path(run) / chapter / "cases.csv"
    with replacing(path) as partial:
        table.to_csv(partial, index=False)
    return path


def save_maps(path: str | Path, **maps: np.ndarray) -> None:
    """Write maps on the prepared grid as one compressed npz (no pickle)."""
    with replacing(path) as partial:
        np.savez_compressed(partial, **maps)


def load_maps(path: str | Path) -> dict[str, np.ndarray]:
    """Read what `save_maps` wrote: name -> array."""
    with np.load(path) as file:
        return dict(file)


def write_maps(folder: str | Path, prepared, keep: dict[str, np.ndarray], show: dict[str, np.ndarray]) -> None:
    """Maps of a case: some as npz on the networks' grid, for later chapters, some as NIfTI on the scan's grid."""
    from wmhqc import preprocess

    stem = Path(folder) / "maps" / prepared.case
    save_maps(f"{stem}.npz", **keep)
    for name, values in show.items():
        save_image(preprocess.to_scan(values, prepared), f"{stem}_{name}.nii.gz")


def save_image(image, path: str | Path) -> None:
    """Write a nibabel image under a temporary name, then move it."""
    with replacing(path) as partial:
        image.to_filename(partial)
