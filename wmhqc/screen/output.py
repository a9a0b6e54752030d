"""The folder of results: a BIDS derivative, and nothing is written outside it.

    dataset_description.json
    group.tsv, group.html                          one line a scan, and the same to look at
    sub-x.html                                     the report of a scan
    sub-x/anat/sub-x_label-WMH_probseg.nii.gz      mean probability
    sub-x/anat/sub-x_label-WMH_mask.nii.gz         our segmentation
    sub-x/anat/sub-x_desc-uncertainty_map.nii.gz   entropy in bit
    sub-x/anat/sub-x_desc-error_map.nii.gz         FLAIR minus its reconstruction
    sub-x/anat/sub-x_qc.json                       verdict, scores, provenance
    sub-x/anat/sub-x_notjudged.json                why the last call could not judge the scan

What is written first has a hidden name, and is put in its place when it is whole.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from wmhqc import __version__
from wmhqc.files import replacing
from wmhqc.sources.bids import DESCRIPTION, made_by_us

#: Images that are written: name in a judgement -> ending of the file.
MAPS = {
    "prediction": "label-WMH_probseg",
    "mask": "label-WMH_mask",
    "uncertainty": "desc-uncertainty_map",
    "error": "desc-error_map",
}
BRAIN = "desc-brain_mask"
#: File systems allow names of 255 bytes; ours add so many to that of the case.
LONGEST = 180


def real(path) -> Path:
    """The path without links, also where a link leads to itself."""
    return Path(os.path.realpath(path))


def open_folder(out, source=None) -> Path:
    """The folder of results, absolute; refused if it holds anything else.

    Raises
    ------
    ValueError
        A file, the folder of the scans, or a folder that this command did not make.
    """
    given, out = out, real(out)
    if os.path.lexists(given) and not out.is_dir():
        raise ValueError(f"{out} is a file, or a link to nowhere; give a folder of its own for the results (--out)")
    if source and out == real(source):
        raise ValueError(f"{out} holds the scans; give a folder of its own for the results (--out), it may lie inside")
    if out.is_dir() and any(path.name[0] != "." for path in out.iterdir()) and not made_by_us(out):
        raise ValueError(f"{out} is not empty and was not made by wmhqc qc; give a new folder for the results (--out)")
    return out


def describe(out: Path, source=None) -> None:
    """Write dataset_description.json, which makes the folder a BIDS derivative; one that is there is kept."""
    if (out / DESCRIPTION).is_file():
        return
    content = {
        "Name": "Quality control of WMH segmentations",
        "BIDSVersion": "1.9.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "wmhqc", "Version": __version__}],
    }
    if source:
        content["SourceDatasets"] = [{"URL": real(source).as_uri()}]
    write_text(inside(out, DESCRIPTION), json.dumps(content, indent=2))


def case_name(path) -> str:
    """A name for a case from the name of its FLAIR, fit to name files."""
    name = re.sub(r"(_FLAIR)?(\.nii)?(\.gz)?$", "", Path(path).name, flags=re.IGNORECASE)
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-_.")[:80] or "scan"


def check_name(case: str) -> None:
    """Refuse a case (ValueError) whose files would have names that are too long, or are those of the group."""
    if len(os.fsencode(case)) > LONGEST:
        raise ValueError(
            f"case {case[:40]}...: a name of {len(case)} characters; {LONGEST} are allowed, rename its files"
        )
    if case == "group" or re.search(r"\.(html|json|tsv)$", case, re.IGNORECASE):
        raise ValueError(f"a case cannot be called {case}, as files of the results are called so; give --case")


def stem(case: str) -> str:
    """Where the files of a case lie in the folder of results, and how their names begin."""
    match = re.match(r"(sub-[A-Za-z0-9]+)(?:_(ses-[A-Za-z0-9]+))?", case)
    folder = "/".join([*filter(None, match.groups()), "anat"]) if match else case
    return f"{folder}/{case}"


def names(case: str) -> list[str]:
    """All files that may be written about a case, seen from the folder of results: record, report, maps."""
    maps = [f"{stem(case)}_{ending}.nii.gz" for ending in (*MAPS.values(), BRAIN)]
    return [f"{stem(case)}_qc.json", f"{case}.html", *maps]


def inside(out: Path, name: str) -> Path:
    """The path of a file to write, below the folder of results even if that holds links.

    Raises
    ------
    ValueError
        A link leads out of the folder, or a folder is in the place of the file.
    """
    path = out / name
    if not real(path).is_relative_to(real(out)):
        raise ValueError(f"{path} leads out of {out}; remove the link, or give another folder (--out)")
    if path.is_dir():
        raise ValueError(f"{path} is a folder, and a result is to be called so; remove it, or give another --out")
    return path


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")  # names may hold what is no text


def shown(path: Path) -> str:
    """A path as short as can be: from the working directory if it lies below."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
