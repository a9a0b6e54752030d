"""A cohort is a table with one row per case; this file reads it, and checks what comes in.

Columns: case (unique, BIDS-like, e.g. ``sub-utr03``), database (MS15, MS16, MS17, MICCAI17 or
other), site, patient, t1, flair, lesion, brainmask (paths; lesion and brainmask may be empty),
lesion_rule and lesion2 (how the mask is read, see `load_lesion`), synthetic (bool), and facts
that are known about a case (`add_facts`).
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from wmhqc.checks import NAMES, fit_problems, image_problem
from wmhqc.files import replacing
from wmhqc.images import UNPLACED, binary, copy_codes, grid_mismatch, is_placed, load_image

PATHS = ["t1", "flair", "lesion", "brainmask", "lesion2"]
COLUMNS = ["case", "database", "site", "patient", *PATHS[:-1], "lesion_rule", "lesion2", "synthetic"]

#: Bytes of the names of all columns: thousands of columns would take pandas minutes.
MAX_LINE = 10_000
#: Two images whose voxels correlate more than this are the same scan (different patients: below 0.9).
SAME_IMAGE = 0.999


class CohortError(ValueError):
    """A cohort cannot be used. Attribute `report`: DataFrame (case, file, problem, action)."""

    def __init__(self, report: pd.DataFrame):
        self.report = report
        lines = [f"{row.case}: {row.problem} [{row.file}] -> {row.action}" for row in report.itertuples()]
        text = f"{len(lines)} problem(s) in {report['case'].nunique()} case(s):\n  " + "\n  ".join(lines[:50])
        if len(lines) > 50:
            text += f"\n  ... and {len(lines) - 50} more, all in the attribute `report` of this error"
        super().__init__(text)


# ------------------------------------------------------------------------------- tables


def write_csv(table: pd.DataFrame, path) -> None:
    """Write a cohort; paths below the folder of the csv become relative to it."""
    root = Path(path).parent.resolve()

    def relative(value):
        if not given(value):
            return ""
        full = Path(os.path.abspath(value))
        return full.relative_to(root).as_posix() if full.is_relative_to(root) else str(full)

    table = table.assign(**{name: table[name].map(relative) for name in PATHS if name in table})
    with replacing(path) as partial:
        table.to_csv(partial, index=False)


def read_csv(path) -> pd.DataFrame:
    """Read a cohort; relative paths are taken from the folder of the csv.

    Raises
    ------
    FileNotFoundError, ValueError
        No such file, no table, a column is missing (case, t1 and flair are needed), or a case
        is there twice.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; expected a cohort table (csv)")
    with open(path, "rb") as file:
        if len(file.readline(MAX_LINE)) == MAX_LINE:
            raise ValueError(f"{path} is not a cohort table: its first line, the names of the columns, does not end")
    try:
        table = pd.read_csv(path, dtype={name: str for name in COLUMNS if name != "synthetic"})
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a table of comma-separated values: {error}") from error

    def absolute(value):
        return os.path.abspath(path.parent / value) if given(value) else ""

    for name in PATHS:
        if name in table:
            table[name] = table[name].map(absolute)
    return as_table(table, str(path))


