"""Commit first: a question that is answered before its result is shown, and how sure the reader was."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np
import traitlets

from wmhqc import failure
from wmhqc.view.widget import Explorer, module

#: Steps of the reader's confidence, and the bins of the reliability diagram.
BINS = (0.0, 0.45, 0.65, 0.85, 1.0)


class CommitExplorer(Explorer):
    """What `commit` returns; `said` holds the reader's answer, how sure they were, and whether it was right."""

    _esm = module("common", "memory", "commit")
    said = traitlets.Dict().tag(sync=True)
    data = traitlets.Dict().tag(sync=True)

    def plain(self) -> str:
        """Question and answer as a folding that needs no script."""
        question, because = (html.escape(self.data[name]) for name in ("question", "because"))
        return (
            f"<p><strong>Predict first.</strong> {question}</p>"
            '<details class="wmhqc-plain"><summary>Show the answer</summary>'
            f"<p>{html.escape(self.data['spoken'])}. {because}</p></details>"
        )


def commit(
    question: str,
    answer: str | float | Sequence[str],
    options: Sequence[str] = (),
    within: float = 0.0,
    unit: str = "",
    because: str = "",
) -> CommitExplorer:
    """Ask the reader to predict, with how sure they are, before the result unfolds.

    What unfolds is `because` and, on a page, the output of the next cell with the tag `hide-output`. Without JavaScript
    both are ordinary foldings. Answers stay in the reader's browser; `calibration` draws them.

    Parameters
    ----------
    question : str
        Plain text; also the key by which the answer is remembered.
    answer : str, float or sequence of str
        One of `options` (choice), a number, or all `options` in their right order.
    options : sequence of str
        For a choice or an order.
    within : float
        How far off a number may be and still be right, in its unit.
    unit : str
        Of a number.
    because : str
        Said once the reader has committed.

    Raises
    ------
    ValueError
        The answer is not among the options, is no finite number, or `within` is negative.
    """
    options = list(options)
    if isinstance(answer, str):
        kind, spoken = "choice", answer
        if answer not in options or len(options) < 2:
            raise ValueError(f"the answer must be one of two options or more, got {answer!r} and {options}")
    elif options:
        kind, spoken = "order", ", ".join(answer)
        if sorted(answer) != sorted(set(options)) or len(options) < 2:
            raise ValueError(f"the answer must hold each of the options once, got {list(answer)} and {options}")
    else:
        kind, spoken = "number", f"{answer:g} {unit}".strip()
        if not np.isfinite(answer) or within < 0:
            raise ValueError(f"expected a finite number and a distance of 0 or more, got {answer!r} and {within!r}")
    return CommitExplorer(
        data={
            "question": question,
            "kind": kind,
            "answer": answer if isinstance(answer, str) else float(answer) if kind == "number" else list(answer),
            "spoken": spoken,
            "options": options,
            "within": float(within),
            "unit": unit,
            "because": because,
        }
    )


class CalibrationExplorer(Explorer):
    """What `calibration` returns; `said` holds the predictions that were found in the reader's browser."""

    _esm = module("common", "memory", "calibration")
    said = traitlets.List().tag(sync=True)
    data = traitlets.Dict().tag(sync=True)


def calibration(network=None) -> CalibrationExplorer:
    """Draw how sure the reader was against how often they were right, from what `commit` remembered.

    Parameters
    ----------
    network : pandas.DataFrame, optional
        `probability`, `frequency` and `voxels` of bins (`wmhqc.scores.reliability`), of one network or more, which are
        pooled and drawn beside the reader's.
    """
    points = []
    if network is not None:
        known = network[network["voxels"] > 0]
        for _, part in known.groupby((10 * known["probability"]).astype(int)):
            mean = np.average(part[["probability", "frequency"]], axis=0, weights=part["voxels"])
            points.append(mean.tolist())
    return CalibrationExplorer(data={"network": points, "bins": list(BINS)})


def calibration_numbers(sure, right) -> dict:
    """How well a reader knew what they knew: the numbers that the page shows.

    Parameters
    ----------
    sure : array_like, shape (answers,)
        0 to 1.
    right : array_like of bool, shape (answers,)

    Returns
    -------
    dict
        `sure` and `right` (means), `brier`, `auroc` (a right answer was given more surely than a wrong one; NaN if all
        are right, or all wrong) and `bins`: mean of `sure`, share right and number in each bin that holds an answer.
    """
    sure, right = np.asarray(sure, float), np.asarray(right, bool)
    place = np.clip(np.searchsorted(BINS, sure, side="right") - 1, 0, len(BINS) - 2)
    bins = [
        (float(sure[place == k].mean()), float(right[place == k].mean()), int((place == k).sum()))
        for k in range(len(BINS) - 1)
        if (place == k).any()
    ]
    return {
        "sure": float(sure.mean()),
        "right": float(right.mean()),
        "brier": float(np.mean((sure - right) ** 2)),
        "auroc": float(failure.auroc(right.astype(float), sure, 0.5)) if 0 < right.sum() < len(right) else float("nan"),
        "bins": bins,
    }
