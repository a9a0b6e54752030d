"""A chapter opened alone.  That it sees the same as after the others: test_experiment, whole chapters."""

import ast
import functools
import re
from pathlib import Path

import pandas as pd
import pytest

import tiny
from wmhqc import cohort, reference
from wmhqc.book import alone
from wmhqc.sources import available, synthetic


@pytest.fixture
def released(tiny_run, tmp_path, monkeypatch):
    reference.release(tiny_run, tmp_path / "released")
    monkeypatch.setenv("WMHQC_REFERENCE", str(tmp_path / "released"))


def test_the_cohort_is_that_of_the_reference_run(released, tiny_run, tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic, "make_cohort", functools.partial(synthetic.make_cohort, voxel=(4, 4, 4)))
    monkeypatch.setattr(available, "real_patients", lambda: (cohort.read_csv(tiny_run / "cohort.csv").iloc[:0], "none"))
    alone.catch_up(tmp_path / "run", "uncertainty", 16)
    table = cohort.read_csv(tmp_path / "run" / "data" / "cohort.csv")
    known = cohort.read_csv(tiny_run / "cohort.csv")
    assert table["lesion_ml"].tolist() == pytest.approx(known["lesion_ml"].tolist())
    assert table["split"].tolist() == [reference.parts()[case] for case in table["case"]]
    networks = pd.read_csv(tmp_path / "run" / "training" / "networks.csv").set_index("case")["network"]
    assert (networks[table.loc[table["split"] == "train", "case"]] != "mc_unet").all(), "none by a network that saw it"
    prepared = sorted((tmp_path / "run" / "data" / "prepared").iterdir())
    assert [path.stem for path in prepared] == sorted(table["case"])


def test_what_is_there_is_left_alone(tmp_path):
    for chapter, file in alone.DONE.items():
        (tmp_path / chapter).mkdir()
        (tmp_path / chapter / file).write_text("mine")
    alone.catch_up(tmp_path, "dice_regression", 77)
    assert all((tmp_path / chapter / file).read_text() == "mine" for chapter, file in alone.DONE.items())


def test_networks_of_another_size_are_no_help(tmp_path):
    with pytest.raises(ValueError, match="no results of 'The data'. Run them first.*size=64 only, not for size=128"):
        alone.catch_up(tmp_path, "training", 128)
    assert not list(tmp_path.iterdir())


def test_a_cohort_that_the_networks_may_know_is_refused(released, tmp_path):
    other = tiny.cohort(tmp_path / "scans").assign(split="train", lesion_ml=1.0)
    (tmp_path / "run" / "data").mkdir(parents=True)
    cohort.write_csv(other, tmp_path / "run" / "data" / "cohort.csv")
    with pytest.raises(ValueError, match="not those of the reference run"):
        alone.catch_up(tmp_path / "run", "dice_regression", 16)


def test_what_comes_before_a_chapter_is_what_the_workflow_says():
    snakefile = (Path(__file__).parents[1] / "workflow" / "Snakefile").read_text()
    after = ast.literal_eval(re.search(r"^AFTER = (\{.*?^\})", snakefile, re.M | re.S).group(1))

    def before(chapter):
        return {name for read in after[chapter] for name in (read, *before(read))}

    assert {chapter: set(names) for chapter, names in alone.BEFORE.items()} == {chapter: before(chapter) for chapter in alone.BEFORE}
    others = {chapter for chapter in after if before(chapter)} - set(alone.BEFORE)
    assert others == {"vs_thresholds"}, "it goes on with the reference run's table"
    assert set(alone.DONE) == set(alone.STAGES) == set().union(*alone.BEFORE.values())
