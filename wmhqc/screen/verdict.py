"""Accept or review: a verdict from the scores of a segmentation and the calibration cases alone.

Three kinds of reason keep a segmentation from being accepted: the *scan* (it lies wrong, or looks like none of the
calibration cases), the *mask* (empty, dark, larger or smaller than any), the *doubt* (its predicted Dice is low, or
nothing can be guaranteed).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from wmhqc import thresholds
from wmhqc.checks import MIN_CONTRAST
from wmhqc.failure import LOW_DICE, Criterion
from wmhqc.screen import ood
from wmhqc.screen.calibration import origin, origins, same_origin
from wmhqc.screen.render import at_most
from wmhqc.screen.rule import Rule, calibrate

#: What of a mask must lie within the range of the calibration cases -> what it is called where it does not.
RANGES = {
    "volume_ml": (
        "The mask is smaller than any of the calibration cases.",
        "The mask is larger than any of the calibration cases.",
    ),
    "agreement_dice": ("The mask agrees less with our own than that of any calibration case.", ""),
}


def decide(
    scores: Mapping,
    calibration: pd.DataFrame,
    given: bool,
    criterion: Criterion = LOW_DICE,
    risk: float = 0.1,
    level: float = 0.9,
    program: str = "",
    orientation: Mapping | None = None,
) -> dict:
    """Verdict on a segmentation.

    Accept needs all of: scan and mask look like those of the calibration cases; the mask is not empty and
    brighter than its surroundings on FLAIR; a guarantee can be had from calibration cases of the same
    origin; the predicted Dice reaches its threshold. Whatever is missing is a reason for review.

    Parameters
    ----------
    scores : mapping
        Scores and features of the case.
    calibration : DataFrame
        One row per case with `lesion_dice`, scores and, if known, `wmhqc.features.FEATURES`; the columns `judged` and
        `program` say whose segmentations they are (own if there is none).
    given : bool
        The segmentation was given, not made by our networks.
    criterion : wmhqc.failure.Criterion
        When a segmentation has failed.
    risk, level : float
        The guarantee that is asked for: at most this share of the accepted fail, with this confidence level, which is
        also that of the intervals. Where there is none, the best that there is takes its place.
    program : str
        What drew the segmentation, if that is known.
    orientation : mapping, optional
        From `wmhqc.screen.orientation.orientation`.

    Returns
    -------
    dict
        verdict (accept or review); reasons (list of str, a short sentence each); findings (the same with their kind,
        scan, mask or doubt, and detail); predicted_dice (value, low, high,
        level, scores, cases, valid: does the interval hold for such a scan?); failure (words; chance, low, high of
        it; cases that the chance rests on, and how many of these are synthetic); guarantee
        (applies, possible, threshold, tau, failure, asked, risk, level, coverage, cases, kind, message); ood
        (`wmhqc.screen.ood.ood_score`).
    """
    same = same_origin(calibration, given, program)
    cases = same if len(same) else calibration
    found = ood.ood_score(scores, calibration)
    scan, mask = _scan_reasons(found, orientation), _mask_problems(scores)
    unlike = _mask_unlike(scores, cases)
    rule = _rule(scores, cases, calibration, criterion, risk, level, foreign=not len(same))
    possible = bool(len(same)) and rule is not None and rule.possible
    if rule is None:
        value = low = high = math.nan
    else:
        value, low, high = rule.predict(pd.DataFrame([scores])).iloc[0]
    chance = rule.curve.chance(value, level) if rule and rule.curve else (math.nan,) * 3

    doubt = []
    if not possible:
        whose = "" if len(same) else f"{origins(calibration)}; this one: {origin(given, program)}"
        doubt = [_reason("doubt", "Nothing can be guaranteed for such a mask.", _why_not(rule, risk, whose))]
    elif not value >= rule.choice.threshold:
        words = "The predicted Dice is too low." if value == value else "No Dice could be predicted."
        doubt = [_reason("doubt", words, f"Predicted {value:.2f}, accepted from {rule.choice.threshold:.2f} on.")]
    findings = [*scan, *mask, *unlike, *doubt]
    valid = bool(len(same)) and not (scan or unlike)
    return {
        "verdict": "review" if findings else "accept",
        "reasons": [finding["short"] for finding in findings],
        "findings": findings,
        "predicted_dice": {
            **{"value": value, "low": low, "high": high, "level": level, "valid": valid},
            **{"scores": list(rule.line.scores) if rule else [], "cases": len(rule.dice if rule else cases)},
        },
        "failure": {
            **dict(zip(("chance", "low", "high"), chance, strict=True)),
            **{"words": criterion.words, "cases": rule.curve_cases if rule else 0},
            "synthetic": rule.curve_synthetic if rule else 0,
        },
        "guarantee": {"applies": possible and valid, "possible": possible, **_guarantee(rule, criterion, risk, level)},
        "ood": found,
    }


def what_is_missing(
    calibration: pd.DataFrame, given: bool, program: str, criterion: Criterion, risk: float, level: float
) -> str:
    """Why what is asked for cannot be guaranteed, and what can, in a sentence; empty if it can."""
    same = same_origin(calibration, given, program)
    if same.empty:
        return "no calibration case is a segmentation of the same origin, so every scan will be for review"
    rule = _rule(list(same), same, calibration, criterion, risk, level, foreign=False)
    if rule and rule.possible and not rule.missing:
        return ""
    words = _why_not(rule, risk, "").rstrip(".")
    return words if rule and rule.possible else f"{words}. So every scan will be for review"


def _rule(scores, cases, calibration, criterion, risk, level, foreign: bool) -> Rule | None:
    """The rule for a case of which these scores are known; None if nothing can be predicted from them."""
    try:
        return calibrate(cases, passes(cases, calibration), criterion, risk, level, scores, foreign=foreign)
    except ValueError:
        return None


def passes(cases: pd.DataFrame, calibration: pd.DataFrame) -> np.ndarray:
    """Which calibration cases the verdict's filters let through, each compared with the others (bool array)."""
    passed = np.array(ood.in_distribution(calibration).reindex(cases.index, fill_value=False))
    for name in RANGES:
        if name in cases and cases[name].notna().sum() >= ood.MIN_CALIBRATION:
            values = cases[name]
            others = pd.DataFrame({"low": values.eq(values.min()), "high": values.eq(values.max())})
            alone = others & (others.sum() == 1)  # the smallest or largest of all is outside the range of the others
            passed &= ~alone["low"].to_numpy() & ~(alone["high"].to_numpy() & (name == "volume_ml"))
    if "volume_ml" in cases:
        passed &= cases["volume_ml"].ne(0).to_numpy()
    if "contrast" in cases:
        passed &= cases["contrast"].ge(MIN_CONTRAST).to_numpy()
    return passed


