"""The FLAIR scans of a BIDS data set, each with its T1w and brain mask."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd

from wmhqc.cohort import as_table
from wmhqc.sources.layouts import NIFTI, nifti_files

#: The file that makes a folder a BIDS data set.
DESCRIPTION = "dataset_description.json"


def read_bids(folder) -> pd.DataFrame:
    """Read a BIDS data set, without its derivatives.

    Each ``sub-x[/ses-y]/anat/*_FLAIR.nii.gz`` is a case, with the T1w of the same name or else the
    only one beside it (where there are several, the only one without contrast agent; else the column
    t1_choice names them). A brain mask is looked for in the derivatives (``*_desc-brain_mask.nii.gz``),
    but not in those that this program made (where several fit, the column brainmask_choice names them).
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; expected a BIDS data set")
    scans = [file for subject in sorted(folder.glob("sub-*")) if subject.is_dir() for file in nifti_files(subject)]
    derivatives = [path for path in sorted(folder.glob("derivatives/*")) if path.is_dir() and not made_by_us(path)]
    beside: dict[Path, list[Path]] = {}
    for file in scans:
        beside.setdefault(file.parent, []).append(file)
    rows = []
    for flair in scans:
        anat = flair.parent
        session = anat.relative_to(folder)
        if not (re.fullmatch("sub-[^/]+(/ses-[^/]+)?/anat", session.as_posix()) and _ends(flair, "FLAIR")):
            continue
        case = re.sub(f"_FLAIR{NIFTI}$", "", flair.name)
        t1 = _t1([file for file in beside[anat] if _ends(file, "T1w")], anat, case)
        there = [path / session for path in derivatives if (path / session).is_dir()]
        masks = [file for path in there for file in nifti_files(path) if _ends(file, "desc-brain_mask")]
        masks = [file for file in masks if "_space-" not in file.name or "_space-FLAIR" in file.name]
        mask = _mask(masks, case, Path(t1["t1"]).name.split("_T1w.")[0])
        patient = session.parts[0].removeprefix("sub-")
        rows.append({"case": case, "patient": patient, "flair": str(flair), **mask, **t1})
    if not rows:
        raise ValueError(f"{folder}: no case found; expected files like sub-x/anat/sub-x_FLAIR.nii.gz")
    return as_table(rows, str(folder))


def _ends(file: Path, ending: str) -> bool:
    return re.search(f"_{ending}{NIFTI}$", file.name) is not None


def _t1(beside: list[Path], anat: Path, case: str) -> dict:
    """The T1w of the same name, else the only one, else the only one without contrast agent; the candidates if none."""
    named = [file for file in beside if file.name.startswith(f"{case}_T1w.")]
    plain = [file for file in beside if "_ce-" not in file.name]
    for found in (named, beside, plain):
        if len(found) == 1:
            return {"t1": str(found[0]), "t1_choice": ""}
    names = ", ".join(file.name for file in beside)
    return {"t1": "" if beside else str(anat / f"{case}_T1w.nii.gz"), "t1_choice": names}


def _mask(masks: list[Path], case: str, t1: str) -> dict:
    """The mask that names the case, else its T1, else one that may be of the case; the candidates if several do."""
    agree = [mask for mask in masks if _agree(mask.name, case) or (t1 and _agree(mask.name, t1))]
    named = ([mask for mask in agree if mask.name.startswith(name)] for name in (f"{case}_", f"{t1}_", ""))
    found = next((some for some in named if some), [])
    if len(found) < 2:
        return {"brainmask": str(found[0]) if found else "", "brainmask_choice": ""}
    return {"brainmask": "", "brainmask_choice": ", ".join(map(str, found))}


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
