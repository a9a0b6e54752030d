"""From the maps of one case to one row of the table of cases.

Two kinds of number stand side by side in a row:

* *scores*, known without a manual mask: what quality control may use.
  `wmhqc.catalogue` says what each of them is.
* *truth*, known only with a manual mask: Dice and its relatives. They say
  which cases failed, and only serve to judge the scores.

Volumes are in ml, sums over voxels in mm^3 times the unit of the map, lengths
in mm, so that no number depends on the grid alone. What is undefined is NaN.

References
----------
Paper: Williams, Niehaus et al., arXiv:2112.03277 (equation numbers are its own).
Roy et al., NeuroImage 2019 (agreement of samples). Zenk et al., Medical Image
Analysis 2025, 103392 (pairwise Dice). Kahl et al., ICLR 2024 (patch maximum).
Molchanova et al., 2025 (lesion-wise uncertainty).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from wmhqc.metrics import CONNECTED, lesion_dice, measure, same_shape, volume_ml

# ---------------------------------------------------------------- one row


def row(prepared, mc, error_map=None, mask=None) -> dict:
    """Scores of a case's segmentation, and its truth where there is a manual mask.

    Parameters
    ----------
    prepared : wmhqc.preprocess.Prepared
        The case on its n^3 grid.
    mc : wmhqc.uncertainty.MonteCarlo
        Maps and masks of the dropout passes, on the same grid.
    error_map : array (n, n, n), optional
        FLAIR minus its reconstruction (Eq. 4), with the *predicted* mask painted over.
    mask : bool array (n, n, n), optional
        A segmentation of any origin that is judged in place of our own (`mc.mask`).

    Returns
    -------
    dict
        `case`, the scores of the catalogue that can be had from one case, `empty_share`,
        and what `metrics.measure` gives if `prepared.lesion` is not None. Of a given `mask` only
        scores that need no passes of its own, its Dice with our segmentation (`agreement_dice`)
        and `own_volume_ml`.
    """
    from scipy import ndimage

    judged, brain = mc.mask if mask is None else mask, prepared.brain > 0
    if not mc.mask.shape == judged.shape == brain.shape:
        raise ValueError(
            f"{prepared.case}: maps have shape {mc.mask.shape}, the mask {judged.shape}, the brain mask {brain.shape}; "
            "all must lie on the prepared grid"
        )
    spacing = grid_spacing(prepared)
    voxel_mm3 = float(np.prod(spacing))
    result = {
        "volume_ml": volume_ml(judged, voxel_mm3),
        "brain_ml": volume_ml(brain, voxel_mm3),
        "brain_share": judged.sum() / brain.sum() if brain.any() else np.nan,
        "mean_entropy": mean_inside(mc.entropy, judged),
        "expected_dice": expected_dice(mc.mean[brain], mask=judged[brain]),
        "lesion_count": ndimage.label(judged, CONNECTED)[1],
    }
    if mask is None:
        result |= _of_passes(mc, brain, spacing)
    else:
        result |= {"agreement_dice": lesion_dice(judged, mc.mask), "own_volume_ml": volume_ml(mc.mask, voxel_mm3)}
    if error_map is not None:
        result["vs_error"] = voxel_sum(error_map, voxel_mm3)
        result["vs_error_inside"] = voxel_sum(error_map[judged], voxel_mm3)
    if prepared.lesion is not None:
        probability = mc.mean if mask is None else judged.astype(np.float32)
        result |= measure(probability, prepared.lesion > 0, spacing)
    return {"case": prepared.case} | {name: float(value) for name, value in result.items()}


def _of_passes(mc, brain, spacing) -> dict:
    """Scores that only the mask of the passes themselves has."""
    mask, voxel_mm3 = mc.mask, float(np.prod(spacing))
    return {
        "vs_uncertainty": voxel_sum(mc.entropy, voxel_mm3),
        "vs_per_volume": vs_per_volume(mc.entropy, mask, voxel_mm3),
        "non_boundary_entropy": non_boundary_mean(mc.entropy, mask, brain),
        "patch_entropy": patch_maximum(mc.entropy, spacing),
        "mean_variance": mean_inside(mc.variance, mask),
        "mean_expected_entropy": mean_inside(mc.expected_entropy, mask),
        "mean_mutual_information": mean_inside(mc.entropy - mc.expected_entropy, mask),
        **sample_agreement(mc),
        "lesion_uncertainty": lesion_table(mc, voxel_mm3)["uncertainty"].mean(),
    }


def of_samples(name: str, mc, voxel_mm3: float) -> dict:
    """Agreement and VS of samples that do not come from dropout alone.

    Parameters
    ----------
    name : {"tta", "ensemble"}
        Where the samples come from: changed inputs or several networks.
    mc : wmhqc.uncertainty.MonteCarlo
        `uncertainty.summarise` of `uncertainty.test_time` or of `uncertainty.ensemble`.

    Returns
    -------
    dict
        `tta_pairwise_dice`, `tta_vs_uncertainty` (mm^3 bit), or the same with `ensemble_`.
    """
    return {
        f"{name}_pairwise_dice": float(sample_agreement(mc)["pairwise_dice"]),
        f"{name}_vs_uncertainty": voxel_sum(mc.entropy, voxel_mm3),
    }


def grid_spacing(prepared) -> tuple[float, float, float]:
    """Edge lengths in mm of a voxel of the n^3 grid (axes RAS+): the crop of the scan divided by n."""
    import nibabel as nib

    crop = np.array([stop - start for start, stop in prepared.box])
    edges = nib.affines.voxel_sizes(prepared.affine) * crop / prepared.brain.shape
    # The grid's axes are in RAS+ order, the box is on the axes of the scan.
    axis_of = nib.io_orientation(prepared.affine)[:, 0].astype(int)
    return tuple(float(edges[axis]) for axis in np.argsort(axis_of))


# ---------------------------------------------------------------- size and sums


def voxel_sum(values: np.ndarray, voxel_mm3: float) -> float:
    """Voxel-wise sum VS of a map (Eq. 10) times the volume of a voxel.

    For the entropy map (Eq. 3) the unit is mm^3 bit, for the error map (Eq. 4)
    mm^3 times intensity; the error map keeps its sign, so it may be negative.
    """
    return float(np.sum(values, dtype=np.float64) * voxel_mm3)


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


def mean_inside(values: np.ndarray, mask: np.ndarray) -> float:
    """Mean of a map over a mask; NaN for an empty mask."""
    return float(values[mask].mean(dtype=np.float64)) if mask.any() else np.nan


def non_boundary_mean(values: np.ndarray, mask: np.ndarray, brain: np.ndarray) -> float:
    """Mean of a map over the brain without the voxels that touch the edge of the mask.

    The edge of a lesion is always uncertain; what is left is doubt whether a
    lesion is there at all. A voxel touches the edge when it shares a face with a
    voxel of the other class. NaN for an empty brain.
    """
    from scipy import ndimage

    edge = ndimage.binary_dilation(mask) & ~ndimage.binary_erosion(mask, border_value=1)
    return mean_inside(values, brain & ~edge)


def patch_maximum(values: np.ndarray, spacing: tuple, window_mm: float = 10.0) -> float:
    """Highest mean of a map over any cube of `window_mm`; outside the grid counts as 0."""
    from scipy import ndimage

    size = [max(1, round(window_mm / step)) for step in spacing]
    return float(ndimage.uniform_filter(values.astype(np.float64), size, mode="constant").max())


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


def expected_dice(mean: np.ndarray, temperature: float = 1.0, mask: np.ndarray | None = None) -> float:
    """Dice of a mask S to expect if the probabilities p were right: 2 sum(p S) / (sum(p) + sum(S)).

    Needs no training, but calibrated probabilities: give only voxels of the
    brain, and a temperature fitted on validation cases. S is [p >= 0.5], which does not
    change with the temperature, or a given mask. 1 if there is neither mask nor probability.
    """
    mean = np.asarray(mean, np.float64)
    mask = mean >= 0.5 if mask is None else mask
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

    probability, lesion = same_shape(probability, lesion)
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
    probability, lesion = same_shape(probability, lesion)
    p = np.asarray(probability, np.float64).ravel()
    index = np.minimum((p * bins).astype(int), bins - 1)
    voxels = np.bincount(index, minlength=bins)
    sums = np.bincount(index, p, bins), np.bincount(index, lesion.ravel(), bins)
    used = voxels > 0
    return pd.DataFrame(
        {
            "voxels": voxels[used],
            "probability": sums[0][used] / voxels[used],
            "frequency": sums[1][used] / voxels[used],
        },
        index=np.flatnonzero(used),
    )


def calibration_error(diagram: pd.DataFrame) -> float:
    """Expected calibration error (ECE): mean gap of a reliability diagram, weighted by voxels."""
    gap = (diagram["probability"] - diagram["frequency"]).abs()
    return float(np.average(gap, weights=diagram["voxels"]))


# ---------------------------------------------------------------- lesion by lesion


def lesion_table(mc, voxel_mm3: float) -> pd.DataFrame:
    """One row per predicted lesion (connected component of the final mask).

    Returns
    -------
    DataFrame, index = label 1, 2, ... of `scipy.ndimage.label` with 26 neighbours
        `volume_ml`; `uncertainty`: 1 - mean over passes of the highest IoU with a
        component of that pass (0: found alike in every pass, 1: in none).
    """
    from scipy import ndimage

    labels, count = ndimage.label(mc.mask, CONNECTED)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    iou = np.zeros(count + 1)
    for sample in mc.samples():
        parts, n = ndimage.label(sample, CONNECTED)
        part_sizes = np.bincount(parts.ravel(), minlength=n + 1)
        both = (labels > 0) & sample
        pairs, shared = np.unique(labels[both].astype(np.int64) * (n + 1) + parts[both], return_counts=True)
        label, part = np.divmod(pairs, n + 1)
        best = np.zeros(count + 1)
        np.maximum.at(best, label, shared / (sizes[label] + part_sizes[part] - shared))
        iou += best / mc.passes
    return pd.DataFrame(
        {"volume_ml": sizes[1:] * voxel_mm3 / 1000, "uncertainty": 1 - iou[1:]},
        index=pd.RangeIndex(1, count + 1, name="label"),
    )
