"""Fixtures that several test modules share."""

import os
from pathlib import Path

import pytest

import tiny
from browser import browser

ROOT = Path(__file__).resolve().parents[1]


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
    with browser() as running:
        yield running


@pytest.fixture(scope="session")
def tiny_cases(tmp_path_factory):
    """The table of twelve synthetic cases with large voxels."""
    return tiny.cohort(tmp_path_factory.mktemp("cohort"))


@pytest.fixture(scope="session")
def tiny_run(tiny_cases, tmp_path_factory):
    """A finished fold of the experiment on them; not to be changed."""
    return tiny.run(tmp_path_factory.mktemp("runs") / "tiny", tiny_cases)
