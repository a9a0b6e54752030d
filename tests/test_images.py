"""Opening an image, grids, and how much brighter a mask is than its surroundings."""

import gzip
import os
import socket
import tracemalloc
import warnings

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import AFFINE, SHAPE, scan, write

from wmhqc import images

TOY = scan()


def test_load_forms(tmp_path):
    array = scan()["FLAIR"]
    for name in ("a.nii", "a.nii.gz"):
        image = images.load_image(write(array, tmp_path / name))
        np.testing.assert_array_equal(image.dataobj, array)
        assert image.get_filename() == str(tmp_path / name)
    nib.save(nib.Nifti2Image(array[..., None], AFFINE), tmp_path / "four.nii.gz")
    assert images.load_image(tmp_path / "four.nii.gz").shape == SHAPE
    scaled = nib.Nifti1Image(array, AFFINE)
    scaled.set_data_dtype(np.int16)
    nib.save(scaled, tmp_path / "s.nii.gz")
    np.testing.assert_allclose(images.load_image(tmp_path / "s.nii.gz").dataobj, array, atol=0.02)


def flip_bit(data, place):
    return data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :]


@pytest.mark.parametrize(
    "name, change, message",
    [
        ("a.nii.gz", lambda data: b"", "is empty"),
        ("a.nii.gz", lambda data: data[: len(data) // 2], "truncated"),
        ("a.nii.gz", lambda data: data[:-4], "truncated"),
        ("a.nii.gz", lambda data: data[:5], "truncated"),
        ("a.nii.gz", lambda data: flip_bit(data, len(data) // 2), "damaged"),
        ("a.nii.gz", lambda data: flip_bit(data, len(data) - 6), "damaged"),
        ("a.nii.gz", gzip.decompress, "not compressed although named .gz"),
        ("a.nii.gz", lambda data: b"<html>404 Not Found</html>", "not compressed although named .gz"),
        ("a.nii.gz", lambda data: gzip.compress(b"hello"), "not a NIfTI"),
        ("a.nii", lambda data: data, "not a NIfTI"),
        ("a.nii", lambda data: gzip.decompress(data)[:-1], "truncated"),
        ("a.nii", lambda data: gzip.decompress(data)[:200], "not a NIfTI"),
        ("a.nii", lambda data: b"version https://git-lfs.github.com/spec/v1\n", "not a NIfTI"),
    ],
)
def test_load_refuses_damaged_files(tmp_path, name, change, message):
    data = write(scan()["FLAIR"], tmp_path / "good.nii.gz").read_bytes()
    (tmp_path / name).write_bytes(change(data))
    with pytest.raises(ValueError, match=message) as error:
        images.load_image(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)


def test_load_refuses_what_is_not_one_volume(tmp_path):
    for array in (np.zeros((4, 4, 4, 2), np.float32), np.zeros((4, 4), np.float32), np.zeros((4, 4, 4), np.complex64)):
        with pytest.raises(ValueError, match="one 3-D image of numbers"):
            images.load_image(write(array, tmp_path / "a.nii"))
    image = nib.Nifti1Image(np.ones(SHAPE, np.uint8), None)
    image.set_sform(np.diag([1, 1, 0, 1]), code=1)
    nib.save(image, tmp_path / "flat.nii")
    with pytest.raises(ValueError, match="no volume"):
        images.load_image(tmp_path / "flat.nii")
    for path in (tmp_path, tmp_path / "no.nii"):
        with pytest.raises(FileNotFoundError, match="does not exist"):
            images.load_image(path)


@settings(max_examples=80, deadline=None)
@given(place=st.integers(0, 351), value=st.integers(0, 255))
def test_load_never_raises_anything_else(tmp_path_factory, place, value):
    """Any one byte of the header changed: an image, or an error that names the file."""
    path = tmp_path_factory.getbasetemp() / "fuzz.nii"
    if not path.exists():
        write(np.zeros((3, 4, 5), np.int16), path)
    data = bytearray(path.read_bytes())
    data[place] = value
    changed = path.with_name("fuzzed.nii")
    changed.write_bytes(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert images.load_image(changed).ndim == 3
    except ValueError as error:
        assert str(changed) in str(error)


def test_a_quaternion_that_is_a_little_off_keeps_no_scan_out(tmp_path):
    image = nib.Nifti1Image(np.arange(27.0, dtype=np.float32).reshape(3, 3, 3), np.diag([1.0, 2, 3, 1]))
    image.header["qform_code"], image.header["sform_code"] = 1, 1
    image.header["quatern_b"], image.header["quatern_c"], image.header["quatern_d"] = 0.6, 0.8, 0.01
    nib.save(image, tmp_path / "off.nii")
    assert np.array_equal(images.load_image(tmp_path / "off.nii").affine, image.affine)


def test_resample_to(tmp_path):
    mask = nib.Nifti1Image(scan()["lesion"], AFFINE)
    turned = nib.Nifti1Image(
        np.flip(mask.dataobj, 0),
        AFFINE @ np.array([[-1, 0, 0, SHAPE[0] - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
    )
    back = images.resample_to(turned, mask, order=0)
    np.testing.assert_array_equal(back.dataobj, mask.dataobj)
    assert back.get_data_dtype() == np.uint8
    with pytest.raises(ValueError, match="order"):
        images.resample_to(turned, mask, order=2)


# ---------------------------------------------------------------- what a header says, and what is there


def header(shape=(4, 4, 4), dtype=np.uint8, **fields):
    """Bytes of a NIfTI header, and 4 bytes that say that no notes follow."""
    made = nib.Nifti1Header()
    made.set_data_dtype(dtype)
    made["dim"][: len(shape) + 1] = (len(shape), *shape)
    made["pixdim"][:5] = 1
    made["magic"], made["vox_offset"], made["sform_code"] = b"n+1", 352, 1
    made["srow_x"], made["srow_y"], made["srow_z"] = np.eye(4)[:3]
    for field, value in fields.items():
        made[field] = value
    return made.binaryblock + bytes(4)


HUGE = {
    "1200 voxels an edge": (header((1200, 1200, 1200), np.float32), "more than any scan"),
    "32767 voxels an edge": (header((32767, 32767, 32767)), "more than any scan"),
    "500 voxels an edge": (header((500, 500, 500)), "truncated"),
    "gzip bomb": (header() + bytes(2**26), "holds much more than the 416 bytes"),
    "far offset": (header(vox_offset=2e9), "begin at byte 2000000000"),
    "series": (header((200, 200, 200, 900), np.float64), "one 3-D image"),
}


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("kind", HUGE)
def test_memory_is_bounded_by_what_a_file_holds(tmp_path, kind, packed):
    content, message = HUGE[kind]
    path = tmp_path / ("a.nii.gz" if packed else "a.nii")
    path.write_bytes(gzip.compress(content) if packed else content)
    tracemalloc.start()
    with pytest.raises(ValueError, match=message) as error:
        images.load_image(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(path) in str(error.value) and peak < 2**26 + 2**24


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_voxels_do_not_begin_within_the_header(tmp_path, name):
    """nibabel takes a vox_offset of 0 for what it says, and reads the header as voxels."""
    content = header(vox_offset=0) + bytes(range(64))
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    with pytest.raises(ValueError, match="begin at byte 0, which cannot be"):
        images.load_image(tmp_path / name)


@pytest.mark.parametrize("dtype", [np.int64, np.uint64, np.float64, np.int16, np.uint8])
@pytest.mark.parametrize("top, big", [(100, False), (2**40, True)])
def test_types(tmp_path, dtype, top, big):
    """numpy's default integer is common, and few programs read it: int32 where it fits, else float32."""
    if big and np.dtype(dtype).itemsize < 8:
        return
    array = (np.arange(60).reshape(3, 4, 5) % 7 * (top // 6)).astype(np.float64).astype(dtype)
    content = header((3, 4, 5), dtype) + array.tobytes(order="F")
    (tmp_path / "a.nii").write_bytes(content)
    image = images.load_image(tmp_path / "a.nii")
    voxels = np.asanyarray(image.dataobj)
    expected = {"int64": "int32", "uint64": "int32", "float64": "float32"}.get(
        np.dtype(dtype).name, np.dtype(dtype).name
    )
    assert voxels.dtype == ("float32" if big else expected)
    np.testing.assert_allclose(voxels, array.astype(float), rtol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("field", ["srow_x", "srow_z"])
def test_affines_that_are_no_numbers(tmp_path, field, value):
    for row in ([value, 0, 0, 0], [1, 0, 0, value]):
        (tmp_path / "a.nii").write_bytes(header(**{field: row}) + bytes(64))
        with pytest.raises(ValueError, match="NaN or infinity in its affine"):
            images.load_image(tmp_path / "a.nii")


def test_names_in_capitals(tmp_path):
    (tmp_path / "A.NII.GZ").write_bytes(gzip.compress(header() + bytes(range(64))))
    assert images.load_image(tmp_path / "A.NII.GZ").shape == (4, 4, 4)


def test_an_image_that_does_not_say_how_it_lies(tmp_path):
    for code, placed in ((0, False), (1, True)):
        (tmp_path / "a.nii").write_bytes(header(sform_code=code) + bytes(range(64)))
        image = images.load_image(tmp_path / "a.nii")
        assert images.is_placed(image) == placed
        np.testing.assert_array_equal(image.affine, nib.load(tmp_path / "a.nii").affine)


@pytest.mark.parametrize("kind", ["pipe", "device", "socket", "link to itself", "folder"])
def test_what_is_no_file_is_not_waited_for(tmp_path, kind):
    path = tmp_path / "a.nii"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "socket":
        socket.socket(socket.AF_UNIX).bind(str(path))
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(path)
    with pytest.raises(FileNotFoundError, match="is not a file"):
        images.load_image(path)
