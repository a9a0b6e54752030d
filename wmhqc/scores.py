"""From the maps of one case to one row of the table of cases.

Two kinds of number stand side by side in a row:

* *scores*, known without a manual mask: what quality control may use.
  `CONFIDENCE` says for each of them whether a high value speaks for the
  segmentation (+1) or against it (-1).
* *truth*, known only with a manual mask: Dice and its relatives. They say
  which cases failed, and only serve to judge the scores.

Volumes are in ml, sums over voxels in mm^3 times the unit of the map, lengths
in mm, so that no number depends on the grid alone. What is undefined is NaN.

References
----------
Paper: Williams, Niehaus et al., arXiv:2112.03277 (equation numbers are its own).
Roy et al., NeuroImage 2019 (agreement of samples). Zenk et al., Medical Image
Analysis 2025, 103392 (pairwise Dice). Kahl et al., ICLR 2024 (patch maximum).
Molchanova et al., 2025 (lesion-wise uncertainty). Kuijf et al., IEEE TMI 2019
(WMH challenge). Raina et al., ISBI 2023 (normalised Dice).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

# +1: the higher, the more we trust the segmentation; -1: the higher, the less.
CONFIDENCE = {
    "volume_ml": 1,  # the baseline: small lesion loads are the hard ones
    "brain_share": 1,
    "vs_uncertainty": 1,  # the paper's hypothesis: a small VS goes with a low Dice
    "vs_error": 1,
    "vs_per_volume": -1,
    "vs_residual": -1,
    "mean_entropy": -1,
    "non_boundary_entropy": -1,
    "patch_entropy": -1,
    "mean_variance": -1,
    "mean_expected_entropy": -1,
    "mean_mutual_information": -1,
    "pairwise_dice": 1,
    "iou_disagreement": -1,
    "volume_cv": -1,
    "expected_dice": 1,
    "lesion_count": 1,
    "lesion_uncertainty": -1,
    "vs_error_inside": 1,
    "tta_pairwise_dice": 1,
    "tta_vs_uncertainty": 1,
    "ensemble_pairwise_dice": 1,
    "ensemble_vs_uncertainty": 1,
    "expected_dice_scaled": 1,
    "predicted_dice_image": 1,
    "predicted_dice_uncertainty": 1,
    "predicted_dice_error": 1,
    "predicted_dice_bounded": 1,
}

#: What each score is, and the least that it takes to compute it.
ABOUT = {
    "volume_ml": ("volume of the mask; the baseline", "mask"),
    "brain_share": ("volume of the mask over that of the brain", "mask, brain mask"),
    "lesion_count": ("number of connected lesions", "mask"),
    "vs_uncertainty": ("sum of the entropy of the mean over all voxels (Eq. 10)", "passes"),
    "vs_per_volume": ("that sum over the volume of the mask", "passes"),
    "vs_residual": ("what of its logarithm the logarithm of the volume does not explain", "passes, validation cases"),
    "mean_entropy": ("mean entropy in the mask", "passes"),
    "non_boundary_entropy": ("mean entropy of the brain without the border of the mask", "passes"),
    "patch_entropy": ("mean entropy of the 10 mm cube where it is highest", "passes"),
    "mean_variance": ("mean variance of the passes in the mask", "passes"),
    "mean_expected_entropy": ("mean over the mask and the passes of each pass's own entropy", "passes"),
    "mean_mutual_information": ("entropy of the mean less that: what only the passes' disagreement adds", "passes"),
    "pairwise_dice": ("mean Dice between two passes", "passes"),
    "iou_disagreement": ("1 less the mean overlap (IoU) of a pass with the mask", "passes"),
    "volume_cv": ("spread of the passes' volume over its mean", "passes"),
    "lesion_uncertainty": ("mean over the lesions of how badly the passes agree on them", "passes"),
    "expected_dice": ("Dice of the mask, if each voxel were lesion with the probability that the network says", "passes"),
    "expected_dice_scaled": ("the same, with probabilities made right on the validation cases", "passes, validation cases"),
    "tta_pairwise_dice": ("mean Dice between predictions for the scan, flipped and changed a little", "changed inputs"),
    "tta_vs_uncertainty": ("sum of the entropy of their mean", "changed inputs"),
    "ensemble_pairwise_dice": ("mean Dice between networks trained on other cases", "several networks"),
    "ensemble_vs_uncertainty": ("sum of the entropy of their mean", "several networks"),
    "vs_error": ("sum of the error map over all voxels", "mask, Rec U-net"),
    "vs_error_inside": ("sum of the error map in the mask", "mask, Rec U-net"),
    "predicted_dice_image": ("Dice predicted from prediction and FLAIR", "passes, Reg-net"),
    "predicted_dice_uncertainty": ("Dice predicted from prediction and entropy", "passes, Reg-net"),
    "predicted_dice_error": ("Dice predicted from prediction and error map", "passes, Rec U-net, Reg-net"),
    "predicted_dice_bounded": ("Dice predicted from mask and FLAIR, between 0 and 1", "mask, Reg-net"),
}

_CUBE = np.ones((3, 3, 3), bool)  # lesions touch by face, edge or corner, as in the WMH challenge


# ---------------------------------------------------------------- one row


def row(prepared, mc, error_map=None, temperature: float = 1.0) -> dict:
    """Scores of a case, and its truth where there is a manual mask.

    Parameters
    ----------
    prepared : wmhqc.preprocess.Prepared
        The case on its n^3 grid.
    mc : wmhqc.uncertainty.MonteCarlo
        Maps and masks of the dropout passes, on the same grid.
    error_map : array (n, n, n), optional
        FLAIR minus its reconstruction (Eq. 4), with the *predicted* mask painted over.
    temperature : float
        Divides the logits of the mean before the expected Dice, see `fit_temperature`.

    Returns
    -------
    dict
        `case`, the scores named in `CONFIDENCE` that can be had from one case,
        `empty_share`, and the truth of `truth` if `prepared.lesion` is not None.
    """
    spacing = grid_spacing(prepared)
    voxel_mm3 = float(np.prod(spacing))
    mask, brain = mc.mask, prepared.brain > 0
    if mask.shape != brain.shape:
        raise ValueError(f"{prepared.case}: maps have shape {mask.shape}, the brain mask {brain.shape}; "
                         "both must lie on the prepared grid")
    lesions = lesion_table(mc, voxel_mm3)
    result = {
        "case": prepared.case,
        "volume_ml": volume_ml(mask, voxel_mm3),
        "brain_ml": volume_ml(brain, voxel_mm3),
        "brain_share": mask.sum() / brain.sum() if brain.any() else np.nan,
        "vs_uncertainty": voxel_sum(mc.entropy, voxel_mm3),
        "vs_per_volume": vs_per_volume(mc.entropy, mask, voxel_mm3),
        "mean_entropy": mean_inside(mc.entropy, mask),
        "non_boundary_entropy": non_boundary_mean(mc.entropy, mask, brain),
        "patch_entropy": patch_maximum(mc.entropy, spacing),
        "mean_variance": mean_inside(mc.variance, mask),
        "mean_expected_entropy": mean_inside(mc.expected_entropy, mask),
        "mean_mutual_information": mean_inside(mc.entropy - mc.expected_entropy, mask),
        **sample_agreement(mc),
        "expected_dice": expected_dice(mc.mean[brain], temperature),
        "lesion_count": len(lesions),
        "lesion_uncertainty": lesions["uncertainty"].mean(),
    }
    if error_map is not None:
        result["vs_error"] = voxel_sum(error_map, voxel_mm3)
        result["vs_error_inside"] = voxel_sum(error_map[mask], voxel_mm3)
    if prepared.lesion is not None:
        result |= truth(mc.mean, prepared.lesion > 0, spacing)
    return {name: value if name == "case" else float(value) for name, value in result.items()}


def from_other_samples(prepared, model, models, seed: int = 0) -> dict:
    """Agreement and VS of samples that do not come from dropout alone.

    Parameters
    ----------
    prepared : wmhqc.preprocess.Prepared
    model : keras.Model
        The MC U-net whose inputs are changed (`uncertainty.test_time`).
    models : list of keras.Model
        Several MC U-nets (`uncertainty.ensemble`).

    Returns
    -------
    dict
        `tta_pairwise_dice`, `tta_vs_uncertainty` (mm^3 bit), and the same with `ensemble_`.
    """
    from wmhqc import uncertainty

    result = {}
    for name, samples in {
        "tta": uncertainty.test_time(model, prepared.volume, seed=seed),
        "ensemble": uncertainty.ensemble(models, prepared.volume, seed=seed),
    }.items():
        summary = uncertainty.summarise(samples)
        result[f"{name}_pairwise_dice"] = float(sample_agreement(summary)["pairwise_dice"])
        result[f"{name}_vs_uncertainty"] = voxel_sum(summary.entropy, prepared.voxel_mm3)
    return result


def grid_spacing(prepared) -> tuple[float, float, float]:
    """Edge lengths in mm of a voxel of the n^3 grid (axes RAS+): the crop of the scan divided by n."""
    import nibabel as nib

    crop = np.array([stop - start for start, stop in prepared.box])
    edges = nib.affines.voxel_sizes(prepared.affine) * crop / prepared.brain.shape
    # The grid's axes are in RAS+ order, the box is on the axes of the scan.
    axis_of = nib.io_orientation(prepared.affine)[:, 0].astype(int)
    return tuple(float(edges[axis]) for axis in np.argsort(axis_of))


def truth(mean: np.ndarray, lesion: np.ndarray, spacing: tuple) -> dict:
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


# ---------------------------------------------------------------- size and sums


def volume_ml(mask: np.ndarray, voxel_mm3: float) -> float:
    """Volume of a mask in ml (1 ml = 1000 mm^3). The baseline every score must beat."""
    return float(np.count_nonzero(mask) * voxel_mm3 / 1000)


def voxel_sum(map: np.ndarray, voxel_mm3: float) -> float:
    """Voxel-wise sum VS of a map (Eq. 10) times the volume of a voxel.

    For the entropy map (Eq. 3) the unit is mm^3 bit, for the error map (Eq. 4)
    mm^3 times intensity; the error map keeps its sign, so it may be negative.
    """
    return float(np.sum(map, dtype=np.float64) * voxel_mm3)


def vs_per_volume(entropy: np.ndarray, mask: np.ndarray, voxel_mm3: float) -> float:
    """VS per predicted volume, in bit: sum H / (volume + 1 mm^3).

    The cubic millimetre keeps it finite for an empty mask, which then scores
    high, that is badly, as soon as there is any uncertainty at all.
    """
    return voxel_sum(entropy, voxel_mm3) / (np.count_nonzero(mask) * voxel_mm3 + 1)


def vs_residual(table: pd.DataFrame, train: np.ndarray) -> pd.Series:
    """What of log VS the log of the predicted volume does not explain.

    A straight line is fitted on the training rows only and applied to all:
    the test rows must not decide what is normal. One mm^3 (bit) is added before
    each logarithm, so empty masks have a residual too.

    Parameters
    ----------
    table : DataFrame
        With columns `volume_ml` and `vs_uncertainty`.
    train : boolean array
        True in the rows to fit on; at least two different volumes are needed.

    Returns
    -------
    Series
        Residuals (natural logarithm), positive: more uncertain than cases of that size.
    """
    size = np.log(table["volume_ml"].to_numpy() * 1000 + 1)
    vs = np.log(table["vs_uncertainty"].to_numpy() + 1)
    train = np.asarray(train, bool)
    if np.unique(size[train]).size < 2:
        raise ValueError(f"a line needs two training cases of different volume, got {train.sum()} training cases")
    slope, intercept = np.polyfit(size[train], vs[train], 1)
    return pd.Series(vs - slope * size - intercept, table.index, name="vs_residual")


# ---------------------------------------------------------------- means of a map


def mean_inside(map: np.ndarray, mask: np.ndarray) -> float:
    """Mean of a map over a mask; NaN for an empty mask."""
    return float(map[mask].mean(dtype=np.float64)) if mask.any() else np.nan


def non_boundary_mean(map: np.ndarray, mask: np.ndarray, brain: np.ndarray) -> float:
    """Mean of a map over the brain without the voxels that touch the edge of the mask.

    The edge of a lesion is always uncertain; what is left is doubt whether a
    lesion is there at all. A voxel touches the edge when it shares a face with a
    voxel of the other class. NaN for an empty brain.
    """
    from scipy import ndimage

    edge = ndimage.binary_dilation(mask) & ~ndimage.binary_erosion(mask, border_value=1)
    return mean_inside(map, brain & ~edge)


def patch_maximum(map: np.ndarray, spacing: tuple, window_mm: float = 10.0) -> float:
    """Highest mean of a map over any cube of `window_mm`; outside the grid counts as 0."""
    from scipy import ndimage

    size = [max(1, round(window_mm / step)) for step in spacing]
    return float(ndimage.uniform_filter(map.astype(np.float64), size, mode="constant").max())


# ---------------------------------------------------------------- agreement of the samples


def sample_agreement(mc) -> dict:
    """How far the hard masks of the passes agree with each other and with the final mask.

    Returns
    -------
    dict
        `pairwise_dice`: mean Dice over all pairs of passes, two empty masks count 1
        (`empty_share`, the share of empty passes, tells such a case);
        `iou_disagreement`: 1 - mean IoU of a pass with the final mask;
        `volume_cv`: standard deviation of the passes' volume over its mean, NaN if all are empty.
    """
    bits = np.vstack([mc.hard, np.packbits(mc.mask)[None]])
    # Bytes that are zero in every mask are dropped: a lesion is a small part of a volume.
    masks = np.unpackbits(bits[:, bits.any(axis=0)], axis=1).astype(np.float32)
    shared = (masks @ masks.T).astype(np.float64)
    sizes = shared.diagonal()
    total = sizes[:, None] + sizes
    dice = np.divide(2 * shared, total, out=np.ones_like(total), where=total > 0)
    iou = dice / (2 - dice)
    samples = sizes[:-1]
    pairs = np.triu_indices(mc.passes, 1)
    return {
        "pairwise_dice": dice[pairs].mean() if mc.passes > 1 else np.nan,
        "empty_share": np.mean(samples == 0),
        "iou_disagreement": 1 - iou[:-1, -1].mean(),
        "volume_cv": samples.std() / samples.mean() if samples.any() else np.nan,
    }


# ---------------------------------------------------------------- expected Dice and calibration


def expected_dice(mean: np.ndarray, temperature: float = 1.0) -> float:
    """Dice to expect if the probabilities were right: 2 sum(p S) / (sum(p) + sum(S)).

    Needs no training, but calibrated probabilities: give only voxels of the
    brain, and a temperature fitted on validation cases. The mask S = [p >= 0.5]
    does not change with the temperature. 1 if there is neither mask nor probability.
    """
    mean = np.asarray(mean, np.float64)
    mask = mean >= 0.5
    p = scale(mean, temperature)
    total = p.sum() + mask.sum()
    return float(2 * p[mask].sum() / total) if total > 0 else 1.0


def scale(probability: np.ndarray, temperature: float) -> np.ndarray:
    """Probability whose logit is divided by the temperature; above 1 moves it towards 0.5."""
    from scipy.special import expit, logit

    return expit(logit(np.asarray(probability, np.float64)) / temperature)


def fit_temperature(probability: np.ndarray, lesion: np.ndarray) -> float:
    """Temperature between 0.05 and 20 with the lowest cross-entropy on validation voxels.

    Parameters
    ----------
    probability, lesion : arrays of one shape
        Mean probability and manual mask of the brain voxels of the validation cases.

    References
    ----------
    Guo et al., ICML 2017.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import logit

    probability, lesion = _same_shape(probability, lesion)
    if lesion.all() or not lesion.any():
        raise ValueError("the voxels are all lesion or all background; a temperature needs both")
    # A float32 probability may round to 0 or 1, whose logit is infinite.
    z = logit(np.clip(np.asarray(probability, np.float64), 1e-7, 1 - 1e-7))
    z = np.where(lesion, -z, z)

    def loss(log_temperature):
        return np.logaddexp(0, z / np.exp(log_temperature)).mean()

    return float(np.exp(minimize_scalar(loss, bounds=np.log([0.05, 20]), method="bounded").x))


