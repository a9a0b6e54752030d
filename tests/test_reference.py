"""The reference run that comes with the package."""

import numpy as np
import pandas as pd
import pytest

from test_experiment import leaks
from wmhqc import catalogue, experiment, networks, preprocess, reference, training
from wmhqc.screen import calibration, judge, labels, verdict
from wmhqc.sources import synthetic


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
    assert set(catalogue.scores()) <= set(rows)
    assert rows[["lesion_dice", "paper_dice", "true_ml", "volume_ml", labels.SCORE]].notna().all().all()


def test_the_networks_give_the_numbers_of_the_table(tmp_path):
    """A test case of the shipped fold, made again and judged again, gives its row."""
    rows = reference.cases("test")
    row = rows[rows["fold"] == reference.FOLD].sort_values("true_ml").iloc[10]
    made = synthetic.make_case(row["case"], row["site"])
    images = (made.t1, made.flair, made.lesion, made.brainmask)
    prepared = preprocess.prepare(row["case"], *images, size=reference.manifest()["settings"]["size"])
    maps, found = judge.assess(prepared, judge.load_networks(), None, passes=20, seed=0)
    assert found["lesion_dice"] == pytest.approx(row["lesion_dice"], abs=0.02)
    assert found["volume_ml"] == pytest.approx(row["volume_ml"], rel=0.05)
    for pair in experiment.PAIRS:
        name = f"predicted_dice_{pair}"
        assert found[name] == pytest.approx(row[name], abs=0.03), name
    assert np.isfinite(maps["prediction"]).all()


def test_each_case_of_a_cohort_gets_a_network_that_has_not_seen_it():
    cohort = reference.table("cohort")
    real = pd.DataFrame({"case": ["sub-real"], "synthetic": [False], "lesion_ml": [3.0]})
    members = reference.members(pd.concat([cohort, real])).to_numpy()
    seen = reference.table("seen").query("fold == @reference.FOLD").groupby("network")["case"].agg(set)
    stored = {"mc_unet": "mc_unet-main", "inner0": "mc_unet-inner0", "inner1": "mc_unet-inner1"}
    assert pd.Series(members).value_counts().to_dict() == {"mc_unet": 38, "inner0": 34, "inner1": 34}
    assert all(case not in seen[stored[name]] for case, name in zip([*cohort["case"], "sub-real"], members))


def test_the_split_of_the_chapters_is_that_of_the_shipped_networks():
    cohort = reference.table("cohort")
    assert training.split(cohort).tolist() == cohort["case"].map(reference.parts()).tolist()


def test_another_cohort_is_refused():
    with pytest.raises(ValueError, match="1 synthetic cases are not those of the reference run .sub-.*train=True"):
        other = reference.table("cohort")
        other.loc[3, "lesion_ml"] += 1
        reference.members(other)
    with pytest.raises(ValueError, match="are not those"):
        reference.members(synthetic.members(12).assign(synthetic=True, lesion_ml=1.0))


def test_networks_are_lent_to_a_run(tmp_path):
    reference.lend(tmp_path, "inner1", "rec_unet")
    lent = networks.mc_unet(64)
    lent.load_weights(tmp_path / "inner1" / training.BEST)
    own = reference.network("mc_unet", "inner1")
    assert all(np.array_equal(a, b) for a, b in zip(lent.get_weights(), own.get_weights()))
    assert sorted(path.name for path in tmp_path.rglob("*.h5")) == [training.BEST] * 2


def test_all_folds_take_the_place_of_the_synthetic_cases():
    judged = pd.DataFrame({"case": ["sub-a", "sub-real"], "synthetic": [True, False], "split": ["test", "real"]})
    both = reference.with_all_folds(judged)
    assert len(both) == len(reference.cases()) + 1 and both["case"].iloc[-1] == "sub-real"
    assert both["synthetic"].sum() == len(reference.cases()) == len(reference.with_all_folds())


def test_a_folder_without_a_run_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("WMHQC_REFERENCE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="holds no reference run.*WMHQC_REFERENCE"):
        reference.cases()


def test_no_scan_can_be_accepted_with_what_comes_along():
    """README.md and book/faq.md say so in words: once a better run comes with the package, change them."""
    assert not verdict.certified_threshold(calibration.same_origin(calibration.reference_cases(), given=False)).possible
