"""Calibration cases: scans with a manual mask that did not train the networks which judged them.

Their predicted and true Dice give the interval of a new prediction and the threshold with a guarantee; their features
say whether a new scan is of their kind. By default they are the validation cases of the reference run; a table that
``wmhqc qc`` wrote for labelled scans of one's own takes their place (`read_calibration`).
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from wmhqc import reference, thresholds
from wmhqc.checks import MIN_CONTRAST
from wmhqc.features import FEATURES
from wmhqc.files import sha256
from wmhqc.screen.labels import LABELS, SCORE

#: Columns of a calibration table that hold words, and those that it must have beside the two Dice.
TEXTS = ("case", "patient", "judged", "program", "reference", "flair_sha256")
NEEDED = ("case", "patient", "judged", "reference", "flair_sha256")
#: What a number may be, where that is known.
RANGES = {
    **{name: (0, 1) for name in LABELS if "dice" in name},
    **{name: (0, 1) for name in ("lesion_dice", "mean_entropy", "contrast", "true_contrast")},
    **{name: (0, 5000) for name in ("volume_ml", "own_volume_ml")},
    "brain_ml": (50, 2500),  # not litres
}
#: The first line of a table is shorter, in bytes.
LONGEST_HEAD = 2**16


def reference_cases() -> pd.DataFrame:
    """The validation cases of the reference run, each once, with their features.

    Of a case that several folds validated, the first fold's row counts: rows of one case are not
    independent. No test case is among the rows of its fold. `attrs["origin"]` says where the cases are from.
    """
    rows = thresholds.one_row_a_case(reference.cases("validation").sort_values("fold", kind="stable"))
    table = with_features(rows)
    made = table["synthetic"].astype(bool).sum()
    table.attrs["origin"] = (
        f"The calibration cases are the validation cases of all folds of the reference run, {made} synthetic scans and "
        f"{len(table) - made} of patients, each judged by its own fold's networks."
    )
    return table


def with_features(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of `wmhqc.reference.cases` with the features of their scans."""
    features = reference.table("prepared")
    new = [name for name in features if name in FEATURES and name not in rows]
    return rows.merge(features[["case", *new]], on="case", how="left")


def read_calibration(path) -> pd.DataFrame:
    """Calibration cases of one's own: the `group.tsv` that ``wmhqc qc`` wrote for labelled scans.

    Of a patient with several scans the first counts, as those are not independent. A manual mask that is hardly
    brighter than its surroundings may be another patient's: its row is left out, unless its `true_contrast` is emptied.

    Raises
    ------
    FileNotFoundError, ValueError
        No such file; not such a table; a cell that holds no number, or one out of its range (`RANGES`); no row with a
        predicted and a true Dice; a case without a name, or twice; judged by other reference networks.
    """
    table = _table(Path(path))
    for name in table.columns.difference(TEXTS):
        table[name] = _numbers(path, table[name])
    for name in table.columns.intersection(TEXTS):
        table[name] = table[name].str.removeprefix("'")  # as `wmhqc.screen.group` writes what a spreadsheet might run
    table = table[table["lesion_dice"].notna() & table[SCORE].notna()]
    if table.empty:
        raise ValueError(f"{path}: no case has a true Dice; judge scans with manual masks first (`--lesion`)")

    def refuse(bad: pd.Series, words: str) -> None:
        if bad.any():
            row = bad.idxmax()
            raise ValueError(f"{path}, line {row + 2}: case {table.loc[row, 'case']} {words}")

    ours = sha256(reference.folder() / "manifest.json")
    refuse(table["case"].isna(), "has no name; expected the table as `wmhqc qc` wrote it")
    refuse(table["case"].duplicated(), "is there more than once; calibration cases are independent")
    scans = table["flair_sha256"].notna() & table["flair_sha256"].duplicated()
    looks = table[[name for name in FEATURES if name in table]].dropna()
    scans |= (looks.duplicated() if looks.shape[1] else pd.Series(dtype=bool)).reindex(table.index, fill_value=False)
    refuse(scans, "is the same scan as one before; calibration cases are independent")
    anew = "; judge the labelled scans anew"
    refuse(~table["judged"].isin(["own", "given"]), f"is neither judged 'own' nor 'given'{anew}")
    refuse(table["reference"] != ours, f"was judged by other reference networks than these{anew}")
    table = table[~table["patient"].duplicated() | table["patient"].isna()].reset_index(drop=True)
    doubted = table.get("true_contrast", pd.Series(dtype=float)).reindex(table.index) < MIN_CONTRAST
    left_out, table = ", ".join(table.loc[doubted, "case"]), table[~doubted].reset_index(drop=True)
    if table.empty:
        raise ValueError(f"{path}: no manual mask is brighter than its surroundings on FLAIR; are they of these scans?")
    file = Path(path).absolute()
    table.attrs["origin"] = f"The calibration cases are the labelled scans of {file.parent.name}/{file.name}."
    if left_out:
        table.attrs["origin"] += f" Left out, as the manual mask is hardly brighter than its surroundings: {left_out}."
    return table


