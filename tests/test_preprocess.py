"""Scan to cube and back: places, volumes, ranges, and what is refused."""

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.affines import apply_affine

from wmhqc import preprocess

OBLIQUE = nib.eulerangles.euler2mat(0.2, -0.1, 0.3) @ np.diag([1.0, 1.2, 3.0])
LPS = np.diag([-1.0, -1.0, 2.0])
STRAIGHT = np.eye(3)
SWAPPED = np.array([[0, 0, 2.0], [-1.0, 0, 0], [0, 1.5, 0]])


def affine(matrix=STRAIGHT, origin=(-20.0, 5.0, 10.0)):
    full = np.eye(4)
    full[:3, :3], full[:3, 3] = matrix, origin
    return full


def ball(shape, centre, radius):
    grid = np.indices(shape).T - np.array(centre)
    return (np.square(grid).sum(-1) <= radius**2).T


def phantom(shape=(36, 40, 30), matrix=STRAIGHT, lesion_centre=(14, 22, 12), radius=4):
    """A smooth synthetic head with a bright ball: T1, FLAIR, lesion, brain mask."""
    rng = np.random.default_rng(0)
    brain = np.zeros(shape, bool)
    brain[4:-3, 3:-5, 2:-4] = True
    lesion = ball(shape, lesion_centre, radius)
    t1 = (100 + 10 * rng.random(shape)) * brain
    flair = (100 + 10 * rng.random(shape) + 80 * lesion) * brain
    images = [t1.astype(np.float32), flair.astype(np.float32), lesion.astype(np.uint8), brain.astype(np.uint8)]
    return [nib.Nifti1Image(image, affine(matrix)) for image in images]


def centre_mm(mask, matrix):
    return apply_affine(matrix, np.argwhere(mask).mean(0))


@pytest.mark.parametrize("matrix", [np.eye(3), LPS, OBLIQUE, SWAPPED], ids=["RAS", "LPS", "oblique", "swapped"])
def test_round_trip_keeps_place_and_volume(matrix):
    t1, flair, lesion, brain = phantom(matrix=matrix)
    case = preprocess.prepare("sub-a", t1, flair, lesion, brain, size=64)
    assert case.box == ((4, 33), (3, 35), (2, 26))
    back = preprocess.to_scan(case.lesion, case, order=0)
    before, after = lesion.get_fdata() > 0, np.asanyarray(back.dataobj) > 0
    assert back.shape == flair.shape and np.allclose(back.affine, flair.affine)
    assert back.get_data_dtype() == np.uint8
    assert np.linalg.norm(centre_mm(before, lesion.affine) - centre_mm(after, back.affine)) < 0.3
    voxel = abs(np.linalg.det(matrix))
    # the threshold of 0.3 adds a thin rim: at most a third of a voxel around a ball of radius 4
    assert before.sum() * voxel <= after.sum() * voxel <= 1.35 * before.sum() * voxel
    in_cube = case.lesion.sum() * case.voxel_mm3
    assert in_cube == pytest.approx(after.sum() * voxel, rel=0.1)


def test_maps_return_to_where_they_were():
    """A ramp along each world axis is the same ramp after the way there and back."""
    t1, flair, lesion, brain = phantom(matrix=SWAPPED)
    case = preprocess.prepare("sub-a", t1, flair, None, brain, size=64)
    for axis in range(3):
        ramp = np.moveaxis(np.broadcast_to(np.arange(64, dtype=np.float32), (64, 64, 64)), -1, axis)
        back = preprocess.to_scan(ramp, case).get_fdata()
        inside = np.asanyarray(brain.dataobj) > 0
        mm = apply_affine(brain.affine, np.argwhere(inside))[:, axis]
        assert np.corrcoef(mm, back[inside])[0, 1] > 0.999  # RAS+: increases with world x, y, z
        assert not back[~inside].any()


def test_volume_is_t1_then_flair_in_0_to_255():
    t1, flair, lesion, brain = phantom()
    case = preprocess.prepare("sub-a", t1, flair, lesion, brain, size=32)
    inside = case.brain > 0
    assert case.volume.shape == (32, 32, 32, 2) and case.volume.dtype == np.float32
    assert not case.volume[~inside].any()
    for channel in np.moveaxis(case.volume, -1, 0):
        assert channel.min() == 0 and 200 < channel.max() <= 255
        assert (channel == channel.round()).all()
    assert case.volume[..., 1][case.lesion > 0].mean() > 2 * case.volume[..., 1][inside & (case.lesion == 0)].mean()
    assert case.voxel_mm3 == pytest.approx(29 * 32 * 24 / 32**3)


