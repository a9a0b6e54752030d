"""What chapters find and make: which networks judge which case, what is kept, what is made anew."""

import functools
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import papermill
import pytest

import tiny
from wmhqc import cohort, reference
from wmhqc.book import own, stages
from wmhqc.files import load_maps
from wmhqc.release import release
from wmhqc.sources import available, synthetic

BOOK = Path(__file__).resolve().parents[1] / "book"
SHORT = {"epochs": 1, "steps": 1, "progress": False}


@pytest.fixture(autouse=True)
def small(tiny_run, tmp_path_factory, monkeypatch):
    """The tiny run as the reference; coarse synthetic cases; no real patients."""
    released = tmp_path_factory.getbasetemp() / "released"
    if not released.exists():
        release(tiny_run, released)
    monkeypatch.setenv("WMHQC_REFERENCE", str(released))
    monkeypatch.setattr(synthetic, "make_cohort", functools.partial(synthetic.make_cohort, voxel=(4, 4, 4)))
    none = cohort.read_csv(tiny_run / "cohort.csv").iloc[:0]
    monkeypatch.setattr(available, "real_patients", lambda *_, **__: (none, "no real patients"))
    with tiny.without_graph():
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("run")


@pytest.fixture
def run(folder):
    """A folder with the cohort and the uncertainty maps of three passes."""
    stages.data(folder, size=16, jobs=1)
    stages.uncertainty(folder, passes=3)
    return folder


def test_the_cohort_is_what_the_first_fold_judges_and_some_of_what_it_learns_from(run, monkeypatch):
    part = pd.Series(reference.parts())
    table = stages.data(run)
    assert table["split"].tolist() == part[table["case"]].tolist()
    assert set(part.index[part != "train"]) <= set(table["case"])
    assert (table["split"] == "train").sum() == min((part == "train").sum(), stages.TRAINING_CASES)
    assert sorted(path.stem for path in (run / "data" / "prepared").iterdir()) == sorted(table["case"])
    assert len(reference.otherwise(table)) == 0
    monkeypatch.setattr(stages, "_cohort", lambda *_: pytest.fail("made a second time"))
    pd.testing.assert_frame_equal(stages.data(run, size=16), table)


def test_each_case_is_judged_by_the_fold_that_tests_it(run):
    cases = stages.uncertainty(run)
    folds = reference.table("folds").set_index("case")
    assert len(cases) and (cases["split"] != "train").all(), "the reference networks know their training cases"
    assert all(folds.loc[row.case, f"fold_{row.network}"] == "test" for row in cases.itertuples())
    ours = reference.cases("test").set_index("case")["vs_uncertainty"].reindex(cases["case"])
    here = cases.set_index("case")["vs_uncertainty"][ours.notna().to_numpy()]
    np.testing.assert_allclose(here, ours.dropna(), rtol=0.05)  # weights of half the digits


def test_a_stranger_is_judged_by_all_networks(run, tmp_path):
    table = stages.data(run).iloc[:1].assign(case="sub-new")
    assert reference.unseen(table["case"]).isna().all()
    assert stages.networks(run, "all", ("rec_unet",)).keys() == {"rec_unet"}
    assert len(stages.networks(run, "all")["mc_unet"]) == len(reference.folds())


def test_what_is_there_is_kept_and_what_is_asked_for_otherwise_is_made_anew(run):
    places = list((run / "uncertainty" / "maps").glob("*.npz"))
    before = [path.stat().st_mtime_ns for path in places]
    stages.uncertainty(run)
    stages.error_maps(run)
    assert [path.stat().st_mtime_ns for path in places] == before, "three passes, as the chapter before said"
    (places[0]).write_bytes(b"")
    places[0].unlink()
    stages.uncertainty(run)
    assert places[0].exists()
    one = stages.uncertainty(run, passes=1)
    assert (one["pairwise_dice"].isna() | (one["pairwise_dice"] == 1)).all()
    assert stages.uncertainty(run).equals(one)
    stages.uncertainty(run, passes=3)


