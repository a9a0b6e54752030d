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
#: A mask that has a larger share beyond the grid of the FLAIR does not belong to it.
MAX_LOST = 0.05
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
NO_CODES = (
    "The header of the {} says of neither of its two forms that it is known (qform and sform codes are 0): where left, "
    "front and up are is a guess. Look at the orientation in the report."
)


class _Problems(list):
    """Problems of one case, as `wmhqc.cohort.CohortError` takes them."""

    def __init__(self, row: Mapping):
        self.row = row

    def add(self, name: str, problem: str, action: str) -> None:
        file = str(self.row.get(name, ""))
        self.append({"case": self.row["case"], "file": file, "problem": problem, "action": action})

    def refuse(self) -> None:
        """Raise what is not bearable."""
        bad = [problem for problem in self if not problem["problem"].startswith(BEARABLE)]
        if bad:
            raise cohort.CohortError(pd.DataFrame(bad))


def read(row: Mapping, resample: bool = False, whole_head: bool = False, notes: list | None = None) -> dict:
    """Read the images of a case and refuse what cannot be judged, before any work is done.

    Parameters
    ----------
    row : Mapping
        `case`, and paths by the names in `INPUTS`; flair and t1 are needed, an empty path
        counts as not given. Masks hold 0 and one other value, or `lesion_rule` says what of them is lesion
        (`wmhqc.cohort.load_lesion`).
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
    problems = _Problems(row)
    problems += cohort.case_problems(row, images)
    if not given(row, "t1") and row.get("t1_choice"):
        problems[0]["action"] = f"several lie beside the FLAIR ({row['t1_choice']}): choose with --t1 '{{folder}}/...'"
    if given(row, "segmentation"):
        _read_segmentation(row, images, problems)
    if "flair" in images and "t1" in images and _same(images["flair"], images["t1"]):
        problems.add("t1", "T1 and FLAIR are the same image", "give the T1-weighted scan as T1")
    if "brainmask" in images and not np.isfinite(np.asanyarray(images["brainmask"].dataobj)).all():
        problems.add("brainmask", "brain mask has NaN or infinite voxels", "replace them by 0 outside the brain")
    if resample:
        problems[:] = [problem for problem in problems if problem["action"] != cohort.RESAMPLE]
    problems.refuse()

    moved = _resample(images, problems, notes)
    problem = head_problem(images)
    if problem and ("brainmask" in images or not whole_head):
        problems.add("brainmask" if "brainmask" in images else "t1", *problem)
    elif "lesion" in moved and not problems:
        flair = images["flair"]
        for words, action in cohort.lesion_problems(
            images["lesion"], flair, np.asanyarray(flair.dataobj), brain(images)
        ):
            problems.add("lesion", f"lesion mask {words}", action)
    problems.refuse()
    notes += [f"The {problem['problem']}." for problem in problems]
    notes += [NO_CODES.format(INPUTS[name]) for name in ("flair", "t1") if _no_codes(images[name])]
    return images


def given(row: Mapping, name: str) -> bool:
    """Does the row name this image? An empty path counts as none."""
    return isinstance(row.get(name), (str, Path)) and str(row[name]) != ""


def brain(images: Mapping) -> np.ndarray:
    """Where the brain is: the brain mask, or without one what is above 0 in T1 and FLAIR."""
    names = ("brainmask",) if "brainmask" in images else ("t1", "flair")
    return np.logical_and.reduce([np.asanyarray(images[name].dataobj) > 0 for name in names])


def head_problem(images: Mapping) -> tuple[str, str] | None:
    """Is what should be the brain as large as a brain? As (problem, action)."""
    low, high = BRAIN_ML
    volume = _ml(images["flair"]) * np.count_nonzero(brain(images))
    if low <= volume <= high:
        return None
    if "brainmask" in images:
        return f"brain mask has {volume:.0f} ml; a brain has {low} to {high} ml", "give the mask of the brain"
    found = f"no brain mask was given, and {volume:.0f} ml are above 0 in T1 and FLAIR"
    if volume > high:
        return f"{found}, {WHOLE_HEAD}", GIVE_MASK
    return f"{found}; a brain has {low} to {high} ml", "give images of a whole brain, with their true voxel sizes"


def _read_segmentation(row: Mapping, images: dict, problems: _Problems) -> None:
    try:
        image = load_image(row["segmentation"])
        mask = binary(np.asanyarray(image.dataobj), row["segmentation"], row.get("segmentation_rule") or "")
        images["segmentation"] = nib.Nifti1Image(mask.astype(np.uint8), image.affine)
    except FileNotFoundError as error:
        problems.add("segmentation", f"segmentation is missing: {error}", "correct the path, or make the segmentation")
    except (OSError, ValueError) as error:
        problems.add("segmentation", f"segmentation: {error}", "give a mask of 0 and one other value")
    difference = (
        grid_mismatch(images["segmentation"], images["flair"]) if {"segmentation", "flair"} <= set(images) else ""
    )
    if difference:
        words = f"segmentation is not on the grid of the FLAIR ({difference})"
        problems.add("segmentation", words, cohort.RESAMPLE)


def _resample(images: dict, problems: _Problems, notes: list) -> list[str]:
    """Put what is on another grid onto that of the FLAIR; return the names of those images."""
    flair = images["flair"]
    moved = [name for name, image in images.items() if grid_mismatch(image, flair)]
    for name in moved:
        label, before = INPUTS[name], images[name]
        try:
            images[name] = resample_to(before, flair, order=1 if name == "t1" else 0)
        except ValueError as error:
            problems.add(name, f"{label} cannot be put onto the grid of the FLAIR: {error}", "correct its affine")
            problems.refuse()
        notes.append(f"The {label} was resampled onto the grid of the FLAIR, trusting the headers.")
        old, new = (_ml(image) * np.count_nonzero(np.asanyarray(image.dataobj)) for image in (before, images[name]))
        if name in ("lesion", "segmentation") and (_beyond(before, flair) > MAX_LOST or old > new == 0):
            words = f"{label} has {old:.3g} ml, and {new:.3g} ml of them on the grid of the FLAIR"
            problems.add(name, words, "the headers do not fit each other: register it, or leave it out")
        elif name != "t1":
            notes[-1] = f"{notes[-1][:-1]} ({new:.3g} ml, before {old:.3g} ml)."
    return moved


def _beyond(mask, flair) -> float:
    """Share of a mask that lies beyond the grid of the FLAIR."""
    places = np.argwhere(np.asanyarray(mask.dataobj))
    places = nib.affines.apply_affine(np.linalg.inv(flair.affine) @ mask.affine, places)
    inside = ((places > -0.5) & (places < np.array(flair.shape) - 0.5)).all(axis=1)
    return 1 - inside.mean() if len(places) else 0.0


def _ml(image) -> float:
    """Volume of a voxel in ml."""
    return abs(np.linalg.det(image.affine[:3, :3])) / 1000


def _same(a, b) -> bool:
    return a.shape == b.shape and np.array_equal(np.asanyarray(a.dataobj), np.asanyarray(b.dataobj))


def _no_codes(image) -> bool:
    return int(image.header["qform_code"]) == int(image.header["sform_code"]) == 0
