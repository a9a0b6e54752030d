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
    their kind, about one in twenty is). Outliers among the calibration cases, as one without a
    good brain mask, would widen what counts as alike; they are left out, and named.

    Returns
    -------
    dict
        in_distribution (bool), score (the distance), limit, cases, outside (list of features beyond the range of the
        middle 98 %, the farthest first: name, value, low, high), words.
    """
    known = [name for name in FEATURES if name in calibration]
    table = calibration[known].dropna() if known else pd.DataFrame()
    result = {"in_distribution": False, "score": math.nan, "limit": math.nan, "cases": len(table), "outside": []}
    if len(table) < MIN_CALIBRATION:
        words = (
            f"How the calibration cases look is known of {len(table)} scans only, and {MIN_CALIBRATION} are needed to "
            "say whether this one is of their kind."
        )
        return result | {"words": words}
    point, others = np.array([features[name] for name in known], float), table.to_numpy(float)
    kept, limit, _ = _inliers(others.tobytes(), len(known))
    outliers = table.index.delete(list(kept))
    others = others[list(kept)]
    score = _distance(point, others)
    deviation = np.abs(point - others.mean(axis=0)) / _spread(others)
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
    known = [name for name in FEATURES if name in calibration]
    table = calibration[known].dropna() if known else pd.DataFrame()
    if len(table) < MIN_CALIBRATION:
        return pd.Series(dtype=bool)
    kept, limit, distances = _inliers(table.to_numpy(float).tobytes(), len(known))
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


@functools.lru_cache(maxsize=8)  # the same calibration cases for all scans
def _inliers(data: bytes, columns: int) -> tuple[tuple[int, ...], float, tuple[float, ...]]:
    """Rows of a table of features that are no outliers, the distance most of them keep from the others, and all."""
    table = np.frombuffer(data).reshape(-1, columns)
    kept = np.arange(len(table))
    distances = _leave_one_out(table)
    good = distances <= OUTLIER_FACTOR * np.median(distances)
    if not good.all() and good.sum() >= MIN_CALIBRATION:
        kept, distances = kept[good], _leave_one_out(table[good])
    enough = math.ceil(round(OOD_QUANTILE * (len(kept) + 1), 9))
    limit = float(np.sort(distances)[min(enough, len(kept)) - 1])
    return tuple(kept.tolist()), limit, tuple(distances.tolist())


def _leave_one_out(table: np.ndarray) -> np.ndarray:
    return np.array([_distance(row, np.delete(table, i, axis=0)) for i, row in enumerate(table)])


def _spread(others: np.ndarray) -> np.ndarray:
    """Standard deviation of each feature, at least 1 % of its mean: a constant one has none."""
    return np.maximum(others.std(axis=0), 0.01 * np.abs(others.mean(axis=0)) + 1e-9)


def _distance(point: np.ndarray, others: np.ndarray) -> float:
    """Mahalanobis distance of a point from the rows of `others`, per square root of the dimension."""
    from sklearn.covariance import LedoitWolf

    mean, spread = others.mean(axis=0), _spread(others)
    covariance = LedoitWolf().fit((others - mean) / spread).covariance_
    z = (point - mean) / spread
    return float(np.sqrt(z @ np.linalg.solve(covariance, z) / len(z)))
