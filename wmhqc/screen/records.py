"""The record of a judged scan: read whatever lies there, written with all that belongs to it.

The results of an earlier call stay until those of a new one are complete beside them.
"""

from __future__ import annotations

import contextlib
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
from wmhqc.cohort import given
from wmhqc.files import naming, replacing, sha256
from wmhqc.images import copy_codes
from wmhqc.screen import output
from wmhqc.screen.inputs import INPUTS
from wmhqc.screen.labels import LABELS
from wmhqc.screen.output import inside, names, stem

#: No record is larger than this, in bytes.
LARGEST = 2**22


# ---------------------------------------------------------------- read


def read_record(path: Path) -> dict | None:
    """The record of a scan that was judged, or could not be; None if the file is none, whatever it holds."""
    try:
        if not path.is_file() or path.stat().st_size > LARGEST:
            return None
        record = json.loads(path.read_text(encoding="utf-8"))
        return record if _sound(record) else None
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError, OverflowError):
        return None


def _sound(record: Mapping) -> bool:
    """Does a record hold what its readers rely on?  KeyError, TypeError or AttributeError says no, too."""
    case, numbers, known = record["case"], [], isinstance(record["reasons"], list)
    texts = [case, record["verdict"], *record["reasons"], record.get("source") or "", record.get("flair") or ""]
    if "scores" in record:
        guarantee, predicted, ood, flair = _parts(record)
        values = record["scores"] | record["truth"] | record["features"]
        numbers += [*values.values(), ood["score"], ood["limit"], guarantee["threshold"], guarantee["risk"]]
        numbers += [predicted[name] for name in ("value", "low", "high")]
        numbers += [record["failure"][name] for name in ("chance", "low", "high")]
        numbers = [number for number in numbers if number is not None]
        numbers += [*sum(record["ranges"].values(), []), *(guarantee[name] for name in ("asked", "level"))]
        texts += [record[name] for name in ("patient", "judged", "program", "key", "calibration", "created")]
        texts += [record["reference"], flair["path"], flair["sha256"], guarantee["failure"], *values]
        texts += [finding[name] for finding in record["findings"] for name in ("kind", "short", "detail")]
        known &= set(record["bytes"]) <= set(names(case)) and {found["name"] for found in ood["outside"]} <= set(LABELS)
        known &= all(name.isidentifier() for name in values)
    known &= re.fullmatch(r"[A-Za-z0-9][\w.-]*", case) is not None
    return known and all(isinstance(text, str) for text in texts) and all(map(math.isfinite, numbers))


def _parts(record: Mapping) -> list[dict]:
    return [record["guarantee"], record["predicted_dice"], record["ood"], record["inputs"]["flair"]]


def done(out: Path, row: dict) -> bool:
    """Is the case there, judged from the same files in the same way, with all that belongs to it?

    Raises
    ------
    ValueError
        Another scan was judged under its name.
    """
    case, flair = row["case"], row["flair"]
    record = read_record(out / f"{stem(case)}_qc.json")
    if not record or "scores" not in record:
        return False
    before = record["inputs"]["flair"]
    if before["path"] != flair and os.path.isfile(flair) and before["sha256"] != sha256(flair):
        raise ValueError(
            f"{out} has a result of another scan under the name {case} ({before['path']}); give this one "
            "another name (--case), or another folder (--out)"
        )
    return record["key"] == row["key"] and all(_size(out / name) == size for name, size in record["bytes"].items())


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


# ---------------------------------------------------------------- write


def write(judgement, out: Path, report: str) -> None:
    """Write record, report and maps of a case beside what is there, then put them in place, the record last.

    The record gets `bytes`, the size of each file, by which `done` knows what belongs together.
    """
    record, images = judgement.record, judgement.images
    case = record["case"]
    record["bytes"] = {}
    with contextlib.ExitStack() as stack:  # what is entered first is put in place last

        def partial(name: str) -> Path:
            return stack.enter_context(replacing(inside(out, name)))

        last = partial(f"{stem(case)}_qc.json")
        page = partial(f"{case}.html")
        page.write_text(report, encoding="utf-8", errors="backslashreplace")
        record["bytes"][f"{case}.html"] = page.stat().st_size
        for name, file in record["files"].items():
            copy_codes(images[name], images["flair"])
            image = partial(file)
            images[name].to_filename(image)
            record["bytes"][file] = image.stat().st_size
        with naming(out / f"{stem(case)}_qc.json", last):  # or it would be that of the last map
            last.write_text(json.dumps(record, indent=1, allow_nan=False), encoding="utf-8", errors="backslashreplace")
    forget_failure(case, out)


def map_names(record: Mapping, images: Mapping) -> dict[str, str]:
    """The maps that are written of a case, seen from the folder of results: ours, and a brain mask that we made."""
    maps = dict(output.MAPS)
    if "brainmask" in images and "brainmask" not in record["inputs"]:
        maps["brainmask"] = output.BRAIN
    return {name: f"{stem(record['case'])}_{ending}.nii.gz" for name, ending in maps.items()}


def write_failure(row: Mapping, problem: str, out: Path) -> None:
    """Write why a case could not be judged, beside the results of an earlier call, which stay."""
    path = inside(out, f"{stem(row['case'])}_notjudged.json")
    kept = ["The result of an earlier call is kept."] if (out / f"{stem(row['case'])}_qc.json").is_file() else []
    record = {"case": row["case"], "verdict": "not judged", "reasons": [problem, *kept], "created": now()}
    record |= {name: str(row.get(name, "")) for name in ("flair", "source")}
    output.write_text(path, json.dumps(record, indent=1))


def forget_failure(case: str, out: Path) -> None:
    """Remove what `write_failure` wrote: the case is judged."""
    inside(out, f"{stem(case)}_notjudged.json").unlink(missing_ok=True)


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


def provenance(row: Mapping) -> dict:
    """What a record rests on: input files with their SHA-256, versions, the reference run."""

    def installed(name: str) -> str:
        try:
            return version(name)
        except PackageNotFoundError:
            return ""

    packages = ("wmhqc", "tensorflow", "keras", "numpy", "nibabel")
    return {
        "inputs": {n: {"path": str(path), "sha256": sha256(path)} for n in INPUTS if given(path := row.get(n))},
        "source": str(row.get("source", "")),
        "software": {"python": platform.python_version()} | {name: installed(name) for name in packages},
        "reference": sha256(reference.folder() / "manifest.json"),
        "created": now(),
        "report": f"{row['case']}.html",
        "key": row.get("key", ""),
    }


def now() -> str:
    """The time, as a record writes it."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


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
