"""Does a score find the failed segmentations?

A case has *failed* when its Dice is below `tau`; failure is the positive class
throughout. A *confidence* is a score turned so that high means trust (see
`wmhqc.catalogue`). A case whose confidence is NaN (an empty prediction
has no mean entropy, say) counts as the least trusted: a person must look at it.
A rate whose denominator is 0 is NaN, never 0 or 1.

Every statistic takes `dice` and `confidence` with the cases along the last
axis, so that all bootstrap draws are computed at once.

References
----------
Geifman et al., ICLR 2019 (AURC, E-AURC). Traub et al., NeurIPS 2024 (AUGRC).
Zenk et al., Medical Image Analysis 2025, 103392 (failure detection in segmentation).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from wmhqc import catalogue

#: What a segmentation may fail in -> column of the truth, 1 where a high value is good else -1, what a failure is.
MEASURES = {
    "dice": ("lesion_dice", 1, "a lesion Dice below {:g}"),
    "f1": ("lesion_f1", 1, "a lesion F1 below {:g}"),
    "volume": ("volume_difference_percent", -1, "a lesion volume off by more than {:g} %"),
}


@dataclass(frozen=True)
class Criterion:
    """When a segmentation counts as failed.

    Attributes
    ----------
    measure : {"dice", "f1", "volume"}
    limit : float
        Lowest Dice or F1 that is good, or the highest difference of volume, in per cent of the true one.
    """

    measure: str = "dice"
    limit: float = 0.5

    def __post_init__(self):
        highest = 1 if self.measure != "volume" else math.inf
        if self.measure not in MEASURES or not 0 < self.limit < highest:
            raise ValueError(
                f"expected dice=LIMIT or f1=LIMIT with a limit between 0 and 1, or volume=PERCENT above 0, "
                f"got {self.measure}={self.limit:g}"
            )

    @classmethod
    def parse(cls, text: str) -> Criterion:
        """From "dice=0.5", as it stands on a command line."""
        measure, _, limit = text.partition("=")
        try:
            return cls(measure.strip(), float(limit))
        except ValueError:
            raise ValueError(f"expected dice=0.5, f1=0.4 or volume=30 (per cent), got {text!r}") from None

    @property
    def words(self) -> str:
        """What a failed segmentation has."""
        return MEASURES[self.measure][2].format(self.limit)

    @property
    def tau(self) -> float:
        """A case has failed where its `quality` is below this."""
        return MEASURES[self.measure][1] * self.limit

    def quality(self, table: pd.DataFrame) -> pd.Series:
        """What is compared with `tau`, the higher the better; NaN where it is not known."""
        column, sign, _ = MEASURES[self.measure]
        return sign * table[column] if column in table else pd.Series(math.nan, table.index)


#: A lesion Dice below 0.5, what counts as a failure if nothing else is said.
LOW_DICE = Criterion()


# ---------------------------------------------------------------- flagging at a threshold


def flag(confidence, threshold: float) -> np.ndarray:
    """True where a case must be reviewed: confidence below the threshold, or undefined."""
    return ~(np.asarray(confidence, float) >= threshold)


def confusion(dice, flagged, tau: float) -> dict:
    """Counts and rates of flagging, failure (Dice < tau) being positive.

    The paper's "precision" is the specificity and its "recall" the negative
    predictive value given here (scikit-learn orders tn, fp, fn, tp).

    Returns
    -------
    dict
        `tp` failed and flagged, `fp` good and flagged, `fn` failed and kept,
        `tn` good and kept; `flagged`; `sensitivity`, `ppv`, `specificity`, `npv`.
    """
    dice, flagged = np.asarray(dice, float), np.asarray(flagged)
    if dice.shape != flagged.shape or flagged.dtype != bool:
        raise ValueError(
            f"expected one True or False per case, got {flagged.dtype} of shape {flagged.shape} "
            f"for {dice.shape} Dice; make it with `flag`"
        )
    if np.isnan(dice).any():
        raise ValueError(f"{np.isnan(dice).sum()} cases have no Dice; leave out cases without a manual mask")
    failed = dice < tau
    tp, fp = int((failed & flagged).sum()), int((~failed & flagged).sum())
    fn, tn = int((failed & ~flagged).sum()), int((~failed & ~flagged).sum())
    return {
        "tp": tp,
        "fp": fp,
        "fn": fn,
        "tn": tn,
        "flagged": tp + fp,
        "sensitivity": _rate(tp, tp + fn),
        "ppv": _rate(tp, tp + fp),
        "specificity": _rate(tn, tn + fp),
        "npv": _rate(tn, tn + fn),
    }


def removal(dice, flagged) -> dict:
    """The paper's gain: mean Dice `before`, and `after` the flagged cases are removed (NaN if all are)."""
    dice, kept = np.asarray(dice, float), ~np.asarray(flagged, bool)
    return {"before": dice.mean(), "after": dice[kept].mean() if kept.any() else np.nan, "removed": int((~kept).sum())}


