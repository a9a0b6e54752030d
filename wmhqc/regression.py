"""Dice regression: Reg-net reads a pair of maps and predicts the Dice of a segmentation."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from wmhqc.metrics import CONNECTED

#: The inputs of Reg-net: the paper's three pairs, and one that takes a mask of any origin.
PAIRS = ("image", "uncertainty", "error", "mask")


def pair_of(name, maps, flair):
    """Stack what is judged with one other map, the input of Reg-net.

    Each map is scaled by its own fixed range and never by the range found in a set of cases,
    as in the authors' code: a case must give the same input whatever stands beside it.

    Parameters
    ----------
    name : {"image", "uncertainty", "error", "mask"}
        The mean prediction with FLAIR, entropy or error map; or the mask with FLAIR.
    maps : mapping of str to array (n, n, n)
        `mean` (probability), `entropy` (bit), `error` (FLAIR minus reconstruction, in [-1, 1]), `mask`: those
        that `name` asks for.
    flair : float array (n, n, n)
        In [0, 255].

    Returns
    -------
    float32 array (n, n, n, 2)
    """
    if name not in PAIRS:
        raise ValueError(f"pair must be one of {', '.join(PAIRS)}, not {name!r}")
    first = "mask" if name == "mask" else "mean"
    other = {"uncertainty": "entropy", "error": "error"}.get(name)
    missing = [key for key in (first, other) if key and maps.get(key) is None]
    if missing:
        raise ValueError(f"the {name} pair needs the map {' and '.join(missing)}")
    second = maps[other] if other else np.asarray(flair, np.float32) / 255
    return np.stack([np.asarray(maps[first], np.float32), np.asarray(second, np.float32)], axis=-1)


def with_entropy(maps):
    """Maps that were kept (`mean`, `error`) with what follows from them: `entropy` and `mask`."""
    from wmhqc import uncertainty

    return maps | {"entropy": uncertainty.entropy(maps["mean"]), "mask": maps["mean"] >= 0.5}


def degrade(mask, rng):
    """Spoil a mask as segmentations go wrong, so that Reg-net learns what bad ones look like.

    One of: lesions thinner by a voxel, thicker by a voxel, some lesions dropped, some added
    where the mirror image has them, the whole mask shifted by up to three voxels.

    Parameters
    ----------
    mask : bool array (n, n, n)
    rng : numpy.random.Generator

    Returns
    -------
    bool array (n, n, n)
    """
    kind = rng.integers(5)
    if kind == 0:
        return ndimage.binary_erosion(mask)
    if kind == 1:
        return ndimage.binary_dilation(mask)
    if kind == 4:
        return ndimage.shift(mask, rng.integers(-3, 4, 3), order=0)
    source = mask if kind == 2 else mask[::-1]
    labels, count = ndimage.label(source, CONNECTED)
    chosen = rng.random(count + 1) < rng.random()
    chosen[0] = False
    return mask & ~chosen[labels] if kind == 2 else mask | chosen[labels]


def predict_dice(model, pair):
    """The Dice that a Reg-net predicts for one pair (n, n, n, 2)."""
    return float(np.asarray(model.predict_on_batch(pair[None]))[0, 0])


def conformal_interval(
    predicted,
    calibration_predicted,
    calibration_dice,
    level: float = 0.9,
    spread=1.0,
    calibration_spread=1.0,
):
    """Interval that holds the true Dice of a new case with probability `level` (split conformal).

    The half-width is `spread` times the k-th smallest of n calibration errors
    |predicted - true| / spread, with k = ceil((n + 1) level). It holds on average over calibration
    sets and new cases that are exchangeable: none of them was used to train or choose what
    predicts, same scanners, no new artefact. Without a spread all cases get one width. With one
    (`wmhqc.calibrated`) the easy cases get narrow intervals and the hard ones wide ones; how often
    it holds for each kind of case alone is then more even, but not guaranteed.

    Parameters
    ----------
    predicted : float or array (m,)
        Predicted Dice of the new cases.
    calibration_predicted, calibration_dice : arrays (n,)
        Predicted and true Dice of the calibration cases.
    level : float
        Between 0 and 1. With fewer than level / (1 - level) cases, 9 for 90 %, every interval
        is 0 to 1: nothing narrower can be guaranteed.
    spread, calibration_spread : float or array (m,) and (n,)
        Expected error of each prediction, above 0.

    Returns
    -------
    low, high : float arrays (m,)
        Clipped to [0, 1], where a Dice lies. NaN where the prediction is.

    References
    ----------
    Vovk, Gammerman and Shafer, Algorithmic learning in a random world, 2005. Lei et al.,
    Journal of the American Statistical Association 2018 (section 5.2: locally weighted).
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    known, dice = np.asarray(calibration_predicted, float), np.asarray(calibration_dice, float)
    if known.ndim != 1 or known.shape != dice.shape or not np.isfinite([known, dice]).all():
        raise ValueError(
            "expected one predicted and one true Dice for each calibration case, none of them missing, got "
            f"{known.shape} and {dice.shape}; leave out cases without a manual mask"
        )
    errors = np.sort(np.abs(known - dice) / calibration_spread)
    k = int(np.ceil(round((len(errors) + 1) * level, 9)))
    half = np.multiply(spread, errors[k - 1] if k <= len(errors) else np.inf)
    predicted = np.atleast_1d(np.asarray(predicted, float))
    return np.clip(predicted - half, 0, 1), np.clip(predicted + half, 0, 1)
