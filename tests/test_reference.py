"""The reference run that comes with the package."""

import numpy as np
import pytest

from test_experiment import leaks
from wmhqc import experiment, preprocess, qc, reference, scores, synthetic


def test_it_is_whole_and_small():
    folder = reference.folder()
    assert all((folder / name).is_file() for name in reference.FILES)
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) <= 20e6
    manifest = reference.manifest()
    assert manifest["cases"] == 105 and manifest["synthetic"] and reference.FOLD in manifest["folds"]


def test_each_case_is_tested_once_and_by_networks_that_have_not_seen_it():
    rows = reference.cases()
    assert set(rows["fold"]) == set(reference.manifest()["folds"])
    assert reference.cases("test")["case"].is_unique
    assert (rows[rows["split"] == "test"].groupby("fold").size() == 21).all()
    assert (rows[rows["split"] == "validation"].groupby("fold").size() == 16).all()
    assert leaks(rows, reference.table("seen")) == []


def test_every_score_and_every_truth_is_there():
    rows = reference.cases()
    assert set(scores.CONFIDENCE) <= set(rows)
    assert rows[["lesion_dice", "paper_dice", "true_ml", "volume_ml", qc.SCORE]].notna().all().all()


def test_the_networks_give_the_numbers_of_the_table(tmp_path):
    """A test case of the shipped fold, made again and judged again, gives its row."""
    rows = reference.cases("test")
    row = rows[rows["fold"] == reference.FOLD].sort_values("true_ml").iloc[10]
    made = synthetic.make_case(row["case"], row["site"])
    images = (made.t1, made.flair, made.lesion, made.brainmask)
    prepared = preprocess.prepare(row["case"], *images, size=reference.manifest()["settings"]["size"])
    mc, _, found = qc._scores(prepared, {}, qc.load_networks(), passes=20, seed=0)
    assert found["lesion_dice"] == pytest.approx(row["lesion_dice"], abs=0.02)
    assert found["volume_ml"] == pytest.approx(row["volume_ml"], rel=0.05)
    for pair in experiment.PAIRS:
        name = f"predicted_dice_{pair}"
        assert found[name] == pytest.approx(row[name], abs=0.03), name
    assert np.isfinite(mc.mean).all()


def test_a_folder_without_a_run_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("WMHQC_REFERENCE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="holds no reference run.*WMHQC_REFERENCE"):
        reference.cases()
