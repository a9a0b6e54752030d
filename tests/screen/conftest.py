"""Fixtures of the tests of the screening tool."""

import types

import numpy as np
import pandas as pd
import pytest
from scans import make_scan, row

from wmhqc import reference
from wmhqc.features import FEATURES
from wmhqc.screen import batch, calibration, judge
from wmhqc.screen.labels import SCORE


@pytest.fixture
def scan(tmp_path):
    """A small scan with one lesion, in a brain of 800 ml; its row."""
    return row(tmp_path / "scans")


@pytest.fixture
def scans(tmp_path):
    """Three scans in a plain folder."""
    for i, case in enumerate(("sub-a", "sub-b", "sub-c")):
        make_scan(tmp_path / "scans" / case, case, i)
    return tmp_path / "scans"


@pytest.fixture
def judged(tmp_path, monkeypatch):
    """A reference without networks: the lesion is found, the scores are made up. Lists who was judged."""
    folder = tmp_path / "reference"
    folder.mkdir()
    (folder / "manifest.json").write_text("{}")
    (folder / "folds.csv").write_text("case,fold_0\n")
    monkeypatch.setattr(reference, "folder", lambda: folder)
    rng = np.random.default_rng(0)
    dice = rng.uniform(0.2, 0.95, 60)
    table = pd.DataFrame({"case": [f"c{i}" for i in range(60)], SCORE: dice, "lesion_dice": dice})
    table = table.assign(**{name: 100 + 500 * rng.standard_normal(60) for name in FEATURES})
    monkeypatch.setattr(calibration, "reference_cases", lambda: table)
    network = types.SimpleNamespace(input_shape=(None, 32, 32, 32, 2))
    monkeypatch.setattr(batch, "_networks", lambda: {"mc_unet": [network]})
    batch._calibration.cache_clear()
    seen = []

    def assess(prepared, networks, mask=None, *, passes, seed):
        from wmhqc import scores
        from wmhqc.uncertainty import summarise

        seen.append(prepared.case)
        mc = summarise([np.where(prepared.volume[..., 1] > 200, 0.9, 0)])
        error = np.zeros(mc.mean.shape, np.float32)
        judged = mc.mask if mask is None else np.roll(mc.mask, 1, 0)
        maps = {"mean": mc.mean, "entropy": mc.entropy, "error": error}
        return maps, scores.row(prepared, mc, error, judged) | {SCORE: 0.9}

    monkeypatch.setattr(judge, "assess", assess)
    return seen
