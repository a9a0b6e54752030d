"""The way of `make book` with its default set, with the shipped networks at their real size, on a few cases.

It runs under another processor's kernels of matrix products (OpenBLAS), since last digits differ between processors:
what decides by equal digits works on the machine where it was written and fails on the reader's.
"""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pandas as pd
import papermill
import pytest

from wmhqc import reference

ROOT = Path(__file__).resolve().parents[1]
KERNEL = "Haswell"
SIZE = 64  # of the shipped networks
#: Cases that the networks of fold 0 have not seen; the chapters take a list of names as well as a number.
CASES = [case for case, part in reference.parts().items() if part == "test" and case.startswith("sub-syn")][:5]
#: The chapters in the order of their results, with as little training as they accept.
CHAIN = {
    "data": {"cases": CASES, "size": SIZE, "ms17": False},
    "training": {"train": False, "epochs": 1, "steps": 2},
    "uncertainty": {"passes": 3},
    "error_maps": {"train": False},
    "vs_thresholds": {"train": False},
    "dice_regression": {"train": False},
}


@pytest.fixture(scope="module")
def other_kernel():
    """OpenBLAS takes the kernels of another processor in all processes that start from here."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        pytest.skip(f"{KERNEL} is an x86 processor, this is {platform.machine()}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENBLAS_CORETYPE", KERNEL)
        patch.setenv("KERAS_BACKEND", "tensorflow")
        patch.setenv("WMHQC_SHARED", os.devnull)  # no real patients beside them
        yield


@pytest.fixture(scope="module")
def chapters(other_kernel, tmp_path_factory):
    """The folder of results and the executed notebooks."""
    folder, executed = tmp_path_factory.mktemp("default"), {}
    for chapter, parameters in CHAIN.items():
        parameters = {"run": str(folder / "run"), **parameters}
        source = str(ROOT / "book" / f"{chapter}.ipynb")
        executed[chapter] = papermill.execute_notebook(
            source, None, parameters=parameters, kernel_name="python3", cwd=str(folder), progress_bar=False
        )
    return folder / "run", executed


def test_the_kernel_is_another(other_kernel):
    code = "import json, numpy, threadpoolctl; print(json.dumps(threadpoolctl.threadpool_info()))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert {library["architecture"] for library in json.loads(run.stdout) if "architecture" in library} == {KERNEL}


def test_the_set_is_the_default_one_but_for_its_length():
    import yaml

    default = yaml.safe_load((ROOT / "workflow" / "parameters.yml").read_text())["cpu"]
    assert reference.manifest()["settings"]["size"] == SIZE
    for chapter, parameters in CHAIN.items():
        assert parameters.get("train", False) == default[chapter].get("train", False), chapter
    assert default["data"]["size"] == SIZE and len(CASES) == 5


def test_the_chapters_run_through_and_every_asked_case_has_maps(chapters):
    folder, executed = chapters
    assert list(executed) == list(CHAIN)
    cases = pd.read_csv(folder / "uncertainty" / "cases.csv")
    assert len(cases) and cases["lesion_dice"].between(0, 1).all()
    for case in cases["case"]:
        for chapter in ("uncertainty", "error_maps"):
            assert list((folder / chapter / "maps").glob(f"{case}*")), (chapter, case)
