"""From a scan to the cube the networks see, and from any map back onto the scan's own grid.

As in the paper (section "Pre-processing"): the brain is kept, the rest is cropped away, the
box around the brain is resized to a cube, intensities go to [0, 255]. What differs from the
paper is said where it happens: the intensity range (`scale`) and the source of the box
(the brain mask rather than an Otsu threshold).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np

from wmhqc import cohort
from wmhqc.files import save_maps, sha256
from wmhqc.images import binary, grid_mismatch, load_image

#: A resampled lesion mask is lesion from here on (paper: 0.3, so that small lesions survive).
MASK_THRESHOLD = 0.3
#: Percentiles of the brain that become 0 and 255.
PERCENTILES = (0.1, 99.9)
#: Raise it with every change of what `prepare` gives, so that cases prepared before are made anew.
RECIPE = 1
#: The U-nets halve the cube three times, the Dice regressor four times.
MULTIPLE = 16


@dataclass
class Prepared:
    """One case as the networks see it, and what is needed to go back.

    Attributes
    ----------
    case : str
        Name of the case.
    volume : float32 array (n, n, n, 2)
        T1 and FLAIR, whole numbers from 0 to 255, axes in RAS+ order; 0 outside the brain.
    lesion : uint8 array (n, n, n) or None
        Manual lesion mask, if there is one.
    brain : uint8 array (n, n, n)
        Brain mask.
    shape : tuple of 3 int
        Grid of the scan.
    affine : float array (4, 4)
        Affine of the scan (voxel to mm).
    box : tuple of 3 (start, stop)
        Voxel ranges of the crop, on the axes of the scan.
    made_from : str
        Fingerprint of what it was made from (`fingerprint`); empty where that is not known.
    """

    case: str
    volume: np.ndarray
    lesion: np.ndarray | None
    brain: np.ndarray
    shape: tuple[int, int, int]
    affine: np.ndarray
    box: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
    made_from: str = ""

    @property
    def size(self) -> int:
        """Edge n of the cube, in voxels."""
        return self.brain.shape[0]

    @property
    def voxel_mm3(self) -> float:
        """Volume of one voxel of the cube in mm^3."""
        in_box = np.prod([stop - start for start, stop in self.box])
        return float(in_box * abs(np.linalg.det(self.affine[:3, :3])) / self.size**3)


def prepare(case: str, t1, flair, lesion=None, brainmask=None, size: int = 128) -> Prepared:
    """Turn one scan into a cube of `size` voxels a side.

    Parameters
    ----------
    case : str
        Name of the case; errors begin with it.
    t1, flair : path or nibabel image
        Two 3-D images on one grid, in any orientation.
    lesion : path or nibabel image, optional
        Manual mask: 0 and one other value.
    brainmask : path or nibabel image, optional
        Brain > 0. Without one, the images must have no skull: the brain is where both are > 0.
    size : int
        A multiple of 16, because the networks halve the cube up to four times.

    Raises
    ------
    FileNotFoundError
        A file is missing.
    ValueError
        Images on different grids, NaN or infinite values, no brain, a constant image, a mask
        with more than two values, a wrong `size`.
    """
    if size < MULTIPLE or size % MULTIPLE:
        raise ValueError(f"{case}: size must be a multiple of {MULTIPLE}, got {size}")
    images = {"T1": t1, "FLAIR": flair, "lesion mask": lesion, "brain mask": brainmask}
    images = {name: _open(case, name, image) for name, image in images.items() if image is not None}
    scan = images["FLAIR"]
    for name, image in images.items():
        _check_grid(case, name, image, scan)
    arrays = {name: _array(case, name, image) for name, image in images.items()}

    brain = _brain(case, arrays)
    box = tuple((int(i.min()), int(i.max()) + 1) for i in np.nonzero(brain))
    crop = tuple(slice(*edge) for edge in box)
    brain = brain[crop]
    to_ras = nib.io_orientation(scan.affine)

    def cube(array: np.ndarray, order: int) -> np.ndarray:
        resized = resize(array.astype(np.float32), (size,) * 3, order)
        return nib.apply_orientation(resized, to_ras)

    channels = [
        cube(scale(arrays[name][crop], brain, f"{case}: {_label(name, images[name])}"), 3) for name in ("T1", "FLAIR")
    ]
    small_brain = cube(brain, 1) >= 0.5
    small_lesion = None
    if lesion is not None:
        name = f"{case}: {_label('lesion mask', images['lesion mask'])}"
        mask = binary(arrays["lesion mask"], name)[crop]
        small_lesion = (cube(mask, 1) >= MASK_THRESHOLD).astype(np.uint8)
    return Prepared(
        case=case,
        # Whole numbers, as in the paper's training; so a saved case equals a fresh one.
        volume=np.stack(channels, axis=-1).round() * small_brain[..., None],
        lesion=small_lesion,
        brain=small_brain.astype(np.uint8),
        shape=tuple(int(n) for n in scan.shape[:3]),
        affine=np.array(scan.affine, dtype=float),
        box=box,
    )


def prepare_row(row: Mapping, size: int = 128) -> Prepared:
    """Prepare one row of a cohort table; an empty lesion or brainmask counts as not given.

    The lesion mask is read by `wmhqc.cohort.load_lesion`, which knows the labels and raters of
    the databases.
    """
    masks = {name: row[name] for name in ("lesion", "brainmask") if cohort.given(row.get(name))}
    lesion = cohort.load_lesion(row) if "lesion" in masks else None
    made = prepare(row["case"], row["t1"], row["flair"], lesion, masks.get("brainmask"), size)
    return replace(made, made_from=fingerprint(row, size))


def fingerprint(row: Mapping, size: int) -> str:
    """SHA-256 over the files of a case, the size of the cube and the version of this recipe: the case's lineage."""
    digest = hashlib.sha256(f"{RECIPE}/{size}/{row.get('lesion_rule') or ''}".encode())
    for column in ("t1", "flair", "lesion", "lesion2", "brainmask"):
        if cohort.given(row.get(column)):
            digest.update(f"/{column}:{sha256(row[column])}".encode())
    return digest.hexdigest()


