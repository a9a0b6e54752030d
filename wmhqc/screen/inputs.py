"""What comes in: the images of one scan are read, and refused before any work if they cannot be judged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from wmhqc import cohort
from wmhqc.images import binary, grid_mismatch, load_image, resample_to

#: The images that a row of a case may name, beside `case`.
INPUTS = {
    "flair": "FLAIR",
    "t1": "T1",
    "brainmask": "brain mask",
    "lesion": "lesion mask",
    "segmentation": "segmentation",
}
#: Volume of a brain (with ventricles) in ml: what is far outside is not one.
BRAIN_ML = (300, 2200)
#: Problems of a manual mask that do not keep a scan from being judged; they become notes.
BEARABLE = "lesion mask is empty"
WHOLE_HEAD = (
    "more than any brain has: the images show the whole head, or their background is not 0; the networks know brains "
    "without skull only"
)
GIVE_MASK = (
    "give a brain mask on the grid of the FLAIR (--brainmask), made for example with SynthStrip, HD-BET or deepbet; "
    "or install deepbet (pip install deepbet) and add --extract-brain"
)


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
            add("segmentation", f"segmentation is not on the grid of the FLAIR ({difference})", cohort.RESAMPLE)
    if "flair" in images and "t1" in images and _same(images["flair"], images["t1"]):
        add("t1", "T1 and FLAIR are the same image", "give the T1-weighted scan as T1")
    if resample:
        problems = [problem for problem in problems if problem["action"] != cohort.RESAMPLE]
    _refuse([problem for problem in problems if not problem["problem"].startswith(BEARABLE)])
    notes += [f"The {problem['problem']}." for problem in problems]

    flair, problems = images["flair"], []
    moved = [name for name, image in images.items() if grid_mismatch(image, flair)]
    for name in moved:
        images[name] = resample_to(images[name], flair, order=1 if name == "t1" else 0)
        notes.append(f"The {INPUTS[name]} was resampled onto the grid of the FLAIR, trusting the headers.")
    problem = head_problem(images)
    if problem and ("brainmask" in images or not whole_head):
        add("brainmask" if "brainmask" in images else "t1", *problem)
    elif "lesion" in moved:
        array = np.asanyarray(flair.dataobj)
        for problem, action in cohort.lesion_problems(images["lesion"], flair, array, brain(images)):
            add("lesion", f"lesion mask {problem}", action)
    _refuse([problem for problem in problems if not problem["problem"].startswith(BEARABLE)])
    return images


def brain(images: Mapping) -> np.ndarray:
    """Where the brain is: the brain mask, or without one what is above 0 in T1 and FLAIR."""
    names = ("brainmask",) if "brainmask" in images else ("t1", "flair")
    return np.logical_and.reduce([np.asanyarray(images[name].dataobj) > 0 for name in names])


def given(row: Mapping, name: str) -> bool:
    """Does the row name this image? An empty path counts as none."""
    return isinstance(row.get(name), (str, Path)) and str(row[name]) != ""


def _same(a, b) -> bool:
    return a.shape == b.shape and np.array_equal(np.asanyarray(a.dataobj), np.asanyarray(b.dataobj))


def _refuse(problems: list[dict]) -> None:
    if problems:
        raise cohort.CohortError(pd.DataFrame(problems))


def head_problem(images: Mapping) -> tuple[str, str] | None:
    """Is what should be the brain as large as a brain? As (problem, action)."""
    ml = abs(np.linalg.det(images["flair"].affine[:3, :3])) / 1000
    low, high = BRAIN_ML
    if "brainmask" in images:
        volume = ml * np.count_nonzero(brain(images))
        if not low <= volume <= high:
            return f"brain mask has {volume:.0f} ml; a brain has {low} to {high} ml", "give the mask of the brain"
        return None
    volume = ml * np.count_nonzero(brain(images))
    if volume > high:
        return f"no brain mask was given, and {volume:.0f} ml are above 0 in T1 and FLAIR, {WHOLE_HEAD}", GIVE_MASK
    return None
