"""Scores of a mask of any origin."""

import math
import types
from pathlib import Path

import numpy as np
import pytest

from wmhqc import preprocess, scores
from wmhqc.screen import calibration, judge


def test_scores_of_a_given_mask(scan):
    from wmhqc.uncertainty import summarise

    prepared = preprocess.prepare("sub-a", scan["t1"], scan["flair"], scan["lesion"], scan["brainmask"], size=32)
    truth = prepared.lesion > 0
    mc = summarise([np.where(truth, 0.8, 0.0)])
    shifted = np.roll(truth, 1, axis=0)
    row = scores.row(prepared, mc, np.ones(truth.shape), shifted)
    overlap = (shifted & truth).sum() / truth.sum()
    assert row["agreement_dice"] == row["lesion_dice"] == pytest.approx(overlap)
    assert row["expected_dice"] == pytest.approx(2 * 0.8 * overlap / 1.8, rel=1e-6)
    assert row["volume_ml"] == pytest.approx(row["own_volume_ml"]) and row["volume_ml"] == pytest.approx(row["true_ml"])
    assert row["vs_error_inside"] == pytest.approx(row["volume_ml"] * 1000)
    empty = scores.row(prepared, mc, np.zeros(truth.shape), np.zeros_like(truth))
    assert empty["volume_ml"] == 0 and math.isnan(empty["mean_entropy"]) and empty["expected_dice"] == 0


def test_a_scan_is_judged_in_five_lines(scan, judged, monkeypatch):
    """The example of the module, as it stands there."""
    monkeypatch.setattr(judge, "load_networks", lambda: {"mc_unet": [types.SimpleNamespace(input_shape=(None, 32))]})
    monkeypatch.setattr(judge, "reference_cases", calibration.reference_cases)
    lines = [line.strip() for line in judge.__doc__.splitlines() if line.startswith("    ")]
    code = "\n".join(lines).replace("F.nii.gz", scan["flair"]).replace("T.nii.gz", scan["t1"])
    monkeypatch.chdir(Path(scan["flair"]).parent)
    exec("import pathlib\n" + code.replace("B.nii.gz", scan["brainmask"]), {})
    assert (
        len(lines) <= 5
        and "Can you trust this mask? sub-01" in Path("sub-01.html").read_text()
        and judged == ["sub-01"]
    )


def test_a_patient_of_the_run_is_judged_by_networks_that_have_not_learnt_from_it(monkeypatch):
    from wmhqc import reference

    folds = reference.table("folds").set_index("case")
    case = next(case for case in folds.index if "syn" not in case)
    networks, notes = {"mc_unet": [f"net of fold {fold}" for fold in reference.folds()]}, []
    (chosen,) = judge.unseen_networks({"case": case}, networks, notes)["mc_unet"]
    fold = int(chosen[-1])
    assert folds.loc[case, f"fold_{fold}"] == "test" and f"fold {fold}" in notes[0]
    drawn = reference.table("seen").query("fold == @fold and network == 'mc_unet'")["case"]
    assert case not in set(drawn)
    assert judge.unseen_networks({"case": "sub-new"}, networks, notes) is networks and len(notes) == 1


def test_what_must_not_be_accepted_is_not_and_a_good_patient_is(shared):
    """Real scans: another disease, a head with its skull, T1 and FLAIR exchanged; and one patient of the run."""
    from wmhqc.sources import layouts

    odd = [layouts.from_folder(shared / "data" / name).iloc[0].to_dict() for name in ("ood", "wholehead")]
    patients = layouts.from_folder(shared / "data/real").set_index("case", drop=False)
    good = patients.loc["sub-tab06"].to_dict()
    odd.append(good | {"t1": good["flair"], "flair": good["t1"], "lesion": ""})
    assert [judge.judge(row).record["verdict"] for row in odd] == ["review"] * 3
    record = judge.judge(good).record
    assert record["verdict"] == "accept" and record["truth"]["lesion_dice"] >= 0.5, record["reasons"]
