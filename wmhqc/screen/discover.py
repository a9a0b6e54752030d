"""The scans of a folder or of a BIDS data set, and the files that belong to them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from wmhqc import cohort
from wmhqc.sources import layouts

#: The file that makes a folder a BIDS data set.
DESCRIPTION = "dataset_description.json"


def discover(source, templates: Mapping[str, str] | None = None) -> pd.DataFrame:
    """The cases of a folder or of a BIDS data set.

    A BIDS data set has a file ``dataset_description.json``: each
    ``sub-x[/ses-y]/anat/*_FLAIR.nii.gz`` is a case, with the T1w of the same name or else the
    only one beside it (where there are several, the only one without contrast agent). A brain mask is
    looked for in its derivatives (``*_desc-brain_mask.nii.gz``), but not in those that this
    program made. Any other folder is read by `wmhqc.sources.layouts.from_folder`.

    Parameters
    ----------
    source : path
    templates : mapping, optional
        Where further files lie, by the names in `wmhqc.screen.inputs.INPUTS`: a path in which ``{case}`` stands for
        the name of the case, ``{folder}`` for the folder of its FLAIR and ``{path}`` for that folder as
        seen from `source` (sub-x/ses-y/anat). A mask that is not there counts as not given, or stays
        the one that was found; a segmentation or T1 that is not there is missing.

    Returns
    -------
    DataFrame
        A cohort (`wmhqc.cohort`) with the column segmentation.
    """
    source = Path(source)
    table = _bids(source) if (source / DESCRIPTION).is_file() else layouts.from_folder(source)
    table["segmentation"] = ""
    for name, template in (templates or {}).items():
        paths = [_fill(template, row, source) for row in table.to_dict("records")]
        there = [Path(path).is_file() for path in paths]
        if not any(there):
            raise FileNotFoundError(f"no case has a file {template}, for example {paths[0]}")
        needed = name in ("segmentation", "t1")
        found = zip(paths, there, table[name], strict=True)
        table[name] = [path if needed or is_there else old for path, is_there, old in found]
    return table


def _fill(template: str, row: Mapping, source: Path) -> str:
    folder = Path(row["flair"]).parent
    words = {"{case}": row["case"], "{folder}": str(folder)}
    if "{path}" in template:
        words["{path}"] = os.path.relpath(folder.resolve(), source.resolve())
    for word, value in words.items():
        template = template.replace(word, value)
    return template


def other_masks(patients: pd.DataFrame) -> pd.DataFrame:
    """Masks that other programs drew, where they lie beside a scan as pred/<case>_pred-<program>.nii.gz.

    Returns
    -------
    DataFrame
        The row of the patient once for each mask, with the columns segmentation and program.
    """
    rows = []
    for row in patients.to_dict("records"):
        for mask in sorted((Path(row["flair"]).parent / "pred").glob(f"{row['case']}_pred-*.nii*")):
            program = mask.name.removeprefix(f"{row['case']}_pred-").split(".")[0]
            rows.append(row | {"segmentation": str(mask), "program": program})
    return pd.DataFrame(rows, columns=[*patients.columns, "segmentation", "program"])


def _bids(source: Path) -> pd.DataFrame:
    """The FLAIR scans of a BIDS data set, without its derivatives."""
    rows = []
    derivatives = [folder for folder in sorted(source.glob("derivatives/*")) if not made_by_us(folder)]
    for pattern in ("sub-*/anat", "sub-*/ses-*/anat"):
        for anat in sorted(source.glob(pattern)):
            session = anat.relative_to(source)
            masks = [file for folder in derivatives for file in _images(folder / session, "desc-brain_mask")]
            masks = [file for file in masks if "_space-" not in file.name or "_space-FLAIR" in file.name]
            for flair in _images(anat, "FLAIR"):
                case = flair.name.removesuffix(".gz").removesuffix("_FLAIR.nii")
                t1 = _t1(anat, case)
                rows.append(
                    {"case": case, "patient": session.parts[0].removeprefix("sub-"), "flair": str(flair),
                     "brainmask": _mask(masks, case, Path(t1["t1"]).name.split("_T1w.")[0]), **t1}
                )  # fmt: skip
    if not rows:
        raise ValueError(f"{source}: no case found; expected files like sub-x/anat/sub-x_FLAIR.nii.gz")
    return cohort.as_table(rows, str(source))


def _images(folder: Path, ending: str) -> list[Path]:
    """NIfTI files of a folder that end so; hidden ones, as some systems leave beside the real ones, are none."""
    found = [file for kind in (".nii", ".nii.gz") for file in folder.glob(f"*_{ending}{kind}")]
    return sorted(file for file in found if not file.name.startswith("."))


def _t1(anat: Path, case: str) -> dict:
    """The T1w of the same name, else the only one, else the only one without contrast agent; the candidates if none."""
    beside = _images(anat, "T1w")
    named = [file for file in beside if file.name.startswith(f"{case}_T1w.")]
    plain = [file for file in beside if "_ce-" not in file.name]
    for found in (named, beside, plain):
        if len(found) == 1:
            return {"t1": str(found[0]), "t1_choice": ""}
    names = ", ".join(file.name for file in beside)
    return {"t1": "" if beside else str(anat / f"{case}_T1w.nii.gz"), "t1_choice": names}


def _mask(masks: list[Path], case: str, t1: str) -> str:
    """The mask that names the case, else its T1, else the first that may be one of the case."""
    agree = [mask for mask in masks if _agree(mask.name, case) or (t1 and _agree(mask.name, t1))]
    for name in (f"{case}_", f"{t1}_", ""):
        for mask in agree:
            if mask.name.startswith(name):
                return str(mask)
    return ""


def _agree(name: str, case: str) -> bool:
    """May a derivative be one of this case?  Not if an entity of its name (acq-, run- ...) says otherwise."""
    theirs, ours = (dict(re.findall(r"([a-z]+)-([A-Za-z0-9]+)", text)) for text in (name, case))
    return all(ours.get(key) == value for key, value in theirs.items() if key not in ("desc", "space", "res", "label"))


def made_by_us(folder: Path) -> bool:
    """Does the folder hold results of `wmhqc qc`?"""
    try:
        file = folder / DESCRIPTION
        made = json.loads(file.read_text(encoding="utf-8"))["GeneratedBy"] if file.is_file() else []
        return any(by.get("Name") == "wmhqc" for by in made)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False
