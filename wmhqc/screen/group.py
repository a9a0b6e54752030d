"""The table and the report of many judged scans."""

from __future__ import annotations

import csv
import os
import string
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from wmhqc.features import FEATURES
from wmhqc.screen import triage
from wmhqc.screen.charts import link, looks, strip
from wmhqc.screen.labels import LABELS
from wmhqc.screen.output import inside, shown, stem, write_text
from wmhqc.screen.records import read_record, to_json
from wmhqc.screen.render import at_most, chance, dice, number, percent, render

#: Columns that the report draws as strips.
STRIPS = ("predicted_dice", "volume_ml", "contrast", "mean_entropy", "pairwise_dice", "ood_score")
#: Columns that it lists, and their heads.
COLUMNS = {
    "case": "Scan",
    "verdict": "Verdict",
    "rule": "Rule",
    "guarantee_applies": "Guarantee applies",
    "chance": "Chance of failure",
    "predicted_dice": "Predicted Dice",
    "lesion_dice": "True Dice",
    "volume_on_scan_ml": "Volume (ml)",
    "reasons": "Reasons",
}
TEXTS = ("case", "verdict", "rule", "guarantee_applies", "reasons")
DICES = ("predicted_dice", "lesion_dice")
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
    for one, other in group.twins:
        print(f"note: {one} and {other} are the same scan under two names; keep one of them")
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

    case, patient, judged, program, verdict, guarantee_applies, reasons and kinds (scan, mask, doubt),
    predicted_dice with low, high and interval_valid, chance (of failure) with chance_low and chance_high,
    in_distribution, ood_score, outside (features beyond the calibration cases'), report; failure (in words), asked,
    risk, level, threshold; flair, flair_sha256 and reference, by which `wmhqc.screen.calibration` knows the scan and
    the networks; then all scores, truth and features. A scan that could not be judged has its reason and no more.
    """
    found = {"case": record["case"], "verdict": record["verdict"], "reasons": " ".join(record["reasons"])}
    if "scores" not in record:
        return found
    predicted, guarantee, ood = (record[name] for name in ("predicted_dice", "guarantee", "ood"))
    flair, failure = record["inputs"]["flair"], record["failure"]
    return found | {
        **{name: record.get(name, "") for name in ("patient", "judged", "program", "report", "reference")},
        "kinds": " ".join(dict.fromkeys(finding["kind"] for finding in record["findings"])),
        "predicted_dice": predicted["value"],
        "low": predicted["low"],
        "high": predicted["high"],
        "interval_valid": predicted["valid"],
        "chance": failure["chance"],
        "chance_low": failure["low"],
        "chance_high": failure["high"],
        **{name: guarantee[name] for name in ("failure", "asked", "risk", "level", "threshold")},
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
        self.title, self.rows, self.rules, self.bands, self.findings = title, [], {}, {}, {}
        self.twins, self._seen = [], {}

    def add(self, record: Mapping) -> None:
        """Take in the record of a scan."""
        self.rows.append(row(record))
        self.findings[record["case"]] = record.get("findings", [])
        if "scores" in record:
            guarantee = record["guarantee"]
            words = f"{rule_words(guarantee)} {record['calibration']}"
            empty = {"name": _letters(len(self.rules)), "scans": 0, "thresholds": set(), "risks": set()}
            rule = self.rules.setdefault(words, empty)
            rule["scans"] += 1
            # both differ a little between scans, as nobody is calibrated on himself
            if guarantee["possible"]:
                rule["thresholds"].add(dice(guarantee["threshold"]))
                rule["risks"].add(guarantee["risk"])
            self.rows[-1]["rule"] = rule["name"]
            self._compare(record)
            self.bands = self.bands or record["ranges"] | {"ood_score": [0, record["ood"]["limit"] or 0]}

    def _compare(self, record: Mapping) -> None:
        """Note a scan that is there already: by its file, or by features that no two scans share to the last digit."""
        features = tuple(record["features"].get(name) for name in FEATURES)
        marks = [record["inputs"]["flair"]["sha256"], *([features] if None not in features else [])]
        others = [self._seen.setdefault(mark, record["case"]) for mark in marks]
        self.twins += [(other, record["case"]) for other in dict.fromkeys(others) if other != record["case"]]

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
        """The report: failures left after so many looks, a table with the worst first, and strips of the scores."""
        table = self.table()
        for name in ("predicted_dice", "chance", "chance_low", "chance_high"):
            table[name] = table.get(name, pd.Series(dtype=float)).astype(float)
        judged = table["verdict"].isin(["accept", "review"])
        # the worst first; before them those of which nothing is known, and last those that were not judged
        worst_first = table["chance"].fillna(2).where(judged, -1).sort_values(ascending=False, kind="stable").index
        table, judged = table.loc[worst_first], judged[worst_first]
        one_rule = len(self.rules) < 2
        counts = {name: int((table["verdict"] == name).sum()) for name in ("accept", "review")}
        counts["failed"] = len(table) - sum(counts.values())
        rows = [to_json(found) for found in table.to_dict("records")]
        for found in rows:
            found["judged"] = found["verdict"] in ("accept", "review")
            found["report"] = link(found["case"]) if found["judged"] else ""
            if found["judged"]:
                found["guarantee_applies"] = "yes" if found["guarantee_applies"] else "no"
            found["findings"] = self.findings[found["case"]]
        writers = dict.fromkeys(DICES, dice) | {"chance": chance}
        columns = [
            {"name": name, "label": label, "numeric": name not in TEXTS, "write": writers.get(name, number)}
            for name, label in COLUMNS.items()
            if name in table and table[name].notna().any() and not (name == "rule" and one_rule)
        ]
        left = self._left(table[judged])
        return render(
            "group.html",
            title=self.title,
            rows=rows,
            counts=counts,
            columns=columns,
            left=left,
            chart=looks(left) if left else {},
            link=link,
            unlike=int((~table["interval_valid"][judged].astype(bool)).sum()) if judged.any() else 0,
            strips=[
                strip(table, name, self.bands if one_rule else {})
                for name in STRIPS
                if name in table and table[name].notna().any()
            ],
            rules={words: _gathered(rule) for words, rule in self.rules.items()},
            twins=self.twins,
            labelled="lesion_dice" in table and bool(table["lesion_dice"].notna().any()),
        )

    def _left(self, table: pd.DataFrame) -> dict:
        """Failures left after each number of looks, and what a failure is; nothing where no chance is known."""
        alike = not table.empty and table["failure"].nunique() == table["level"].nunique() == 1
        if not alike or table["chance"].isna().all():
            return {}
        level = float(table["level"].iloc[0])
        left = triage.expected_left(table["chance"], table["chance_low"], table["chance_high"], level)
        return left | {"words": table["failure"].iloc[0], "level": level, "scans": len(table)}


def _gathered(rule: Mapping) -> dict:
    return rule | {"thresholds": sorted(rule["thresholds"]), "risk": at_most(max(rule["risks"], default=1))}


def _cell(value):
    if not isinstance(value, str):
        return value
    text = " ".join(value.split())
    return f"'{text}" if text.startswith(FORMULA) else text


def _letters(number: int) -> str:
    """A, B ... Z, A1, B1 ..."""
    return string.ascii_uppercase[number % 26] + (str(number // 26) if number > 25 else "")


def rule_words(guarantee: Mapping) -> str:
    """What was asked for, in one sentence."""
    return (
        f"Asked for: at most {percent(guarantee['asked'])} of the accepted have {guarantee['failure']}, at a "
        f"confidence level of {percent(guarantee['level'])}."
    )
