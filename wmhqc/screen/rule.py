"""The rule of a verdict, calibrated on labelled cases: predicted Dice, interval, threshold, chance of failure.

What is guaranteed is what is done: a calibration case that the verdict's other filters would stop counts as not
accepted, so the guarantee is that of the whole rule.

References
----------
`wmhqc.calibrated` (the prediction), `wmhqc.regression.conformal_interval`, `wmhqc.thresholds.guaranteed_risk`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from wmhqc import calibrated, thresholds
from wmhqc.failure import LOW_DICE, Criterion
from wmhqc.regression import conformal_interval
from wmhqc.screen import triage

#: A guarantee of more failures than this among the accepted is of no use, and none is given.
MAX_RISK = 1 / 3
#: What says of a mask of any origin how good it is, uncalibrated: 0.03 and 0.10 off on 15 masks of 5 programs.
FOREIGN = ("expected_dice", "predicted_dice_mask")
TOO_FEW = "cannot be guaranteed with these cases: they are too few to look for it"


@dataclass(frozen=True)
class Rule:
    """What `calibrate` returns.

    Attributes
    ----------
    criterion : wmhqc.failure.Criterion
        When a segmentation has failed.
    asked, level : float
        The risk that was asked for, and the confidence level.
    line : wmhqc.calibrated.Line
    predicted, dice : float arrays (n,)
        Of the calibration cases that the interval rests on, those of the kind of the scans to come if they are enough:
        predicted by lines through others, and true.
    choice : wmhqc.thresholds.Choice
        The threshold on the predicted Dice, and the risk that is guaranteed with it.
    missing : str
        Why what was asked for cannot be guaranteed; empty if it can.
    curve : wmhqc.screen.triage.Curve or None
    curve_cases, curve_synthetic : int
        How many cases the curve is fitted to, and how many of these are synthetic.
    kind : str
        The cases that the guarantee rests on: "real", "synthetic" or "".
    """

    criterion: Criterion
    asked: float
    level: float
    line: calibrated.Line
    predicted: np.ndarray
    dice: np.ndarray
    choice: thresholds.Choice
    missing: str
    curve: triage.Curve | None
    curve_cases: int
    curve_synthetic: int
    kind: str

    @property
    def possible(self) -> bool:
        """Is there a guarantee worth the word?"""
        return self.choice.possible and self.choice.risk <= MAX_RISK

    def predict(self, table: pd.DataFrame) -> pd.DataFrame:
        """`predicted` Dice with `low` and `high` of its interval, one row for each of a table."""
        predicted = self.line.predict(table)
        spreads = self.line.expected_error(predicted), self.line.expected_error(self.predicted)
        low, high = conformal_interval(predicted, self.predicted, self.dice, self.level, *spreads)
        return pd.DataFrame({"predicted": predicted, "low": low, "high": high}, index=table.index)


def calibrate(
    cases: pd.DataFrame,
    passed: np.ndarray,
    criterion: Criterion = LOW_DICE,
    risk: float = 0.1,
    level: float = 0.9,
    scores=None,
    synthetic: bool = False,
    foreign: bool = False,
) -> Rule:
    """The rule that calibration cases allow.

    Parameters
    ----------
    cases : DataFrame
        One row a case: true Dice and the other measures of `Criterion`, scores.
    passed : bool array
        Which of them the other filters of the verdict let through.
    criterion, risk, level
        At most this share of the accepted fail by this criterion, with this confidence level.
    scores : collection of str, optional
        Scores that are known of the scans to come; all if not given.
    synthetic : bool
        Whether those are synthetic; it matters where the cases are both (column `synthetic`): the guarantee is then
        that of the same kind.
    foreign : bool
        The cases are segmentations of another origin than those to come. A line through them does not hold then; the
        prediction is the first of `FOREIGN` that is known, as it is.

    Raises
    ------
    ValueError
        No score is known of enough cases.
    """
    names = set(cases) if scores is None else set(cases) & set(scores)
    if foreign:
        used = tuple(name for name in FOREIGN if name in names)[:1]
        if not used:
            raise ValueError(f"neither {' nor '.join(FOREIGN)} is known")
        line, predicted = calibrated.Line(used, (1.0,), 0.0, (1.0, 0.0, 1.0)), cases[used[0]].to_numpy(float)
    else:
        used = calibrated.choose(cases, {name: s for name, s in calibrated.CANDIDATES.items() if set(s) <= names})
        line, predicted = calibrated.fit(cases, used), calibrated.out_of_fold(cases, used)
    known = np.isfinite(predicted) & cases["lesion_dice"].notna()
    cases, passed, predicted = cases[known], np.asarray(passed, bool)[known], predicted[known]
    confidence, quality = np.where(passed, predicted, -np.inf), criterion.quality(cases).to_numpy(float)
    alike, kind = _same_kind(cases, synthetic)
    measured = np.isfinite(quality)
    rests_on = alike if alike.sum() >= level / (1 - level) else np.ones(len(cases), bool)
    asked, choice = _certify(quality, confidence, criterion.tau, risk, level, measured & alike, measured & ~alike)
    return Rule(
        criterion=criterion,
        asked=risk,
        level=level,
        line=line,
        predicted=predicted[rests_on],
        dice=cases["lesion_dice"].to_numpy(float)[rests_on],
        choice=choice,
        missing="" if choice.risk <= risk else asked.message if not asked.possible else TOO_FEW,
        curve=triage.fit(predicted[measured], quality[measured] < criterion.tau),
        curve_cases=int(measured.sum()),
        curve_synthetic=int(cases.loc[measured, "synthetic"].astype(bool).sum()) if "synthetic" in cases else 0,
        kind=kind,
    )


def _same_kind(cases: pd.DataFrame, synthetic: bool) -> tuple[np.ndarray, str]:
    """Which cases are of the kind of the scans to come, and what it is called; all where there is one kind only."""
    made = cases.get("synthetic", pd.Series(synthetic, cases.index)).astype(bool).to_numpy()
    if made.all() or not made.any():
        return np.ones(len(cases), bool), "" if "synthetic" not in cases else "synthetic" if made.all() else "real"
    return made == synthetic, "synthetic" if synthetic else "real"


def _certify(quality, confidence, tau, risk, level, own, other) -> tuple[thresholds.Choice, thresholds.Choice]:
    """What was asked for, and the best that there is.

    Few cases of the own kind are not enough to choose a threshold: the cases of the other kind choose it, and the own
    ones say what it is worth. Which way is taken depends on their number alone.
    """
    none = thresholds.Choice(np.nan, "cannot be guaranteed: no calibration case is left")
    if not own.any():
        return none, none
    if own.sum() * thresholds.START < thresholds.cases_needed(risk, level=level) and other.any():
        chosen = thresholds.best_guarantee(quality[other], confidence[other], tau, risk, level=level)
        found = thresholds.guarantee_at(quality[own], confidence[own], tau, chosen.threshold, level=level)
        if found.possible:
            short = f"cannot be guaranteed with {own.sum()} such cases"
            return found if found.risk <= risk else thresholds.Choice(np.nan, short), found
    asked, best = (
        rule(quality[own], confidence[own], tau, risk, level=level)
        for rule in (thresholds.guaranteed_risk, thresholds.best_guarantee)
    )
    return asked, best
