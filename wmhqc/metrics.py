"""How well a prediction agrees with the manual mask: Dice and its relatives.

Lengths are in mm, volumes in ml. What is undefined is NaN.

References
----------
Paper: Williams, Niehaus et al., arXiv:2112.03277 (equation numbers are its own).
Kuijf et al., IEEE TMI 2019 (WMH challenge). Raina et al., ISBI 2023 (normalised Dice).
"""

from __future__ import annotations

import numpy as np

#: Lesions touch by face, edge or corner, as in the WMH challenge.
CONNECTED = np.ones((3, 3, 3), bool)


def measure(mean: np.ndarray, lesion: np.ndarray, spacing: tuple) -> dict:
    """Agreement of a prediction with the manual mask.

    `lesion_dice` is the headline; `paper_dice` is what the paper calls Dice.
    """
    mask, voxel_mm3 = mean >= 0.5, float(np.prod(spacing))
    return {
        "lesion_dice": lesion_dice(mask, lesion),
        "paper_dice": paper_dice(mean, lesion),
        "normalised_dice": normalised_dice(mask, lesion),
        "lesion_f1": lesion_f1(mask, lesion),
        "volume_difference_percent": volume_difference_percent(mask, lesion),
        "hd95_mm": hd95_mm(mask, lesion, spacing),
        "true_ml": volume_ml(lesion, voxel_mm3),
    }


def volume_ml(mask: np.ndarray, voxel_mm3: float) -> float:
    """Volume of a mask in ml (1 ml = 1000 mm^3). The baseline every score must beat."""
    return float(np.count_nonzero(mask) * voxel_mm3 / 1000)


def lesion_dice(mask: np.ndarray, lesion: np.ndarray) -> float:
    """Dice of two masks (Eq. 1 without the loss); 1 if both are empty."""
    mask, lesion = _masks(mask, lesion)
    total = mask.sum() + lesion.sum()
    return float(2 * (mask & lesion).sum() / total) if total else 1.0


def paper_dice(mean: np.ndarray, lesion: np.ndarray) -> float:
    """What the paper reports as Dice: the mean of background and lesion soft Dice.

    Each is (2 sum(p y) + 1) / (sum(p) + sum(y) + 1) with p clipped to
    [1e-8, 1 - 1e-8]. As the background is nearly always right, 0.75 here is
    about 0.50 of `lesion_dice`.
    """
    p, y = same_shape(mean, lesion)
    p = np.clip(np.asarray(p, np.float64), 1e-8, 1 - 1e-8)

    def soft(p, y):
        return (2 * p[y].sum() + 1) / (p.sum() + y.sum() + 1)

    return float((soft(1 - p, ~y) + soft(p, y)) / 2)


def normalised_dice(mask: np.ndarray, lesion: np.ndarray, reference: float = 0.001) -> float:
    """Dice with false positives weighted as if the lesion load were `reference` of all voxels.

    2 TP / (2 TP + k FP + FN) with k = (1 - r) |G| / (r (N - |G|)); takes out
    most of Dice's dependence on lesion load. k = 1 without a true lesion; 1 if both are empty.
    """
    mask, lesion = _masks(mask, lesion)
    g, n = lesion.sum(), lesion.size
    if g == n:
        raise ValueError("every voxel is lesion: the normalised Dice needs some background")
    k = (1 - reference) * g / (reference * (n - g)) if g else 1.0
    tp = (mask & lesion).sum()
    total = 2 * tp + k * (mask & ~lesion).sum() + (lesion & ~mask).sum()
    return float(2 * tp / total) if total else 1.0


def lesion_f1(mask: np.ndarray, lesion: np.ndarray) -> float:
    """F1 of lesions, WMH challenge: one shared voxel is a hit.

    Recall is the share of true lesions hit (1 if there is none), precision the
    share of predicted lesions that hit (1 if there is none).
    """
    mask, lesion = _masks(mask, lesion)
    precision, recall = _share_touched(mask, lesion), _share_touched(lesion, mask)
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def volume_difference_percent(mask: np.ndarray, lesion: np.ndarray) -> float:
    """Absolute difference of volume in percent of the true volume; NaN without a true lesion."""
    mask, lesion = _masks(mask, lesion)
    true = lesion.sum()
    return float(100 * abs(int(mask.sum()) - int(true)) / true) if true else np.nan


def hd95_mm(mask: np.ndarray, lesion: np.ndarray, spacing: tuple) -> float:
    """Hausdorff distance, 95th percentile, WMH challenge; NaN if either mask is empty.

    Surfaces are the masks minus their erosion by 3 x 3 voxels within axial slices
    (third axis = slice); the larger of the two directed 95th percentiles.
    """
    from scipy import ndimage
    from scipy.spatial import KDTree

    mask, lesion = _masks(mask, lesion)
    if not (mask.any() and lesion.any()):
        return np.nan

    def surface(m):
        return np.argwhere(m & ~ndimage.binary_erosion(m, np.ones((3, 3, 1)))) * np.asarray(spacing)

    a, b = surface(mask), surface(lesion)
    return float(max(np.percentile(KDTree(a).query(b)[0], 95), np.percentile(KDTree(b).query(a)[0], 95)))


def _share_touched(mask: np.ndarray, other: np.ndarray) -> float:
    """Share of the components of `mask` with a voxel in `other`; 1 if there is no component."""
    from scipy import ndimage

    labels, count = ndimage.label(mask, CONNECTED)
    return np.count_nonzero(np.unique(labels[other])) / count if count else 1.0


def same_shape(prediction: np.ndarray, lesion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as arrays, the manual mask as boolean; refuse grids that differ."""
    prediction, lesion = np.asarray(prediction), np.asarray(lesion) > 0
    if prediction.shape != lesion.shape:
        raise ValueError(
            f"prediction has shape {prediction.shape}, manual mask {lesion.shape}; both must lie on one grid"
        )
    return prediction, lesion


def _masks(mask: np.ndarray, lesion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mask, lesion = same_shape(mask, lesion)
    return mask > 0, lesion
