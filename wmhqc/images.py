"""Images: open one, read a mask, compare grids, put one on the grid of another."""

from __future__ import annotations

import gzip
import itertools
import math
import re
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np

#: Voxels of two images may lie apart by this part of the smallest voxel edge.
GRID_TOLERANCE = 0.1
#: A whole head at 0.35 mm has 2e8 voxels, most scans have 1e7.
MAX_VOXELS = 2**28
#: Headers are followed by notes of other programs, then by the voxels, from this byte on at the latest.
MAX_OFFSET = 2**24
#: A label that was stored with a scale is off by less.
LABEL_TOLERANCE = 1e-3
#: Bytes that may follow the voxels; more are another image, which nobody would miss.
MAX_TAIL = 4096
#: Bytes that are read at once.
BLOCK = 2**24
#: What is said of an image that is not `is_placed`.
UNPLACED = (
    "the header does not say how the FLAIR lies in space (qform and sform codes are 0), so left and right are a guess"
)


def load_image(path) -> nib.spatialimages.SpatialImage:
    """Read a whole 3-D NIfTI image, with its voxels, to its last byte.

    A fourth axis of length 1 is dropped, as many programs write one; a longer one is refused.
    Fractions become float32; whole numbers of 64 bits become int32 where they fit, else float32,
    as few programs read them. Memory is bounded by what the file holds, not by what its header says.

    Raises
    ------
    FileNotFoundError
        No such file, or a folder, device or pipe.
    ValueError
        The file is empty, truncated, damaged, not NIfTI, not one 3-D image, larger than any
        scan of a head, or does not say where its voxels lie.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist, or is not a file")
    if not path.stat().st_size:
        raise ValueError(f"{path} is empty (0 bytes); get the file again")
    try:
        kind, content = _content(path)
        image = kind.from_bytes(content)
        array = np.asanyarray(image.dataobj).reshape(image.shape[:3])
    except (gzip.BadGzipFile, zlib.error) as error:
        problem = "is damaged, or not compressed although named .gz"
        raise ValueError(f"{path} {problem} ({error}); get the file again") from error
    except EOFError as error:
        raise ValueError(f"{path} is truncated ({error}); get the file again") from error
    except _Unusable as error:
        raise ValueError(f"{path} {error}") from None
    except OSError as error:
        raise OSError(error.errno, f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # nibabel raises many kinds
        why = str(error) or type(error).__name__
        raise ValueError(f"{path} is not a NIfTI image ({why}); convert it, or get the file again") from error
    if not np.isfinite(image.affine).all():
        raise ValueError(f"{path} has NaN or infinity in its affine (qform, sform); correct its header")
    if not abs(np.linalg.det(image.affine[:3, :3])) > 0:
        raise ValueError(f"{path} says in its header that its voxels have no volume; correct its affine")
    plain = kind(_plain(array), image.affine)
    copy_codes(plain, image)
    plain.set_filename(str(path))
    return plain


class _Unusable(Exception):
    """What is wrong with a file, as words that go on after its name."""


def _content(path: Path) -> tuple[type, bytes]:
    """Class and bytes of a NIfTI file; its header is compared with what is there before memory is taken."""
    packed = path.suffix.lower() == ".gz"
    with (gzip.open if packed else open)(path, "rb") as file:
        start = file.read(540)
        second = start[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c")  # length of the NIfTI-2 header, 540
        kind = nib.Nifti2Image if second else nib.Nifti1Image
        size = _declared(kind.header_class(start[: kind.header_class.sizeof_hdr]))
        if not packed and path.stat().st_size < size:
            raise EOFError(f"its header speaks of {size} bytes, {path.stat().st_size} are there")
        content = bytearray(start)
        while block := file.read(BLOCK):  # to the end, where gzip keeps its checksum
            if len(content) + len(block) > size + BLOCK:
                raise _Unusable(f"holds much more than the {size} bytes that its header speaks of; get the file again")
            content += block
    if len(content) > size + MAX_TAIL:
        raise _Unusable(f"holds more than the {size} bytes that its header speaks of: two images in one? Get it again")
    if len(content) < size:
        raise EOFError(f"its header speaks of {size} bytes, {len(content)} are there")
    return kind, bytes(content)


def _declared(header) -> int:
    """How many bytes a file with this header has at least, if it is one 3-D image of numbers."""
    shape, dtype = header.get_data_shape(), header.get_data_dtype()
    if len(shape) < 3 or math.prod(shape[3:]) != 1 or min(shape) < 1 or dtype.kind not in "buif":
        raise _Unusable(
            f"has shape {shape} and type {dtype}; expected one 3-D image of numbers (choose one volume of a series)"
        )
    if math.prod(shape) > MAX_VOXELS:
        raise _Unusable(f"has {shape} voxels, more than any scan of a head; is its header damaged? Else resample it")
    offset = header.get_data_offset()
    if not header.single_vox_offset <= offset <= MAX_OFFSET:
        raise _Unusable(
            f"says that its voxels begin at byte {offset}, which cannot be; write it anew, with another program"
        )
    return offset + math.prod(shape) * dtype.itemsize


def _plain(array: np.ndarray) -> np.ndarray:
    """The voxels as a type that every program reads."""
    if array.dtype.kind in "iu" and array.dtype.itemsize == 8:
        whole = np.iinfo(np.int32)
        fits = whole.min <= array.min() and array.max() <= whole.max
        return array.astype(np.int32 if fits else np.float32)
    if array.dtype.kind == "f" and array.dtype.itemsize != 4:
        with np.errstate(over="ignore"):  # becomes infinity, which the checks of a case refuse
            return array.astype(np.float32)
    return array


def is_placed(image) -> bool:
    """Does the header say where the voxels lie (qform or sform)? If not, left and right are a guess."""
    return image.header["qform_code"] > 0 or image.header["sform_code"] > 0


def forms_differ(image) -> str:
    """How far qform and sform of a header lie apart, as words; empty if by a voxel at most, or if only one is set."""
    if not (image.header["qform_code"] > 0 and image.header["sform_code"] > 0):
        return ""
    apart = _apart(image.get_qform(), image.get_sform(), image.shape)
    return f"up to {apart:.1f} mm" if apart > nib.affines.voxel_sizes(image.affine).min() else ""


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
    if re.fullmatch(r"label \d+(,\d+)*", rule):
        labels = map(int, rule.removeprefix("label ").split(","))
        return np.logical_or.reduce([np.abs(array - float(label)) < LABEL_TOLERANCE for label in labels])
    if rule == "label > 0":
        return array > 0
    if rule not in ("", "union", "intersection"):
        known = "empty, 'label 1', 'label 1,2', 'label > 0', 'union' or 'intersection'"
        raise ValueError(f"lesion_rule {rule!r} is unknown; expected {known}")
    top = array.max()
    if not ((array == 0) | (array == top)).all() or top < 0:
        few = ", ".join(f"{value:g}" for value in np.unique(array)[:6])
        raise ValueError(
            f"{name} has the values {few}...; expected a mask of 0 and one other value "
            "(threshold a probability map; of a mask of several labels say which are lesion, in the column lesion_rule "
            "of a cohort table or with wmhqc qc --label)"
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
    distance = _apart(image.affine, reference.affine, reference.shape)
    smallest = nib.affines.voxel_sizes(reference.affine).min()
    return f"voxels lie up to {distance:.2f} mm apart" if not distance <= GRID_TOLERANCE * smallest else ""


def _apart(affine: np.ndarray, other: np.ndarray, shape: tuple) -> float:
    """How far two affines put a voxel apart, along one axis, in mm: most at some corner of the grid."""
    corners = np.array(list(itertools.product(*[(0, n - 1) for n in shape[:3]], [1]))).T
    return float(np.abs((affine - other) @ corners).max())
