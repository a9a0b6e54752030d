"""The threshold explorer, and the same numbers in Python."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import traitlets

from wmhqc import catalogue, failure, thresholds
from wmhqc.view.widget import Explorer, module, numbers

# What a button asks for -> the rule of `wmhqc.thresholds` that finds its threshold.
RULES = {"keep": thresholds.for_coverage, "catch": thresholds.for_sensitivity, "guarantee": thresholds.guaranteed_risk}
PRESETS = (("keep", 0.8), ("catch", 0.9), ("guarantee", 0.1))
_TAUS = np.arange(101) / 100  # the steps of the slider for tau


class ThresholdExplorer(Explorer):
    """What `threshold` returns; `value`, `tau` and `score` follow the reader's choice."""

    _esm = module("common", "threshold")
    value = traitlets.Float().tag(sync=True)
    tau = traitlets.Float().tag(sync=True)
    score = traitlets.Unicode().tag(sync=True)
    cases = traitlets.Dict().tag(sync=True)


def threshold(
    table,
    score: str | list[str],
    tau: float = 0.5,
    validation=None,
    threshold: float | dict[str, float] | None = None,
    dice: str = "lesion_dice",
    confidence: int | dict[str, int] | None = None,
    label: str | dict[str, str] | None = None,
    baseline: str | None = "volume_ml",
    presets: tuple[tuple[str, float], ...] = PRESETS,
    mark: str = "chosen beforehand",
) -> ThresholdExplorer:
    """Explore what a threshold on a score keeps, and what it lets through.

    Parameters
    ----------
    table : pandas.DataFrame
        One row per case, with the columns `score` and `dice`; `case` names the points.
        Rows without a Dice are left out, and counted on the figure. A case without a
        score is always sent to review, as in `wmhqc.failure.flag`.
    score : str or list of str
        Column of the score; of several, the reader chooses one.
    tau : float, default 0.5
        A case counts as failed if its Dice lies under `tau` (0 to 1).
    validation : pandas.DataFrame, optional
        Validation cases, with the same columns. The thresholds of the buttons are chosen on
        them, for every `tau`, by the rules of `wmhqc.thresholds`; without them there are no
        buttons.
    threshold : float or dict of str to float, optional
        A threshold that was set beforehand, for the first score or by score: marked, and the
        place where the slider starts. Otherwise it starts at the first button's threshold
        that can be had, or at the median score.
    dice : str, default "lesion_dice"
        Column of the true Dice (0 to 1).
    confidence : {1, -1} or dict, optional
        +1 if a higher score means more trust, -1 if less. Looked up in
        `wmhqc.catalogue` if not given.
    label : str or dict, optional
        Name of the score on the axis, with its unit; otherwise the column's name.
    baseline : str, optional
        Column of the simplest score, drawn in the risk-coverage plot if the table has it.
    presets : tuple of (kind, share)
        Buttons: ("keep", 0.8) keeps at least 80 % of the validation cases, ("catch", 0.9)
        flags at least 90 % of their failures, ("guarantee", 0.1) guarantees at most 10 %
        failures among the accepted with 90 % confidence.
    mark : str
        What the mark of `threshold` is called.

    Returns
    -------
    ThresholdExplorer
        A Jupyter widget; the last expression of a cell shows it.

    Raises
    ------
    ValueError
        If a column is missing, no row is complete, a Dice lies outside 0 to 1, or the
        direction of a score is not known.
    """
    names = [score] if isinstance(score, str) else list(score)
    _check(table, validation, names, dice, tau, presets)
    shown = table[_judged(table[names[0]], table[dice])]
    truth = shown[dice].to_numpy(float)
    fixed = threshold if isinstance(threshold, dict) else {names[0]: threshold}
    labels = label if isinstance(label, dict) else {names[0]: label or names[0]}
    scores = []
    for name in names:
        sign, values = _direction(name, confidence), shown[name].to_numpy(float)
        scores.append(
            {
                "name": name,
                "label": labels.get(name, name),
                "confidence": sign,
                "values": numbers(values),
                "fixed": fixed.get(name),
                "presets": [] if validation is None else _presets(validation, name, dice, sign, presets),
                **_curve(truth, sign * values),
            }
        )
    curves = {"random": {"label": "random", **_curve(truth, np.zeros(len(truth)))}}
    if baseline in shown and shown[baseline].notna().any() and names != [baseline]:
        sign = _direction(baseline, confidence if isinstance(confidence, dict) else None)
        trust = sign * shown[baseline].to_numpy(float)
        curves["baseline"] = {"label": labels.get(baseline, baseline), **_curve(truth, trust)}
    curves["oracle"] = {"label": "oracle", **_curve(truth, truth)}
    return ThresholdExplorer(
        value=_start(scores[0], tau),
        tau=float(tau),
        score=names[0],
        cases={
            "dice": truth.tolist(),
            "name": shown["case"].astype(str).tolist() if "case" in shown else [],
            "left_out": len(table) - len(shown),
            "dice_label": dice[0].upper() + dice[1:].replace("_", " ").replace("dice", "Dice"),
            "scores": scores,
            "curves": curves,
            "presets": [] if validation is None else [[kind, share] for kind, share in presets],
            "validation": 0 if validation is None else int(validation[dice].notna().sum()),
            "mark": mark,
        },
    )


