"""The experiment at the smallest size: who has seen whom, going on after a stop, what is refused."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml

import tiny
from tiny import SETTINGS as TINY
from wmhqc import catalogue, evaluation, experiment, preprocess, reference, training
from wmhqc.release import release
from wmhqc.sources import synthetic

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def short_trainings():
    with tiny.without_graph():
        yield


@pytest.fixture(scope="module")
def cases(tiny_cases):
    return tiny_cases


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """Twelve more cases."""
    table = tiny.cohort(tmp_path_factory.mktemp("others"), seed=1)
    return table.assign(case=table["case"] + "new")


@pytest.fixture(scope="module")
def run(tiny_run):
    return tiny_run


def leaks(rows: pd.DataFrame, seen: pd.DataFrame) -> list:
    """Cases that a network of their fold learnt from: (fold, case, network)."""
    met = rows[["fold", "case"]].merge(seen, on=["fold", "case"])
    return list(met[["fold", "case", "network"]].itertuples(index=False, name=None))


def test_no_number_comes_from_a_network_that_drew_the_case(run):
    rows, seen = pd.read_csv(run / "cases.csv"), pd.read_csv(run / "seen.csv")
    assert set(rows["split"]) == {"test", "validation"} and len(rows) == 8
    assert seen["network"].nunique() == 6 and leaks(rows, seen) == []
    cheat = pd.DataFrame([{"fold": 0, "network": "rec_unet", "times": 1, "case": rows["case"][0]}])
    assert leaks(rows, pd.concat([seen, cheat])) == [(0, rows["case"][0], "rec_unet")]


def test_seen_is_what_was_drawn_and_not_what_was_meant(run):
    seen = pd.read_csv(run / "seen.csv")
    drawn = seen[seen["network"] == "mc_unet"]
    steps = TINY["mc_unet"]["epochs"] * TINY["mc_unet"]["steps"]
    assert drawn["times"].sum() == steps < len(drawn) + steps, "one case a step"
    assert set(drawn["case"]) <= set(experiment.train_cases(run, 0))


def test_reg_net_learns_from_maps_of_networks_that_had_not_seen_the_case(run):
    """M3: the error maps too. Each training case's maps lie in the fold that tests it, whose networks never drew it."""
    for case in experiment.train_cases(run, 0):
        fold = experiment.test_fold(run)[case]
        assert fold != 0 and (run / f"fold_{fold}" / "maps" / f"{case}.npz").exists()
        for name in ("mc_unet", "rec_unet"):
            lineage = training.read_lineage(run / f"fold_{fold}" / name)
            assert case not in lineage["drawn"] and case not in lineage["cases"]


def test_networks_of_an_ensemble_begin_differently(run):
    """M4: each fold has a seed of its own."""
    seeds = {training.read_lineage(run / f"fold_{fold}" / "mc_unet")["settings"]["seed"] for fold in range(3)}
    assert len(seeds) == 3


def test_a_case_has_an_ensemble_of_two_that_have_not_seen_it(run):
    for case in pd.read_csv(run / "folds.csv")["case"]:
        folds = evaluation.unseen(run, case)
        assert len(folds) == 2 and folds[0] == experiment.test_fold(run)[case]
        assert all(case not in experiment.train_cases(run, fold) for fold in folds)


def test_the_vs_residual_is_fitted_on_rows_of_the_kind_it_is_applied_to(run):
    """S5: on the validation rows, where it is then uncorrelated with the volume."""
    rows = pd.read_csv(run / "cases.csv").query("split == 'validation'")
    assert abs(rows["vs_residual"].mean()) < 1e-6


def test_a_row_has_every_score(run):
    rows = pd.read_csv(run / "cases.csv")
    assert set(catalogue.scores()) <= set(rows) and np.isfinite(rows["predicted_dice_mask"]).all()
    assert rows["predicted_dice_mask"].between(0, 1).all() and rows["ssim"].between(-1, 1).all()
    found = rows["volume_ml"] > 0  # an empty mask has no contrast
    assert rows.loc[found, "contrast"].between(0, 1).all() and rows["dice_on_scan"].between(0, 1).all()


def test_stress_spoils_the_same_scan_more_and_more(run):
    rows = pd.read_csv(run / "stress.csv")
    part = experiment.parts(run, 0)
    assert rows["case"].nunique() == 2 and (part[rows["case"].unique()] == "test").all()
    assert (rows.groupby("case").size() == 1 + len(evaluation.STRESS) * len(evaluation.SEVERITIES)).all()
    assert (rows.groupby("case")["true_ml"].nunique() == 1).all(), "the manual mask stays"
    assert (rows.groupby("case")["vs_uncertainty"].nunique() > 20).all(), "the scans differ"
    clean = rows[rows["severity"] == 0].set_index("case")
    judged = pd.read_csv(run / "cases.csv").query("split == 'test'").set_index("case").loc[clean.index]
    np.testing.assert_allclose(clean["lesion_dice"], judged["lesion_dice"])
    np.testing.assert_allclose(clean["predicted_dice_error"], judged["predicted_dice_error"], atol=1e-2)


