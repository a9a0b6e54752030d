"""The chapters in an environment like Colab's: its versions, the built wheel, no repository.

Takes a quarter of an hour and downloads packages, so it runs only where WMHQC_COLAB is set (once a week in
the project's own workflow):

    WMHQC_COLAB=1 python -m pytest tests/test_colab.py

WMHQC_COLAB_PYTHON names a Python to be taken as it is, instead of a new one with the versions of
tests/colab.txt: that of Colab's own image. The wheel is installed into it.
"""

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import papermill
import pytest
import yaml

import tiny
from wmhqc.release import release

ROOT = Path(__file__).resolve().parents[1]
SETS = yaml.safe_load((ROOT / "workflow" / "parameters.yml").read_text())
ALONE = {
    name: SETS["smoke"][name]
    for name in (
        "index",
        "data",
        "published",
        "which_score",
        "promises",
        "your_scan",
        "you",
        "speed",
        "literature",
        "audit",
    )
}
ALONE["vs_thresholds"] = {"train": False}
CHAIN = ("data", "training", "uncertainty", "error_maps", "vs_thresholds", "dice_regression")
#: Chapters that read the results of others, as they make them with a small reference run.
SMALL = {
    "training": {"epochs": 2, "steps": 2},
    "uncertainty": {"passes": 3},
    "error_maps": {},
    "dice_regression": {},
    "cohort": {},
}

pytestmark = pytest.mark.skipif(not os.environ.get("WMHQC_COLAB"), reason="a quarter of an hour; set WMHQC_COLAB=1")


def versions(python) -> dict:
    found = subprocess.run([python, "-m", "pip", "list", "--format=json"], check=True, capture_output=True, text=True)
    return {row["name"].lower(): row["version"] for row in json.loads(found.stdout)}


def colab(folder) -> str:
    """A Python with what Colab has."""
    if given := os.environ.get("WMHQC_COLAB_PYTHON"):
        return given
    venv.create(folder / "env", with_pip=True)
    python = str(folder / "env" / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", ROOT / "tests" / "colab.txt"], check=True)
    return python


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """Colab's environment, then the wheel: its folder, and the versions before and after."""
    folder = tmp_path_factory.mktemp("colab")
    python = colab(folder)
    before = versions(python)
    source = folder / "source"
    shutil.copytree(ROOT / "wmhqc", source / "wmhqc", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    wheel = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet", "-w", folder, source]
    subprocess.run(wheel, check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", *folder.glob("*.whl")], check=True)
    kernel = folder / "jupyter" / "kernels" / "colab"
    kernel.mkdir(parents=True)
    argv = [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "colab", "language": "python"}))
    return folder, before, versions(python)


@pytest.fixture(scope="module")
def small_reference(tmp_path_factory):
    """A reference run of twelve cases and small networks, in place of the 105 cases that would take long."""
    folder = tmp_path_factory.mktemp("reference")
    release(tiny.run(folder / "run", tiny.cohort(folder / "cohort", voxel=None)), folder / "released")
    return folder / "released"


def execute(machine, chapter, parameters, folder, monkeypatch):
    monkeypatch.setenv("JUPYTER_PATH", str(machine[0] / "jupyter"))
    for name in ("PYTHONPATH", "WMHQC_SHARED", "PLOTLY_RENDERER"):
        monkeypatch.delenv(name, raising=False)
    folder.mkdir(exist_ok=True)
    return papermill.execute_notebook(
        str(ROOT / "book" / f"{chapter}.ipynb"),
        None,
        parameters=parameters,
        kernel_name="colab",
        cwd=str(folder),
        progress_bar=False,
    )


def test_the_package_changes_nothing_that_is_installed(machine):
    _, before, after = machine
    assert {name: after.get(name) for name in before} == before
    assert "wmhqc" in after and "wmhqc" not in before


@pytest.mark.parametrize("chapter", ALONE)
def test_chapter_runs_alone_in_an_empty_folder(machine, tmp_path, monkeypatch, chapter):
    done = execute(machine, chapter, ALONE[chapter], tmp_path / "content", monkeypatch)
    assert all(cell.execution_count for cell in done.cells if cell.cell_type == "code" and cell.source.strip())


def test_chapters_run_one_after_the_other_in_one_folder(machine, tmp_path, monkeypatch):
    for chapter in CHAIN:
        execute(machine, chapter, SETS["smoke"][chapter], tmp_path / "content", monkeypatch)
    assert (tmp_path / "content" / "runs" / "cpu" / "dice_regression" / "cases.csv").is_file()


@pytest.mark.parametrize("chapter", SMALL)
def test_chapter_makes_what_those_before_it_would_have_made(machine, small_reference, tmp_path, monkeypatch, chapter):
    monkeypatch.setenv("WMHQC_REFERENCE", str(small_reference))
    execute(machine, chapter, SMALL[chapter], tmp_path / "content", monkeypatch)
    assert (tmp_path / "content" / "runs" / "cpu" / "data" / "cohort.csv").is_file()
