"""The experiment at the smallest size: who has seen whom, going on after a stop, what is refused."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import papermill
import pytest
import yaml

from tiny import SETTINGS as TINY
from wmhqc import catalogue, cohort, experiment, reference, training
from wmhqc.book import alone
from wmhqc.sources import synthetic

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def cases(tiny_cases):
    return tiny_cases


@pytest.fixture(scope="module")
def run(tiny_run):
    return tiny_run


@pytest.mark.parametrize("count", [12, 30, 105])
def test_folds_deal_every_case_as_the_paper(count):
    folds = training.folds(synthetic.members(count), 5 if count > 12 else 3)
    parts = folds.set_index("case")
    assert (parts.eq("test").sum(axis=1) == 1).all(), "each case is tested once"
    assert (parts.eq("validation").sum(axis=1) <= 1).all(), "no case is validation twice"
    if count == 105:
        for _, part in parts.items():
            assert part.value_counts().to_dict() == {"inner0": 34, "inner1": 34, "test": 21, "validation": 16}


def leaks(rows: pd.DataFrame, seen: pd.DataFrame) -> list:
    """Test and validation cases that a network of their fold learnt from or was chosen on: (fold, case, network)."""
    met = rows[["fold", "case"]].merge(seen, on=["fold", "case"])
    return list(met[["fold", "case", "network"]].itertuples(index=False, name=None))


def test_no_number_comes_from_a_network_that_saw_the_case(run):
    rows, seen = pd.read_csv(run / "cases.csv"), pd.read_csv(run / "seen.csv")
    assert set(rows["split"]) == {"test", "validation"} and len(rows) == 4 + 2
    assert seen["network"].nunique() == 8 and leaks(rows, seen) == []
    cheat = pd.DataFrame([{"fold": 0, "network": "rec_unet", "use": "trained_on", "case": rows["case"][0]}])
    assert leaks(rows, pd.concat([seen, cheat])) == [(0, rows["case"][0], "rec_unet")]


def test_what_teaches_reg_net_was_judged_by_a_network_that_had_not_seen_it(run):
    maps = pd.read_csv(run / "fold_0" / "maps.csv")
    for row in maps[maps["split"] == "train"].itertuples():
        seen = json.loads((run / "fold_0" / f"mc_unet-{row.network}" / "seen.json").read_text())
        assert row.case not in seen["trained_on"] + seen["chosen_on"]
    assert set(maps.loc[maps["split"] != "train", "network"]) == {"main"}


def test_a_row_has_every_score(run):
    rows = pd.read_csv(run / "cases.csv")
    assert set(catalogue.scores()) <= set(rows) and np.isfinite(rows["predicted_dice_bounded"]).all()
    assert rows["predicted_dice_bounded"].between(0, 1).all() and rows["ssim"].between(-1, 1).all()


def test_stress_spoils_the_same_scan_more_and_more(run):
    rows = pd.read_csv(run / "stress.csv")
    part = experiment.parts(run, 0)
    assert rows["case"].nunique() == 2 and (part[rows["case"].unique()] == "test").all()
    assert (rows.groupby("case").size() == 1 + len(experiment.STRESS) * len(experiment.SEVERITIES)).all()
    assert (rows.groupby("case")["true_ml"].nunique() == 1).all(), "the manual mask stays"
    assert (rows.groupby("case")["vs_uncertainty"].nunique() > 20).all(), "the scans differ"
    clean = rows[rows["severity"] == 0].set_index("case")
    judged = pd.read_csv(run / "cases.csv").query("split == 'test'").set_index("case").loc[clean.index]
    np.testing.assert_allclose(clean["lesion_dice"], judged["lesion_dice"])
    np.testing.assert_allclose(clean["predicted_dice_error"], judged["predicted_dice_error"], atol=1e-2)


def test_manifest_says_how_the_run_was_made(run):
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["cases"] == 12 and manifest["synthetic"] and manifest["folds"] == [0]
    assert manifest["settings"]["mc_unet"]["steps"] == 2 and manifest["versions"]["keras"]


def test_what_is_done_is_not_done_again_and_a_stop_changes_nothing(run, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(run, again)
    part = pd.read_csv(run / "fold_0" / "maps.csv")
    one = again / "fold_0" / "maps" / f"{part['case'][0]}.json"
    one.unlink()  # as if killed after the maps of this case were written, before its scores
    weights = again / "fold_0" / "mc_unet-main" / training.BEST
    before = weights.stat().st_mtime_ns
    experiment.segment(again, 0)
    experiment.judge(again, 0)
    assert weights.stat().st_mtime_ns == before and one.exists()
    pd.testing.assert_frame_equal(pd.read_csv(again / "fold_0" / "maps.csv"), part)


def test_a_release_loads_and_judges(run, tmp_path, monkeypatch):
    reference.release(run, tmp_path)
    monkeypatch.setenv("WMHQC_REFERENCE", str(tmp_path))
    assert len(reference.cases()) == 6 and len(reference.cases("test")) == 4
    assert reference.network("mc_unet", "inner1").input_shape == (None, 16, 16, 16, 2)
    assert reference.network("reg_net_bounded").output_shape == (None, 1)
    with pytest.raises(ValueError, match="'test' or 'validation'"):
        reference.cases("train")


def test_a_run_starts_from_the_networks_of_another(run, tmp_path):
    new = synthetic.make_cohort(tmp_path / "cohort", 12, seed=1, jobs=2, progress=False, voxel=(4, 4, 4))
    new["case"] += "new"
    start = {"epochs": 1, "steps": 1, "learning_rate": 0.0}
    experiment.start(tmp_path / "run", new, TINY | {"start_from": str(run), "mc_unet": start, "rec_unet": start})
    for name, model in {"mc_unet-main": experiment.segment, "rec_unet": experiment.reconstruct}.items():
        model(tmp_path / "run", 0)
        before, after = (experiment.network(folder, 0, name).get_weights() for folder in (run, tmp_path / "run"))
        assert all(np.array_equal(a, b) for a, b in zip(before, after)), "a learning rate of 0 leaves them as they were"


def test_networks_that_may_know_the_cases_or_do_not_fit_are_no_start(cases, run, tmp_path):
    with pytest.raises(ValueError, match="12 cases are those of"):
        experiment.start(tmp_path / "a", cases, TINY | {"start_from": str(run)})
    with pytest.raises(ValueError, match="have size 16, this run has 32"):
        experiment.start(tmp_path / "a", cases, TINY | {"start_from": str(run), "size": 32})
    with pytest.raises(ValueError, match="have size 64"):
        experiment.start(tmp_path / "a", cases, TINY | {"start_from": "reference"})
    assert not (tmp_path / "a").exists()


def test_chapters_go_on_with_a_released_run(run, tmp_path, monkeypatch):
    """What the default book does, `train = False`, at the smallest size: networks and results of a released run."""
    reference.release(run, tmp_path / "released")
    monkeypatch.setenv("WMHQC_REFERENCE", str(tmp_path / "released"))
    table, part = cohort.read_csv(run / "cohort.csv"), experiment.parts(run, 0)
    table["split"] = table["case"].map(part.where(~part.str.startswith("inner"), "train"))
    (tmp_path / "runs" / "cpu" / "data").mkdir(parents=True)
    cohort.write_csv(table, tmp_path / "runs" / "cpu" / "data" / "cohort.csv")
    shutil.copytree(run / "prepared", tmp_path / "runs" / "cpu" / "data" / "prepared")
    short = {"size": 16, "epochs": 1, "steps": 2}
    chapters = {"training": short, "uncertainty": {"size": 16, "passes": 3}, "error_maps": short, "vs_thresholds": {},
                "dice_regression": short}  # fmt: skip
    for chapter, parameters in chapters.items():
        source = str(ROOT / "book" / f"{chapter}.ipynb")
        papermill.execute_notebook(source, None, parameters=parameters, kernel_name="python3", cwd=str(tmp_path), progress_bar=False)
    results = tmp_path / "runs" / "cpu"
    assert not list(results.glob("training/inner*/history.csv")), "the inner networks were lent, not trained"
    rows = pd.read_csv(results / "dice_regression" / "cases.csv").set_index("case")
    ours = pd.read_csv(run / "cases.csv").set_index("case").loc[lambda rows: rows["split"] == "test"]
    assert set(rows.index) == set(table["case"])
    # a chapter opened alone goes on from what the chapters before it would have made
    shutil.copytree(results / "data", tmp_path / "fresh" / "data")
    alone.catch_up(tmp_path / "fresh", "dice_regression", 16)
    for file in ("training/networks.csv", "uncertainty/cases.csv", "error_maps/cases.csv"):
        pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "fresh" / file), pd.read_csv(results / file), rtol=1e-4)
    # other random numbers, so near and not equal
    np.testing.assert_allclose(rows.loc[ours.index, "predicted_dice_image"], ours["predicted_dice_image"], atol=0.05)


def test_bad_input_is_refused_before_any_work(cases, run, tmp_path):
    with pytest.raises(ValueError, match="unknown settings epochs"):
        experiment.start(tmp_path / "a", cases, {"epochs": 3})
    with pytest.raises(ValueError, match="unknown settings step"):
        experiment.start(tmp_path / "a", cases, {"mc_unet": {"step": 3}})
    with pytest.raises(ValueError, match="other settings"):
        experiment.start(run, cases, {"size": 32})
    with pytest.raises(ValueError, match="differ in the cases"):
        experiment.start(tmp_path / "a", cases, TINY, folds=pd.DataFrame({"case": ["x"], "fold_0": ["test"]}))
    with pytest.raises(FileNotFoundError, match="start"):
        experiment.settings(tmp_path)
    with pytest.raises(ValueError, match="no fold 7"):
        experiment.parts(run, 7)
    with pytest.raises(FileNotFoundError, match="no finished fold"):
        experiment.gather(tmp_path)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("profile", [[], ["--profile", "workflow/slurm", "--executor", "local"]], ids=["here", "cluster"])
def test_the_workflow_plans_all_networks_of_all_folds(tmp_path, profile):
    command = [Path(sys.executable).with_name("snakemake"), "-s", "workflow/experiment.smk", "--dry-run", "--cores", "2"]
    plan = subprocess.run(
        [*command, *profile, "--nolock", "--config", f"run={tmp_path}/run"], cwd=ROOT, capture_output=True, text=True
    )
    assert plan.returncode == 0, plan.stdout + plan.stderr
    counts = dict(line.split() for line in (plan.stdout + plan.stderr).splitlines() if len(line.split()) == 2)
    assert [counts[rule] for rule in ("segment", "reconstruct", "judge", "regress", "predict")] == ["15", "5", "5", "20", "5"]


def test_the_cluster_profile_names_rules_that_there_are():
    profile = yaml.safe_load((ROOT / "workflow" / "slurm" / "config.yaml").read_text())
    rules = set(re.findall(r"^rule (\w+):", (ROOT / "workflow" / "experiment.smk").read_text(), re.M))
    assert set(profile["set-resources"]) <= rules
