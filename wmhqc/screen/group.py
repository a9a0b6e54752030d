"""The table and the report of many judged scans."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd

from wmhqc.files import replacing
from wmhqc.screen.labels import LABELS, SCORE
from wmhqc.screen.records import inside, to_json, write_text
from wmhqc.screen.render import dice, number, percent, render

#: Columns that the report draws as strips.
STRIPS = (SCORE, "volume_ml", "contrast", "mean_entropy", "pairwise_dice", "ood_score")
#: Columns that it lists, and their heads.
COLUMNS = {
    "case": "Scan",
    "verdict": "Verdict",
    SCORE: "Predicted Dice",
    "low": "from",
    "high": "to",
    "lesion_dice": "True Dice",
    "volume_on_scan_ml": "Volume (ml)",
    "ood_score": "Distance",
    "reasons": "Reasons",
}
TEXTS = ("case", "verdict", "reasons")
DICES = (SCORE, "low", "high", "lesion_dice")


def row(record: Mapping) -> dict:
    """One row of the table of a group, from the record of a scan.

    case, patient, judged, program, verdict, guarantee_applies, reasons, low, high and interval_valid (of the
    predicted Dice), in_distribution, ood_score, outside (features beyond the calibration cases'), report; tau, risk,
    level, threshold; flair, flair_sha256 and reference, by which `wmhqc.screen.calibration` knows the
    scan and the networks; then all scores, truth and features. A scan that could not be judged
    has its reason and no more.
    """
    found = {"case": record["case"], "verdict": record["verdict"], "reasons": " ".join(record["reasons"])}
    if "scores" not in record:
        return found
    predicted, guarantee, ood, flair = (record[name] for name in ("predicted_dice", "guarantee", "ood", "inputs"))
    flair = flair["flair"]
    return found | {
        **{name: record.get(name, "") for name in ("patient", "judged", "program", "report", "reference")},
        "low": predicted["low"],
        "high": predicted["high"],
        "interval_valid": predicted["valid"],
        **{name: guarantee[name] for name in ("tau", "risk", "level", "threshold")},
        "guarantee_applies": guarantee["applies"],
        "in_distribution": ood["in_distribution"],
        "ood_score": ood["score"],
        "outside": "; ".join(LABELS[feature["name"]][0] for feature in ood["outside"]),
        "flair": flair["path"],
        "flair_sha256": flair["sha256"],
        **record["scores"],
        **record["truth"],
        **record["features"],
    }


class Group:
    """The table and the report of many scans, from their records, of which one at a time is in memory."""

    def __init__(self, title: str = "Can you trust these masks?"):
        self.title, self.rows, self.rules, self.thresholds, self.bands = title, [], {}, [], {}

    def add(self, record: Mapping) -> None:
        """Take in the record of a scan."""
        self.rows.append(row(record))
        if "scores" in record:
            rule = f"{rule_words(record['guarantee'])} {record['calibration']}"
            self.rules[rule] = self.rules.get(rule, 0) + 1
            # differs a little between scans, as nobody is calibrated on himself
            self.thresholds += [record["guarantee"]["threshold"]] if record["guarantee"]["possible"] else []
            self.bands = self.bands or record["ranges"] | {"ood_score": [0, record["ood"]["limit"] or 0]}

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
        rows = [to_json(row) for row in table.to_dict("records")]
        for found in rows:
            found["report"] = quote(found["report"]) if found.get("report") else ""
        columns = [
            {"name": name, "label": label, "numeric": name not in TEXTS, "write": dice if name in DICES else number}
            for name, label in COLUMNS.items()
            if name in table and table[name].notna().any()
        ]
        strips = [_strip(table, name, self.bands) for name in STRIPS if name in table and table[name].notna().any()]
        return render(
            "group.html",
            title=self.title,
            rows=rows,
            counts=counts,
            columns=columns,
            strips=strips,
            rules=self.rules,
            thresholds=sorted({dice(value) for value in self.thresholds}),
            labelled="lesion_dice" in table and bool(table["lesion_dice"].notna().any()),
        )


def rule_words(guarantee: Mapping) -> str:
    """The rule of a verdict, in one sentence."""
    wanted = f"at most {percent(guarantee['risk'])} of the accepted have a lesion Dice below {number(guarantee['tau'])}"
    wanted += f", at a confidence level of {percent(guarantee['level'])}"
    if not guarantee["possible"]:
        return f"Wanted: {wanted}. With these calibration cases this cannot be guaranteed."
    return f"Accepted is where the guarantee applies and the predicted Dice reaches a threshold: {wanted}."


def _strip(table: pd.DataFrame, name: str, bands: Mapping) -> dict:
    """One score of all scans as dots on a line."""
    from markupsafe import Markup, escape

    label, unit = LABELS.get(name, ("distance from the calibration cases", ""))
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


def gather(out: Path) -> None:
    """Write group.tsv and group.html from the records of all cases in a folder of results."""
    group = Group()
    for path in sorted(out.rglob("*_qc.json")):
        if path.name.startswith("."):  # left over from a process that was killed
            continue
        try:
            group.add(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, KeyError) as error:
            raise ValueError(
                f"{path} is no record of wmhqc qc ({error}); remove it, and judge that scan again"
            ) from error
    if not group.rows:
        raise ValueError(f"{out}: no scan was judged yet (no file *_qc.json)")
    with replacing(inside(out, "group.tsv")) as partial:
        partial.write_bytes(group.tsv().encode(errors="backslashreplace"))
    write_text(out, "group.html", group.html())