def as_table(rows, source: str) -> pd.DataFrame:
    """A cohort table with all columns in order, from rows or from a table."""
    table = pd.DataFrame(rows)
    if table.empty:
        raise ValueError(f"{source}: no case found")
    missing = [name for name in ("case", "t1", "flair") if name not in table]
    if missing:
        raise ValueError(f"{source} has no column {', '.join(missing)}; it has {', '.join(map(str, table))}")
    defaults = {"database": "other", "patient": table["case"], "synthetic": False}
    for name in COLUMNS:
        if name not in table:
            table[name] = defaults.get(name, "")
    for name in COLUMNS[:-1]:
        table[name] = table[name].fillna("").astype(str)
    said = table["synthetic"].astype(str).str.strip().str.lower()
    table["synthetic"] = said.isin(["true", "1", "1.0"])
    unknown = said[~table["synthetic"] & ~said.isin(["false", "0", "0.0", "", "nan", "none", "<na>"])]
    if len(unknown):
        raise ValueError(f"{source}: synthetic is {unknown.iloc[0]!r}; expected True or False")
    bad = [case for case in table["case"] if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", case)]
    if bad:
        raise ValueError(f"{source}: case {bad[0]!r} cannot name a file; use letters, digits, - and _")
    twice = table["case"][table["case"].duplicated()].unique()
    if len(twice):
        raise ValueError(f"{source}: case {', '.join(twice)} is there more than once; give each case its own name")
    return table[COLUMNS + [name for name in table if name not in COLUMNS]].reset_index(drop=True)


def given(value) -> bool:
    """Is a cell of a cohort table filled? An empty path counts as none."""
    return isinstance(value, (str, Path)) and str(value) != ""


def credit(row: Mapping) -> str:
    """Where a case is from, for below a picture of it: licence and citation, or synthetic."""
    if row.get("synthetic"):
        return f"{row['case']}: synthetic"
    texts = filter(given, (row.get("licence"), row.get("citation")))
    return f"{row['case']}: {'. '.join(texts) or 'real, source unknown'}"


# ------------------------------------------------------------------------------- one case


def load_lesion(row: Mapping) -> nib.Nifti1Image:
    """Read the lesion mask of a row of a cohort: uint8, 0 and 1, on the mask's own grid.

    The column `lesion_rule` says what is lesion:

    - empty: the mask has two values, 0 and another one, which is lesion;
    - ``label 1``: voxels with the value 1 (MICCAI17); ``label 1,2``: with one of these;
    - ``label > 0``: voxels with any value above 0 (the paper's code);
    - ``union``, ``intersection``: `lesion` and `lesion2` are two raters' masks (MS15).

    Raises
    ------
    FileNotFoundError, ValueError
        The mask cannot be read, or has values that the rule does not know.
    """
    rule = row.get("lesion_rule")
    rule = rule if given(rule) else ""
    image = load_image(row["lesion"])
    mask = binary(np.asanyarray(image.dataobj), row["lesion"], rule)
    if rule in ("union", "intersection"):
        if not given(row.get("lesion2")):
            raise ValueError(f"lesion_rule {rule!r} of {row['lesion']} needs a second mask, in the column lesion2")
        second = load_image(row["lesion2"])
        difference = grid_mismatch(second, image)
        if difference:
            raise ValueError(f"{row['lesion2']} and {row['lesion']} are on different grids ({difference})")
        combine = np.logical_or if rule == "union" else np.logical_and
        mask = combine(mask, binary(np.asanyarray(second.dataobj), row["lesion2"]))
    result = nib.Nifti1Image(mask.astype(np.uint8), image.affine)
    copy_codes(result, image)
    result.set_filename(str(row["lesion"]))
    return result


# ------------------------------------------------------------------------------- checks


def check(table: pd.DataFrame, on_bad: str = "refuse") -> tuple[pd.DataFrame, pd.DataFrame]:
    """Check every case before work starts; one report of all problems.

    One case is in memory at a time, plus 8 kB for each image that was seen.

    Parameters
    ----------
    table : DataFrame
        A cohort.
    on_bad : {'refuse', 'leave out'}
        With 'leave out', the cases without a problem come back.

    Returns
    -------
    table, report : DataFrame
        The good cases, and one row per problem (case, file, problem, action).

    Raises
    ------
    CohortError
        There are problems and `on_bad` is 'refuse', or no case is left.
    """
    if on_bad not in ("refuse", "leave out"):
        raise ValueError(f"on_bad must be 'refuse' or 'leave out', got {on_bad!r}")
    table = as_table(table, "cohort")
    problems: list[dict] = []
    seen: dict[str, tuple] = {}
    unplaced: list[str] = []
    for row in table.to_dict("records"):
        images: dict = {}
        problems += case_problems(row, images)
        for name in ("t1", "flair"):
            if name in images:
                problems += _seen_before(row, name, images[name], seen)
        if "flair" in images and not is_placed(images["flair"]):
            unplaced.append(row["case"])
    if unplaced:
        warnings.warn(f"{UNPLACED}: {', '.join(unplaced[:10])} ({len(unplaced)} of {len(table)} cases)", stacklevel=2)
    report = pd.DataFrame(problems, columns=["case", "file", "problem", "action"])
    good = table[~table["case"].isin(report["case"])].reset_index(drop=True)
    if len(report) and (on_bad == "refuse" or good.empty):
        raise CohortError(report)
    return good, report


def case_problems(row: Mapping, images: dict | None = None) -> list[dict]:
    """Check one case.

    Parameters
    ----------
    row : Mapping
        A row of a cohort.
    images : dict, optional
        Is filled with the images that were read.

    Returns
    -------
    list of dict
        case, file, problem, action; empty if the case is good.
    """
    images = {} if images is None else images
    problems = _read_images(row, images)
    if "flair" in images:
        problems += fit_problems(images)
    return [
        {"case": row["case"], "file": str(row.get(name, "")), "problem": problem, "action": action}
        for name, problem, action in problems
    ]


def _read_images(row: Mapping, images: dict) -> list[tuple[str, str, str]]:
    """Fill `images`; what is wrong with single files, as (column, problem, action)."""
    problems = []
    for name, label in NAMES.items():
        if not given(row.get(name)):
            if name in ("t1", "flair"):
                problems.append((name, f"no {label} given", "give its path in the cohort table"))
            continue
        try:
            images[name] = load_lesion(row) if name == "lesion" else load_image(row[name])
        except FileNotFoundError as error:
            problems.append((name, f"{label} is missing: {error}", "correct the path, or get the file"))
            continue
        except (OSError, ValueError) as error:
            problems.append((name, f"{label}: {error}", "replace the file"))
            continue
        wrong = image_problem(images[name], mask=name not in ("t1", "flair"))
        if wrong:
            problems.append((name, f"{label} {wrong}", "replace the file"))
    return problems


def _seen_before(row: Mapping, name: str, image, seen: dict) -> list[dict]:
    """Is this image already there under another name? (It would leak from training to test.)

    Of each image 1,000 voxels are kept, at the same places after turning it to RAS+, and
    standardised: a copy is found even when it was turned, rescaled, rounded or compressed anew.
    """
    array = np.asanyarray(nib.as_closest_canonical(image).dataobj)
    places = np.random.default_rng(0).integers(0, array.shape, (1000, 3))
    sample = np.maximum(np.nan_to_num(array[tuple(places.T)].astype(np.float64), posinf=0), 0)
    sample -= sample.mean()
    sample /= max(np.linalg.norm(sample), 1e-12)
    same = [key for key, (shape, other) in seen.items() if shape == array.shape and other @ sample > SAME_IMAGE]
    seen[f"{NAMES[name]} of {row['case']}"] = (array.shape, sample)
    return [
        {
            "case": row["case"],
            "file": str(row[name]),
            "problem": f"{NAMES[name]} is the same image as {key}",
            "action": "keep one of the two, or training and test would share it",
        }
        for key in same[:1]
    ]


# ------------------------------------------------------------------------------- facts


def add_facts(table: pd.DataFrame) -> pd.DataFrame:
    """Add voxel_x, voxel_y, voxel_z (mm), lesion_ml, brain_ml and lesion_percent (of the brain).

    The brain is the brain mask, or without one where T1 > 0 (as in the paper). NaN where there
    is no lesion mask.
    """
    return table.assign(**pd.DataFrame([_facts(row) for row in table.to_dict("records")], index=table.index))


def _facts(row: Mapping) -> dict:
    flair = load_image(row["flair"])
    sizes = nib.affines.voxel_sizes(flair.affine)
    ml = float(np.prod(sizes)) / 1000
    brain = load_image(row["brainmask"] if given(row.get("brainmask")) else row["t1"])
    brain_ml = ml * np.count_nonzero(np.asanyarray(brain.dataobj) > 0)
    lesion_ml = float("nan")
    if given(row.get("lesion")):
        lesion_ml = ml * np.count_nonzero(load_lesion(row).dataobj)
    return {
        **dict(zip(("voxel_x", "voxel_y", "voxel_z"), sizes.round(4).tolist())),
        "lesion_ml": lesion_ml,
        "brain_ml": brain_ml,
        "lesion_percent": 100 * lesion_ml / brain_ml if brain_ml else float("nan"),
    }
