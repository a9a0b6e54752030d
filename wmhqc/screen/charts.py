"""The charts of the report of a group: dots on a line for a score, and failures left after so many looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote

import numpy as np
import pandas as pd

from wmhqc.screen.labels import LABELS
from wmhqc.screen.render import number

#: Columns of a group that are no scores.
OWN_LABELS = {"predicted_dice": ("predicted Dice", ""), "ood_score": ("distance from the calibration cases", "")}


def link(case: str) -> str:
    """Address of a report, seen from that of the group: beside it, whatever a record says."""
    return quote(f"{case}.html")


def strip(table: pd.DataFrame, name: str, bands: Mapping) -> dict:
    """One score of all scans as dots on a line, and the calibration cases' range; places in per cent of the width."""
    label, unit = (LABELS | OWN_LABELS)[name]
    known, band = table[table[name].notna()], bands.get(name, [])
    values = known[name].to_numpy(float)
    low, high = min([*values, *band]), max([*values, *band])

    def place(value: float) -> float:
        return 2 + 96 * (value - low) / ((high - low) or 1)

    heights = [8 + 40 * (i * 0.6180339887498949 % 1) for i in range(len(known))]  # so that equal values are seen
    return {
        "label": f"{label} ({unit})" if unit else label,
        "band": [place(end) for end in band],
        "dots": list(zip(known["case"], known["verdict"], values, map(place, values), heights, strict=True)),
        "ends": (low, high),
        "words": f"{number(values.min())} to {number(values.max())}, median {number(float(np.median(values)))}",
    }


def looks(left: Mapping[str, Sequence[float]]) -> dict:
    """Failures left over the number of scans that were looked at: points of mean and interval, 1000 wide and 200 high.

    Parameters
    ----------
    left : mapping
        From `wmhqc.screen.triage.expected_left`.
    """
    last, top = max(1, len(left["mean"]) - 1), max(1, *left["high"])

    def points(values) -> list[str]:
        return [f"{1000 * n / last:.0f},{200 - 200 * value / top:.1f}" for n, value in enumerate(values)]

    band = [*points(left["high"]), *points(left["low"])[::-1]]
    return {"band": " ".join(band), "mean": " ".join(points(left["mean"])), "last": last, "top": top}
