"""The record of a judged scan, and the files that belong to it: a BIDS derivative.

dataset_description.json
group.tsv, group.html                          one line a scan, and the same to look at
sub-x.html                                     the report of a scan
sub-x/anat/sub-x_label-WMH_probseg.nii.gz      mean probability
sub-x/anat/sub-x_label-WMH_mask.nii.gz         our segmentation
sub-x/anat/sub-x_desc-uncertainty_map.nii.gz   entropy in bit
sub-x/anat/sub-x_desc-error_map.nii.gz         FLAIR minus its reconstruction
sub-x/anat/sub-x_qc.json                       verdict, scores, provenance; written last
"""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import os
import platform
import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from wmhqc import __version__, reference
from wmhqc.files import replacing, sha256
from wmhqc.images import copy_codes
from wmhqc.screen.discover import DESCRIPTION, made_by_us
from wmhqc.screen.inputs import INPUTS, given

#: Images that are written: name in a judgement -> ending of the file.
MAPS = {
    "prediction": "label-WMH_probseg",
    "mask": "label-WMH_mask",
    "uncertainty": "desc-uncertainty_map",
    "error": "desc-error_map",
}
BRAIN = "desc-brain_mask"


# ---------------------------------------------------------------- the folder


def output_folder(out, source=None) -> Path:
    """The folder of results, absolute; refused if it holds anything else.

    Raises
    ------
    ValueError
        A file, the folder of the scans, or a folder that this command did not make.
    """
    out = Path(out).resolve()
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; give a folder of its own for the results (--out)")
    if source and out == Path(source).resolve():
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
        content["SourceDatasets"] = [{"URL": Path(source).resolve().as_uri()}]
    write_text(out, DESCRIPTION, json.dumps(content, indent=2))


def case_name(path) -> str:
    """A name for a case from the name of its FLAIR, fit to name files."""
    name = re.sub(r"(_FLAIR)?(\.nii)?(\.gz)?$", "", Path(path).name, flags=re.IGNORECASE)
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-_.")[:80] or "scan"


def stem(case: str) -> str:
    """Where the files of a case lie in the folder of results, and how their names begin."""
    match = re.match(r"(sub-[A-Za-z0-9]+)(?:_(ses-[A-Za-z0-9]+))?", case)
    folder = "/".join([*filter(None, match.groups()), "anat"]) if match else case
    return f"{folder}/{case}"


def names(case: str) -> list[str]:
    """All files that may be written about a case, seen from the folder of results; the record first."""
    maps = [f"{stem(case)}_{ending}.nii.gz" for ending in (*MAPS.values(), BRAIN)]
    return [f"{stem(case)}_qc.json", f"{case}.html", *maps]


def inside(out: Path, name: str) -> Path:
    """The path of a result, which must lie below the folder of results even if that holds links."""
    path = out / name
    if not path.resolve().is_relative_to(out.resolve()):
        raise ValueError(f"{path} leads out of {out}; remove the link, or give another folder (--out)")
    return path


def shown(path: Path) -> str:
    """A path as short as can be: from the working directory if it lies below."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


# ---------------------------------------------------------------- read and write


def read_record(out: Path, case: str) -> dict:
    """The record of a case that was judged before; empty if there is none."""
    try:
        return json.loads((out / f"{stem(case)}_qc.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def write_record(record: dict, out: Path) -> None:
    """Write the record of a case."""
    write_text(out, f"{stem(record['case'])}_qc.json", json.dumps(record, indent=1, allow_nan=False))


def write_text(out: Path, name: str, text: str) -> None:
    """Write a file of the folder of results."""
    with replacing(inside(out, name)) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")  # names may hold what is no text


def write_maps(judgement, out: Path) -> dict[str, str]:
    """Write the maps of a case as NIfTI; return their names, seen from the folder of results."""
    maps = dict(MAPS)
    if "brainmask" not in judgement.record["inputs"] and "brainmask" in judgement.images:
        maps["brainmask"] = BRAIN
    files = {name: f"{stem(judgement.record['case'])}_{ending}.nii.gz" for name, ending in maps.items()}
    for name, file in files.items():
        copy_codes(judgement.images[name], judgement.images["flair"])
        with replacing(inside(out, file)) as partial:
            judgement.images[name].to_filename(partial)
    return files


def not_judged(case: str, problem: str, out: Path) -> None:
    """Write a record that says why a case was not judged, in place of what was there of it."""
    clear(case, out)
    write_record({"case": case, "verdict": "not judged", "reasons": [problem]}, out)


def clear(case: str, out: Path) -> None:
    """Remove what an earlier call wrote about a case, its record first."""
    for name in names(case):
        inside(out, name).unlink(missing_ok=True)


# ---------------------------------------------------------------- lineage


def foundation(calibration: str | None) -> list[str]:
    """What all results rest on, by content, since both files may be copied or made again without a change."""
    return [sha256(path) for path in (reference.folder() / "manifest.json", calibration) if path]


def key(row: dict, settings: dict, rests_on: list[str]) -> str:
    """What a result depends on, as a hash: scans (path, size, time), settings, calibration, networks, version."""

    def state(path) -> list:
        found = os.stat(path) if os.path.exists(path) else None
        return [str(path), found and found.st_size, found and found.st_mtime_ns]

    scans = {name: state(row[name]) for name in INPUTS if row.get(name)}
    rule = {name: value for name, value in settings.items() if name != "calibration"} | {"program": row.get("program")}
    return hashlib.sha256(json.dumps([scans, rule, rests_on, __version__], sort_keys=True).encode()).hexdigest()


def done(out: Path, row: dict) -> bool:
    """Is the case there, judged from the same files in the same way, with all that belongs to it?

    Raises
    ------
    ValueError
        Another scan was judged under its name.
    """
    record, flair = read_record(out, row["case"]), row["flair"]
    before = record.get("inputs", {}).get("flair", {})
    if before and before["path"] != flair and os.path.exists(flair) and before["sha256"] != sha256(flair):
        raise ValueError(
            f"{out} has a result of another scan under the name {row['case']} ({before['path']}); give this one "
            "another name (--case), or another folder (--out)"
        )
    written = [record.get("report", ""), *record.get("files", {}).values()]
    return record.get("key") == row["key"] and all((out / name).is_file() for name in written)


def provenance(row: Mapping) -> dict:
    """What a record rests on: input files with their SHA-256, versions, the reference run."""

    def installed(name: str) -> str:
        try:
            return version(name)
        except PackageNotFoundError:
            return ""

    packages = ("wmhqc", "tensorflow", "keras", "numpy", "nibabel")
    return {
        "inputs": {name: {"path": str(row[name]), "sha256": sha256(row[name])} for name in INPUTS if given(row, name)},
        "software": {"python": platform.python_version()} | {name: installed(name) for name in packages},
        "reference": sha256(reference.folder() / "manifest.json"),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def to_json(value):
    """A value as JSON knows it: numpy numbers become Python's, NaN and infinity None."""
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value
