"""What comes in: the images of one scan are read, and refused before any work if they cannot be judged."""

from __future__ import annotations

from collections.abc import Mapping

import nibabel as nib
import numpy as np
import pandas as pd

from wmhqc import checks, cohort
from wmhqc.images import UNPLACED, binary, copy_codes, forms_differ, grid_mismatch, is_placed, load_image, resample_to

#: The images that a row of a case may name, beside `case`.
INPUTS = {
    "flair": "FLAIR",
    "t1": "T1",
    "brainmask": "brain mask",
    "lesion": "lesion mask",
    "segmentation": "segmentation",
}
#: Problems of a manual mask that do not keep a scan from being judged; they become notes.
BEARABLE = ("lesion mask is empty", "lesion mask is not brighter than its surroundings")
#: T1 and FLAIR that correlate more where the brain is bright on FLAIR are one picture, scaled or inverted. It was less
#: than 0.4 in 16 real scans (13 patients with multiple sclerosis, a glioma), with and without their brain masks.
SAME_PICTURE = 0.95
#: A mask that has a larger share beyond the grid of the FLAIR does not belong to it.
MAX_BEYOND = 0.05


class _Problems(list):
    """Problems of one case, as `wmhqc.cohort.CohortError` takes them."""

    def __init__(self, row: Mapping):
        self.row = row

    def add(self, name: str, problem: str, action: str) -> None:
        file = str(self.row.get(name, ""))
        self.append({"case": self.row["case"], "file": file, "problem": problem, "action": action})

    def refuse(self, *bearable: str) -> None:
        """Raise what is not bearable, or mended by an action that will be taken."""
        bad = [one for one in self if not one["problem"].startswith(BEARABLE) and one["action"] not in bearable]
        if bad:
            raise cohort.CohortError(pd.DataFrame(bad))