def proportion_interval(count: int, of: int, level: float = 0.95) -> tuple[float, float]:
    """Clopper-Pearson interval of a proportion; (NaN, NaN) of nothing."""
    if of == 0:
        return np.nan, np.nan
    return tuple(stats.binomtest(count, of).proportion_ci(level, "exact"))


# ---------------------------------------------------------------- statistics without a threshold


def auroc(dice, confidence, tau: float) -> np.ndarray:
    """Chance that a failed case has a lower confidence than a good one, ties count half.

    0.5 is chance; NaN if all or no cases failed.
    """
    failed = np.asarray(dice) < tau
    ranks = stats.rankdata(_defined(confidence), axis=-1)
    bad, n = failed.sum(-1), failed.shape[-1]
    wins = bad * (bad + 1) / 2 + bad * (n - bad) - (ranks * failed).sum(-1)
    return _divide(wins, bad * (n - bad))


def larger(values, others) -> float:
    """Chance that one of `values` (n,) exceeds one of `others` (m,), ties count half; NaN if either is empty."""
    return float(auroc(np.repeat([1, 0], (len(values), len(others))), np.concatenate([values, others]), 0.5))


def average_precision(dice, confidence, tau: float) -> np.ndarray:
    """Mean over the failed cases of the PPV when flagging every case up to this one.

    Chance is the share of failed cases; NaN if there is none.
    """
    failed, confidence = np.asarray(dice) < tau, _defined(confidence)
    found = np.cumsum(np.take_along_axis(failed, confidence.argsort(-1), -1), -1)
    flagged = stats.rankdata(confidence, "max", axis=-1).astype(int)
    ppv = np.take_along_axis(found, flagged - 1, -1) / flagged
    return _divide((ppv * failed).sum(-1), failed.sum(-1))


def cumulative_risk(dice, confidence) -> np.ndarray:
    """Sum of the risks 1 - Dice of the k most trusted cases, k = 1 ... N.

    Tied cases each count the mean risk of their tie: the average over all orders.
    """
    risk, confidence = 1 - np.asarray(dice, float), _defined(confidence)
    order = (-confidence).argsort(-1)
    total = np.cumsum(np.take_along_axis(risk, order, -1), -1)
    total = np.concatenate([np.zeros_like(total[..., :1]), total], -1)
    ranked = np.take_along_axis(confidence, order, -1)
    first = stats.rankdata(-ranked, "min", axis=-1).astype(int) - 1
    last = stats.rankdata(-ranked, "max", axis=-1).astype(int)
    start, stop = np.take_along_axis(total, first, -1), np.take_along_axis(total, last, -1)
    k = np.arange(1, risk.shape[-1] + 1)
    return start + (stop - start) * (k - first) / (last - first)


def risk_coverage(dice, confidence) -> pd.DataFrame:
    """Risk-coverage curve: mean 1 - Dice of the share `coverage` of most trusted cases."""
    total = cumulative_risk(dice, confidence)
    k = np.arange(1, len(total) + 1)
    return pd.DataFrame({"coverage": k / len(total), "risk": total / k})


