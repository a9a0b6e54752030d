"""Which scans a person should look at first, and how many failures are left after so many looks.

The chance that a segmentation failed is a logistic curve over its predicted Dice, fitted on calibration cases.
Its uncertainty is that of the curve (normal approximation of the posterior), shared by all scans of a group.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.special import expit, logit

#: Fewer calibration cases say nothing about the chance of failure.
MIN_CASES = 10
#: Standard deviation of the normal prior of both coefficients, the prediction in units of `UNIT`.
PRIOR = 3.0
UNIT = 0.1
STEPS = 30
DRAWS = 4000


@dataclass(frozen=True)
class Curve:
    """Chance of failure = expit(a + b x), x = (predicted Dice - `centre`) / `UNIT`; with the covariance of a and b."""

    centre: float
    coefficients: tuple[float, float]
    covariance: tuple[tuple[float, float], tuple[float, float]]

    def chance(self, predicted: float, level: float = 0.9) -> tuple[float, float, float]:
        """Chance of failure of a predicted Dice, and the ends of its interval; NaN where there is no prediction."""
        x = np.array([1, (predicted - self.centre) / UNIT])
        middle, error = x @ self.coefficients, np.sqrt(x @ np.array(self.covariance) @ x)
        reach = stats.norm.ppf((1 + level) / 2) * error
        return tuple(float(expit(middle + side * reach)) for side in (0, -1, 1))


def fit(predicted, failed) -> Curve | None:
    """The curve of calibration cases: predicted Dice (n,) and whether they failed (n,); None if they are too few.

    Raises
    ------
    ValueError
        The two differ in length.
    """
    predicted, failed = np.asarray(predicted, float), np.asarray(failed, bool)
    if predicted.shape != failed.shape:
        raise ValueError(f"expected one outcome for each prediction, got {predicted.shape} and {failed.shape}")
    known = np.isfinite(predicted)
    predicted, failed = predicted[known], failed[known]
    if len(predicted) < MIN_CASES:
        return None
    centre = float(predicted.mean())
    x = np.column_stack([np.ones(len(predicted)), (predicted - centre) / UNIT])
    coefficients = np.zeros(2)
    for _ in range(STEPS):  # Newton's method on the posterior, which has one maximum
        p = expit(x @ coefficients)
        covariance = np.linalg.inv((x * (p * (1 - p))[:, None]).T @ x + np.eye(2) / PRIOR**2)
        coefficients = coefficients + covariance @ (x.T @ (failed - p) - coefficients / PRIOR**2)
    return Curve(centre, tuple(map(float, coefficients)), tuple(tuple(map(float, row)) for row in covariance))


def expected_left(chance, low, high, level: float = 0.9, seed: int = 0) -> dict:
    """How many failed segmentations are expected to be left once the worst N scans were looked at, N = 0 ... n.

    Parameters
    ----------
    chance, low, high : arrays (n,)
        Chance of failure of each scan, the worst first, with the interval of `Curve.chance` at `level`. NaN where
        it is not known: such a scan counts as failed.

    Returns
    -------
    dict of str to list of n + 1 numbers
        `mean`; `low` and `high`: an interval that holds the number with probability `level`, as the curve is uncertain
        (alike for all scans) and each scan is a draw.
    """
    chance, low, high = (np.asarray(value, float) for value in (chance, low, high))
    tiny = np.finfo(float).eps
    middle, upper, lower = (logit(np.clip(value, tiny, 1 - tiny)) for value in (chance, high, low))
    error = (upper - lower) / (2 * stats.norm.ppf((1 + level) / 2))
    rng = np.random.default_rng(seed)
    curve, luck = rng.standard_normal((DRAWS, 1)), rng.random((DRAWS, len(chance)))
    drawn = expit(middle + curve * error)
    drawn[:, np.isnan(chance)] = 1
    left = np.zeros((DRAWS, len(chance) + 1), int)
    left[:, :-1] = np.cumsum((luck < drawn)[:, ::-1], axis=1)[:, ::-1]
    ends = np.quantile(left, [(1 - level) / 2, (1 + level) / 2], axis=0)
    # the mean without the luck of the draws
    mean = np.r_[np.cumsum(drawn.mean(axis=0)[::-1])[::-1], 0]
    return {"mean": mean.tolist(), "low": ends[0].tolist(), "high": ends[1].tolist()}
