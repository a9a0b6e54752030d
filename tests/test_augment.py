"""Augmentation: masks move with images, ranges hold, severity means something."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wmhqc import augment

N = 32


def phantom(seed=0):
    """A synthetic brain: a textured ball with a bright off-centre lesion, and its mask."""
    rng = np.random.default_rng(seed)
    x, y, z = np.indices((N, N, N)) - (N - 1) / 2
    brain = x**2 + y**2 + z**2 < (0.42 * N) ** 2
    lesion = (x - 4) ** 2 + (y + 5) ** 2 + (z - 2) ** 2 < 16
    texture = 120 + 20 * np.sin(x / 2) * np.cos(y / 3) + 5 * rng.standard_normal(brain.shape)
    t1, flair = texture - 40 * lesion, texture * 0.8 + 110 * lesion
    volume = (np.stack([t1, flair], -1) * brain[..., None]).clip(0, 255).astype(np.float32)
    return volume, lesion.astype(np.uint8)


@pytest.mark.parametrize("move", [augment.affine, augment.flip, augment.train_augment])
def test_mask_moves_with_the_image(move):
    _, mask = phantom()
    volume = np.repeat(255 * mask[..., None].astype(np.float32), 2, axis=-1)
    for seed in range(8):
        moved, moved_mask = move(volume, mask, np.random.default_rng(seed))
        image = moved[..., 0] > 127 if move is not augment.train_augment else moved.mean(-1) > 60
        dice = 2 * (image & (moved_mask > 0)).sum() / (image.sum() + moved_mask.sum())
        assert dice > (0.99 if move is not augment.train_augment else 0.6)
        assert moved_mask.dtype == np.uint8 and set(np.unique(moved_mask)) == {0, 1}


def test_affine_turns_zooms_and_shears_as_the_paper_says():
    """Moments of the lesion: zoom in by 1 to 1.2 an axis and shear; never smaller on the whole."""
    volume, mask = phantom()
    sizes, places = [], []
    for seed in range(30):
        _, moved = augment.affine(volume, mask, np.random.default_rng(seed), probability=1)
        sizes.append(moved.sum() / mask.sum())
        places.append(np.argwhere(moved).mean(0) - (N - 1) / 2)
    assert 1.1 < np.mean(sizes) < 2
    assert np.std(places, axis=0).min() > 0.2
    same, same_mask = augment.affine(volume, mask, np.random.default_rng(0), probability=0)
    np.testing.assert_allclose(same, volume, atol=1e-3)
    np.testing.assert_array_equal(same_mask, mask)


def test_transform_takes_each_value_from_where_the_matrix_says():
    image = np.random.default_rng(0).random((6, 6, 6)).astype(np.float32)
    quarter = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])  # out[x, y] = in[-y, x]
    np.testing.assert_allclose(augment._transform(image, quarter), np.rot90(image, -1), atol=1e-5)
    np.testing.assert_allclose(augment._rotation(np.radians([0, 0, 90])), quarter, atol=1e-12)
    moved = augment._transform(image, np.eye(3), (1, 0, 0))
    np.testing.assert_allclose(moved[:-1], image[1:], atol=1e-5)


@pytest.mark.parametrize("name", augment.ARTEFACTS)
def test_artefact_grows_with_severity_and_keeps_its_bounds(name):
    volume, _ = phantom()
    before = volume.copy()
    artefact = augment.ARTEFACTS[name]
    for seed in range(3):
        effects = []
        for severity in (0, 0.25, 0.5, 0.75, 1):
            changed = artefact(volume, severity, np.random.default_rng(seed))
            assert changed.shape == volume.shape and changed.dtype == np.float32
            assert changed.min() >= 0 and changed.max() <= 255
            assert not changed[~volume.any(-1)].any()
            effects.append(np.abs(changed - volume).mean())
        assert effects[0] == 0
        assert (np.diff(effects) >= -0.02 * max(effects)).all() and effects[4] > effects[1] > 0
    np.testing.assert_array_equal(volume, before)  # the input is left alone


@pytest.mark.parametrize("severity", [-0.1, 1.1, float("nan")])
def test_severity_outside_0_to_1_is_refused(severity):
    volume, _ = phantom()
    with pytest.raises(ValueError, match="severity"):
        augment.gibbs(volume, severity, np.random.default_rng(0))


def test_channels_get_their_own_draw():
    volume, _ = phantom()
    volume[..., 1] = volume[..., 0]
    changed = augment.spike(volume, 0.5, np.random.default_rng(0))
    assert np.abs(changed[..., 0] - changed[..., 1]).mean() > 1


def test_known_artefacts():
    """A flat volume: noise of the right SD, ghosts that keep the mean, shading by the right factor."""
    flat = np.full((N, N, N, 1), 100, np.float32)
    rng = np.random.default_rng(0)
    noise = augment.gaussian_noise(flat, 0.2, rng) - flat
    assert noise.std() == pytest.approx(7, rel=0.02) and abs(noise.mean()) < 0.2
    np.testing.assert_allclose(augment.ghosting(flat, 1, rng), flat, atol=1e-3)  # only the mean line is not 0
    np.testing.assert_allclose(augment.gibbs(flat, 1, rng), flat, atol=1e-3)
    np.testing.assert_allclose(augment.low_resolution(flat, 1, rng), flat, atol=1e-3)
    shaded = augment.bias_field(flat, 1, rng)
    assert shaded.max() == pytest.approx(100, abs=0.01) and 16 < shaded.min() < 60
    stripes = augment.spike(flat, 0.1, rng)
    assert stripes.max() == pytest.approx(106.375, abs=0.1) and stripes.min() == pytest.approx(93.625, abs=0.1)
    line = augment.zipper(flat, 1, rng) - flat
    assert (line > 0).mean() in {1 / N, 2 / N} and line.max() <= 0.95 * 255 - 100
    textured = rng.uniform(50, 60, (N, N, N, 1)).astype(np.float32)
    spectrum = np.abs(np.fft.fft2(augment.gibbs(textured, 0.6, rng)[..., 0], axes=(0, 1)))
    assert spectrum[N // 2].max() < 1e-2 * spectrum[1].max()  # half of the lines is kept, the middle ones are not


@pytest.mark.parametrize("full", [augment.paper_augment, augment.train_augment])
def test_full_augmentation_is_repeatable_varied_and_in_range(full):
    volume, mask = phantom()
    first = full(volume, mask, np.random.default_rng(1))
    again = full(volume, mask, np.random.default_rng(1))
    other = full(volume, mask, np.random.default_rng(2))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert np.abs(first[0] - other[0]).mean() > 1
    for changed, changed_mask in (first, other):
        assert changed.shape == volume.shape and changed.dtype == np.float32
        assert changed.min() >= 0 and changed.max() <= 255
        assert changed_mask.shape == mask.shape and set(np.unique(changed_mask)) <= {0, 1}
    assert full(volume, None, np.random.default_rng(1))[1] is None


@settings(max_examples=20, deadline=None)
@given(
    name=st.sampled_from(sorted(augment.ARTEFACTS)),
    severity=st.floats(0, 1),
    seed=st.integers(0, 2**32),
    channels=st.integers(1, 3),
)
def test_any_artefact_on_any_volume(name, severity, seed, channels):
    rng = np.random.default_rng(seed)
    volume = (255 * rng.random((16, 16, 16, channels)) ** 3).astype(np.float32)
    volume[:3] = 0
    changed = augment.ARTEFACTS[name](volume, severity, rng)
    assert np.isfinite(changed).all() and changed.min() >= 0 and changed.max() <= 255
    assert not changed[:3].any()


def test_contrast_keeps_the_order_of_tissues():
    volume, _ = phantom()
    changed = augment.randomise_contrast(volume, np.random.default_rng(3))
    for channel in range(2):
        before, after = volume[..., channel], changed[..., channel]
        values, index = np.unique(np.round(before[before > 0]), return_inverse=True)
        assert (np.diff(np.bincount(index, after[before > 0]) / np.bincount(index)) >= -1e-3).all()
    assert np.abs(changed - volume).mean() > 1
