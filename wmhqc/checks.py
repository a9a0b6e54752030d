"""What is wrong with the images of one case: do they fit together, is there a brain, is the mask one of lesions?

Problems are pairs (problem, action): what is wrong, as words that go on after the name of the image, and what to do.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import nibabel as nib
import numpy as np

from wmhqc.images import LABEL_TOLERANCE, grid_mismatch, resample_to

NAMES = {"t1": "T1", "flair": "FLAIR", "lesion": "lesion mask", "brainmask": "brain mask"}
#: A mask must be brighter on FLAIR than its surroundings (`contrast`). In 11 real patients it is
#: 0.95 to 0.99, and still 0.72 for the same masks drawn one voxel too wide; it is at most 0.59
#: for the mask of another patient, 0.70 for a mirrored one.
MIN_CONTRAST = 0.7
#: A larger part of a brain mask over an empty background, 0 in T1 and FLAIR, is a mistake; the
#: limit leaves room for a mask that is some mm wider than the one that stripped the skull.
MAX_EMPTY = 0.3
#: A larger part of the lesions outside the brain mask is a mistake.
MAX_OUTSIDE = 0.1
#: The surroundings of a lesion: this far from it, in mm.
SURROUNDINGS_MM = (2.0, 6.0)
#: Volume of a brain (with ventricles) in ml: what is far outside is not one.
BRAIN_ML = (300, 2200)
#: White matter is about this part of a brain: a mask that fills more of it is none of white matter lesions.
MAX_LESIONS = 0.4
#: A mask that fits better by so much, as `contrast`, some voxels away is said to be shifted; see `shift` for what it
#: was tuned on.
MIN_GAIN = 0.06
#: There it must fit as well as a right one, and be of so many voxels: few fit somewhere by chance.
SHIFTED_CONTRAST, SHIFTED_VOXELS = 0.8, 50
#: How far a better place is looked for, in mm, and on how many voxels at most.
REACH_MM, LOOKED_AT = 10, 10_000
#: All ways to mirror a volume along its axes.
FLIPS = [axes for count in (1, 2, 3) for axes in itertools.combinations(range(3), count)]

# What to do about some problems.
RESAMPLE = "register it, or, if both headers are right, resample it (wmhqc qc --resample; wmhqc.images.resample_to)"
WHOSE = "is it mirrored, shifted, or another patient's mask?"
WHOLE_HEAD = "more than any brain has: the images show the whole head, or their background is not 0"
GIVE_MASK = (
    "make a brain mask on the grid of the FLAIR, for example with SynthStrip, HD-BET or deepbet, and give it in the "
    "column brainmask of the cohort (wmhqc qc: --brainmask, or --extract-brain, which asks deepbet)"
)


def image_problem(image, mask: bool = False) -> str:
    """What is wrong with the voxels of one image; empty if nothing is. A mask may be constant."""
    array = np.asanyarray(image.dataobj)
    bad = array.size - np.count_nonzero(np.isfinite(array))
    if bad:
        return f"has {bad} NaN or infinite voxels"
    if (
        mask
        and array.dtype.kind == "f"
        and (np.abs(array - array.round()) > LABEL_TOLERANCE).any()
        and np.unique(array).size > 2
    ):
        return "has fractions, as a probability has; threshold it, for example at 0.5"
    return f"is constant ({array.flat[0]:g})" if not mask and array.min() == array.max() else ""


def fit_problems(images: Mapping) -> list[tuple[str, str, str]]:
    """What is wrong with the images of a case together, as (column, problem, action)."""
    flair, problems = images["flair"], []
    grids = {name: grid_mismatch(image, flair) for name, image in images.items()}
    for name in ("t1", "brainmask"):
        if grids.get(name):
            problems.append((name, f"{NAMES[name]} is not on the grid of the FLAIR ({grids[name]})", RESAMPLE))
    on_grid = {name: image for name, image in images.items() if not grids[name]}
    brain, name = find_brain(on_grid), "brainmask" if "brainmask" in on_grid else "flair"
    if not brain.any():
        where = "of the brain mask" if name == "brainmask" else "of the FLAIR (and T1)"
        return problems + [(name, f"no brain: no voxel {where} is above 0", "replace the file")]
    wrong = brain_problem(on_grid) if "t1" in on_grid or "brainmask" in on_grid else None
    if wrong:
        problems.append((name, *wrong))
    for name in ("t1", "flair"):
        inside = np.asanyarray(on_grid[name].dataobj)[brain] if name in on_grid else np.arange(2)
        if inside.min() == inside.max():
            problems.append((name, f"{NAMES[name]} is constant in the brain ({inside[0]:g})", "replace the file"))
        elif name in on_grid and ((inside == inside.min()) | (inside == inside.max())).all():
            problems.append((name, f"{NAMES[name]} has two values in the brain", "give the scan, not a mask"))
    if "lesion" in images:
        array = np.nan_to_num(np.asanyarray(flair.dataobj))
        found = lesion_problems(images["lesion"], flair, array, brain)
        problems += [("lesion", f"lesion mask {problem}", action) for problem, action in found]
    return problems


def find_brain(images: Mapping) -> np.ndarray:
    """Where the brain is (bool): the brain mask, or without one what is above 0 in T1 and FLAIR."""
    names = ["brainmask"] if "brainmask" in images else [name for name in ("t1", "flair") if name in images]
    return np.logical_and.reduce([np.asanyarray(images[name].dataobj) > 0 for name in names])


def brain_problem(images: Mapping) -> tuple[str, str] | None:
    """Is what should be the brain one? As (problem, action).

    Parameters
    ----------
    images : mapping of str to nibabel image
        `flair`, `t1` and, if there is one, `brainmask`, on one grid.
    """
    brain = find_brain(images)
    volume = np.count_nonzero(brain) * abs(np.linalg.det(images["flair"].affine[:3, :3])) / 1000
    low, high = BRAIN_ML
    if "brainmask" in images:
        if not low <= volume <= high:
            return f"brain mask has {volume:.0f} ml; a brain has {low} to {high} ml", "give the mask of the brain"
        empty = [np.asanyarray(images[name].dataobj)[brain] == 0 for name in ("t1", "flair") if name in images]
        share = np.logical_and.reduce(empty).mean()
        if share > MAX_EMPTY:
            return f"brain mask lies where T1 and FLAIR are 0 by {share:.0%}", "is it shifted, or another patient's?"
        return None
    for name in ("t1", "flair"):
        array = np.asanyarray(images[name].dataobj)
        if np.count_nonzero(array < 0) > 0.1 * np.count_nonzero(array > 0):
            return f"no brain mask was given, and the {NAMES[name]} is negative in many voxels (z-scores?)", GIVE_MASK
    if volume > high:
        return f"no brain mask was given, and {volume:.0f} ml are above 0 in T1 and FLAIR, {WHOLE_HEAD}", GIVE_MASK
    if volume < low:
        small = f"only {volume:.0f} ml are above 0 in T1 and FLAIR; a brain has {low} to {high} ml"
        return small, "give whole brains, with the right voxel size in the header"
    return None


def lesion_problems(lesion, flair, array: np.ndarray, brain: np.ndarray) -> list[tuple[str, str]]:
    """Problems of a mask that has been read, as (problem, action)."""
    mask = np.asanyarray(lesion.dataobj) > 0
    if not mask.any():
        return [("is empty", "give no lesion mask if nobody drew lesions")]
    difference = grid_mismatch(lesion, flair)
    if difference:
        # Which header is wrong? Judge both readings of the same voxels.
        by_header = np.asanyarray(resample_to(lesion, flair, order=0).dataobj) > 0
        values = [f"{contrast(by_header, array, brain, flair.affine):.2f} where its header puts it"]
        if mask.shape == array.shape:
            values.append(f"{contrast(mask, array, brain, flair.affine):.2f} with the header of the FLAIR")
        read = f"contrast {', '.join(values)} (right: above 0.9)"
        return [(f"is not on the grid of the FLAIR ({difference}); {read}", RESAMPLE)]

    problems = []
    outside = np.count_nonzero(mask & ~brain) / np.count_nonzero(mask)
    if outside > MAX_OUTSIDE:
        problems.append((f"is outside the brain by {outside:.0%}", WHOSE))
    if np.count_nonzero(mask) > MAX_LESIONS * np.count_nonzero(brain):
        share = np.count_nonzero(mask) / np.count_nonzero(brain)
        return problems + [(f"is {share:.0%} as large as the brain", "give the lesions, not a mask of the brain")]
    inside, around = (np.argwhere(part) for part in (mask, surroundings(mask, flair.affine)))
    value = _brighter(array, brain, inside, around)
    last = np.array(mask.shape) - 1
    mirrored = {
        axes: [np.where(np.isin(range(3), axes), last - part, part) for part in (inside, around)] for axes in FLIPS
    }
    flips = {axes: _brighter(array, brain, *parts) for axes, parts in mirrored.items()}
    axes = max(flips, key=lambda axes: np.nan_to_num(flips[axes]))
    if flips[axes] >= MIN_CONTRAST and flips[axes] > np.nan_to_num(value):
        names = " and ".join("xyz"[axis] for axis in axes)
        better = f"contrast {flips[axes]:.2f} instead of {value:.2f}"
        problems.append((f"fits the FLAIR better when mirrored along {names} ({better})", WHOSE))
    elif np.isnan(value):
        problems.append(
            ("has no surroundings in the brain (2 to 6 mm away)", "give the lesions, not a mask of the brain")
        )
    elif value < MIN_CONTRAST:
        faint = f"contrast {value:.2f}, right: above 0.9"
        problems.append((f"is not brighter than its surroundings on FLAIR ({faint})", WHOSE))
    return problems


def contrast(mask: np.ndarray, flair: np.ndarray, brain: np.ndarray, affine: np.ndarray) -> float:
    """How surely a lesion voxel is brighter on FLAIR than one of its surroundings.

    The probability that a random voxel of the mask is brighter than a random voxel of the
    brain 2 to 6 mm away from it (area under the ROC curve): 0.5 for a mask that has nothing to
    do with the image, 1 for a perfect one. It depends neither on the scale of the intensities
    nor on slow changes over the image.

    Parameters
    ----------
    mask, flair, brain : array (x, y, z)
        Lesion mask (bool), FLAIR, brain mask (bool), on one grid.
    affine : array (4, 4)

    Returns
    -------
    float
        0 to 1; NaN if there is no surrounding.
    """
    mask = np.asarray(mask) > 0
    if not mask.any():
        return float("nan")
    return _brighter(flair, brain, np.argwhere(mask), np.argwhere(surroundings(mask, affine)))


def shift(mask: np.ndarray, flair: np.ndarray, brain: np.ndarray, affine: np.ndarray) -> str:
    """Does a mask fit the FLAIR clearly better some voxels away?  As words; empty if not.

    Its `contrast` is compared with that of the same mask moved by up to 10 mm, but at least one voxel, along each axis
    in turn, twice. The limits were chosen on the 11 real patients of `contrast`, 9 with thick slices of one scanner and
    2 at 1 mm: their manual masks fit best where they are, and so do those of five programs for three of the patients,
    but for two that come from 1 mm voxels and gain 0.04 one voxel away. Moved by one slice or by three voxels within it
    the same masks mostly gain 0.1 or more, by two voxels 0.05 to 0.3, by one voxel too little to be told. Three scans
    of one more patient, with large lesions, on which nothing was chosen, get no note as they are; moved by three voxels
    they gain 0.06 to 0.17. A small mask that is moved out of all its lesions is not found.

    Parameters
    ----------
    mask, flair, brain, affine
        As for `contrast`.
    """
    if np.count_nonzero(mask) < SHIFTED_VOXELS:
        return ""
    parts = [np.argwhere(part) for part in (mask, surroundings(np.asarray(mask) > 0, affine))]
    parts = [places[:: len(places) // LOOKED_AT + 1] for places in parts]
    best = (0, 0, 0)
    start = value = np.nan_to_num(_brighter(flair, brain, *parts))
    for axis, size in [*enumerate(nib.affines.voxel_sizes(affine))] * 2:
        reach = max(1, round(REACH_MM / size))
        for move in [best[:axis] + (step,) + best[axis + 1 :] for step in range(-reach, reach + 1)]:
            found = _brighter(flair, brain, *(places + move for places in parts))
            best, value = (move, found) if found > value else (best, value)
    if not (value - start > MIN_GAIN and value >= SHIFTED_CONTRAST):
        return ""
    moved = ", ".join(f"{step:+d}" for step in best)
    return f"fits the FLAIR better when moved by ({moved}) voxels (contrast {value:.2f} instead of {start:.2f})"


def surroundings(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Voxels 2 to 6 mm away from the mask (bool)."""
    from scipy import ndimage

    near, far = SURROUNDINGS_MM
    sizes = nib.affines.voxel_sizes(affine)
    margins = (far / sizes).astype(int) + 1
    box = tuple(slice(max(0, i.min() - m), i.max() + m + 1) for i, m in zip(np.nonzero(mask), margins))
    distance = ndimage.distance_transform_edt(~mask[box], sampling=sizes)
    around = np.zeros(mask.shape, bool)
    around[box] = (distance >= near) & (distance <= far)
    return around


def _brighter(flair: np.ndarray, brain: np.ndarray, inside: np.ndarray, around: np.ndarray) -> float:
    """Area under the ROC curve of FLAIR at some places (n, 3) against others, of both those in the brain."""
    from wmhqc.failure import larger

    def values(places: np.ndarray) -> np.ndarray:
        places = tuple(places[((places >= 0) & (places < flair.shape)).all(axis=1)].T)
        return flair[places][np.asarray(brain)[places] > 0]

    return larger(values(inside), values(around))
