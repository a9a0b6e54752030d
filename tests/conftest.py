"""Fixtures that several test modules share."""

import fcntl
import os
import random
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    """Fresh networks begin with the same weights in every run; `WMHQC_SEED` deals others, to find a test of luck."""
    seed = int(os.environ.get("WMHQC_SEED", 0))
    random.seed(seed)
    np.random.seed(seed)
    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(seed)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with real patients (`WMHQC_SHARED`, or `../shared` beside the repository)."""
    folder = Path(os.environ.get("WMHQC_SHARED", ROOT.parent / "shared"))
    if not (folder / "data" / "real").is_dir():
        pytest.skip(f"no real patients: {folder}/data/real does not exist (set WMHQC_SHARED)")
    return folder


@pytest.fixture(scope="session")
def chromium():
    """One browser for all tests: Playwright allows no second one in a process."""
    from browser import browser

    with browser() as running:
        yield running


def made_once(tmp_path_factory, name, make) -> Path:
    """A folder that `make(folder)` fills once a session, also where several processes share the tests (xdist)."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, done = base / name, base / f"{name}.done"
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def tiny_cases(tmp_path_factory):
    """The table of twelve synthetic cases with large voxels."""
    import tiny

    folder = made_once(tmp_path_factory, "cohort", lambda folder: tiny.cohort(folder).to_pickle(folder / "table.pkl"))
    return pd.read_pickle(folder / "table.pkl")


@pytest.fixture(scope="session")
def tiny_run(tiny_cases, tmp_path_factory):
    """A finished fold of the experiment on them; not to be changed."""
    import tiny

    return made_once(tmp_path_factory, "run", lambda folder: tiny.run(folder, tiny_cases))
