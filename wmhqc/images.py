"""Images: open one, read a mask, compare grids, put one image on the grid of another, judge a mask on its FLAIR."""

from __future__ import annotations

import gzip
import itertools
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np

#: Voxels of two images may lie apart by this part of the smallest voxel edge.
GRID_TOLERANCE = 0.1
#: The surroundings of a lesion: this far from it, in mm.
SURROUNDINGS_MM = (2.0, 6.0)


def load_image(path) -> nib.spatialimages.SpatialImage:
    """Read a whole 3-D NIfTI image, with its voxels, to its last byte.

    A fourth axis of length 1 is dropped, as many programs write one; a longer one is refused.

    Raises
    ------
    FileNotFoundError
        No such file.
    ValueError
        The file is empty, truncated, damaged, not NIfTI, or not one 3-D image.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist, or is not a file")
    content = path.read_bytes()
    if not content:
        raise ValueError(f"{path} is empty (0 bytes); get the file again")
    try:
        if path.suffix == ".gz":
            # To the end, where gzip keeps its checksum; nibabel alone may stop before it.
            content = gzip.decompress(content)
        second = content[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c")  # length of the NIfTI-2 header, 540
        kind = nib.Nifti2Image if second else nib.Nifti1Image
        image = kind.from_bytes(content)
        array = np.asanyarray(image.dataobj)
    except (gzip.BadGzipFile, zlib.error) as error:
        problem = "is damaged, or not compressed although named .gz"
        raise ValueError(f"{path} {problem} ({error}); get the file again") from error
    except (EOFError, OSError) as error:
        raise ValueError(f"{path} is truncated ({error}); get the file again") from error
    except Exception as error:  # nibabel raises many kinds
        raise ValueError(f"{path} is not a NIfTI image ({error}); convert it, or get the file again") from error
    if array.ndim > 3 and np.prod(array.shape[3:]) == 1:
        array = array.reshape(array.shape[:3])
    if array.ndim != 3 or array.size == 0 or array.dtype.kind not in "buif":
        raise ValueError(
            f"{path} has shape {array.shape} and type {array.dtype}; expected one 3-D image of numbers "
            "(choose one volume of a series)"
        )
    if not abs(np.linalg.det(image.affine[:3, :3])) > 0:
        raise ValueError(f"{path} says in its header that its voxels have no volume; correct its affine")
    if array.dtype == np.float64:
        array = array.astype(np.float32)
    plain = kind(array, image.affine)
    copy_codes(plain, image)
    plain.set_filename(str(path))
    return plain


def copy_codes(image, source) -> None:
    """Give an image the sform and qform of another on the same grid, with what their codes say they mean."""
    for form in ("qform", "sform"):
        try:
            matrix, code = getattr(source, f"get_{form}")(coded=True)
            getattr(image, f"set_{form}")(matrix, int(code))
        except (ValueError, nib.spatialimages.HeaderDataError):
            continue  # a quaternion that is a little off; the other form says where the voxels lie


def binary(array: np.ndarray, name, rule: str = "") -> np.ndarray:
    """What is lesion in the voxels of a mask (bool).

    Parameters
    ----------
    array : array (x, y, z)
    name : str or path
        What the mask is called in errors.
    rule : str
        See `load_lesion`.

    Raises
    ------
    ValueError
        The mask has values that the rule does not know.
    """
    if rule == "label 1":
        return array == 1
    if rule == "label > 0":
        return array > 0
    if rule not in ("", "union", "intersection"):
        known = "empty, 'label 1', 'label > 0', 'union' or 'intersection'"
        raise ValueError(f"lesion_rule {rule!r} is unknown; expected {known}")
    top = array.max()
    if not ((array == 0) | (array == top)).all() or top < 0:
        few = ", ".join(f"{value:g}" for value in np.unique(array)[:6])
        raise ValueError(
            f"{name} has the values {few}...; expected a mask of 0 and one other value "
            "(threshold a probability map; of a mask of several labels give the lesions alone, or, in a cohort table, "
            "say in the column lesion_rule which label is lesion)"
        )
    return array > 0


def resample_to(image, reference, order: int = 1) -> nib.Nifti1Image:
    """Put an image onto the grid of another one, trusting both headers.

    Parameters
    ----------
    image, reference : nibabel image or path
        What is resampled, and the image whose grid it gets.
    order : {0, 1, 3}
        0 (nearest voxel) for masks, which keep their type; 1 (linear) or 3 (cubic) for images.
    """
    from nilearn.image import resample_to_img

    names = {0: "nearest", 1: "linear", 3: "cubic"}
    if order not in names:
        raise ValueError(f"order must be 0, 1 or 3, got {order}")
    image, reference = (i if hasattr(i, "affine") else load_image(i) for i in (image, reference))
    return resample_to_img(image, reference, interpolation=names[order], force_resample=True, copy_header=True)


def grid_mismatch(image, reference) -> str:
    """How the grids of two images differ, as words; empty if voxels lie within a tenth of a voxel."""
    if image.shape[:3] != reference.shape[:3]:
        return f"shapes {image.shape[:3]} and {reference.shape[:3]}"
    corners = np.array(list(itertools.product(*[(0, n - 1) for n in reference.shape[:3]], [1]))).T
    distance = np.abs((image.affine - reference.affine) @ corners).max()
    smallest = nib.affines.voxel_sizes(reference.affine).min()
    return f"voxels lie up to {distance:.2f} mm apart" if not distance <= GRID_TOLERANCE * smallest else ""


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
    return brighter(flair, brain, mask, surroundings(mask, affine)) if mask.any() else float("nan")


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


def brighter(flair: np.ndarray, brain: np.ndarray, mask: np.ndarray, around: np.ndarray, flip: tuple = ()) -> float:
    """Area under the ROC curve of FLAIR in the mask against around it, both mirrored along `flip`."""
    from scipy.stats import mannwhitneyu

    def values(region: np.ndarray) -> np.ndarray:
        places = list(np.nonzero(region))
        for axis in flip:
            places[axis] = region.shape[axis] - 1 - places[axis]
        places = tuple(places)
        return flair[places][np.asarray(brain)[places] > 0]

    inside, outside = values(mask), values(around)
    if not inside.size or not outside.size:
        return float("nan")
    return float(mannwhitneyu(inside, outside, method="asymptotic").statistic / inside.size / outside.size)
