"""Reports of judged scans: one self-contained HTML page a scan, and one of the whole group.

Whatever comes from outside, names of files above all, is escaped by the templates; a content
security policy in each page forbids it to load anything.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import PurePath
from urllib.parse import quote

import numpy as np
import pandas as pd

from wmhqc import preprocess
from wmhqc.screen import qc

#: Longest edge of the pictures in a report, in voxels.
EDGE = 112
#: Columns that the group report draws as strips.
STRIPS = (qc.SCORE, "volume_ml", "contrast", "mean_entropy", "pairwise_dice", "distance")
#: Columns that it lists, and their heads.
COLUMNS = {
    "case": "Scan", "verdict": "Verdict", qc.SCORE: "Predicted Dice", "low": "from", "high": "to",
    "lesion_dice": "True Dice", "volume_on_scan_ml": "Volume (ml)", "distance": "Distance", "reasons": "Reasons",
}  # fmt: skip
TEXTS = ("case", "verdict", "reasons")
DICES = (qc.SCORE, "low", "high", "lesion_dice")


def case(judgement) -> str:
    """The report of one scan as HTML, readable offline.

    Parameters
    ----------
    judgement : wmhqc.screen.qc.Judgement
        With a record that `wmhqc.screen.cli` has completed (inputs, files, software, notes).
    """
    record = judgement.record
    return _render(
        "case.html", title=f"Can you trust this mask? {record['case']}", record=record,
        explorer=viewer(judgement).to_html(), labels=qc.LABELS, inputs=qc.INPUTS, outside=outside,
    )  # fmt: skip


def row(record: Mapping) -> dict:
    """One row of the table of a group, from a record that `wmhqc.screen.cli` wrote.

    case, patient, judged, program, verdict, promise_applies, reasons, low, high and interval_valid (of the
    predicted Dice), like, distance, outside (features beyond the calibration cases'), report; tau, risk,
    certainty, threshold; flair, flair_sha256 and reference, by which `wmhqc.screen.qc.read_calibration` knows the
    scan and the networks; then all scores, truth and features. A scan that could not be judged
    has its reason and no more.
    """
    found = {"case": record["case"], "verdict": record["verdict"], "reasons": " ".join(record["reasons"])}
    if "scores" not in record:
        return found
    alike, predicted, promise, flair = (
        record["likeness"], record["predicted_dice"], record["promise"], record["inputs"]["flair"]
    )  # fmt: skip
    return found | {
        **{name: record.get(name, "") for name in ("patient", "judged", "program", "report", "reference")},
        **{name: predicted[name] for name in ("low", "high")}, "interval_valid": predicted.get("valid", False),
        **{name: promise[name] for name in ("tau", "risk", "certainty", "threshold")},
        "promise_applies": promise["applies"], "like": alike["like"], "distance": alike["distance"],
        "outside": "; ".join(qc.LABELS[found["name"]][0] for found in alike["outside"]),
        "flair": flair["path"], "flair_sha256": flair["sha256"],
        **record["scores"], **record["truth"], **record["features"],
    }  # fmt: skip


class Group:
    """The table and the report of many scans, from their records, of which one at a time is in memory."""

    def __init__(self, title: str = "Can you trust these masks?"):
        self.title, self.rows, self.rules, self.thresholds, self.bands = title, [], {}, [], {}

    def add(self, record: Mapping) -> None:
        """Take in the record of a scan."""
        self.rows.append(row(record))
        if "scores" in record:
            rule = f"{promise_words(record['promise'])} {record['calibration']}"
            self.rules[rule] = self.rules.get(rule, 0) + 1
            # differs a little between scans, as nobody is calibrated on himself
            self.thresholds += [record["promise"]["threshold"]] if record["promise"]["possible"] else []
            self.bands = self.bands or record["ranges"] | {"distance": [0, record["likeness"]["limit"] or 0]}

    def table(self) -> pd.DataFrame:
        return pd.DataFrame(self.rows)

    def tsv(self) -> str:
        """The table as BIDS wants it: one line a scan, n/a where nothing is known."""
        table = self.table()
        words = table.select_dtypes(exclude=["number", "bool"]).columns
        table[words] = table[words].map(lambda value: " ".join(value.split()) if isinstance(value, str) else value)
        return table.to_csv(sep="\t", index=False, na_rep="n/a", quoting=csv.QUOTE_NONE)

    def html(self) -> str:
        """The report: strips of the scores, and a table to sort."""
        table = self.table()
        counts = {name: int((table["verdict"] == name).sum()) for name in ("accept", "review")}
        counts["failed"] = len(table) - sum(counts.values())
        rows = [qc.plain(row) for row in table.to_dict("records")]
        for found in rows:
            found["report"] = quote(found["report"]) if found.get("report") else ""
        columns = [
            {"name": name, "label": label, "numeric": name not in TEXTS, "write": dice if name in DICES else number}
            for name, label in COLUMNS.items()
            if name in table and table[name].notna().any()
        ]
        strips = [_strip(table, name, self.bands) for name in STRIPS if name in table and table[name].notna().any()]
        return _render(
            "group.html", title=self.title, rows=rows, counts=counts, columns=columns, strips=strips, rules=self.rules, thresholds=sorted({dice(value) for value in self.thresholds}),
            labelled="lesion_dice" in table and bool(table["lesion_dice"].notna().any()),
        )  # fmt: skip


def promise_words(promise: Mapping) -> str:
    """The rule of a verdict, in one sentence."""
    wanted = f"at most {percent(promise['risk'])} of the accepted have a lesion Dice below {number(promise['tau'])}"
    wanted += f", with {percent(promise['certainty'])} certainty"
    if not promise["possible"]:
        return f"Wanted: {wanted}. With these calibration cases this cannot be promised."
    return f"Accepted is where the promise applies and the predicted Dice reaches a threshold: {wanted}."


def frame(html: str, title: str, height: int = 900):
    """A report within a page of the book, as IPython shows it."""
    from html import escape

    from IPython.display import HTML

    style = f"width: 100%; height: {height}px; border: 1px solid #8a95a4; border-radius: 10px"
    # within a div: IPython warns of what begins with an iframe
    return HTML(f'<div><iframe srcdoc="{escape(html)}" title="{escape(title)}" style="{style}"></iframe></div>')


def viewer(judgement):
    """Slice explorer of the scan and its maps, on the scan's own axes."""
    from wmhqc import view

    images, prepared = judgement.images, judgement.prepared
    crop = tuple(slice(*edge) for edge in prepared.box)
    edges = np.sqrt((prepared.affine[:3, :3] ** 2).sum(axis=0))
    lengths = edges * [stop - start for start, stop in prepared.box]
    # In plane not finer than EDGE voxels over the longest edge; thick slices stay as they are.
    shape = tuple(int(max(1, round(length / max(edge, lengths.max() / EDGE)))) for length, edge in zip(lengths, edges))
    brain = np.asanyarray(images["brainmask"].dataobj)[crop] > 0 if "brainmask" in images else None

    def cut(name: str) -> np.ndarray:
        array = np.asanyarray(images[name].dataobj)[crop].astype(np.float32)
        if name in ("t1", "flair"):
            array = preprocess.scale(array, array > 0 if brain is None else brain)
        return preprocess.resize(array, shape, 1)

    volumes = {"T1": "t1", "FLAIR": "flair", "Prediction (probability)": "prediction",
               "Uncertainty (bit)": "uncertainty", "Error (FLAIR − rebuilt)": "error"}  # fmt: skip
    contours = {"our segmentation": "mask", "given segmentation": "segmentation", "manual mask": "lesion"}
    judged = "segmentation" if "segmentation" in images else "mask"
    contours = dict(sorted(contours.items(), key=lambda item: item[1] != judged))  # the judged one first
    return view.slices(
        {label: cut(name) for label, name in volumes.items()},
        {label: cut(name) >= 0.5 for label, name in contours.items() if name in images},
        colors={"Uncertainty (bit)": "cividis", "Error (FLAIR − rebuilt)": "diverging"},
        axes="".join(_axes(prepared.affine)), spacing=tuple(lengths / shape), size=max(shape),
        caption=f"Slices of {judgement.record['case']}, with the outlines of the masks.",
    )  # fmt: skip


def _axes(affine) -> tuple:
    from nibabel import aff2axcodes

    return aff2axcodes(affine)


def number(value, digits: int = 3) -> str:
    """A number for a reader: three significant digits, a dash where there is none."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}".replace("-", "−")
    return f"{value:.{digits}g}".replace("-", "−")


def dice(value) -> str:
    """A Dice for a reader: two decimals, a dash where there is none."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.2f}".replace("-", "−")


def percent(share: float) -> str:
    """A share as percentage."""
    return f"{100 * share:g} %"


def outside(value, range) -> str:
    """▲ above the range, ▼ below it, nothing within it or where either is unknown."""
    if value is None or not range or None in range:
        return ""
    return "▲" if value > range[1] else "▼" if value < range[0] else ""


def bar(record: Mapping) -> str:
    """The predicted Dice with its interval on a scale from 0 to 1 (HTML)."""
    from markupsafe import Markup

    predicted, truth, tau = record["predicted_dice"], record["truth"].get("lesion_dice"), record["promise"]["tau"]
    marks = [f'<span class="tau" style="left:{100 * tau:.1f}%"></span>']
    words = [f"┆ failed below {number(tau)}"]
    if predicted["low"] is not None:
        left, width = 100 * predicted["low"], 100 * (predicted["high"] - predicted["low"])
        marks.append(f'<span class="interval" style="left:{left:.1f}%;width:{width:.1f}%"></span>')
        words.append(f"▬ {percent(predicted['level'])} interval")
    if predicted["value"] is not None:
        marks.append(f'<span class="predicted" style="left:{100 * min(1, max(0, predicted["value"])):.1f}%"></span>')
        words.append("● predicted")
    if truth is not None:
        marks.append(f'<span class="true" style="left:{100 * truth:.1f}%"></span>')
        words.append("◆ true")
    legend = " ".join(f"<span>{word}</span>" for word in words)
    return Markup(
        f'<div class="dice" aria-hidden="true"><div class="track">{"".join(marks)}</div>'
        f'<div class="ends"><span>0</span><span>{legend}</span><span>1</span></div></div>'
    )


def _strip(table: pd.DataFrame, name: str, bands: Mapping) -> dict:
    """One score of all scans as dots on a line."""
    from markupsafe import Markup, escape

    label, unit = qc.LABELS.get(name, ("distance from the calibration cases", ""))
    shown = table[table[name].notna()]
    values = shown[name].to_numpy(float)
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
    for i, (row, value) in enumerate(zip(shown.to_dict("records"), values)):
        height = 8 + 40 * (i * 0.6180339887498949 % 1)  # spread, so that equal values are seen
        dot = (
            f'<circle class="{escape(row["verdict"])}" cx="{place(value):.1f}%" cy="{height:.0f}" r="5">'
            f"<title>{escape(row['case'])}: {number(value)}</title></circle>"
        )
        link = row.get("report")
        parts.append(
            f'<a href="{escape(quote(link))}" tabindex="-1">{dot}</a>' if isinstance(link, str) and link else dot
        )
    svg = f'<svg width="100%" height="58" aria-hidden="true">{"".join(parts)}</svg>'
    words = f"{number(values.min())} to {number(values.max())}, median {number(float(np.median(values)))}"
    ends = f'<div class="ends"><span>{number(low)}</span><span>{words}</span><span>{number(high)}</span></div>'
    return {"label": f"{label} ({unit})" if unit else label, "svg": Markup(svg + ends)}


def _render(template: str, **values) -> str:
    """Fill a template; everything is escaped but what this file marks as HTML."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    from wmhqc import __version__

    environment = Environment(
        loader=PackageLoader("wmhqc.screen", "templates"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    # Without its folders, whose names may say more than a report should when it is passed on.
    environment.globals["file_name"] = lambda path: PurePath(path).name
    environment.globals |= {"number": number, "dice": dice, "percent": percent, "version": __version__, "bar": bar}
    if "explorer" in values:
        values["explorer"] = Markup(values["explorer"])
    return environment.get_template(template).render(values)
