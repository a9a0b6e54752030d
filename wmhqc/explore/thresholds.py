"""The threshold explorer, and the same numbers in Python."""

from __future__ import annotations

import numpy as np
import traitlets

from wmhqc import failure
from wmhqc.explore.widget import Explorer, module


class ThresholdExplorer(Explorer):
    """What `threshold` returns; `value` and `tau` follow the reader's sliders."""

    _esm = module("common", "threshold")
    value = traitlets.Float().tag(sync=True)
    tau = traitlets.Float().tag(sync=True)
    cases = traitlets.Dict().tag(sync=True)


def threshold(
    table,
    score: str,
    tau: float = 0.5,
    threshold: float | None = None,
    dice: str = "lesion_dice",
    confidence: int | None = None,
    label: str | None = None,
    presets: tuple[tuple[str, float], ...] = (("keep", 0.8), ("catch", 0.9)),
) -> ThresholdExplorer:
    """Explore what a threshold on a score keeps, and what it lets through.

    Parameters
    ----------
    table : pandas.DataFrame
        One row per case, with the columns `score` and `dice`; `case` names the points.
        Rows without a score or without a Dice are left out, and counted on the figure.
    score : str
        Column of the score.
    tau : float, default 0.5
        A case counts as failed if its Dice lies under `tau` (0 to 1).
    threshold : float, optional
        A threshold that was chosen on validation cases: shown as a mark, and the place
        where the slider starts (otherwise it starts at the median score).
    dice : str, default "lesion_dice"
        Column of the true Dice (0 to 1).
    confidence : {1, -1}, optional
        +1 if a higher score means more trust, -1 if less. Looked up in
        `wmhqc.scores.CONFIDENCE` if not given.
    label : str, optional
        Name of the score on the axis, with its unit; otherwise the column's name.
    presets : tuple of (kind, share)
        Buttons: ("keep", 0.8) keeps at least 80 % of the cases, ("catch", 0.9) flags at
        least 90 % of the failures. They are worked out on the cases shown, and say so.

    Returns
    -------
    ThresholdExplorer
        A Jupyter widget; the last expression of a cell shows it.

    Raises
    ------
    ValueError
        If a column is missing, no row is complete, a Dice lies outside 0 to 1, or the
        direction of the score is not known.
    """
    for column in (score, dice):
        if column not in table:
            raise ValueError(f"the table has no column {column!r}; it has {', '.join(map(str, table.columns))}")
    if confidence is None:
        from wmhqc.scores import CONFIDENCE

        confidence = CONFIDENCE.get(score)
    if confidence not in (1, -1):
        raise ValueError(
            f"confidence of {score!r} must be +1 (higher = trust more) or -1 (higher = trust less), not {confidence!r}"
        )
    if not 0 <= tau <= 1:
        raise ValueError(f"tau is a Dice and must lie in 0 to 1, not {tau!r}")
    for kind, share in presets:
        if kind not in ("keep", "catch") or not 0 < share <= 1:
            raise ValueError(f"a preset is ('keep' or 'catch', share in 0 to 1), not {(kind, share)!r}")
    scores, truth, complete = _complete(table[score], table[dice])
    if not complete.any():
        raise ValueError(f"no row of the table has both {score!r} and {dice!r}")
    names = table["case"][complete].astype(str).tolist() if "case" in table else []
    dice_label = dice.replace("_", " ").replace("dice", "Dice")
    return ThresholdExplorer(
        value=float(np.median(scores) if threshold is None else threshold),
        tau=float(tau),
        cases={
            "score": scores.tolist(),
            "dice": truth.tolist(),
            "name": names,
            "left_out": int((~complete).sum()),
            "label": label or score,
            "dice_label": dice_label[0].upper() + dice_label[1:],
            "confidence": int(confidence),
            "chosen": None if threshold is None else float(threshold),
            "presets": [[kind, float(share)] for kind, share in presets],
        },
    )


def threshold_numbers(scores, dice, threshold: float, tau: float = 0.5, confidence: int = 1) -> dict:
    """Count what a threshold keeps and flags: the numbers that the explorer shows.

    A case is flagged, that is sent to review, if its score lies strictly on the distrusted
    side of the threshold. A case failed if its Dice is under `tau`; failure is the
    positive class, as it is what the score is asked to find.

    Parameters
    ----------
    scores, dice : array_like, shape (cases,)
        Score and true Dice (0 to 1) of each case; a case with a NaN in either is left out.
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
    scores, dice, complete = _complete(scores, dice)
    flagged = failure.flag(confidence * scores, confidence * threshold)
    counts = failure.confusion(dice, flagged, tau)
    mean = failure.removal(dice, flagged) if len(dice) else {"before": np.nan, "after": np.nan}
    return {
        **counts,
        "cases": len(dice),
        "left_out": int((~complete).sum()),
        "kept": counts["fn"] + counts["tn"],
        "coverage": (~flagged).mean() if len(dice) else np.nan,
        "dice_before": mean["before"],
        "dice_after": mean["after"],
    }


def _complete(scores, dice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the scores and Dice of the cases that have both, and which cases those are."""
    scores, dice = np.asarray(scores, float), np.asarray(dice, float)
    if scores.shape != dice.shape or scores.ndim != 1:
        raise ValueError(f"expected one score and one Dice per case, got shapes {scores.shape} and {dice.shape}")
    complete = np.isfinite(scores) & np.isfinite(dice)
    wrong = dice[complete][(dice[complete] < 0) | (dice[complete] > 1)]
    if len(wrong):
        raise ValueError(f"a Dice lies in 0 to 1, but {len(wrong)} do not, for example {wrong[0]:g}")
    return scores[complete], dice[complete], complete