def test_one_hot_voxel_does_not_change_the_scan():
    t1, flair, lesion, brain = phantom()
    hot = flair.get_fdata()
    hot[20, 20, 15] = 1e5
    volumes = [
        preprocess.prepare("sub-a", t1, image, None, brain, size=16).volume[..., 1]
        for image in (flair, nib.Nifti1Image(hot, flair.affine))
    ]
    far = np.ones((16, 16, 16), bool)
    far[6:12, 5:13, 5:13] = False
    assert np.abs(volumes[0] - volumes[1])[far].max() <= 3


def test_without_brain_mask_the_brain_is_where_both_images_are_positive_and_islands_are_dropped():
    t1, flair, _, brain = phantom()
    arrays = [image.get_fdata() for image in (t1, flair)]
    for array in arrays:
        array[0, 0, 0] = 500  # a stray voxel far from the brain
    t1, flair = (nib.Nifti1Image(array, t1.affine) for array in arrays)
    case = preprocess.prepare("sub-a", t1, flair, size=16)
    assert case.box == ((4, 33), (3, 35), (2, 26))
    assert case.lesion is None and case.brain.all()


@settings(max_examples=12, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 40)] * 3),
    size=st.sampled_from([16, 32]),
    flips=st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3),
    order=st.permutations(range(3)),
    spacing=st.tuples(*[st.floats(0.5, 7)] * 3),
)
def test_any_grid_goes_there_and_back(shape, size, flips, order, spacing):
    matrix = np.diag(np.multiply(flips, spacing))[list(order)]
    if np.prod(shape) < 2:
        shape = (2, 2, 2)
    image = np.arange(1, np.prod(shape) + 1, dtype=np.float32).reshape(shape)
    scan = nib.Nifti1Image(image, affine(matrix))
    full = nib.Nifti1Image(np.ones(shape, np.uint8), scan.affine)
    case = preprocess.prepare("sub-a", scan, scan, full, size=size)
    assert case.volume.shape == (size, size, size, 2)
    assert case.lesion.all() and case.brain.all()
    assert case.voxel_mm3 * size**3 == pytest.approx(np.prod(shape) * np.prod(spacing), rel=1e-4)
    back = preprocess.to_scan(case.brain, case, order=0)
    assert back.shape == shape and back.get_fdata().all()


def test_saved_case_equals_fresh_case(tmp_path):
    t1, flair, lesion, brain = phantom(matrix=OBLIQUE)
    for mask in (lesion, None):
        case = preprocess.prepare("sub-a", t1, flair, mask, brain, size=16)
        preprocess.save(case, tmp_path / "new" / "case.npz")
        loaded = preprocess.load(tmp_path / "new" / "case.npz")
        assert (loaded.case, loaded.shape, loaded.box) == (case.case, case.shape, case.box)
        for name in ("volume", "lesion", "brain", "affine"):
            np.testing.assert_array_equal(getattr(loaded, name), getattr(case, name))
        assert loaded.volume.dtype == np.float32
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["case.npz"]


def test_load_refuses_what_is_not_a_prepared_case(tmp_path):
    with pytest.raises(FileNotFoundError):
        preprocess.load(tmp_path / "absent.npz")
    broken = tmp_path / "broken.npz"
    for content in (b"", b"not a zip", b"PK\x03\x04 torn"):
        broken.write_bytes(content)
        with pytest.raises(ValueError, match="broken.npz"):
            preprocess.load(broken)
    np.savez(broken, volume=np.zeros(3))
    with pytest.raises(ValueError, match="broken.npz"):
        preprocess.load(broken)


def test_damaged_prepared_cases_are_named(tmp_path):
    """Bytes changed at random: the same case, or an error that names the file."""
    whole, broken = tmp_path / "whole.npz", tmp_path / "broken.npz"
    t1, flair, lesion, brain = phantom()
    preprocess.save(preprocess.prepare("sub-a", t1, flair, lesion, brain, 16), whole)
    rng, refused = np.random.default_rng(0), 0
    for _ in range(60):
        content = np.frombuffer(whole.read_bytes(), np.uint8).copy()
        content[rng.integers(0, content.size, 8)] = rng.integers(0, 256, 8)
        broken.write_bytes(content.tobytes())
        try:
            assert preprocess.load(broken).case == "sub-a"
        except ValueError as error:
            assert str(broken) in str(error)
            refused += 1
    assert refused > 20


def edited(image, edit):
    array = image.get_fdata().astype(np.float32)
    array = edit(array)
    return nib.Nifti1Image(array, image.affine)


def with_nan(array):
    array[5, 5, 5] = np.nan
    return array


