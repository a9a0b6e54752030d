"""Dice regression: Reg-net reads a pair of maps and predicts the Dice of a segmentation."""

from __future__ import annotations

import numpy as np

PAIRS = ("image", "uncertainty", "error")  # the paper's three experiments


def pair(name, prediction, flair=None, uncertainty=None, error=None):
    """Stack the mean prediction with one other map, the input of Reg-net.

    Each map is scaled by its own fixed range and never by the range found in a set of cases,
    as in the authors' code: a case must give the same input whatever stands beside it.

    Parameters
    ----------
    name : {"image", "uncertainty", "error"}
        FLAIR in [0, 255], entropy in [0, 1] bits, or FLAIR minus reconstruction in [-1, 1].
    prediction : float array (n, n, n)
        Mean lesion probability.
    flair, uncertainty, error : float array (n, n, n)
        The one that `name` asks for.

    Returns
    -------
    float32 array (n, n, n, 2)
    """
    if name not in PAIRS:
        raise ValueError(f"pair must be one of {', '.join(PAIRS)}, not {name!r}")
    other = {"image": flair, "uncertainty": uncertainty, "error": error}[name]
    if other is None:
        raise ValueError(f"the {name} pair needs its map")
    other = np.asarray(other, np.float32) / (255 if name == "image" else 1)
    return np.stack([np.asarray(prediction, np.float32), other], axis=-1)


def predict_dice(model, pair):
    """The Dice that a Reg-net predicts for one pair (n, n, n, 2); linear, so not bound to [0, 1]."""
    return float(np.asarray(model.predict_on_batch(pair[None]))[0, 0])
