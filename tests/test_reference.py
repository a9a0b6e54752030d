"""The reference run that comes with the package."""

import numpy as np
import pandas as pd
import pytest
from test_experiment import leaks

from wmhqc import catalogue, preprocess, reference, training
from wmhqc.assess import assess
from wmhqc.regression import PAIRS
from wmhqc.release import FILES
from wmhqc.screen import labels
from wmhqc.sources import synthetic


def test_it_is_whole_and_small():
    folder = reference.folder()
    assert all((folder / name).is_file() for name in FILES)
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) <= 20e6
    assert reference.manifest()["cases"] == len(reference.table("cohort")) and 0 in reference.folds()


def test_each_case_is_tested_once_and_by_networks_that_have_not_seen_it():
    rows = reference.cases()
    assert set(rows["fold"]) == set(reference.manifest()["folds"])
    assert reference.cases("test")["case"].is_unique
    assert leaks(rows, reference.table("seen")) == []


def test_what_was_seen_is_what_the_networks_say_they_drew():
    seen = reference.table("seen")
    for fold in reference.folds():
        for name in reference.NAMES:
            drawn = training.read_lineage(reference.folder() / f"fold_{fold}" / name)["drawn"]
            assert set(drawn) == set(seen.loc[(seen["fold"] == fold) & (seen["network"] == name), "case"])


def test_every_score_and_every_truth_is_there():
    rows = reference.cases()
    assert set(catalogue.scores()) <= set(rows)
    assert rows[["lesion_dice", "paper_dice", "true_ml", "volume_ml", labels.SCORE]].notna().all().all()


def test_the_networks_give_the_numbers_of_the_table():
    """A test case, made again and judged again, gives its row.

    Tolerances: another processor gives other last digits of the scan and other random numbers of the dropout; over
    20 passes the mean mask moves by about 0.01 in Dice, its volume by 2 %.
    """
    rows = reference.cases("test")
    rows = rows[(rows["fold"] == 0) & rows["case"].isin(synthetic.members()["case"])]
    row = rows.sort_values("true_ml").iloc[len(rows) // 2]
    made = synthetic.make_case(row["case"], row["site"])
    images = (made.t1, made.flair, made.lesion, made.brainmask)
    prepared = preprocess.prepare(row["case"], *images, size=reference.manifest()["settings"]["size"])
    maps, found = assess(prepared, reference.networks(0), other_samples=False)
    assert found["lesion_dice"] == pytest.approx(row["lesion_dice"], abs=0.03)
    assert found["volume_ml"] == pytest.approx(row["volume_ml"], rel=0.1)
    for pair in PAIRS:
        assert found[f"predicted_dice_{pair}"] == pytest.approx(row[f"predicted_dice_{pair}"], abs=0.06), pair
    assert np.isfinite(maps["mean"]).all()


def test_each_case_gets_networks_that_have_not_seen_it():
    folds = reference.table("folds")
    seen = reference.table("seen")
    asked = [case for case in folds["case"] if (folds.set_index("case").loc[case] != "train").any()]
    if set(reference.folds()) != set(reference.manifest()["folds"]):
        asked = folds.loc[folds["fold_0"] != "train", "case"].tolist()
    for case, fold in reference.unseen([*asked, "sub-new"]).items():
        if case == "sub-new":
            assert fold is pd.NA
        else:
            assert case not in set(seen.loc[seen["fold"] == fold, "case"])


def test_a_case_that_all_shipped_networks_know_is_refused(monkeypatch):
    monkeypatch.setattr(reference, "folds", lambda: [0])
    known = reference.table("folds").query("fold_0 == 'train'")["case"].tolist()
    with pytest.raises(ValueError, match=f"have learnt from {len(known)} of the cases"):
        reference.unseen(known)


def test_a_case_that_came_out_otherwise_is_told_and_not_refused():
    """Lineage says who it is; last digits differ between processors."""
    cohort = reference.table("cohort")
    assert reference.otherwise(cohort).empty
    one = cohort.index[cohort["synthetic"].astype(bool)][3]
    cohort.loc[one, "lesion_ml"] *= 1.1
    found = reference.otherwise(cohort)
    assert found["case"].tolist() == [cohort["case"][one]]
    assert reference.unseen(found["case"]).notna().all() or 1 not in reference.folds()


def test_the_networks_are_too_sure_of_their_surest_voxels():
    """Stated in "Can you trust you?"."""
    bins = reference.table("reliability").query("temperature == 1 and probability >= 0.9")
    assert len(bins) and (bins["frequency"] < bins["probability"] - 0.05).all()


def test_motion_costs_most_and_the_bias_field_least():
    """Stated in "The data"; if this fails, the page must say something else."""
    stress = reference.table("stress")
    dice = stress[stress["severity"] == 0.6].groupby("artefact")["lesion_dice"].mean()
    assert len(dice) == 6 and (dice.idxmin(), dice.idxmax()) == ("motion", "bias_field")


def test_a_folder_without_a_run_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("WMHQC_REFERENCE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="holds no reference run.*WMHQC_REFERENCE"):
        reference.cases()