def test_manifest_says_how_the_run_was_made(run):
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["cases"] == manifest["synthetic"] == 12 and manifest["folds"] == [0]
    assert manifest["settings"]["mc_unet"]["steps"] == 2 and manifest["versions"]["keras"]


def test_what_is_done_is_not_done_again_and_a_stop_changes_nothing(run, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(run, again)
    part = pd.read_csv(run / "fold_0" / "maps.csv")
    one, other = (again / "fold_0" / "maps" / f"{part['case'][i]}.json" for i in (0, 1))
    one.unlink()  # as if killed after the maps of this case were written, before its scores
    kept = other.stat().st_mtime_ns
    weights = again / "fold_0" / "mc_unet" / training.WEIGHTS
    before = weights.stat().st_mtime_ns
    experiment.train_segmenter(again, 0)
    evaluation.infer(again, 0)
    assert weights.stat().st_mtime_ns == before and one.exists() and other.stat().st_mtime_ns == kept
    pd.testing.assert_frame_equal(pd.read_csv(again / "fold_0" / "maps.csv"), part)


def test_maps_are_made_anew_by_other_weights(run, tmp_path):
    """What was found is kept with the networks that found it, not by the name of the case."""
    again = tmp_path / "again"
    shutil.copytree(run, again)
    for other in ("mc_unet", "rec_unet"):
        shutil.copy(run / "fold_1" / other / training.WEIGHTS, again / "fold_0" / other / training.WEIGHTS)
    evaluation.infer(again, 0)
    before, after = (pd.read_csv(folder / "fold_0" / "maps.csv")["ssim"] for folder in (run, again))
    assert (before != after).any()


def corrected(cases, folder):
    """The cohort with one manual mask made smaller, in new files."""
    table = cases.copy()
    path = folder / "corrected.nii.gz"
    image = nib.load(table["lesion"][0])
    mask = np.asanyarray(image.dataobj).copy()
    mask[tuple(np.argwhere(mask)[: mask.sum() // 2].T)] = 0
    nib.save(nib.Nifti1Image(mask, image.affine), path)
    table.loc[0, "lesion"] = str(path)
    return table


def test_a_corrected_mask_is_prepared_and_trained_anew(cases, run, tmp_path):
    """S2: prepared cases carry what they were made from; a training on the old ones is refused."""
    again = tmp_path / "again"
    shutil.copytree(run, again)
    case = cases["case"][0]
    before = preprocess.load(again / "prepared" / f"{case}.npz")
    experiment.start(again, corrected(cases, tmp_path), TINY)
    after = preprocess.load(again / "prepared" / f"{case}.npz")
    assert after.made_from != before.made_from and after.lesion.sum() < before.lesion.sum()
    fold = next(fold for fold in range(3) if case in experiment.train_cases(again, fold))
    with pytest.raises(training.OtherLineageError, match=re.escape(f"case {case} (its images)")):
        experiment.train_segmenter(again, fold)
    (again / f"fold_{fold}" / "mc_unet" / training.WEIGHTS).unlink()  # as Snakemake does before it runs a job again
    experiment.train_segmenter(again, fold)
    assert training.read_lineage(again / f"fold_{fold}" / "mc_unet")["cases"][case] == after.made_from


def test_cases_added_to_a_run_that_has_begun_are_refused(cases, others, run, tmp_path):
    """S1: folds would be dealt anew, and networks tested on cases that they know."""
    again = tmp_path / "again"
    shutil.copytree(run, again)
    with pytest.raises(ValueError, match="differ in 2: .*choose another folder|differ in 2: "):
        experiment.start(again, pd.concat([cases, others.head(2)], ignore_index=True), TINY)
    assert (again / "folds.csv").read_text() == (run / "folds.csv").read_text()


@pytest.mark.slow
def test_six_cases_more_through_snakemake_end_in_a_refusal(tmp_path):
    """The leak of the review, by its own command: nothing of the run before is changed."""
    small = ["--config", f"run={tmp_path}/run", f"settings={tmp_path}/s.yml", f"cohort={tmp_path}/mine.csv"]
    (tmp_path / "s.yml").write_text(yaml.safe_dump(TINY))
    cohort = synthetic.make_cohort(tmp_path / "cohort", 18, jobs=2, progress=False, voxel=(4, 4, 4))
    command = [Path(sys.executable).with_name("snakemake"), "-s", "workflow/experiment.smk", "--cores", "2", "--nolock"]

    def snakemake(table, *more):
        table.to_csv(tmp_path / "mine.csv", index=False)
        return subprocess.run([*command, *more, *small], cwd=ROOT, capture_output=True, text=True)

    weights = tmp_path / "run" / "fold_0" / "mc_unet" / training.WEIGHTS
    first = snakemake(cohort.head(12), str(weights))
    assert first.returncode == 0, first.stderr[-3000:]
    before = weights.read_bytes()
    second = snakemake(cohort, str(weights))
    assert second.returncode != 0 and "was started with other cases" in second.stdout + second.stderr
    assert weights.read_bytes() == before and len(pd.read_csv(tmp_path / "run" / "folds.csv")) == 12
    forced = snakemake(cohort.head(12), str(weights), "--forcerun", "train_segmenter")
    assert forced.returncode == 0, forced.stderr[-3000:]
    assert weights.stat().st_mtime > (tmp_path / "run" / "prepared.csv").stat().st_mtime


def test_a_release_loads_and_judges(run, tmp_path, monkeypatch):
    release(run, tmp_path)
    monkeypatch.setenv("WMHQC_REFERENCE", str(tmp_path))
    assert len(reference.cases()) == 8 and len(reference.cases("test")) == 4
    assert reference.network("mc_unet", 1).input_shape == (None, 16, 16, 16, 2)
    assert reference.network("reg_net_mask").output_shape == (None, 1)
    ours, shipped = experiment.network(run, 0, "mc_unet"), reference.network("mc_unet", 0)
    for a, b in zip(ours.get_weights(), shipped.get_weights(), strict=True):
        assert b.dtype == np.float32
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-6)  # float16 keeps 11 bits
    with pytest.raises(ValueError, match="'test' or 'validation'"):
        reference.cases("train")


def test_a_run_starts_from_the_networks_of_another(others, run, tmp_path):
    start = {"epochs": 1, "steps": 1, "learning_rate": 0.0}
    experiment.start(tmp_path / "run", others, TINY | {"start_from": str(run), "mc_unet": start, "rec_unet": start})
    for name, train in {"mc_unet": experiment.train_segmenter, "rec_unet": experiment.train_inpainter}.items():
        train(tmp_path / "run", 0)
        before, after = (experiment.network(folder, 0, name).get_weights() for folder in (run, tmp_path / "run"))
        assert all(np.array_equal(a, b) for a, b in zip(before, after)), "a learning rate of 0 leaves them as they were"


def test_networks_that_may_know_the_cases_or_do_not_fit_are_no_start(cases, run, tmp_path):
    with pytest.raises(ValueError, match="12 cases are those of"):
        experiment.start(tmp_path / "a", cases, TINY | {"start_from": str(run)})
    with pytest.raises(ValueError, match="have size 16, this run has 32"):
        experiment.start(tmp_path / "a", cases, TINY | {"start_from": str(run), "size": 32})
    assert not (tmp_path / "a").exists()


def test_real_patients_are_drawn_as_often_as_asked(run):
    table = pd.read_csv(run / "cohort.csv")
    share = dict.fromkeys(table["case"], "")
    assert experiment._weights(run, share) is None, "synthetic cases only: all alike"
    # not in the run's own folder: a table with real patients
    mixed = table.assign(synthetic=[i > 2 for i in range(len(table))])
    weights = experiment.draw_weights(mixed.set_index("case").loc[list(share)], 0.4)
    assert weights[:3].sum() == pytest.approx(0.4) and weights.sum() == pytest.approx(1)


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
        evaluation.gather(tmp_path)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    "profile", [[], ["--profile", "workflow/slurm", "--executor", "local"]], ids=["here", "cluster"]
)
def test_the_workflow_plans_all_networks_of_all_folds(tmp_path, profile):
    command = [
        Path(sys.executable).with_name("snakemake"),
        "-s",
        "workflow/experiment.smk",
        "--dry-run",
        "--cores",
        "2",
    ]
    plan = subprocess.run(
        [*command, *profile, "--nolock", "--config", f"run={tmp_path}/run"], cwd=ROOT, capture_output=True, text=True
    )
    assert plan.returncode == 0, plan.stdout + plan.stderr
    counts = dict(line.split() for line in (plan.stdout + plan.stderr).splitlines() if len(line.split()) == 2)
    rules = ("train_segmenter", "train_inpainter", "infer", "train_dice_regressor", "predict")
    assert [counts[rule] for rule in rules] == ["5", "5", "5", "20", "5"]


def test_the_cluster_profile_names_rules_that_there_are():
    profile = yaml.safe_load((ROOT / "workflow" / "slurm" / "config.yaml").read_text())
    rules = set(re.findall(r"^rule (\w+):", (ROOT / "workflow" / "experiment.smk").read_text(), re.M))
    assert set(profile["set-resources"]) <= rules
