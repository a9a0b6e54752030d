"""The losses of the paper: Dice (Eq. 1), SSIM (Eq. 5-8) and Huber (Eq. 9).

Each takes `(truth, prediction)` with a leading batch axis and returns one value a volume.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

SMOOTH = 1.0  # the authors' constant: keeps Dice defined for two empty masks
HUBER_DELTA = 1.0
WINDOW, SIGMA = 11, 1.5  # of the Gaussian window of SSIM: width and standard deviation in voxels
HOLE_WEIGHT = 0.5  # of the error in the hole, beside 1 - SSIM


def huber():
    """Huber loss with delta = 1 (Eq. 9).

    The paper prints the linear part as `delta |d| - delta / 2`; Huber's is
    `delta |d| - delta**2 / 2`.  At delta = 1 they agree.
    """
    return keras.losses.Huber(delta=HUBER_DELTA)


@keras.saving.register_keras_serializable("wmhqc")
def dice_loss(truth, prediction):
    """1 - soft Dice of the lesion class (Eq. 1).

    Parameters
    ----------
    truth : tensor, (batch, n, n, n, 1)
        Lesion mask, 0 or 1.
    prediction : tensor, (batch, n, n, n, 2)
        Probabilities of background and lesion.
    """
    return 1 - _soft_dice(truth[..., 0], prediction[..., 1])


@keras.saving.register_keras_serializable("wmhqc")
def two_class_dice_loss(truth, prediction):
    """1 - mean of the background's and the lesion's soft Dice: what the authors' code minimises.

    Background fills about 99 % of a volume, so its Dice is near 1 for any sensible
    prediction: a two-class Dice of 0.82 is a lesion Dice of about 0.64.  Arguments as in
    `dice_loss`.
    """
    lesion = _soft_dice(truth[..., 0], prediction[..., 1])
    background = _soft_dice(1 - truth[..., 0], prediction[..., 0])
    return 1 - (lesion + background) / 2


def _soft_dice(truth, probability):
    truth = ops.cast(truth, probability.dtype)
    axes = (1, 2, 3)
    overlap = ops.sum(truth * probability, axis=axes)
    total = ops.sum(truth, axis=axes) + ops.sum(probability, axis=axes)
    return (2 * overlap + SMOOTH) / (total + SMOOTH)


def ssim(a, b):
    """Structural similarity of two volumes, in 3-D (Eq. 5-8).

    Luminance x contrast x structure in a Gaussian window, averaged over all windows that lie
    inside the volume.  The constants are `c1 = 0.01**2`, `c2 = 0.03**2`,
    `c3 = c2 / 2`, as Wang et al. (2004, doi:10.1109/TIP.2003.819861) define them; the paper
    prints them without the square.  The authors' code computes it in 2-D, slice by slice.

    Parameters
    ----------
    a, b : tensor, (batch, n, n, n, 1), n >= `WINDOW`
        Intensities in [0, 1].

    Returns
    -------
    tensor, (batch,)
        1 where the volumes are equal.
    """
    a, b = a[..., 0], ops.cast(b[..., 0], a.dtype)
    c1, c2 = 0.01**2, 0.03**2
    moments = ops.stack([a, b, a * a, b * b, a * b])
    for axis in (2, 3, 4):  # after the axis of the five moments and the batch axis
        band = ops.convert_to_tensor(_gaussian_band(a.shape[axis - 1]), a.dtype)
        moments = ops.moveaxis(ops.matmul(ops.moveaxis(moments, axis, -1), band), -1, axis)
    mean_a, mean_b, aa, bb, ab = (moments[i] for i in range(5))
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    # with c3 = c2 / 2, Eq. 6 times Eq. 7 is one fraction
    contrast_structure = (2 * (ab - mean_a * mean_b) + c2) / (aa - mean_a**2 + bb - mean_b**2 + c2)
    return ops.mean(luminance * contrast_structure, axis=(1, 2, 3))


@keras.saving.register_keras_serializable("wmhqc")
def ssim_loss(truth, prediction):
    """1 - SSIM (Eq. 8) for volumes in [0, 1]; shapes as in `ssim`."""
    return 1 - ssim(prediction, truth)


@keras.saving.register_keras_serializable("wmhqc")
def inpainting_loss(truth, prediction):
    """1 - SSIM as in the paper (Eq. 8), plus the mean absolute error within the hole.

    The hole is about 1 % of a volume, so SSIM alone hardly feels what is painted there, and that is what an
    error map is read for: after 300 steps on real patients SSIM alone left it dark.

    Parameters
    ----------
    truth : tensor, (batch, n, n, n, 2)
        FLAIR in [0, 1], and the hole: 1 where the input was blanked, else 0.
    prediction : tensor, (batch, n, n, n, 1)
        The reconstructed FLAIR.
    """
    truth = ops.cast(truth, prediction.dtype)
    flair, hole = truth[..., :1], truth[..., 1:]
    axes = (1, 2, 3, 4)
    error = ops.sum(ops.abs(prediction - flair) * hole, axis=axes) / (ops.sum(hole, axis=axes) + 1)
    return ssim_loss(flair, prediction) + HOLE_WEIGHT * error


def _gaussian_band(n):
    """`(n, n - WINDOW + 1)` matrix whose columns are the window at each valid position."""
    from scipy.linalg import convolution_matrix

    if n < WINDOW:
        raise ValueError(f"SSIM needs volumes of at least {WINDOW} voxels a side, not {n}")
    window = np.exp(-((np.arange(WINDOW) - (WINDOW - 1) / 2) ** 2) / (2 * SIGMA**2))
    return convolution_matrix(window / window.sum(), n - WINDOW + 1).astype(np.float32)
