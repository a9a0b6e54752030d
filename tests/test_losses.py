import keras
import numpy as np
import pytest
from skimage.metrics import structural_similarity

from wmhqc import losses


def masks():
    truth = np.zeros((1, 4, 4, 4, 1), "float32")
    truth[0, 0, 0, :2] = 1  # 2 voxels
    lesion = np.zeros((1, 4, 4, 4), "float32")
    lesion[0, 0, 0, 1:4] = 1  # 3 voxels, 1 shared
    return truth, np.stack([1 - lesion, lesion], -1)


def test_dice_loss_known_answer():
    truth, prediction = masks()
    assert float(losses.dice_loss(truth, prediction)[0]) == pytest.approx(1 - (2 * 1 + 1) / (5 + 1))


def test_two_class_dice_known_answer():
    truth, prediction = masks()
    background = (2 * 60 + 1) / (62 + 61 + 1)  # 64 voxels: 62 and 61 background, 60 shared
    expected = 1 - (0.5 + background) / 2
    assert float(losses.two_class_dice_loss(truth, prediction)[0]) == pytest.approx(expected)


def test_two_class_dice_of_one_half_everywhere_is_the_papers_first_epoch():
    """The authors' history starts at 0.34, which only the two-class form explains."""
    truth = np.zeros((1, 64, 64, 64, 1), "float32")
    truth[0, :16, :16, :10] = 1  # about 1 % of the volume
    half = np.full((1, 64, 64, 64, 2), 0.5, "float32")
    assert 1 - float(losses.two_class_dice_loss(truth, half)[0]) == pytest.approx(0.342, abs=0.005)


def test_empty_masks_have_no_loss():
    empty = np.zeros((1, 4, 4, 4, 1), "float32")
    nothing = np.concatenate([1 - empty, empty], -1)
    assert float(losses.dice_loss(empty, nothing)[0]) == 0
    assert float(losses.two_class_dice_loss(empty, nothing)[0]) == 0


@pytest.mark.parametrize("noise", [0.01, 0.1, 0.5])
def test_ssim_equals_scikit_image(noise):
    rng = np.random.default_rng(1)
    a = rng.uniform(0, 1, (16, 18, 20)).astype("float32")
    b = np.clip(a + rng.normal(0, noise, a.shape), 0, 1).astype("float32")
    expected = structural_similarity(
        a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0
    )
    ours = losses.ssim(a[None, ..., None], b[None, ..., None])
    assert float(ours[0]) == pytest.approx(expected, abs=2e-5)


def test_ssim_loss_of_equal_volumes_is_zero():
    a = np.random.default_rng(0).uniform(0, 1, (2, 12, 12, 12, 1)).astype("float32")
    np.testing.assert_allclose(losses.ssim_loss(a, a), 0, atol=1e-6)


def test_networks_can_be_trained_with_ssim():
    """Inside a compiled training step tensors have no values yet and cannot be unpacked."""
    inputs = keras.Input((12, 12, 12, 1))
    model = keras.Model(inputs, keras.layers.Conv3D(1, 1)(inputs))
    model.compile("adam", losses.ssim_loss, jit_compile=False)
    a = np.random.default_rng(0).uniform(0, 1, (1, 12, 12, 12, 1)).astype("float32")
    assert np.isfinite(model.train_on_batch(a, a))


def test_ssim_needs_a_whole_window():
    small = np.zeros((1, 8, 8, 8, 1), "float32")
    with pytest.raises(ValueError, match="at least 11"):
        losses.ssim(small, small)


def test_huber_known_answers():
    loss = losses.huber()
    assert float(loss(np.array([[0.0]]), np.array([[0.5]]))) == pytest.approx(0.125)
    assert float(loss(np.array([[0.0]]), np.array([[3.0]]))) == pytest.approx(2.5)
