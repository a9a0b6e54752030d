"""What is done again when something changes: asked of Snakemake as a dry run."""

import importlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import depends

ROOT = Path(__file__).resolve().parents[1]
SET = "smoke"


@pytest.fixture
def project(tmp_path):
    """A copy of the project with its smoke book, times of the files kept."""
    if not (ROOT / "_build" / SET / "site" / "_build" / "html" / "index.html").exists():
        if os.environ.get("CI"):
            pytest.fail("the smoke book is not built; run `make test`")
        pytest.skip("the smoke book is not built (make book SET=smoke)")
    for name in ("book", "wmhqc", "workflow", f"_build/{SET}", ".snakemake"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("locks", "incomplete"))
    for name in ("_config.yml", "_toc.yml", "requirements.lock"):
        shutil.copy2(ROOT / name, tmp_path / name)
    return tmp_path


def to_do(project):
    """Names of the chapters that would be executed, and `book` if it would be built."""
    command = [Path(sys.executable).with_name("snakemake"), "--dry-run", "--cores", "1", "--config", f"set={SET}"]
    run = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    lines = (run.stdout + run.stderr).splitlines()
    chapters = {
        line.split("/")[-1].removesuffix(".ipynb")
        for line in lines
        if line.startswith("    output: ") and ".ipynb" in line
    }
    return chapters | ({"book"} if any(line.startswith("rule book:") for line in lines) else set())


def change(path):
    path.write_text(path.read_text() + "\n")


def test_nothing_changed_nothing_to_do(project):
    assert to_do(project) == set()


def test_a_changed_chapter_and_what_depends_on_it(project):
    change(project / "book" / "error_maps.md")
    assert to_do(project) == {"error_maps", "vs_thresholds", "dice_regression", "book"}


def test_a_changed_page_without_code(project):
    change(project / "book" / "glossary.md")
    assert to_do(project) == {"book"}


def test_a_changed_parameter(project):
    path = project / "workflow" / "parameters.yml"
    text = path.read_text()
    path.write_text(text.replace("vs_thresholds: {train: true}", "vs_thresholds: {train: true, tau: 0.6}"))
    assert to_do(project) == {"vs_thresholds", "book"}


def test_a_changed_module_that_all_chapters_with_networks_use(project):
    change(project / "wmhqc" / "preprocess.py")
    assert {"data", "training", "dice_regression", "book"} <= to_do(project)


def test_a_changed_module_that_one_chapter_uses(project):
    change(project / "wmhqc" / "book" / "literature.py")
    assert to_do(project) == {"literature", "book"}


def test_a_chapter_depends_on_what_it_imports_and_on_the_data_that_this_names():
    files = set(depends.files("literature"))
    assert {"wmhqc/book/literature.py", "wmhqc/data/literature.csv"} <= files
    assert not {"wmhqc/screen/report.py", "wmhqc/sources/synthetic.py", "wmhqc/book/realism.py"} & files
    assert {"wmhqc/networks.py", "wmhqc/layers.py", "wmhqc/preprocess.py", "wmhqc/files.py"} <= set(
        depends.files("training")
    )
    assert {"wmhqc/data/published_per_case.csv", "wmhqc/view/threshold.js"} <= set(depends.files("published"))
    assert "wmhqc/data/reference/manifest.json" in depends.files("which_score")


def test_an_unknown_set_is_refused():
    command = [Path(sys.executable).with_name("snakemake"), "--dry-run", "--cores", "1", "--config", "set=huge"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode != 0 and "there are smoke, cpu, gpu, paper" in run.stdout + run.stderr


@pytest.mark.parametrize("name", ["Snakefile", "experiment.smk", "qc.smk"])
def test_the_rules_call_what_the_package_has(name):
    """A rule's Python runs only when the rule does, perhaps hours later or on a cluster."""
    text = re.sub(r"#.*", "", (ROOT / "workflow" / name).read_text())
    modules = {}
    for package, names in re.findall(r"^\s*from (wmhqc[\w.]*) import ([\w, ]+)$", text, re.M):
        for found in names.split(", "):
            home = importlib.import_module(package)
            modules[found] = getattr(home, found, None) or importlib.import_module(f"{package}.{found}")
    used = {(module, called) for module, called in re.findall(r"\b(\w+)\.(\w+)", text) if module in modules}
    lost = [f"{module}.{called}" for module, called in used if not hasattr(modules[module], called)]
    assert not lost and (used or name != "experiment.smk"), f"{name} calls {', '.join(sorted(lost))}"
