"""What comes in: the images of one scan are read, and refused before any work if they cannot be judged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from wmhqc import checks, cohort
from wmhqc.images import UNPLACED, binary, grid_mismatch, is_placed, load_image, resample_to

#: The images that a row of a case may name, beside `case`.
INPUTS = {
    "flair": "FLAIR",
    "t1": "T1",
    "brainmask": "brain mask",
    "lesion": "lesion mask",
    "segmentation": "segmentation",
}
#: Problems of a manual mask that do not keep a scan from being judged; they become notes.
BEARABLE = "lesion mask is empty"


def read(row: Mapping, resample: bool = False, whole_head: bool = False, notes: list | None = None) -> dict:
    """Read the images of a case and refuse what cannot be judged, before any work is done.

    Parameters
    ----------
    row : Mapping
        `case`, and paths by the names in `INPUTS`; flair and t1 are needed, an empty path
        counts as not given. The segmentation to be judged is a mask of 0 and one other value.
    resample : bool
        Put images that are on another grid onto that of the FLAIR, trusting the headers.
    whole_head : bool
        Accept images with skull and without a brain mask, since one is made (`wmhqc.screen.brainmask`).
    notes : list of str, optional
        Gets what a reader of the result should know: what was resampled, what is odd about the manual mask.

    Returns
    -------
    dict of str to nibabel image
        All on the grid of the FLAIR; masks hold 0 and 1.

    Raises
    ------
    wmhqc.cohort.CohortError
        With one line for each problem: what, in which file, what to do.
    """
    images: dict = {}
    notes = [] if notes is None else notes
    problems = cohort.case_problems(row, images)
    if not given(row, "t1") and row.get("t1_choice"):
        problems[0]["action"] = f"several lie beside the FLAIR ({row['t1_choice']}): choose with --t1 '{{folder}}/...'"

    def add(name: str, problem: str, action: str) -> None:
        problems.append({"case": row["case"], "file": str(row.get(name, "")), "problem": problem, "action": action})

    if given(row, "segmentation"):
        try:
            image = load_image(row["segmentation"])
            mask = binary(np.asanyarray(image.dataobj), row["segmentation"])
            images["segmentation"] = nib.Nifti1Image(mask.astype(np.uint8), image.affine)
        except FileNotFoundError as error:
            add("segmentation", f"segmentation is missing: {error}", "correct the path, or make the segmentation")
        except (OSError, ValueError) as error:
            add("segmentation", f"segmentation: {error}", "give a mask of 0 and one other value")
    if "flair" in images and "segmentation" in images:
        difference = grid_mismatch(images["segmentation"], images["flair"])
        if difference:
            add("segmentation", f"segmentation is not on the grid of the FLAIR ({difference})", checks.RESAMPLE)
    if "flair" in images and "t1" in images and _same(images["flair"], images["t1"]):
        add("t1", "T1 and FLAIR are the same image", "give the T1-weighted scan as T1")
    if whole_head:
        problems = [problem for problem in problems if problem["action"] != checks.GIVE_MASK]
    if resample:
        problems = [problem for problem in problems if problem["action"] != checks.RESAMPLE]
    _refuse([problem for problem in problems if not problem["problem"].startswith(BEARABLE)])
    notes += [f"The {problem['problem']}." for problem in problems]

    flair, problems = images["flair"], []
    if not is_placed(flair):
        notes.append(f"{UNPLACED[0].upper()}{UNPLACED[1:]}.")
    moved = [name for name, image in images.items() if grid_mismatch(image, flair)]
    for name in moved:
        images[name] = resample_to(images[name], flair, order=1 if name == "t1" else 0)
        notes.append(f"The {INPUTS[name]} was resampled onto the grid of the FLAIR, trusting the headers.")
    for name, problem, action in checks.fit_problems(images) if moved else ():
        if not (whole_head and action == checks.GIVE_MASK):
            add(name, problem, action)
    _refuse([problem for problem in problems if not problem["problem"].startswith(BEARABLE)])
    return images


def given(row: Mapping, name: str) -> bool:
    """Does the row name this image? An empty path counts as none."""
    return isinstance(row.get(name), (str, Path)) and str(row[name]) != ""


def _same(a, b) -> bool:
    return a.shape == b.shape and np.array_equal(np.asanyarray(a.dataobj), np.asanyarray(b.dataobj))


def _refuse(problems: list[dict]) -> None:
    if problems:
        raise cohort.CohortError(pd.DataFrame(problems))