@pytest.mark.parametrize(
    "which, edit, says",
    [
        ("t1", with_nan, "1 NaN"),
        ("t1", lambda a: np.ones_like(a), "constant"),
        ("t1", lambda a: a[:-1], "different grids"),
        ("t1", lambda a: np.stack([a, a], -1), "3-D"),
        ("brainmask", lambda a: a * 0, "no brain"),
        ("lesion", lambda a: a * np.arange(a.shape[0])[:, None, None], "has the values"),
    ],
)
def test_bad_images_are_refused(which, edit, says):
    scan = dict(zip(("t1", "flair", "lesion", "brainmask"), phantom(), strict=True))
    scan[which] = edited(scan[which], edit)
    with pytest.raises(ValueError, match=says) as error:
        preprocess.prepare("sub-a", **scan, size=16)
    assert str(error.value).startswith("sub-a: ")


def test_other_errors_say_what_to_do(tmp_path):
    t1, flair, lesion, brain = phantom()
    for size in (0, 20, 24):
        with pytest.raises(ValueError, match="multiple of 16"):
            preprocess.prepare("sub-a", t1, flair, size=size)
    with pytest.raises(FileNotFoundError, match="T1 .*absent"):
        preprocess.prepare("sub-a", tmp_path / "absent.nii.gz", flair)
    (tmp_path / "text.nii.gz").write_text("hello")
    with pytest.raises(ValueError, match="text.nii.gz"):
        preprocess.prepare("sub-a", t1, tmp_path / "text.nii.gz")
    with pytest.raises(ValueError, match="no voxel is > 0"):
        preprocess.prepare("sub-a", edited(t1, lambda a: a * 0), flair)
    with pytest.raises(ValueError, match="brain mask"):
        preprocess.prepare("sub-a", edited(t1, lambda a: a - 105), flair)


def test_grids_that_disagree_name_both_files(tmp_path):
    t1, flair, lesion, brain = phantom()
    nib.save(flair, tmp_path / "flair.nii.gz")
    shifted = affine(origin=(-20.0, 5.0, 11.0))
    nib.save(nib.Nifti1Image(lesion.get_fdata(), shifted), tmp_path / "lesion.nii.gz")
    with pytest.raises(ValueError, match="1.00 mm") as error:
        preprocess.prepare("sub-a", t1, tmp_path / "flair.nii.gz", tmp_path / "lesion.nii.gz", brain)
    assert "flair.nii.gz" in str(error.value) and "lesion.nii.gz" in str(error.value)
    rounding = nib.Nifti1Image(lesion.get_fdata(), affine(origin=(-20.0, 5.0, 10.0001)))
    preprocess.prepare("sub-a", t1, flair, rounding, brain, size=16)


def test_torn_file_is_named(tmp_path):
    t1, flair, _, _ = phantom()
    path = tmp_path / "torn.nii.gz"
    nib.save(flair, path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(ValueError, match="torn.nii.gz"):
        preprocess.prepare("sub-a", t1, path)


def test_to_scan_refuses_other_shapes():
    t1, flair, lesion, brain = phantom()
    case = preprocess.prepare("sub-a", t1, flair, lesion, brain, size=16)
    with pytest.raises(ValueError, match=r"\(16, 16, 16\)"):
        preprocess.to_scan(np.zeros((8, 8, 8)), case)


def test_row_of_a_table(tmp_path):
    row = {"case": "sub-a", "lesion": float("nan"), "brainmask": ""}
    for name, image in zip(("t1", "flair"), phantom(), strict=False):
        row[name] = str(tmp_path / f"{name}.nii.gz")
        nib.save(image, row[name])
    case = preprocess.prepare_row(row, size=16)
    assert case.case == "sub-a" and case.lesion is None
    labels = edited(phantom()[2], lambda lesion: lesion + (lesion > 0) * (np.arange(36)[:, None, None] > 14))
    nib.save(labels, tmp_path / "lesion.nii.gz")
    rows = [row | {"lesion": str(tmp_path / "lesion.nii.gz"), "lesion_rule": rule} for rule in ("label 1", "label > 0")]
    first, all_labels = (preprocess.prepare_row(row, size=32).lesion.sum() for row in rows)
    assert 0 < first < 0.8 * all_labels


@pytest.mark.parametrize("case", ["sub-ms17p19", "sub-tab04"])
def test_real_patient(shared, case):
    folder = shared / "data" / "real" / case
    paths = [folder / f"{case}_{part}.nii.gz" for part in ("T1w", "FLAIR", "lesion", "brainmask")]
    prepared = preprocess.prepare(case, *paths, size=64)
    lesion = nib.load(paths[2])
    before = lesion.get_fdata() > 0
    back = preprocess.to_scan(prepared.lesion, prepared, order=0).get_fdata() > 0
    assert 2 * (before & back).sum() / (before.sum() + back.sum()) > 0.75
    assert np.linalg.norm(centre_mm(before, lesion.affine) - centre_mm(back, lesion.affine)) < 1.5
    # lesions are bright on FLAIR: the cube is the right way round
    inside = (prepared.brain > 0) & (prepared.lesion == 0)
    assert prepared.volume[..., 1][prepared.lesion > 0].mean() > prepared.volume[..., 1][inside].mean() + 20