def reliability(probability: np.ndarray, lesion: np.ndarray, bins: int = 10) -> pd.DataFrame:
    """Reliability diagram: per bin of probability, how often it was lesion.

    Returns
    -------
    DataFrame
        One row per non-empty bin of equal width: `voxels`, `probability` (mean), `frequency` of lesion.
    """
    probability, lesion = _same_shape(probability, lesion)
    p = np.asarray(probability, np.float64).ravel()
    index = np.minimum((p * bins).astype(int), bins - 1)
    voxels = np.bincount(index, minlength=bins)
    sums = np.bincount(index, p, bins), np.bincount(index, lesion.ravel(), bins)
    used = voxels > 0
    return pd.DataFrame({"voxels": voxels[used], "probability": sums[0][used] / voxels[used],
                         "frequency": sums[1][used] / voxels[used]}, index=np.flatnonzero(used))


def calibration_error(diagram: pd.DataFrame) -> float:
    """Expected calibration error (ECE): mean gap of a reliability diagram, weighted by voxels."""
    gap = (diagram["probability"] - diagram["frequency"]).abs()
    return float(np.average(gap, weights=diagram["voxels"]))


# ---------------------------------------------------------------- lesion by lesion


def lesion_table(mc, voxel_mm3: float, lesion: np.ndarray | None = None) -> pd.DataFrame:
    """One row per predicted lesion (connected component of the final mask).

    Returns
    -------
    DataFrame, index = label 1, 2, ... of `scipy.ndimage.label` with 26 neighbours
        `volume_ml`; `uncertainty`: 1 - mean over passes of the highest IoU with a
        component of that pass (0: found alike in every pass, 1: in none);
        with a manual mask also `hit`: whether it touches a true lesion.
    """
    from scipy import ndimage

    labels, count = ndimage.label(mc.mask, _CUBE)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    iou = np.zeros(count + 1)
    for sample in mc.samples():
        parts, n = ndimage.label(sample, _CUBE)
        part_sizes = np.bincount(parts.ravel(), minlength=n + 1)
        both = (labels > 0) & sample
        pairs, shared = np.unique(labels[both].astype(np.int64) * (n + 1) + parts[both], return_counts=True)
        label, part = np.divmod(pairs, n + 1)
        best = np.zeros(count + 1)
        np.maximum.at(best, label, shared / (sizes[label] + part_sizes[part] - shared))
        iou += best / mc.passes
    table = pd.DataFrame({"volume_ml": sizes[1:] * voxel_mm3 / 1000, "uncertainty": 1 - iou[1:]},
                         index=pd.RangeIndex(1, count + 1, name="label"))
    if lesion is not None:
        table["hit"] = np.isin(table.index, labels[np.asarray(lesion) > 0])
    return table


