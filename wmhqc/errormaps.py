"""Error maps: blank the predicted lesions, let Rec U-net paint the hole, subtract (Eq. 4)."""

from __future__ import annotations

import numpy as np


def blank(flair, mask):
    """FLAIR with zeros where `mask` is set, the input of Rec U-net.

    Parameters
    ----------
    flair : float array (n, n, n)
    mask : bool or 0/1 array (n, n, n)
        In training the manual lesions.  At test time the **predicted** ones: with the manual
        mask, as in the authors' code, the error map would not depend on the segmentation
        that it is meant to judge.
    """
    flair, mask = np.asarray(flair), np.asarray(mask)
    if flair.shape != mask.shape:
        raise ValueError(f"FLAIR has shape {flair.shape}, the mask {mask.shape}; expected the same")
    return np.where(mask.astype(bool), np.float32(0), flair.astype(np.float32))


def reconstruct(model, flair, mask):
    """What Rec U-net thinks stood where `mask` is.

    Parameters
    ----------
    model : keras.Model
        A Rec U-net (`networks.rec_unet`).
    flair : float array (n, n, n)
        Intensities in [0, 1].
    mask : bool or 0/1 array (n, n, n)

    Returns
    -------
    float32 array (n, n, n)
        At least 0, about [0, 1].
    """
    inputs = blank(flair, mask)[None, ..., None]
    return np.asarray(model.predict_on_batch(inputs))[0, ..., 0]


def error_map(model, flair, mask):
    """FLAIR minus its reconstruction (Eq. 4); arguments as in `reconstruct`.

    Negative where the network paints something brighter than the scan shows, positive where
    the scan is brighter than what the network expects.
    """
    return np.asarray(flair, np.float32) - reconstruct(model, flair, mask)


def similarity(flair, reconstruction):
    """SSIM of a FLAIR and its reconstruction, cubes (n, n, n) in [0, 1], as one number; 1 where they are equal."""
    from wmhqc import losses

    one, other = (np.asarray(cube, np.float32)[None, ..., None] for cube in (flair, reconstruction))
    return float(losses.ssim(one, other)[0])