def test_maps_of_a_case_belong_together(run):
    row = stages.error_maps(run).iloc[0]
    prepared, maps = stages.load(run, row["case"])
    np.testing.assert_allclose(maps["error"], prepared.volume[..., 1] / 255 - maps["reconstruction"])
    assert set(maps) == {"mean", "entropy", "mask", "reconstruction", "error"}
    assert row["vs_error"] == pytest.approx(maps["error"].sum() * prepared.voxel_mm3, rel=1e-4)
    assert row["vs_error_inside"] == pytest.approx(
        maps["error"][maps["mask"]].sum() * prepared.voxel_mm3, rel=1e-4, abs=1e-4
    )


@pytest.mark.parametrize("changes", [{"size": 32}, {"size": 16, "seed": 1}])
def test_the_reference_networks_take_their_own_size_and_cases_only(tmp_path, changes):
    with pytest.raises(ValueError, match="read cubes of 16 voxels.*train = True"):
        stages.data(tmp_path, jobs=1, **changes)
    assert not list(tmp_path.iterdir())


def test_an_unknown_setting_is_refused(tmp_path):
    with pytest.raises(ValueError, match="unknown settings sizes"):
        stages.data(tmp_path, sizes=16)


def test_networks_of_ones_own_go_on(tmp_path):
    table = stages.data(tmp_path, size=16, jobs=1, cases=12)
    assert table["split"].value_counts().to_dict().keys() == {"train", "validation", "test"}
    own.segmenter(tmp_path, **SHORT)
    histories = own.out_of_fold(tmp_path, 2, **SHORT)
    networks = pd.read_csv(tmp_path / "training" / "networks.csv").set_index("case")["network"]
    for name in histories:
        drawn = pd.read_json(tmp_path / "training" / name / "lineage.json", typ="series")["cases"]
        assert not set(drawn) & set(networks.index[networks == name]), "none judges a case that it may have seen"
    with pytest.raises(FileNotFoundError, match="rec_unet holds no trained network; run the chapter 'error_maps'"):
        stages.uncertainty(tmp_path, passes=2)
        stages.error_maps(tmp_path)
    own.inpainter(tmp_path, **SHORT)
    cases, _ = own.dice_regressors(tmp_path, **SHORT)
    assert set(cases["case"]) == set(table["case"]) and cases["predicted_dice_error"].notna().all()
    assert "mean" in load_maps(tmp_path / "uncertainty" / "maps" / f"{table['case'][0]}.npz")


def test_a_training_of_other_settings_begins_anew(tmp_path):
    stages.data(tmp_path, size=16, jobs=1, cases=12)
    first = own.segmenter(tmp_path, **SHORT)[1]
    assert own.segmenter(tmp_path, **SHORT)[1].equals(first), "kept"
    assert len(own.segmenter(tmp_path, **SHORT | {"epochs": 2})[1]) == 2, "goes on"
    assert len(own.segmenter(tmp_path, slopes="voxel", **SHORT)[1]) == 1


@pytest.mark.slow
def test_chapters_go_on_with_a_released_run(tmp_path):
    """What the default book does, `train = False`, at the smallest size: networks and results of a released run."""
    run = tmp_path / "run"
    chapters = {
        "data": {"size": 16, "ms17": False},
        "training": {"epochs": 1, "steps": 2},
        "uncertainty": {"passes": 3},
    }
    for chapter in (*chapters, "error_maps", "vs_thresholds", "dice_regression"):
        source, given = str(BOOK / f"{chapter}.ipynb"), {"run": str(run), **chapters.get(chapter, {})}
        papermill.execute_notebook(
            source, None, parameters=given, kernel_name="python3", cwd=str(tmp_path), progress_bar=False
        )
    rows = pd.read_csv(run / "error_maps" / "cases.csv", dtype={"network": str})
    folds = reference.table("folds").set_index("case")
    known = rows[rows["case"].isin(folds.index)]
    assert len(known) and all(folds.loc[row.case, f"fold_{row.network}"] == "test" for row in known.itertuples())
    # a chapter opened alone makes what the chapters before it would have made
    shutil.copytree(run / "data", tmp_path / "fresh" / "data")
    stages.uncertainty(tmp_path / "fresh", passes=3)
    alone = stages.error_maps(tmp_path / "fresh")
    columns = ["lesion_dice", "vs_uncertainty", *stages.OF_ERROR_MAPS]
    np.testing.assert_allclose(alone[columns], rows[columns], rtol=1e-4)
