"""A calibrated prediction of the Dice: a straight line through a few scores, fitted on validation rows.

The scores of the catalogue rank segmentations well, but what they say is not the Dice: even a network
that was trained to predict it is off where its inputs differ from those it learnt from. A line through
validation rows mends that (``benchmarks/dice_prediction.py`` prints by how much). It is a ridge
regression on standardised scores; which of the sets of scores it goes through is chosen on validation
rows too, by its error out of fold. How far off it tends to be is a second line, on the prediction itself,
as a low Dice is the hard one to predict: it makes the intervals of `wmhqc.regression.conformal_interval`
as wide as the case deserves.

    line = fit(validation, choose(validation))
    predicted = line.predict(test)
    line.expected_error(predicted)

References
----------
Hoerl and Kennard, Technometrics 1970 (ridge). Lei et al., Journal of the American Statistical
Association 2018 (intervals normalised by a predicted spread).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from wmhqc import thresholds

#: Sets of scores that may predict the Dice, simple ones first.
CANDIDATES = {
    "uncertainty": ("mean_entropy",),
    "expected Dice": ("expected_dice",),
    "passes": ("pairwise_dice",),
    "changed inputs": ("tta_pairwise_dice",),
    "network, from the image": ("predicted_dice_image",),
    "network, from the mask": ("predicted_dice_mask",),
    "agreement": ("agreement_dice",),
    "expected Dice and agreement": ("expected_dice", "agreement_dice"),
    "uncertainty and changed inputs": ("mean_entropy", "tta_pairwise_dice"),
    "uncertainty and network": ("mean_entropy", "predicted_dice_image"),
    "changed inputs and network": ("tta_pairwise_dice", "predicted_dice_image"),
    "all three": ("mean_entropy", "tta_pairwise_dice", "predicted_dice_image"),
}
#: No error is expected to be less than this share of the mean error: few cases say little about their spread.
LEAST_SPREAD = 0.8
#: Penalty of the ridge regression, in cases.
PENALTY = 1.0
FOLDS = 10
#: Column of what is predicted.
DICE = "lesion_dice"


@dataclass(frozen=True)
class Line:
    """Dice = `intercept` + the sum of `weights` times `scores`; its expected error is a line too.

    `spread` is that error where the predicted Dice is 0, what it gains to where it is 1, and the least it can be.
    All are plain numbers: ``dataclasses.asdict`` gives JSON, and ``Line(**read)`` the same line again.
    """

    scores: tuple[str, ...]
    weights: tuple[float, ...]
    intercept: float
    spread: tuple[float, float, float]

    def predict(self, table: pd.DataFrame) -> np.ndarray:
        """Predicted Dice (n,) in [0, 1]; NaN where a score is missing."""
        return np.clip(self.intercept + _columns(table, self.scores) @ np.asarray(self.weights), 0, 1)

    def expected_error(self, predicted) -> np.ndarray:
        """Mean absolute error to expect of a predicted Dice (n,)."""
        at_zero, gain, least = self.spread
        return np.maximum(at_zero + gain * np.asarray(predicted, float), least)


def fit(table: pd.DataFrame, scores) -> Line:
    """The line through the rows of a table.

    Parameters
    ----------
    table : DataFrame
        Rows of scans with a manual mask that did not train the networks: the true Dice and
        `scores`. Rows where one of them is missing are left out. Folds are drawn by `patient`, where
        it is known, else by row.

    Raises
    ------
    ValueError
        Fewer than two rows more than scores are complete.
    """
    known = _complete(table, scores)
    weights, intercept = _ridge(_columns(known, scores), known[DICE].to_numpy(float))
    predicted = out_of_fold(known, scores)
    error = np.abs(predicted - known[DICE].to_numpy(float))
    gain, at_zero = np.polyfit(predicted, error, 1) if np.ptp(predicted) > 0 else (0, error.mean())
    spread = float(at_zero), float(gain), float(LEAST_SPREAD * error.mean())
    return Line(tuple(scores), tuple(map(float, weights)), float(intercept), spread)


def out_of_fold(table: pd.DataFrame, scores) -> np.ndarray:
    """Each row's Dice (n,), predicted by the line through the rows of other folds; NaN where a score is missing."""
    known = _complete(table, scores)
    groups = known.get("patient", pd.Series(np.nan, known.index)).fillna(known.index.to_series())
    fold = pd.factorize(groups)[0] % FOLDS
    x, true = _columns(known, scores), known[DICE].to_numpy(float)
    predicted = np.empty(len(known))
    for one in np.unique(fold):
        weights, intercept = _ridge(x[fold != one], true[fold != one])
        predicted[fold == one] = intercept + x[fold == one] @ weights
    return pd.Series(np.clip(predicted, 0, 1), known.index).reindex(table.index).to_numpy()


def per_fold(validation: pd.DataFrame, test: pd.DataFrame, scores) -> np.ndarray:
    """Each test row's Dice (n,), predicted by a line through validation rows of all folds.

    Those of the fold's own test cases are left out. NaN where too few rows are left for a line. Both tables have
    `case` and `fold`.
    """
    predicted = pd.Series(np.nan, test.index)
    for _, cases in test.groupby("fold"):
        known = thresholds.one_row_a_case(validation, cases["case"]).dropna(subset=[*scores, DICE])
        if len(known) >= len(scores) + 2:
            predicted[cases.index] = fit(known, scores).predict(cases)
    return predicted.to_numpy()


def compare(table: pd.DataFrame, candidates=CANDIDATES) -> pd.DataFrame:
    """Sets of scores by how well they predict the Dice out of fold, the best first.

    Sets of which the table lacks a score are left out.

    Returns
    -------
    DataFrame, index = name
        `mae` (mean absolute error), `rho` (Spearman), `cases` with a prediction.
    """
    rows = {}
    for name, scores in candidates.items():
        if set(scores) <= set(table) and len(table.dropna(subset=[*scores, DICE])) >= len(scores) + 2:
            found = pd.Series(out_of_fold(table, scores), table.index)
            error = (found - table[DICE]).abs()
            rows[name] = {"mae": error.mean(), "rho": found.corr(table[DICE], "spearman"), "cases": error.count()}
    found = pd.DataFrame.from_dict(rows, orient="index", columns=["mae", "rho", "cases"])
    return found.sort_values("mae", kind="stable")


def choose(table: pd.DataFrame, candidates=CANDIDATES) -> tuple[str, ...]:
    """The set of scores with the least error out of fold.

    Raises
    ------
    ValueError
        No set of scores has enough complete rows.
    """
    found = compare(table, candidates)
    if found.empty:
        raise ValueError(f"none of the {len(table)} rows can be used: {DICE} and a score are needed")
    return tuple(candidates[found.index[0]])


def _ridge(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights and intercept of the ridge regression on standardised columns (n, scores)."""
    from sklearn.linear_model import Ridge

    scale = np.where(x.std(axis=0) > 0, x.std(axis=0), 1)
    ridge = Ridge(PENALTY).fit(x / scale, y)
    return ridge.coef_ / scale, ridge.intercept_


def _complete(table: pd.DataFrame, scores) -> pd.DataFrame:
    known = table.dropna(subset=[*scores, DICE])
    if len(known) < len(scores) + 2:
        raise ValueError(
            f"{len(known)} of {len(table)} rows have {DICE} and {', '.join(scores)}; "
            f"{len(scores) + 2} are needed to predict the Dice from {len(scores)} scores"
        )
    return known


def _columns(table: pd.DataFrame, scores) -> np.ndarray:
    return table[list(scores)].to_numpy(float)