def _guarantee(rule: Rule | None, criterion: Criterion, risk: float, level: float) -> dict:
    said = {"failure": criterion.words, "asked": risk, "level": level}
    said["tau"] = criterion.limit if criterion.measure == "dice" else math.nan
    if rule is None:
        return said | {"threshold": math.nan, "risk": math.nan, "coverage": 0.0, "cases": 0, "kind": "", "message": ""}
    choice = rule.choice
    return said | {
        **{"threshold": choice.threshold, "risk": choice.risk, "coverage": choice.coverage},
        **{"cases": len(rule.dice), "kind": rule.kind, "message": rule.missing or choice.message},
    }


def _why_not(rule: Rule | None, risk: float, whose: str) -> str:
    """Why there is no guarantee, and what the best would be."""
    if whose:
        return f"No calibration case is a segmentation of the same origin ({whose})."
    if rule is None:
        return "No score of this mask is known of enough calibration cases."
    share = f"for {100 * rule.choice.coverage:.0f} % of scans" if rule.choice.possible else ""
    best = f" The best is at most {at_most(rule.choice.risk)}, {share}." if rule.choice.possible else ""
    return f"At most {100 * risk:g} % failures among the accepted {rule.missing}.{best}"


def _reason(kind: str, short: str, detail: str = "") -> dict:
    return {"kind": kind, "short": short, "detail": detail}


