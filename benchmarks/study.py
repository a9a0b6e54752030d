"""Cost of a study: time and memory of `wmhqc qc` over many scans, killed once on the way.

    python benchmarks/study.py PATIENTS OUT [--scans 20 200] [--jobs 2] [--cluster]

PATIENTS holds prepared patients (`sub-01/sub-01_FLAIR.nii.gz`, `_T1w`, `_brainmask`). The scans of a study are those
patients, moved by some voxels within the slice, so that none equals another. When half of them are judged, all
processes are killed (SIGKILL), and the same command is given again. --cluster takes `workflow/qc.smk`.

Prints for each study: seconds and scans an hour of both calls together, the most memory of all processes at one moment
(proportional set size: what is shared counts once), and how many scans were judged twice, which must not
exceed the jobs.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import psutil

IMAGES = ("FLAIR", "T1w", "brainmask")
HERE = Path(__file__).resolve().parent


def make(patients: Path, folder: Path, count: int) -> None:
    """Write `count` scans into `folder`: the patients in turns, each moved otherwise (up to 81 times)."""
    folder.mkdir(parents=True, exist_ok=True)
    names = sorted(path.name for path in patients.iterdir() if path.is_dir())
    for i in range(count):
        turn, patient = divmod(i, len(names))
        name, shift = names[patient], np.array(divmod(turn, 9)) - 4
        for image in IMAGES:
            there = folder / f"sub-{i:03d}_{image}.nii.gz"
            if not there.exists():
                scan = nib.load(patients / name / f"{name}_{image}.nii.gz")
                moved = np.roll(np.asanyarray(scan.dataobj), shift, axis=(0, 1))
                nib.save(nib.Nifti1Image(moved, scan.affine, scan.header), there)


def judged(out: Path) -> dict[str, int]:
    """Case -> when its record was written."""
    return {path.name: path.stat().st_mtime_ns for path in out.rglob("*_qc.json")}


def watch(command: list[str], out: Path, stop_at: int | None) -> float:
    """Run a command; kill it and its children once `stop_at` scans are judged. Its highest memory, in bytes."""
    process = psutil.Popen(command, cwd=HERE.parent, stdout=subprocess.DEVNULL)
    highest = 0
    while process.poll() is None:
        family = [process, *process.children(recursive=True)]
        highest = max(highest, sum(map(memory, family)))
        if stop_at is not None and len(judged(out)) >= stop_at:
            for one in family:
                one.kill()
        time.sleep(0.3)
    if stop_at is None and process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}")
    return highest


def memory(process: psutil.Process) -> int:
    try:
        return process.memory_full_info().pss
    except psutil.Error:  # it has ended meanwhile
        return 0


def study(source: Path, out: Path, command: list[str], count: int) -> dict:
    shutil.rmtree(out, ignore_errors=True)
    begun = time.perf_counter()
    first = watch(command, out, stop_at=count // 2)
    before = judged(out)
    second = watch(command, out, stop_at=None)
    seconds = time.perf_counter() - begun
    after, group = judged(out), pd.read_csv(out / "group.tsv", sep="\t")
    assert len(group) == len(after) == count, f"{len(group)} rows and {len(after)} records of {count} scans"
    return {
        "scans": count,
        "seconds": round(seconds),
        "scans an hour": round(3600 * count / seconds),
        "judged before the kill": len(before),
        "judged twice": sum(after[name] != when for name, when in before.items()),
        "memory (GB)": round(max(first, second) / 1e9, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("patients", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--scans", type=int, nargs="+", default=[20, 200])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--cluster", action="store_true", help="through workflow/qc.smk")
    given = parser.parse_args()
    rows = []
    for count in given.scans:
        source, out = given.out.resolve() / f"scans-{count}", given.out.resolve() / f"results-{count}"
        make(given.patients, source, count)
        command = ["wmhqc", "qc", str(source), "--out", str(out), "--jobs", str(given.jobs)]
        if given.cluster:
            command = ["snakemake", "-s", "workflow/qc.smk", "--cores", str(given.jobs), "--quiet", "all"]
            settings = [f"source={source}", f"out={out}", f"batch={max(1, count // 4)}"]
            command += ["--rerun-incomplete", "--nolock", "--config", *settings]
        rows.append(study(source, out, command, count))
        print(pd.DataFrame(rows).to_string(index=False), flush=True)


if __name__ == "__main__":
    main()
