"""The table and the report of many judged scans."""

from __future__ import annotations

import csv
import os
import string
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd

from wmhqc.screen.labels import LABELS, SCORE
from wmhqc.screen.output import inside, shown, stem, write_text
from wmhqc.screen.records import read_record, to_json
from wmhqc.screen.render import dice, number, percent, render

#: Columns that the report draws as strips.
STRIPS = (SCORE, "volume_ml", "contrast", "mean_entropy", "pairwise_dice", "ood_score")
#: Columns that it lists, and their heads.
COLUMNS = {
    "case": "Scan",
    "verdict": "Verdict",
    "rule": "Rule",
    "guarantee_applies": "Guarantee applies",
    SCORE: "Predicted Dice",
    "low": "from",
    "high": "to",
    "lesion_dice": "True Dice",
    "volume_on_scan_ml": "Volume (ml)",
    "ood_score": "Distance",
    "reasons": "Reasons",
}
TEXTS = ("case", "verdict", "rule", "guarantee_applies", "reasons")
DICES = (SCORE, "low", "high", "lesion_dice")
#: A cell that begins so is a formula to a spreadsheet; it gets an apostrophe in front, and so does one that has one.
FORMULA = ("=", "+", "-", "@", "'")


def gather(out: Path) -> None:
    """Write group.tsv and group.html from the records of all scans in a folder of results."""
    group, left, found = Group(), 0, dict(_records(out))
    for _, record in sorted(found.items()):
        if _left_its_folder(record):
            left += 1
        else:
            group.add(record)
    if left:
        print(f"note: {left} scans are no longer where they were judged, and not in the table; their results stay")
    if not group.rows:
        raise ValueError(f"{out}: no scan was judged yet, or none is left (no file *_qc.json)")
    write_text(inside(out, "group.tsv"), group.tsv())
    write_text(inside(out, "group.html"), group.html())


def _records(out: Path) -> Iterator[tuple[str, dict]]:
    """Case and record of each scan; of one that the last call could not judge, what it said, after the older record."""
    for kind in ("qc", "notjudged"):
        folders = ("*", "sub-*/anat", "sub-*/ses-*/anat")
        for path in sorted(path for folder in folders for path in out.glob(f"{folder}/*_{kind}.json")):
            if path.name.startswith("."):  # left over from a process that was killed
                continue
            record = read_record(path)
            if record is None:
                print(f"note: {shown(path)} is no record of wmhqc qc; it is left out, judge that scan again")
            elif path == out / f"{stem(record['case'])}_{kind}.json":  # and not of another folder of results
                yield record["case"], record


def _left_its_folder(record: Mapping) -> bool:
    """Is the scan gone from the folder in which it was judged, while that is still there?"""
    flair = record["inputs"]["flair"]["path"] if "scores" in record else record.get("flair", "")
    return os.path.isdir(record.get("source") or "") and not os.path.exists(flair)


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
        self.title, self.rows, self.rules, self.bands = title, [], {}, {}

    def add(self, record: Mapping) -> None:
        """Take in the record of a scan."""
        self.rows.append(row(record))
        if "scores" in record:
            guarantee = record["guarantee"]
            words = f"{rule_words(guarantee)} {record['calibration']}"
            rule = self.rules.setdefault(words, {"name": _letters(len(self.rules)), "scans": 0, "thresholds": set()})
            rule["scans"] += 1
            # differs a little between scans, as nobody is calibrated on himself
            rule["thresholds"] |= {dice(guarantee["threshold"])} if guarantee["possible"] else set()
            self.rows[-1]["rule"] = rule["name"]
            self.bands = self.bands or record["ranges"] | {"ood_score": [0, record["ood"]["limit"] or 0]}

    def table(self) -> pd.DataFrame:
        """One row a scan."""
        return pd.DataFrame(self.rows)

    def tsv(self) -> str:
        """The table as BIDS wants it: one line a scan, n/a where nothing is known; no cell is a formula."""
        table = self.table().drop(columns="rule", errors="ignore")
        words = table.select_dtypes(exclude=["number", "bool"]).columns
        table[words] = table[words].map(_cell)
        return table.to_csv(sep="\t", index=False, na_rep="n/a", quoting=csv.QUOTE_NONE)

    def html(self) -> str:
        """The report: strips of the scores, and a table to sort."""
        table = self.table()
        one_rule = len(self.rules) < 2
        counts = {name: int((table["verdict"] == name).sum()) for name in ("accept", "review")}
        counts["failed"] = len(table) - sum(counts.values())
        rows = [to_json(found) for found in table.to_dict("records")]
        for found in rows:
            judged = isinstance(found.get("guarantee_applies"), bool)
            found["report"] = _link(found["case"]) if judged else ""
            found["guarantee_applies"] = ("yes" if found["guarantee_applies"] else "no") if judged else ""
        columns = [
            {"name": name, "label": label, "numeric": name not in TEXTS, "write": dice if name in DICES else number}
            for name, label in COLUMNS.items()
            if name in table and table[name].notna().any() and not (name == "rule" and one_rule)
        ]
        bands = self.bands if one_rule else {}
        return render(
            "group.html",
            title=self.title,
            rows=rows,
            counts=counts,
            columns=columns,
            strips=[_strip(table, name, bands) for name in STRIPS if name in table and table[name].notna().any()],
            rules={words: rule | {"thresholds": sorted(rule["thresholds"])} for words, rule in self.rules.items()},
            labelled="lesion_dice" in table and bool(table["lesion_dice"].notna().any()),
        )


def _cell(value):
    if not isinstance(value, str):
        return value
    text = " ".join(value.split())
    return f"'{text}" if text.startswith(FORMULA) else text


def _link(case: str) -> str:
    """Address of a report, seen from that of the group: beside it, whatever a record says."""
    return quote(f"{case}.html")


def _letters(number: int) -> str:
    """A, B ... Z, A1, B1 ..."""
    return string.ascii_uppercase[number % 26] + (str(number // 26) if number > 25 else "")


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
        parts.append(f'<a href="{escape(_link(row["case"]))}" tabindex="-1">{dot}</a>')
    svg = f'<svg width="100%" height="58" aria-hidden="true">{"".join(parts)}</svg>'
    words = f"{number(values.min())} to {number(values.max())}, median {number(float(np.median(values)))}"
    ends = f'<div class="ends"><span>{number(low)}</span><span>{words}</span><span>{number(high)}</span></div>'
    return {"label": f"{label} ({unit})" if unit else label, "svg": Markup(svg + ends)}