def keep_prepared(row: Mapping, path, size: int) -> Prepared:
    """The prepared case in `path`, made anew where the file is missing or its inputs, size or recipe have changed."""
    try:
        if (found := load(path)).made_from == fingerprint(row, size):
            return found
    except (FileNotFoundError, ValueError):
        pass
    made = prepare_row(row, size)
    save(made, path)
    return made


def keep_and_describe(row: Mapping, path, size: int) -> dict:
    """Its line in a table of prepared cases. Here, since a process that prepares need not import what is trained."""
    case = keep_prepared(row, path, size)
    volume = float((case.lesion > 0).sum() * case.voxel_mm3 / 1000)
    return {"case": case.case, "made_from": case.made_from, "voxel_mm3": case.voxel_mm3, "prepared_ml": volume}


def to_scan(values: np.ndarray, prepared: Prepared, order: int = 1) -> nib.Nifti1Image:
    """Put a map of the cube back onto the scan's own grid; 0 outside the cropped box.

    Parameters
    ----------
    values : array (n, n, n)
        A map or mask of the prepared case.
    order : {0, 1, 3}
        0 (nearest voxel) for masks, which keep their type; 1 (linear) or 3 (cubic) for maps,
        which become float32 and are averaged where the scan's voxels are larger.
    """
    n = prepared.size
    values = np.asarray(values)
    if values.shape != (n,) * 3:
        raise ValueError(f"{prepared.case}: expected a map of shape {(n,) * 3}, got {values.shape}")
    from_ras = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.io_orientation(prepared.affine)
    )
    values = nib.apply_orientation(values, from_ras)
    lengths = tuple(stop - start for start, stop in prepared.box)
    if order == 0:
        resized = resize(values, lengths, 0)
        if resized.dtype == bool:
            resized = resized.astype(np.uint8)
    else:
        resized = resize(values.astype(np.float32), lengths, order)
    whole = np.zeros(prepared.shape, resized.dtype)
    whole[tuple(slice(*edge) for edge in prepared.box)] = resized
    image = nib.Nifti1Image(whole, prepared.affine)
    image.header.set_xyzt_units("mm")
    return image


def scale(image: np.ndarray, brain: np.ndarray, name: str = "image") -> np.ndarray:
    """Scale an image to [0, 255] within the brain, 0 outside; float32.

    The paper stretches minimum to maximum. Here the 0.1 and 99.9 percentiles of the brain
    become 0 and 255: in real scans one bright voxel can be twice as bright as all others and
    would halve the contrast of the rest.

    Raises
    ------
    ValueError
        The image is constant within the brain.
    """
    low, high = np.percentile(image[brain > 0], PERCENTILES)
    if not high > low:
        raise ValueError(f"{name} is constant within the brain ({low:g}); expected an image")
    scaled = np.clip((image - low) * (255 / (high - low)), 0, 255)
    return (scaled * (brain > 0)).astype(np.float32)


