"""Is a scan out of distribution: does it look unlike the calibration cases?

References
----------
Lee et al., NeurIPS 2018 (Mahalanobis distance as out-of-distribution score). Ledoit & Wolf, J. Multivariate Analysis
2004 (covariance of few cases).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from wmhqc.features import FEATURES
from wmhqc.screen.labels import LABELS

#: Fewer calibration cases than this say nothing about what a scan of their kind looks like.
MIN_CALIBRATION = 20
#: Share of the calibration cases that are taken for in distribution.
OOD_QUANTILE = 0.95
#: A calibration case this many times as far from the others as the median one is an outlier, and left out.
OUTLIER_FACTOR = 3


def ood_score(features: Mapping, calibration: pd.DataFrame) -> dict:
    """How far a scan is from the calibration cases, by how it looks.

    The Mahalanobis distance of its `FEATURES` from their mean, with a shrunken covariance
    (Ledoit-Wolf), is compared with the distance of each calibration case from the others: a
    scan farther off than a share `OOD_QUANTILE` of them is out of distribution (of the scans of
    their kind, about one in twenty is). Patients and synthetic cases (column `synthetic`) weigh the same
    in all of this, however many there are of each: else many synthetic cases, which are much alike, would
    make every patient strange. Outliers among the calibration cases, as one without a
    good brain mask, would widen what counts as alike; they are left out, and named.

    Returns
    -------
    dict
        in_distribution (bool), score (the distance), limit, cases, outside (list of features beyond the range of the
        middle 98 %, the farthest first: name, value, low, high), words.
    """
    table, made = _known(calibration)
    result = {"in_distribution": False, "score": math.nan, "limit": math.nan, "cases": len(table), "outside": []}
    if len(table) < MIN_CALIBRATION:
        words = (
            f"How the calibration cases look is known of {len(table)} scans only, and {MIN_CALIBRATION} are needed to "
            "say whether this one is of their kind."
        )
        return result | {"words": words}
    known, others = list(table), table.to_numpy(float)
    point = np.array([features[name] for name in known], float)
    kept, limit, _ = _inliers(others.tobytes(), made.tobytes())
    outliers = table.index.delete(list(kept))
    others, made = others[list(kept)], made[list(kept)]
    score = _distance(point, others, made)
    mean, spread = _moments(others, made)
    deviation = np.abs(point - mean) / spread
    low, high = np.percentile(others, (1, 99), axis=0)
    outside = [
        {"name": known[i], "value": point[i], "low": low[i], "high": high[i]}
        for i in np.argsort(-deviation)
        if not low[i] <= point[i] <= high[i]
    ]
    inside = bool(score <= limit)
    words = f"The scan {'looks' if inside else 'does not look'} like the {len(others)} calibration cases"
    words += f" (distance {score:.1f}; {100 * OOD_QUANTILE:g} % of theirs are at most {limit:.1f})."
    if len(outliers):
        names = ", ".join(calibration.loc[outliers, "case"].astype(str)) if "case" in calibration else len(outliers)
        words += f" Calibration cases unlike all others were left out: {names}."
    found = {"in_distribution": inside, "score": score, "limit": limit, "cases": len(others), "outside": outside}
    return found | {"words": words}


def in_distribution(calibration: pd.DataFrame) -> pd.Series:
    """Which calibration cases are in distribution, each compared with the others (bool, those with features)."""
    table, made = _known(calibration)
    if len(table) < MIN_CALIBRATION:
        return pd.Series(dtype=bool)
    kept, limit, distances = _inliers(table.to_numpy(float).tobytes(), made.tobytes())
    inside = pd.Series(False, table.index)
    inside.iloc[list(kept)] = np.array(distances) <= limit
    return inside


def explain(found: Mapping) -> str:
    """What `ood_score` found, with the three features that differ most."""
    most = "; ".join(describe(feature) for feature in found["outside"][:3])
    return f"{found['words']} Most unlike: {most}." if most else found["words"]


def describe(feature: Mapping) -> str:
    """A value (name, value) beside the range of the calibration cases (low, high), in words."""
    label, unit = LABELS[feature["name"]]
    theirs = f"(theirs {feature['low']:.3g} to {feature['high']:.3g})"
    return " ".join(filter(None, (label, f"{feature['value']:.3g}", unit, theirs)))


def _known(calibration: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
    """The features of the calibration cases of which all are known, and which of those cases are synthetic."""
    known = [name for name in FEATURES if name in calibration]
    table = calibration[known].dropna() if known else pd.DataFrame()
    made = calibration.get("synthetic", pd.Series(False, calibration.index))
    return table, made.reindex(table.index).astype(bool).to_numpy()


@functools.lru_cache(maxsize=8)  # the same calibration cases for all scans
def _inliers(data: bytes, kinds: bytes) -> tuple[tuple[int, ...], float, tuple[float, ...]]:
    """Rows of a table of features that are no outliers, the distance most of them keep from the others, and all."""
    made = np.frombuffer(kinds, bool)
    table = np.frombuffer(data).reshape(len(made), -1)
    kept = np.arange(len(table))
    distances = _leave_one_out(table, made)
    good = distances <= OUTLIER_FACTOR * np.median(distances)
    if not good.all() and good.sum() >= MIN_CALIBRATION:
        kept = kept[good]
        distances = _leave_one_out(table[kept], made[kept])
    order = np.argsort(distances)
    share = np.cumsum(_weights(made[kept])[order])
    enough = OOD_QUANTILE * (1 + 1 / len(kept))  # the new scan is one more
    limit = float(distances[order][min(np.searchsorted(share, enough - 1e-9), len(kept) - 1)])
    return tuple(kept.tolist()), limit, tuple(distances.tolist())


def _leave_one_out(table: np.ndarray, made: np.ndarray) -> np.ndarray:
    rest = ((np.delete(table, i, axis=0), np.delete(made, i)) for i in range(len(table)))
    return np.array([_distance(row, *others) for row, others in zip(table, rest, strict=True)])


def _weights(made: np.ndarray) -> np.ndarray:
    """What each case weighs (sum 1): synthetic ones together as much as patients, if there are both."""
    shares = np.where(made, 1 / max(made.sum(), 1), 1 / max((~made).sum(), 1))
    return shares / shares.sum()


def _moments(others: np.ndarray, made: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each feature; that at least 1 % of the mean: a constant one has none."""
    weights = _weights(made)
    mean = weights @ others
    spread = np.sqrt(weights @ (others - mean) ** 2)
    return mean, np.maximum(spread, 0.01 * np.abs(mean) + 1e-9)


def _distance(point: np.ndarray, others: np.ndarray, made: np.ndarray) -> float:
    """Mahalanobis distance of a point from the rows of `others`, per square root of the dimension."""
    from sklearn.covariance import ledoit_wolf_shrinkage, shrunk_covariance

    mean, spread = _moments(others, made)
    standard = (others - mean) / spread
    covariance = (standard * _weights(made)[:, None]).T @ standard
    covariance = shrunk_covariance(covariance, ledoit_wolf_shrinkage(standard, assume_centered=True))
    z = (point - mean) / spread
    return float(np.sqrt(z @ np.linalg.solve(covariance, z) / len(z)))
