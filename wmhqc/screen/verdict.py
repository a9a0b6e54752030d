"""Accept or review: a verdict from the scores of a segmentation and the calibration cases alone.

References
----------
The interval: `wmhqc.regression.conformal_interval`; the guarantee: `wmhqc.thresholds.guaranteed_risk`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

from wmhqc import checks, failure, thresholds
from wmhqc.regression import conformal_interval
from wmhqc.screen import ood
from wmhqc.screen.calibration import origin, origins, same_origin
from wmhqc.screen.labels import SCORE


def certified_threshold(
    cases: pd.DataFrame, tau: float = 0.5, risk: float = 0.1, level: float = 0.9
) -> thresholds.Choice:
    """The threshold on `SCORE` with the guarantee, from the calibration cases of `same_origin`."""
    if cases.empty:
        return thresholds.Choice(
            math.nan, "cannot be guaranteed: no calibration case is a segmentation of the same origin"
        )
    cases = cases.dropna(subset=["lesion_dice", SCORE])
    return thresholds.guaranteed_risk(cases["lesion_dice"], cases[SCORE], tau, risk, level=level)


def decide(
    scores: Mapping,
    calibration: pd.DataFrame,
    given: bool,
    tau: float = 0.5,
    risk: float = 0.1,
    level: float = 0.9,
    program: str = "",
) -> dict:
    """Verdict on a segmentation, from its scores and the calibration cases alone.

    Accept needs all of: a threshold with the guarantee can be had from the calibration cases;
    they are segmentations of the same origin; scan and mask look like theirs; the mask is not empty
    and brighter than its surroundings on FLAIR; the predicted Dice reaches the threshold. Whatever is
    missing is a reason for review.

    Parameters
    ----------
    scores : mapping
        Scores and features of the case.
    calibration : DataFrame
        One row per case with `lesion_dice`, the score `SCORE` and, if known, `wmhqc.features.FEATURES`; the
        columns `judged` and `program` say whose segmentations they are (own if there is none).
    given : bool
        The segmentation was given, not made by our networks.
    tau : float
        A segmentation with a lesion Dice below this has failed.
    risk, level : float
        The guarantee: at most this share of the accepted fail, with this confidence level, which is also that of
        the interval of the predicted Dice.
    program : str
        What drew the segmentation, if that is known.

    Returns
    -------
    dict
        verdict (accept or review), reasons (list of str), predicted_dice (value, low, high, level, cases, valid: does
        the interval hold for such a scan?), guarantee (applies, possible, threshold, score, tau, risk, level, cases,
        message), ood (`wmhqc.screen.ood.ood_score`).
    """
    same = same_origin(calibration, given, program)
    cases = (same if len(same) else calibration).dropna(subset=["lesion_dice", SCORE])
    value = float(scores.get(SCORE, math.nan))
    choice = certified_threshold(same, tau, risk, level)
    low, high = (float(end[0]) for end in conformal_interval(value, cases[SCORE], cases["lesion_dice"], level))
    found = ood.ood_score(scores, calibration)
    unlike = ([] if found["in_distribution"] else [ood.explain(found)]) + _mask_unlike(scores, cases)

    reasons = [*unlike]
    if not choice.possible:
        whose = "" if len(same) else f" ({origins(calibration)}; this one: {origin(given, program)})"
        reasons.insert(0, f"At most {100 * risk:g} % failures among the accepted {choice.message}{whose}.")
    applies = not reasons
    reasons += _mask_problems(scores)
    if choice.possible and not value >= choice.threshold:
        reasons.append(f"The predicted Dice {value:.2f} is below the threshold {choice.threshold:.2f}.")
    valid = bool(len(same)) and not unlike
    predicted = {"value": value, "low": low, "high": high, "level": level, "cases": len(cases), "valid": valid}
    rule = {"score": SCORE, "tau": tau, "risk": risk, "level": level, "cases": len(cases), "message": choice.message}
    return {
        "verdict": "review" if reasons else "accept",
        "reasons": reasons,
        "predicted_dice": predicted,
        "guarantee": {"applies": applies, "possible": choice.possible, "threshold": choice.threshold, **rule},
        "ood": found,
    }


def _mask_unlike(scores: Mapping, cases: pd.DataFrame) -> list[str]:
    """What of the mask no calibration case has: a volume so small or large, so little agreement with our own."""
    reasons = []
    for name in ("volume_ml", "agreement_dice"):
        known = cases[name].dropna() if name in cases else pd.Series(dtype=float)
        value = scores.get(name)
        if value is None or math.isnan(value) or len(known) < ood.MIN_CALIBRATION:
            continue
        low, high = known.min(), known.max()
        if value < low or (value > high and name == "volume_ml"):
            found = {"name": name, "value": value, "low": low, "high": high}
            reasons.append(f"No calibration case has such a mask: {ood.describe(found)}.")
    return reasons


def _mask_problems(scores: Mapping) -> list[str]:
    contrast = scores.get("contrast", math.nan)
    if scores.get("volume_ml") == 0:
        return ["The mask is empty: whether there is nothing to find, only a look at the scan can tell."]
    if math.isnan(contrast):
        return ["The mask or its surroundings lie outside the brain: whether it is bright on FLAIR is not known."]
    if contrast < checks.MIN_CONTRAST:
        found = f"contrast {contrast:.2f}; manual masks: above 0.9"
        return [f"The mask is hardly brighter than its surroundings on FLAIR ({found})."]
    return []


def evaluate_guarantee(
    validation: pd.DataFrame, test: pd.DataFrame, tau: float = 0.5, risk: float = 0.1, level: float = 0.9
) -> pd.DataFrame:
    """Interval and verdict for cases whose true Dice is known: is the guarantee kept?

    Parameters
    ----------
    validation, test : DataFrame
        Rows of `wmhqc.reference.cases`. The cases of each fold are judged with the validation
        cases of all folds without its own.

    Returns
    -------
    DataFrame, one row for each of `test`
        case, fold, lesion_dice, low, high, inside (the interval holds the true Dice), accepted,
        failed.
    """
    rows = []
    for _, cases in test.groupby("fold"):
        known = thresholds.one_row_a_case(validation, cases["case"])
        low, high = conformal_interval(cases[SCORE], known[SCORE], known["lesion_dice"], level)
        choice = thresholds.guaranteed_risk(known["lesion_dice"], known[SCORE], tau, risk, level=level)
        dice = cases["lesion_dice"]
        rows.append(
            cases[["case", "fold", "lesion_dice", SCORE]].assign(
                low=low,
                high=high,
                inside=(low <= dice) & (dice <= high),
                accepted=~failure.flag(cases[SCORE], choice.threshold),
                failed=dice < tau,
            )
        )
    return pd.concat(rows).sort_index()