def _scan_reasons(found: Mapping, orientation: Mapping | None) -> list[dict]:
    reasons = []
    if orientation and not orientation["upright"]:
        words = "The scan does not lie as its header says."
        reasons.append(_reason("scan", words, f"{orientation['words']} Left and right were not looked at."))
    if not found["in_distribution"]:
        known = not math.isnan(found["score"])
        words = "The scan is unlike the calibration cases." if known else "How the calibration cases look is not known."
        reasons.append(_reason("scan", words, ood.explain(found)))
    return reasons


def _mask_unlike(scores: Mapping, cases: pd.DataFrame) -> list[dict]:
    """What of the mask no calibration case has: a volume so small or large, so little agreement with our own."""
    reasons = []
    for name, (smaller, larger) in RANGES.items():
        known = cases[name].dropna() if name in cases else pd.Series(dtype=float)
        value = scores.get(name)
        if value is None or math.isnan(value) or len(known) < ood.MIN_CALIBRATION:
            continue
        low, high = known.min(), known.max()
        words = smaller if value < low else larger if value > high else ""
        if words:
            detail = ood.describe({"name": name, "value": value, "low": low, "high": high})
            reasons.append(_reason("mask", words, f"{detail[0].upper()}{detail[1:]}."))
    return reasons


def _mask_problems(scores: Mapping) -> list[dict]:
    contrast = scores.get("contrast", math.nan)
    if scores.get("volume_ml") == 0:
        return [_reason("mask", "The mask is empty.", "Whether there is nothing to find, only a look can tell.")]
    if math.isnan(contrast):
        words = "The mask or its surroundings lie outside the brain."
        return [_reason("mask", words, "Whether it is bright on FLAIR is not known.")]
    if contrast < MIN_CONTRAST:
        words = "The mask is hardly brighter than its surroundings."
        return [_reason("mask", words, f"Contrast on FLAIR {contrast:.2f}; manual masks: above 0.9.")]
    return []


def evaluate_guarantee(
    validation: pd.DataFrame,
    test: pd.DataFrame,
    criterion: Criterion = LOW_DICE,
    risk: float = 0.1,
    level: float = 0.9,
) -> pd.DataFrame:
    """Interval and verdict for cases whose true Dice is known: is the guarantee kept?

    Parameters
    ----------
    validation, test : DataFrame
        Rows of `wmhqc.reference.cases`, with features if the verdict is to look at them. The cases of each fold are
        judged with the validation cases of all folds without its own; where each is a fold of its own, with all others.

    Returns
    -------
    DataFrame, one row for each of `test`
        case, fold, lesion_dice, predicted_dice, low, high, inside (the interval holds the true Dice), chance,
        chance_low, chance_high (of failure), risk (the share of failures that is guaranteed, NaN if none),
        accepted, failed.
    """
    rows = []
    kinds = test.get("synthetic", pd.Series(True, test.index)).astype(bool)
    for (_, synthetic), cases in test.groupby([test["fold"], kinds]):
        known = thresholds.one_row_a_case(validation, cases["case"]).reset_index(drop=True)
        seen = not ood.in_distribution(known).empty
        passed = passes(known, known) if seen else np.ones(len(known), bool)
        rule = calibrate(known, passed, criterion, risk, level, list(test), synthetic)
        found, dice = rule.predict(cases), cases["lesion_dice"]
        chances = [rule.curve.chance(value, level) if rule.curve else (math.nan,) * 3 for value in found["predicted"]]
        stopped = [
            bool(_mask_unlike(row, known)) or (seen and not ood.ood_score(row, known)["in_distribution"])
            for row in cases.to_dict("records")
        ]
        accepted = (found["predicted"] >= rule.choice.threshold) & rule.possible & ~np.array(stopped)
        rows.append(
            cases[["case", "fold", "lesion_dice"]].assign(
                predicted_dice=found["predicted"],
                low=found["low"],
                high=found["high"],
                inside=(found["low"] <= dice) & (dice <= found["high"]),
                **dict(zip(("chance", "chance_low", "chance_high"), np.transpose(chances), strict=True)),
                risk=rule.choice.risk if rule.possible else math.nan,
                accepted=accepted,
                failed=criterion.quality(cases) < criterion.tau,
            )
        )
    return pd.concat(rows).sort_index()