def _table(path: Path) -> pd.DataFrame:
    """The columns of a `group.tsv` that calibration knows, as text."""
    wanted = "expected the group.tsv that `wmhqc qc` wrote for labelled scans"
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist, or is no file; {wanted}")
    with open(path, "rb") as file:
        head = file.readline(LONGEST_HEAD)
    if len(head) == LONGEST_HEAD:
        raise ValueError(f"{path}: its first line is no head of a table; {wanted}")
    names = head.decode("utf-8-sig", errors="replace").strip().split("\t")
    if len(set(names)) < len(names):
        raise ValueError(f"{path} has a column twice ({max(names, key=names.count)}); {wanted}")
    known = [*TEXTS, *LABELS, "lesion_dice"]
    reading = {"dtype": str, "keep_default_na": False, "na_values": ["n/a", ""], "quoting": csv.QUOTE_NONE}
    try:
        table = pd.read_csv(path, sep="\t", usecols=lambda name: name in known, encoding="utf-8-sig", **reading)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no table of values with tabs between them ({error}); {wanted}") from error
    missing = [name for name in (*NEEDED, SCORE, "lesion_dice") if name not in table]
    if missing:
        raise ValueError(f"{path} has no column {', '.join(missing)}; {wanted}")
    return table


def _numbers(path, column: pd.Series) -> pd.Series:
    """A column as numbers, refused at the first cell that is none of its range."""
    values = pd.to_numeric(column, errors="coerce")
    low, high = RANGES.get(column.name, (-math.inf, math.inf))
    bad = column.notna() & ~(np.isfinite(values) & values.between(low, high))
    if bad.any():
        row = bad.idxmax()
        raise ValueError(
            f"{path}, line {row + 2}: {column.name} is {column[row]!r}; expected a number from {low:g} to {high:g} "
            "(shares are no percentages)"
        )
    return values


def exclude_patient(calibration: pd.DataFrame, row: Mapping) -> pd.DataFrame:
    """The calibration cases that are neither this scan itself nor another one of its patient."""
    # the reference run's own patients are known by the name of the case alone
    own = calibration["case"] == row["case"] if "case" in calibration else pd.Series(False, calibration.index)
    if "flair_sha256" in calibration:
        own |= calibration["flair_sha256"] == sha256(row["flair"])
    if "patient" in calibration and row.get("patient"):
        own |= calibration["patient"] == row["patient"]
    return calibration[~own]


def same_origin(calibration: pd.DataFrame, given: bool, program: str = "") -> pd.DataFrame:
    """The calibration cases whose segmentations are of the same origin: our networks', or that program's."""
    judged, programs = _made_by(calibration)
    same = judged == ("given" if given else "own")
    return calibration[same & (programs == program) if given else same]


def origin(given: bool, program: str) -> str:
    """Whose segmentation it is, in words."""
    return (program or "a program without a name") if given else "our own"


def origins(calibration: pd.DataFrame) -> str:
    """Whose segmentations the calibration cases are, in words."""
    if calibration.empty:
        return "none is left but this patient's own"
    made = {origin(judged == "given", program) for judged, program in zip(*_made_by(calibration), strict=True)}
    return f"theirs: {', '.join(sorted(made))}"


def _made_by(calibration: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Own or given, and the name of the program."""
    judged = calibration.get("judged", pd.Series("own", calibration.index))
    return judged, calibration.get("program", pd.Series("", calibration.index)).fillna("")


def ranges(calibration: pd.DataFrame, names) -> dict:
    """What the middle 98 % of the calibration cases have: name -> [low, high]."""
    known = [name for name in names if name in calibration and calibration[name].notna().any()]
    return {name: np.nanpercentile(calibration[name].to_numpy(float), (1, 99)).tolist() for name in known}