def threshold_numbers(scores, dice, threshold: float, tau: float = 0.5, confidence: int = 1) -> dict:
    """Count what a threshold keeps and flags: the numbers that the explorer shows.

    A case is flagged, that is sent to review, if its score lies strictly on the distrusted
    side of the threshold, or if it has none. A case failed if its Dice is under `tau`;
    failure is the positive class, as it is what the score is asked to find.

    Parameters
    ----------
    scores, dice : array_like, shape (cases,)
        Score (or NaN) and true Dice (0 to 1) of each case; a case without a Dice is left out.
    threshold : float
        In the unit of the score.
    tau : float, default 0.5
        Failure limit on the Dice.
    confidence : {1, -1}
        +1 if a higher score means more trust (flagged: score < threshold), -1 if less
        (flagged: score > threshold).

    Returns
    -------
    dict
        Counts `cases`, `left_out`, `kept`, `flagged`, `tp`, `fp`, `fn`, `tn`; ratios
        `sensitivity`, `ppv`, `specificity`, `npv`, `coverage` (kept / cases); means
        `dice_before` (all cases) and `dice_after` (kept cases). What would divide by zero
        is undefined, and NaN.
    """
    if confidence not in (1, -1):
        raise ValueError(f"confidence must be +1 or -1, not {confidence!r}")
    scores, dice = np.asarray(scores, float), np.asarray(dice, float)
    judged = _judged(scores, dice)
    scores, dice, left_out = scores[judged], dice[judged], int((~judged).sum())
    flagged = failure.flag(confidence * scores, confidence * threshold)
    counts = failure.confusion(dice, flagged, tau)
    mean = failure.removal(dice, flagged) if len(dice) else {"before": np.nan, "after": np.nan}
    return {
        **counts,
        "cases": len(dice),
        "left_out": left_out,
        "kept": counts["fn"] + counts["tn"],
        "coverage": (~flagged).mean() if len(dice) else np.nan,
        "dice_before": mean["before"],
        "dice_after": mean["after"],
    }


def _check(table, validation, names, dice: str, tau: float, presets) -> None:
    """Refuse what cannot be shown, with the reason."""
    for part, where in ((table, "table"), (validation, "table of validation cases")):
        if part is None:
            continue
        failure.check_columns(part, (dice, *names), where)
        for column in (dice, *names):
            if part.loc[part[dice].notna(), column].isna().all() or np.isinf(part[column]).any():
                raise ValueError(f"no row of the {where} has both {column!r} and {dice!r}, or one is infinite")
    if not 0 <= tau <= 1:
        raise ValueError(f"tau is a Dice and must lie in 0 to 1, not {tau!r}")
    for kind, share in presets:
        if kind not in RULES or not 0 < share < 1:
            raise ValueError(f"a preset is one of {', '.join(RULES)} with a share in 0 to 1, not {(kind, share)!r}")


def _presets(validation, name: str, dice: str, sign: int, presets) -> list:
    """For each preset its steps [index of tau, threshold or None, message], one wherever the answer changes."""
    known = validation[validation[dice].notna()]
    truth, trust = known[dice].to_numpy(float), sign * known[name].to_numpy(float)
    lowest = np.nanmin(trust)  # accepts all that have a score, and can be written down
    result = []
    for kind, share in presets:
        answers = []
        for tau in _TAUS:
            choice = RULES[kind](truth, trust, tau, share)
            answers.append((sign * max(choice.threshold, lowest) if choice.possible else None, choice.message))
        steps = [next(same) for _, same in groupby(enumerate(answers), key=lambda pair: pair[1])]
        result.append([[index, *answer] for index, answer in steps])
    return result


def _start(score: dict, tau: float) -> float:
    """Where the slider starts."""
    if score["fixed"] is not None:
        return float(score["fixed"])
    for steps in score["presets"]:
        value = next(value for index, value, _ in reversed(steps) if index <= round(100 * tau))
        if value is not None:
            return value
    return float(np.median([value for value in score["values"] if value is not None]))


def _curve(dice, confidence) -> dict:
    """Risk of the k most trusted cases, k = 1 ... N, and the area under that curve."""
    risk = failure.risk_coverage(dice, confidence)["risk"]
    return {"risk": risk.round(6).tolist(), "aurc": float(failure.aurc(dice, confidence))}


def _direction(name: str, confidence) -> int:
    """+1 or -1: whether a high value of a score speaks for or against the segmentation."""
    given = confidence.get(name) if isinstance(confidence, dict) else confidence
    known = catalogue.scores().get(name)
    sign = given if given is not None else known and known.sign
    if sign not in (1, -1):
        raise ValueError(
            f"confidence of {name!r} must be +1 (higher = trust more) or -1 (higher = trust less), not {sign!r}"
        )
    return sign


def _judged(scores, dice) -> np.ndarray:
    """Which cases have a Dice."""
    scores, dice = np.asarray(scores, float), np.asarray(dice, float)
    if scores.shape != dice.shape or scores.ndim != 1:
        raise ValueError(f"expected one score and one Dice per case, got shapes {scores.shape} and {dice.shape}")
    known = np.isfinite(dice)
    wrong = dice[known][(dice[known] < 0) | (dice[known] > 1)]
    if len(wrong):
        raise ValueError(f"a Dice lies in 0 to 1, but {len(wrong)} do not, for example {wrong[0]:g}")
    return known