def save(prepared: Prepared, path) -> None:
    """Write a prepared case as one compressed npz file (no pickle), under its name only when whole."""
    content = {name: value for name, value in vars(prepared).items() if value is not None}
    save_maps(path, **content | {"volume": prepared.volume.astype(np.uint8)})


def load(path) -> Prepared:
    """Read a case that `save` wrote.

    Raises
    ------
    FileNotFoundError, ValueError
        The file is missing, or is not a prepared case.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} does not exist, or is not a file; prepare the case again")
    try:
        with np.load(path) as file:
            return Prepared(
                case=str(file["case"]),
                volume=file["volume"].astype(np.float32),
                lesion=file.get("lesion"),
                brain=file["brain"],
                shape=tuple(file["shape"].tolist()),
                affine=file["affine"],
                box=tuple(map(tuple, file["box"].tolist())),
                made_from=str(file["made_from"]),
            )
    except PermissionError:
        raise
    except Exception as error:  # numpy, zipfile and zlib raise many kinds
        why = f"{type(error).__name__}: {error}"
        raise ValueError(f"{path} is not a prepared case ({why}); delete it and prepare the case again") from error


def _label(name: str, image: nib.spatialimages.SpatialImage) -> str:
    return f"{name} {image.get_filename() or '(in memory)'}"


def _open(case: str, name: str, image) -> nib.spatialimages.SpatialImage:
    if not hasattr(image, "affine"):
        try:
            image = load_image(image)
        except (FileNotFoundError, ValueError) as error:
            raise type(error)(f"{case}: {name} {error}") from error
    if len(image.shape) < 3 or np.prod(image.shape[3:]) != 1:
        raise ValueError(f"{case}: {_label(name, image)} has shape {image.shape}; expected one 3-D image")
    return image


def _check_grid(case: str, name: str, image, scan) -> None:
    """Refuse images whose voxels lie in different places, by more than a tenth of a voxel."""
    found = grid_mismatch(image, scan)
    if found:
        raise ValueError(
            f"{case}: {_label(name, image)} and {_label('FLAIR', scan)} are on different grids "
            f"({found}); register or resample one to the other first"
        )


def _array(case: str, name: str, image) -> np.ndarray:
    array = np.asanyarray(image.dataobj).reshape(image.shape[:3])
    bad = np.count_nonzero(~np.isfinite(array)) if array.dtype.kind == "f" else 0
    if bad:
        raise ValueError(
            f"{case}: {_label(name, image)} has {bad} NaN or infinite voxels; replace them (by 0 outside the brain)"
        )
    return array


def _brain(case: str, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Brain mask (bool) without small islands, which would stretch the box."""
    from scipy import ndimage

    if "brain mask" in arrays:
        brain, how = arrays["brain mask"] > 0, "the brain mask has no voxel > 0"
    else:
        for name in ("T1", "FLAIR"):
            negative, positive = np.count_nonzero(arrays[name] < 0), np.count_nonzero(arrays[name] > 0)
            if negative > 0.1 * positive:
                raise ValueError(
                    f"{case}: {name} has {negative} negative voxels (z-scores?), so the brain cannot be "
                    "found as the voxels > 0; give a brain mask"
                )
        brain, how = (arrays["T1"] > 0) & (arrays["FLAIR"] > 0), "no voxel is > 0 in both T1 and FLAIR"
    labels, count = ndimage.label(brain)
    if count == 0:
        raise ValueError(f"{case}: no brain found: {how}")
    voxels = np.bincount(labels.ravel())
    voxels[0] = 0
    return (voxels >= 0.05 * voxels.max())[labels] & brain


def resize(array: np.ndarray, shape: tuple[int, int, int], order: int) -> np.ndarray:
    """Resize so that the outer faces of the first and last voxels stay where they are.

    Where voxels grow, the array is smoothed first (Gaussian, SD (factor - 1) / 2 voxels, the
    rule of scikit-image), except for order 0. Cubic overshoot is clipped.

    Parameters
    ----------
    array : float array (x, y, z)
    shape : tuple of 3 int
        The new shape.
    order : {0, 1, 3}
        Nearest voxel, linear, cubic.
    """
    from scipy import ndimage

    factors = np.divide(array.shape, shape)
    source = array
    if order:
        source = ndimage.gaussian_filter(array, np.maximum(0, (factors - 1) / 2), mode="nearest")
    resized = ndimage.zoom(source, 1 / factors, order=order, mode="nearest", grid_mode=True)
    return np.clip(resized, array.min(), array.max()) if order > 1 else resized
