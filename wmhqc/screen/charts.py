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
    """One score of all scans as dots on a line."""
    from markupsafe import Markup, escape

    label, unit = (LABELS | OWN_LABELS)[name]
    known = table[table[name].notna()]
    values = known[name].to_numpy(float)
    ends = [values.min(), values.max()]
    band = bands.get(name, [])
    low, high = min(ends + band), max(ends + band)

    def place(value: float) -> float:  # in per cent of the width
        return 2 + 96 * (value - low) / ((high - low) or 1)

    parts = []
    if band:
        parts.append(
            f'<rect class="band" x="{place(band[0]):.1f}%" width="{place(band[1]) - place(band[0]):.1f}%" height="56"/>'
        )
    parts.append('<line class="axis" x1="2%" x2="98%" y1="56" y2="56"/>')
    for i, (row, value) in enumerate(zip(known.to_dict("records"), values, strict=True)):
        height = 8 + 40 * (i * 0.6180339887498949 % 1)  # spread, so that equal values are seen
        dot = (
            f'<circle class="{escape(row["verdict"])}" cx="{place(value):.1f}%" cy="{height:.0f}" r="5">'
            f"<title>{escape(row['case'])}: {number(value)}</title></circle>"
        )
        parts.append(f'<a href="{escape(link(row["case"]))}" tabindex="-1">{dot}</a>')
    svg = f'<svg width="100%" height="58" aria-hidden="true">{"".join(parts)}</svg>'
    words = f"{number(values.min())} to {number(values.max())}, median {number(float(np.median(values)))}"
    ends = f'<div class="ends"><span>{number(low)}</span><span>{words}</span><span>{number(high)}</span></div>'
    return {"label": f"{label} ({unit})" if unit else label, "svg": Markup(svg + ends)}


def looks(left: Mapping[str, Sequence[float]]) -> str:
    """Failures left over the number of scans that were looked at: mean and interval (SVG).

    Parameters
    ----------
    left : mapping
        From `wmhqc.screen.triage.expected_left`.
    """
    from markupsafe import Markup

    last, top = max(1, len(left["mean"]) - 1), max(1, *left["high"])

    def points(values, numbers) -> str:
        return " ".join(f"{1000 * n / last:.0f},{200 - 200 * value / top:.1f}" for n, value in zip(numbers, values))

    numbers = range(len(left["mean"]))
    band = f"{points(left['high'], numbers)} {points(left['low'][::-1], numbers[::-1])}"
    return Markup(
        '<svg class="looks" viewBox="0 0 1000 200" preserveAspectRatio="none" aria-hidden="true">'
        f'<polygon points="{band}"/><polyline points="{points(left["mean"], numbers)}"/>'
        '<line id="now" x1="0" x2="0" y1="0" y2="200"/></svg>'
        f'<div class="ends"><span>0 looked at; top edge: {number(top)} failed</span><span>{last} looked at</span></div>'
    )