def aurc(dice, confidence) -> np.ndarray:
    """Area under the risk-coverage curve, the mean of its N risks. Chance: the mean risk."""
    total = cumulative_risk(dice, confidence)
    return (total / np.arange(1, total.shape[-1] + 1)).mean(-1)


def excess_aurc(dice, confidence) -> np.ndarray:
    """AURC minus that of the oracle, which sorts by the true Dice (E-AURC)."""
    return aurc(dice, confidence) - aurc(dice, dice)


def normalised_aurc(dice, confidence) -> np.ndarray:
    """(AURC - oracle) / (random - oracle): 0 is perfect, 1 is chance; NaN if all Dice are alike."""
    random = 1 - np.asarray(dice, float).mean(-1)
    return _divide(excess_aurc(dice, confidence), random - aurc(dice, dice))


def augrc(dice, confidence) -> np.ndarray:
    """Area under the generalised risk-coverage curve: integral of coverage times risk (trapezoids).

    The mean risk that slips through, over all thresholds. Chance: half the mean risk.
    """
    total = cumulative_risk(dice, confidence)
    n = total.shape[-1]
    return (total.sum(-1) - total[..., -1] / 2) / n**2


def pearson(dice, confidence) -> np.ndarray:
    """Pearson correlation of confidence and Dice, over cases with a confidence; NaN if either is constant."""
    dice, confidence = _both(dice, confidence)
    known = [
        np.maximum((~np.isnan(z)).sum(-1, keepdims=True), 1) for z in (dice, confidence)
    ]  # of none: NaN, no warning
    x, y = (z - np.nansum(z, -1, keepdims=True) / n for z, n in zip((dice, confidence), known))
    scale = np.sqrt(np.nansum(x * x, -1) * np.nansum(y * y, -1))
    return _divide(np.nansum(x * y, -1), np.where(scale > 1e-12, scale, 0))  # rounding is not variation


def spearman(dice, confidence) -> np.ndarray:
    """Spearman correlation of confidence and Dice, over cases with a confidence."""
    dice, confidence = _both(dice, confidence)
    ranks = [stats.rankdata(x, axis=-1, nan_policy="omit") for x in (dice, confidence)]
    return pearson(*ranks)


def mae(dice, confidence) -> np.ndarray:
    """Mean absolute error of a score that is itself a Dice."""
    return np.nanmean(np.abs(np.subtract(confidence, dice)), -1)


def bias(dice, confidence) -> np.ndarray:
    """Mean of predicted minus true Dice; positive: too optimistic."""
    return np.nanmean(np.subtract(confidence, dice), -1)


def slope(dice, confidence) -> np.ndarray:
    """Slope of predicted on true Dice; below 1: shrunk towards the mean."""
    dice, confidence = _both(dice, confidence)
    return pearson(dice, confidence) * np.nanstd(confidence, -1) / np.nanstd(dice, -1)


def partial_correlation(dice, confidence, given) -> tuple[float, float]:
    """Pearson correlation of confidence and Dice with `given` held fixed, and its two-sided p value.

    With `given` = ``np.log1p(volume_ml)`` it tells whether a score knows more
    than the size of the lesions.
    """
    dice, confidence = _both(dice, confidence)
    keep = ~np.isnan(confidence)
    design = np.column_stack([np.ones(keep.sum()), np.asarray(given, float)[keep]])
    both = np.column_stack([dice[keep], confidence[keep]])
    rest = both - design @ np.linalg.lstsq(design, both, rcond=None)[0]
    r, freedom = float(pearson(*rest.T)), keep.sum() - 3
    if freedom < 1:
        raise ValueError(f"a partial correlation needs 4 cases with a score, got {keep.sum()}")
    return r, float(2 * stats.t.sf(abs(r) * np.sqrt(freedom / max(1 - r * r, 1e-15)), freedom))