def read(row: Mapping, resample: bool = False, whole_head: bool = False, notes: list | None = None) -> dict:
    """Read the images of a case and refuse what cannot be judged, before any work is done.

    Parameters
    ----------
    row : Mapping
        `case`, and paths by the names in `INPUTS`; flair and t1 are needed, an empty path
        counts as not given. Masks hold 0 and one other value, or `lesion_rule` and `segmentation_rule` say what of
        them is lesion (`wmhqc.cohort.load_lesion`).
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
    wanted, notes = notes is not None, [] if notes is None else notes
    mended = [action for action, done in ((checks.RESAMPLE, resample), (checks.GIVE_MASK, whole_head)) if done]
    problems = _Problems(row)
    problems += cohort.case_problems(row, images)
    if not cohort.given(row.get("t1")) and row.get("t1_choice"):
        problems[0]["action"] = f"several lie beside the FLAIR ({row['t1_choice']}): choose with --t1 '{{folder}}/...'"
    if not cohort.given(row.get("brainmask")) and row.get("brainmask_choice"):
        words = f"several brain masks fit this scan ({row['brainmask_choice']})"
        problems.add("brainmask", words, "choose with --brainmask '.../{path}/...'")
    if cohort.given(row.get("segmentation")):
        _read_segmentation(row, images, problems)
    problems.refuse(*mended)
    notes += [f"The {problem['problem']}." for problem in problems if problem["problem"].startswith(BEARABLE)]

    flair, problems = images["flair"], _Problems(row)
    if not is_placed(flair):
        notes.append(f"{UNPLACED[0].upper()}{UNPLACED[1:]}.")
    for name, image in images.items():
        if apart := forms_differ(image):
            words = f"qform and sform lie {apart} apart; the sform was used, other programs may use the qform"
            notes.append(f"In the header of the {INPUTS[name]} {words}.")
    moved = [name for name, image in images.items() if grid_mismatch(image, flair)]
    for name in moved:
        images[name] = _moved(name, images[name], flair, problems, notes)
    problems.refuse()
    for problem in checks.fit_problems(images) if moved else ():
        problems.add(*problem)
    problems.refuse(*mended)
    if (alike := _alike(images)) > SAME_PICTURE:
        words = f"T1 and FLAIR are the same image but for its scale (correlation {alike:.3f}, right: below 0.5)"
        problems.add("t1", words, "give the T1-weighted scan as T1")
    problems.refuse()
    notes += _shifts(images) if wanted else []  # a second or so, for nobody where no notes are asked for
    return images


def _shifts(images: Mapping) -> list[str]:
    """Notes on masks that lie some voxels away from where they fit (`wmhqc.checks.shift`)."""
    scan = np.asanyarray(images["flair"].dataobj), checks.find_brain(images), images["flair"].affine
    masks = {name: np.asanyarray(images[name].dataobj) > 0 for name in ("lesion", "segmentation") if name in images}
    words = {name: checks.shift(mask, *scan) for name, mask in masks.items()}
    ask = "is its header right, and is it a mask of this scan?"
    return [f"The {INPUTS[name]} {found}: {ask}" for name, found in words.items() if found]


def _read_segmentation(row: Mapping, images: dict, problems: _Problems) -> None:
    try:
        image = load_image(row["segmentation"])
        mask = binary(np.asanyarray(image.dataobj), row["segmentation"], row.get("segmentation_rule") or "")
    except FileNotFoundError as error:
        problems.add("segmentation", f"segmentation is missing: {error}", "correct the path, or make the segmentation")
        return
    except (OSError, ValueError) as error:
        problems.add("segmentation", f"segmentation: {error}", "give a mask of 0 and one other value")
        return
    images["segmentation"] = nib.Nifti1Image(mask.astype(np.uint8), image.affine)
    copy_codes(images["segmentation"], image)
    if difference := "flair" in images and grid_mismatch(image, images["flair"]):
        words = f"segmentation is not on the grid of the FLAIR ({difference})"
        problems.add("segmentation", words, checks.RESAMPLE)


def _moved(name: str, image, flair, problems: _Problems, notes: list):
    """An image on the grid of the FLAIR; a problem if that loses what is in a mask, else a note."""
    label = INPUTS[name]
    try:
        moved = resample_to(image, flair, order=1 if name == "t1" else 0)
    except ValueError as error:
        problems.add(name, f"{label} cannot be put onto the grid of the FLAIR: {error}", "correct its affine")
        return image
    volumes = ""
    if name != "t1":
        before, after = _ml(image), _ml(moved)
        volumes = f" ({after:.3g} ml, before {before:.3g} ml)"
        if name != "brainmask" and (_beyond(image, flair) > MAX_BEYOND or before > after == 0):
            words = f"{label} has {before:.3g} ml, and {after:.3g} ml on the grid of the FLAIR"
            problems.add(name, words, "the headers do not fit each other: register it, or leave it out")
    notes.append(f"The {label} was resampled onto the grid of the FLAIR, trusting the headers{volumes}.")
    return moved


def _ml(mask) -> float:
    """Volume of a mask in ml."""
    return np.count_nonzero(np.asanyarray(mask.dataobj)) * abs(np.linalg.det(mask.affine[:3, :3])) / 1000


def _beyond(mask, flair) -> float:
    """Share of a mask that lies beyond the grid of the FLAIR."""
    places = np.argwhere(np.asanyarray(mask.dataobj))
    places = nib.affines.apply_affine(np.linalg.inv(flair.affine) @ mask.affine, places)
    inside = ((places > -0.5) & (places < np.array(flair.shape) - 0.5)).all(axis=1)
    return 1 - inside.mean() if len(places) else 0.0


def _alike(images: Mapping) -> float:
    """Correlation of T1 and FLAIR in the brain, without its sign: 1 for a picture and its multiple or its negative."""
    t1, flair = (np.asanyarray(images[name].dataobj) for name in ("t1", "flair"))
    brain = checks.find_brain(images)
    brain = brain & (flair > flair[brain].mean())  # without the background of a whole head, which all images share
    with np.errstate(invalid="ignore"):  # NaN where one of them is constant there
        return abs(np.corrcoef(t1[brain], flair[brain])[0, 1])
