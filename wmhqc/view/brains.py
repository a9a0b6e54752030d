"""Slices of scans on a page, and the question that the book begins with: which of these are wrong?"""

from __future__ import annotations

import string
from collections.abc import Sequence

import numpy as np
import traitlets

from wmhqc.slices import Slice
from wmhqc.view.pictures import _bits, _levels, _packed
from wmhqc.view.widget import Explorer, module


def pack(slices: Sequence[Slice]) -> dict:
    """Slices for the page: 64 grey levels and one bit a pixel for each mask, compressed together."""
    payload = []
    for each in slices:
        payload += [_levels(each.flair, 0, 255), _bits(each.predicted), _bits(each.manual)]
    edges = [np.multiply(each.flair.shape, each.spacing) for each in slices]
    return {
        "shapes": [list(each.flair.shape) for each in slices],
        "ratios": [float(width / height) for width, height in edges],
        "data": _packed(payload),
    }


class QuizExplorer(Explorer):
    """What `quiz` returns; `looked` holds the places of the slices that the reader has looked at."""

    _esm = module("common", "brain", "quiz")
    looked = traitlets.List(traitlets.Int()).tag(sync=True)
    data = traitlets.Dict().tag(sync=True)


def quiz(slices: Sequence[Slice], dice, ml, true_ml, tau: float = 0.5) -> QuizExplorer:
    """Ask the reader which outlines are wrong; a look shows the manual one, and the count is the confusion table.

    Parameters
    ----------
    slices : sequence of Slice
        About six; shown in this order.
    dice : sequence of float
        Agreement of the whole masks, 0 to 1; a case failed if it lies under `tau`.
    ml, true_ml : sequence of float
        Predicted and manual lesion volume in ml.
    tau : float, default 0.5

    Raises
    ------
    ValueError
        The numbers differ in length, a Dice lies outside 0 to 1, or all cases failed, or none.
    """
    dice = np.asarray(dice, float)
    if not len(slices) == len(dice) == len(ml) == len(true_ml):
        raise ValueError(
            f"expected one Dice and two volumes a slice, got {len(dice)}, {len(ml)}, {len(true_ml)} for {len(slices)}"
        )
    if not ((dice >= 0) & (dice <= 1)).all():
        raise ValueError(f"a Dice lies in 0 to 1, got {dice.tolist()}")
    failed = dice < tau
    if failed.all() or not failed.any():
        raise ValueError(
            f"{failed.sum()} of {len(dice)} cases have a Dice under {tau:g}; the question needs failed and good ones"
        )
    cases = [
        {"name": f"Patient {letter}", "dice": float(d), "failed": bool(d < tau), "ml": float(v), "true_ml": float(w)}
        for letter, d, v, w in zip(string.ascii_uppercase, dice, ml, true_ml)
    ]
    return QuizExplorer(data={"cases": cases, "tau": tau, "scans": pack(slices)})


def pick(dice, count: int = 6, tau: float = 0.5) -> list[int]:
    """Places of cases for `quiz`: half of them failed, spread over the Dice, in an order that tells nothing.

    Cases within 0.05 of `tau` are not asked, where the others suffice. With fewer failed cases than half, good ones
    fill up, and the other way round.
    """
    dice = np.asarray(dice, float)
    order = np.argsort(dice, kind="stable")
    clear = order[np.abs(dice[order] - tau) >= 0.05]
    if len(clear) >= count:
        order = clear
    parts = [[i for i in order if (dice[i] < tau) == failed] for failed in (True, False)]
    few = min(len(parts[0]), max(count // 2, count - len(parts[1])))
    chosen = []
    for part, number in zip(parts, (few, count - few), strict=True):
        places = np.linspace(0, len(part) - 1, min(number, len(part))).round().astype(int)
        chosen += [int(part[place]) for place in places]
    return [chosen[place] for place in np.random.default_rng(4).permutation(len(chosen))]
