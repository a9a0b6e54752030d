"""Opening an image, grids, and how much brighter a mask is than its surroundings."""

import gzip
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


def test_contrast_known_values():
    mask = np.zeros((20, 20, 20), bool)
    mask[8:12, 8:12, 8:12] = True
    brain = np.ones_like(mask)
    flat = np.random.default_rng(0).normal(size=mask.shape)
    assert images.contrast(mask, flat + 100 * mask, brain, np.eye(4)) == 1
    assert images.contrast(mask, flat - 100 * mask, brain, np.eye(4)) == 0
    assert images.contrast(mask, flat, brain, np.eye(4)) == pytest.approx(0.5, abs=0.15)
    assert images.contrast(mask, np.ones_like(flat), brain, np.eye(4)) == 0.5
    assert np.isnan(images.contrast(np.zeros_like(mask), flat, brain, np.eye(4)))
    assert np.isnan(images.contrast(mask, flat, mask, np.eye(4)))  # nothing around it


@settings(max_examples=15, deadline=None)
@given(factor=st.floats(0.01, 100), offset=st.floats(-50, 50))
def test_contrast_does_not_depend_on_the_scale(factor, offset):
    brain, lesion, flair = TOY["brainmask"] > 0, TOY["lesion"] > 0, TOY["FLAIR"].astype(float)
    assert images.contrast(lesion, factor * flair + offset, brain, AFFINE) == pytest.approx(
        images.contrast(lesion, flair, brain, AFFINE), abs=1e-9
    )
