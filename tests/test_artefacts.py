"""Numbers of the explorer that breaks a scan."""

import base64
import dataclasses
import gzip

import numpy as np
import pytest
from test_dropout import answers, prepared

from wmhqc import scores, uncertainty, view

THRESHOLDS = {"pairwise_dice": 0.5, "mean_entropy": 0.9}
STEPS = [("none", 0.0), ("motion", 0.5), ("motion", 1.0), ("spike", 0.5), ("spike", 1.0)]


def spoilt():
    """A case, and the same with its mask shifted or its answers scattered."""
    clean, scans = prepared(), []
    for artefact, severity in STEPS:
        case = dataclasses.replace(clean, volume=np.roll(clean.volume, round(3 * severity), 0))
        p = answers(clean, 0.1 + (0.6 * severity if artefact == "spike" else 0))
        maps = uncertainty.summarise(np.roll(p, round(6 * severity) if artefact == "motion" else 0, 1))
        row = scores.row(case, maps)
        scans.append({"artefact": artefact, "severity": severity, "case": case, "maps": maps, "row": row})
    return scans


def test_the_page_knows_every_scan_by_artefact_and_severity():
    scans = spoilt()
    data = view.artefacts(scans, THRESHOLDS).data
    assert data["severities"] == [0.0, 0.5, 1.0] and data["artefacts"] == [["motion", "motion"], ["spike", "spike"]]
    assert data["places"] == [[0, 1, 2], [0, 3, 4]]
    assert data["dice"] == [scan["row"]["lesion_dice"] for scan in scans]
    assert [(s["sign"], s["threshold"]) for s in data["scores"]] == [(1, 0.5), (-1, 0.9)]
    assert data["scores"][0]["values"] == [scan["row"]["pairwise_dice"] for scan in scans]


def test_pictures_are_flair_prediction_and_entropy_of_each_scan():
    scans = spoilt()
    data = view.artefacts(scans, THRESHOLDS, slices=3).data
    nx, ny, nz = data["shape"]
    levels = np.frombuffer(gzip.decompress(base64.b64decode(data["packed"])), np.uint8)
    assert len(levels) == (1 + 3 * len(scans)) * nx * ny * nz
    maps = levels[nx * ny * nz :].reshape((len(scans), 3, nz, ny, nx)) / 63
    whole = scans[2]["maps"].entropy.transpose(2, 1, 0)
    assert any(maps[2, 2] == pytest.approx(whole[z : z + 2 * nz : 2], abs=0.01) for z in range(16 - 2 * nz + 1))


def test_an_undefined_score_is_none():
    scans = spoilt()
    scans[1]["row"]["pairwise_dice"] = float("nan")
    assert view.artefacts(scans, THRESHOLDS).data["scores"][0]["values"][1] is None


@pytest.mark.parametrize(("left_out", "message"), [(0, "severity 0"), (2, r"\('motion', 1.0\)")])
def test_a_missing_scan_is_named(left_out, message):
    with pytest.raises(ValueError, match=message):
        view.artefacts([scan for k, scan in enumerate(spoilt()) if k != left_out], THRESHOLDS)
