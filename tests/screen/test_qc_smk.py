"""The workflow for many scans, workflow/qc.smk."""

import os
import subprocess
import sys
from pathlib import Path

from scans import make_scan

from wmhqc.screen import output

ROOT = Path(__file__).resolve().parents[2]


def test_snakemake_deals_the_cases_to_jobs(scans, tmp_path):
    """workflow/qc.smk with a `wmhqc` that only notes how it is called."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "wmhqc").write_text(
        '#!/bin/sh\necho "$@" >> "$CALLS"\n'
        'if [ "$1" = group ]; then touch "$2/group.tsv" "$2/group.html"; else exit 3; fi\n'  # 3: a scan was left out
    )
    (tools / "wmhqc").chmod(0o755)
    out, calls = tmp_path / "my results", tmp_path / "calls"
    path = os.pathsep.join([str(tools), str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "CALLS": str(calls), "XDG_CACHE_HOME": str(tmp_path)}
    command = [
        sys.executable,
        *["-m", "snakemake", "--cores", "2", "--quiet", "-s"],
        str(ROOT / "workflow" / "qc.smk"),
        "--config",
    ]
    command += [
        f"source={scans}",
        f"out={out}",
        "batch=2",
        "options=--risk 0.2 --brainmask {folder}/{case}_brainmask.nii.gz",
    ]
    done = subprocess.run(command, check=False, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    *jobs, last = calls.read_text().splitlines()
    assert last == f"group {out}" and 1 <= len(jobs) <= 2
    for job in jobs:
        assert job.startswith(f"qc {scans} --out {out} --skip-bad --cases ")
        assert job.endswith("--risk 0.2 --brainmask {folder}/{case}_brainmask.nii.gz")
    named = [case for job in jobs for case in job.split("--cases ")[1].split(" --risk")[0].split()]
    assert sorted(named) == ["sub-a", "sub-b", "sub-c"]

    # Called again nothing is done; a scan that has changed, or another option, is seen.
    def again():
        calls.write_text("")
        done = subprocess.run(command, check=False, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return [line for line in calls.read_text().splitlines() if line.startswith("qc ")]

    assert again() == []
    os.utime(scans / "sub-b" / "sub-b_brainmask.nii.gz")
    assert len(again()) == 1
    make_scan(scans / "sub-a", "sub-a", 9)
    assert len(again()) == 1
    command[-1] = command[-1].replace("0.2", "0.3")
    assert len(again()) == len(jobs)
    # The workflow keeps its notes in the folder of results, which is not refused for that.
    assert (out / ".batches").is_dir()
    (out / "group.tsv").unlink(), (out / "group.html").unlink()
    assert output.open_folder(out) == out


def test_a_folder_with_braces_is_refused(scans, tmp_path):
    """Snakemake takes what stands in braces for a wildcard; in the scans' folder they do no harm."""
    braced = scans.rename(tmp_path / "{scans}")
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "-n",
        "--cores",
        "1",
        "-s",
        str(ROOT / "workflow" / "qc.smk"),
        "--config",
    ]
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}

    def plan(out):
        words = [*command, f"source={braced}", f"out={out}"]
        return subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)

    refused, planned = plan(tmp_path / "{out}"), plan(tmp_path / "out")
    assert refused.returncode and "choose another folder (out=DIR)" in refused.stdout + refused.stderr
    assert planned.returncode == 0, planned.stdout + planned.stderr