# ---------------------------------------------------------------- intervals


def bootstrap(statistic: Callable, *samples, strata=None, draws: int = 2000, level: float = 0.95, seed: int = 0):
    """Estimate and percentile interval of a statistic, cases drawn with replacement.

    A paired difference is a statistic of three samples, for example
    ``lambda d, a, b: auroc(d, a, 0.5) - auroc(d, b, 0.5)``.

    Parameters
    ----------
    statistic : function
        Of the samples, reducing their last axis.
    *samples : arrays (N,)
        One value per subject each; the same subjects are drawn from all.
    strata : array (N,), optional
        Fold or database: each keeps its number of subjects in every draw.

    Returns
    -------
    (estimate, low, high) : floats
        Draws where the statistic is undefined (no failed case, say) are left out.
    """
    samples = [np.asarray(sample, float) for sample in samples]
    drawn = resample(len(samples[0]) if strata is None else strata, draws, seed)
    values = statistic(*(sample[drawn] for sample in samples))
    values = values[~np.isnan(values)]
    tail = (1 - level) / 2
    low, high = np.quantile(values, [tail, 1 - tail]) if values.size else (np.nan, np.nan)
    return float(statistic(*samples)), float(low), float(high)


def resample(strata, draws: int, seed: int) -> np.ndarray:
    """Row numbers (draws, N) of a bootstrap; `strata` is one label per row, or N for a single stratum."""
    # A missing label is a stratum of its own.
    codes = np.zeros(strata, int) if np.isscalar(strata) else pd.factorize(np.asarray(strata), use_na_sentinel=False)[0]
    rng = np.random.default_rng(seed)
    drawn = np.empty((draws, len(codes)), int)
    for code in np.unique(codes):
        rows = np.flatnonzero(codes == code)
        drawn[:, rows] = rng.choice(rows, (draws, len(rows)))
    return drawn


# ---------------------------------------------------------------- tables