def lesion_filter(mask: np.ndarray, lesion: np.ndarray, distrust: np.ndarray) -> pd.DataFrame:
    """Lesion F1 while predicted lesions are removed one by one, the least trusted first.

    Compare ``lesion_table(...)["uncertainty"]`` with the filter that knows only
    size, ``-lesion_table(...)["volume_ml"]``.

    Parameters
    ----------
    distrust : array, one value per predicted lesion in the order of `lesion_table`

    Returns
    -------
    DataFrame
        `removed` (share of the predicted lesions) and `f1`, from none to all removed.
    """
    from scipy import ndimage

    mask, lesion = _masks(mask, lesion)
    labels, count = ndimage.label(mask, _CUBE)
    true_labels, true_count = ndimage.label(lesion, _CUBE)
    if len(distrust) != count:
        raise ValueError(f"expected one value for each of the {count} predicted lesions, got {len(distrust)}")
    turn = np.empty(count, int)  # 0: removed first
    turn[np.argsort(-np.asarray(distrust), kind="stable")] = np.arange(count)
    both = mask & lesion
    pairs = np.unique(np.column_stack([labels[both], true_labels[both]]), axis=0) - 1
    hits = turn[np.unique(pairs[:, 0])]
    lost = np.full(true_count, -1)  # the turn at which a true lesion is no longer hit
    np.maximum.at(lost, pairs[:, 1], turn[pairs[:, 0]])
    f1 = []
    for k in range(count + 1):
        recall = np.mean(lost >= k) if true_count else 1.0
        precision = np.sum(hits >= k) / (count - k) if k < count else 1.0
        f1.append(_harmonic(precision, recall))
    return pd.DataFrame({"removed": np.arange(count + 1) / max(count, 1), "f1": f1})


# ---------------------------------------------------------------- truth


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
    p, y = _same_shape(mean, lesion)
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
    return _harmonic(_share_touched(mask, lesion), _share_touched(lesion, mask))


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

    labels, count = ndimage.label(mask, _CUBE)
    return np.count_nonzero(np.unique(labels[other])) / count if count else 1.0


def _harmonic(precision: float, recall: float) -> float:
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def _same_shape(map: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    map, mask = np.asarray(map), np.asarray(mask) > 0
    if map.shape != mask.shape:
        raise ValueError(f"prediction has shape {map.shape}, manual mask {mask.shape}; both must lie on one grid")
    return map, mask


def _masks(mask: np.ndarray, lesion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mask, lesion = _same_shape(mask, lesion)
    return mask > 0, lesion