def scoreboard(
    table: pd.DataFrame,
    scores=None,
    tau: float = 0.5,
    dice: str = "lesion_dice",
    strata: str | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """All scores side by side, between chance and the oracle.

    Parameters
    ----------
    table : DataFrame
        One row per subject (a repeated `case` is refused: its copies are not independent).
    scores : list of column names, optional
        Default: those of the catalogue that have a value in the table.
    tau : float
        Dice below which a case failed; 0.5 of `lesion_dice` is about 0.75 of `paper_dice`.
    strata : column name, optional
        Fold or database, kept fixed in the bootstrap.

    Returns
    -------
    DataFrame, one row per score and two rows `random` and `oracle`
        `cases`, `undefined`, then each statistic with its 95 % interval
        (`auroc`, `auroc_low`, `auroc_high`, ...), and `auroc_gain` over `volume_ml`, paired.
        MAE, bias and slope only for scores that are a Dice.
    """
    table = judged(table, dice)
    d = table[dice].to_numpy(float)
    groups = None if strata is None else table[strata].to_numpy()
    volume = confidence(table, "volume_ml") if "volume_ml" in table else None
    measures = {
        "auroc": lambda d, q: auroc(d, q, tau),
        "average_precision": lambda d, q: average_precision(d, q, tau),
        "aurc": aurc,
        "excess_aurc": excess_aurc,
        "normalised_aurc": normalised_aurc,
        "augrc": augrc,
        "pearson": pearson,
        "spearman": spearman,
    }
    of_dice = {"mae": mae, "bias": bias, "slope": slope}

    def gain(d, q, volume):
        return auroc(d, q, tau) - auroc(d, volume, tau)

    def interval(label, measure, *samples):
        values = bootstrap(measure, *samples, strata=groups, draws=draws, seed=seed)
        return dict(zip([label, f"{label}_low", f"{label}_high"], values))

    rows = {}
    for name in _scores(table, scores):
        q = confidence(table, name)
        rows[name] = {"cases": len(d), "undefined": int(np.isnan(q).sum())}
        is_dice = name.startswith(("predicted_dice", "expected_dice"))
        for label, measure in (measures | of_dice if is_dice else measures).items():
            rows[name] |= interval(label, measure, d, q)
        if volume is not None:
            rows[name] |= interval("auroc_gain", gain, d, q, volume)
    for name, q in {"random": np.zeros_like(d), "oracle": d}.items():
        rows[name] = {"cases": len(d), "undefined": 0} | {label: float(f(d, q)) for label, f in measures.items()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("score")


def per_group(
    table: pd.DataFrame, groups, scores=None, tau: float = 0.5, dice: str = "lesion_dice", measure: Callable = auroc
) -> pd.DataFrame:
    """AUROC (or another statistic of dice, confidence and tau) within each group, and its mean.

    Within a fold, a site or a tertile of volume (`volume_tertile`) a score cannot
    profit from telling the groups apart.

    Parameters
    ----------
    groups : column name, or one label per row

    Returns
    -------
    DataFrame, one row per score, one column per group, and `mean` over the groups where it is defined
    """
    labels = table[groups] if isinstance(groups, str) else pd.Series(np.asarray(groups), table.index)
    table = judged(table, dice)
    scores = _scores(table, scores)
    result = pd.DataFrame(
        {
            label: {name: float(measure(part[dice].to_numpy(float), confidence(part, name), tau)) for name in scores}
            for label, part in table.groupby(labels.loc[table.index], observed=True)
        }
    )
    return result.assign(mean=result.mean(axis=1)).rename_axis("score")


def volume_tertile(volume_ml) -> np.ndarray:
    """small, medium or large: the third of the cases that a volume belongs to."""
    order = stats.rankdata(np.asarray(volume_ml, float), "ordinal")
    return np.array(["small", "medium", "large"])[((order - 1) * 3 // len(order)).astype(int)]


def check_columns(table: pd.DataFrame, columns, name: str = "table") -> None:
    """Refuse a table that lacks one of the columns (ValueError)."""
    for column in columns:
        if column not in table:
            raise ValueError(f"the {name} has no column {column!r}; it has {', '.join(map(str, table.columns))}")


def confidence(table: pd.DataFrame, score: str) -> np.ndarray:
    """A score as a confidence, turned by its sign in the catalogue (unknown names count as +1)."""
    check_columns(table, [score])
    return catalogue.sign(score) * table[score].to_numpy(float)


def judged(table: pd.DataFrame, dice: str = "lesion_dice") -> pd.DataFrame:
    """Rows with a Dice; refuses a table without any, or with a case twice."""
    if dice not in table or table[dice].isna().all():
        raise ValueError(f"no case has a {dice!r}: without manual masks nothing can be judged")
    if "case" in table and table["case"].duplicated().any():
        twice = table.loc[table["case"].duplicated(), "case"].iloc[0]
        raise ValueError(f"case {twice} stands in more than one row; give one row per subject")
    return table[table[dice].notna()]


def _scores(table: pd.DataFrame, scores) -> list:
    """The scores asked for, or all known ones that have a value in the table."""
    return (
        list(scores) if scores is not None else [s for s in catalogue.scores() if s in table and table[s].notna().any()]
    )


def _defined(confidence) -> np.ndarray:
    confidence = np.asarray(confidence, float)
    return np.where(np.isnan(confidence), -np.inf, confidence)


def _both(dice, confidence) -> tuple[np.ndarray, np.ndarray]:
    """Dice is blanked where the confidence is NaN, so both have the same cases."""
    confidence = np.asarray(confidence, float)
    return np.where(np.isnan(confidence), np.nan, np.asarray(dice, float)), confidence


def _rate(count: int, of: int) -> float:
    return count / of if of else np.nan


def _divide(a, b) -> np.ndarray:
    a, b = np.asarray(a, float), np.asarray(b, float)
    return np.divide(a, b, out=np.full(np.broadcast(a, b).shape, np.nan), where=b > 0)[()]
