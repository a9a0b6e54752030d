"""The command: help, bad input, MS17."""

import subprocess
import sys

import pandas as pd
import pytest
from scans import files

from wmhqc import cohort
from wmhqc.screen import cli
from wmhqc.sources import layouts


def test_help_and_import_are_light():
    code = (
        "import sys; from wmhqc.screen import cli\n"
        "for words in (['--help'], ['qc', '--help'], ['--version']):\n"
        "    try: cli.main(words)\n"
        "    except SystemExit as done: assert done.code == 0\n"
        "heavy = {'tensorflow', 'keras', 'numpy', 'pandas', 'matplotlib', 'nibabel', 'jinja2'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for word in ("--flair", "--segmentation", "--calibration", "fetch", "group"):
        assert word in done.stdout


def test_keras_is_imported_only_when_a_scan_is_judged():
    code = "import sys, wmhqc.screen.batch; assert not {'keras', 'tensorflow', 'jax'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["qc", "--out", "o"], "give FOLDER, or --flair and --t1"),
        (["qc", "scans", "--flair", "f.nii", "--out", "o"], "not both"),
        (["qc", "scans", "--segmentation", "s.nii.gz", "--out", "o"], "must hold {case}, {folder} or {path}"),
        (["qc", "scans", "--program", "LST", "--out", "o"], "give both"),
        (["qc", "--flair", "group.nii.gz", "--t1", "t.nii.gz", "--out", "o"], "cannot be called group"),
        (["qc", "scans", "--cases", "sub-x", "--out", "o"], "has no case sub-x; it has sub-a"),
        (["qc", "nowhere", "--out", "o"], "is not a folder"),
        (["qc", "scans", "--out", "scans"], "give a folder of its own"),
        (["qc", "scans", "--out", "scans/sub-a"], "was not made by wmhqc qc"),
        (["qc", "scans", "--out", "scans/sub-a/sub-a_T1w.nii.gz"], "is a file"),
        (["qc", "scans", "--calibration", "none.tsv", "--out", "o"], "none.tsv does not exist"),
        (["group", "scans"], "was not made by wmhqc qc"),
    ],
)
def test_bad_input_is_refused_and_nothing_written(scans, judged, monkeypatch, capsys, words, message):
    monkeypatch.chdir(scans.parent)
    before = files(scans.parent)
    assert cli.main(words) == 2
    assert message in capsys.readouterr().err
    assert files(scans.parent) == before and judged == []


@pytest.mark.parametrize(
    "words", [["--risk", "0"], ["--risk", "0.4"], ["--confidence-level", "1"], ["--jobs", "0"], ["--passes", "x"]]
)
def test_bad_numbers_are_refused(words):
    with pytest.raises(SystemExit) as refused:
        cli.main(["qc", "scans", "--out", "o", *words])
    assert refused.value.code == 2


def test_cohort_prints_a_table_that_can_be_read_back(tmp_path, capsys):
    for name in ("pre/T1", "pre/FLAIR", "wmh"):
        path = tmp_path / "set" / "Utrecht" / "7" / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert cli.main(["cohort", "miccai17", str(tmp_path / "set")]) == 0
    printed = capsys.readouterr()
    (tmp_path / "mine.csv").write_text(printed.out)
    table = cohort.read_csv(tmp_path / "mine.csv")
    pd.testing.assert_frame_equal(table, layouts.read_miccai17(tmp_path / "set"))
    assert "1 cases, 1 without a brain mask" in printed.err
    assert cli.main(["cohort", "ms16", str(tmp_path / "set")]) == 2 and "no case found" in capsys.readouterr().err
    assert set(cli.LAYOUTS) == {"bids", *layouts.READERS}


def test_fetch_says_where_and_whose(monkeypatch, capsys):
    from wmhqc.sources import download

    asked = []
    table = pd.DataFrame({"flair": ["there/sub-a/sub-a_FLAIR.nii.gz"], "licence": ["CC BY"], "citation": ["Lesjak"]})
    monkeypatch.setattr(download, "fetch_ms17", lambda folder, patients: asked.append((folder, patients)) or table)
    assert cli.main(["fetch", "--patients", "7", "19", "--folder", "there"]) == 0
    assert asked == [("there", [7, 19])]
    assert capsys.readouterr().out.splitlines() == ["1 patients. CC BY: Lesjak", "there"]


def test_calibrate_judges_what_was_downloaded(scans, judged, monkeypatch, capsys):
    from wmhqc.screen import calibration
    from wmhqc.sources import download

    flairs = [str(path) for path in sorted(scans.glob("*/*_FLAIR.nii.gz"))]
    table = pd.DataFrame({"flair": flairs, "licence": "CC BY", "citation": "Lesjak"})
    monkeypatch.setattr(download, "fetch_ms17", lambda folder, patients: table)
    out = scans.parent / "ms17"
    assert cli.main(["calibrate", "ms17", "--out", str(out)]) == 0
    assert judged == ["sub-a", "sub-b", "sub-c"]
    assert f"--calibration {out}/group.tsv" in capsys.readouterr().out
    assert len(calibration.read_calibration(out / "group.tsv")) == 3


def test_calibrate_on_patients_of_the_reference_run_asks_networks_that_do_not_know_them(
    shared, tmp_path, monkeypatch, capsys
):
    import json

    monkeypatch.setenv("WMHQC_MS17_URL", (shared / "data/mirror/open_ms_data").as_uri())
    words = ["calibrate", "ms17", "--patients", "7", "--folder", str(tmp_path / "data"), "--out", str(tmp_path / "out")]
    assert cli.main(words) == 0, capsys.readouterr().err
    record = json.loads(next((tmp_path / "out").rglob("*_qc.json")).read_text())
    assert record["truth"]["lesion_dice"] >= 0
    assert any("have not learnt from it" in note for note in record["notes"])


@pytest.mark.parametrize("option", ["--calibration", "--segmentation", "--lesion", "--brainmask", "--t1", "--out"])
def test_an_empty_path_is_not_taken_for_none(option, capsys):
    with pytest.raises(SystemExit):
        cli.main(["qc", "scans", "--out", "o", option, ""])
    assert f"argument {option}: is empty" in capsys.readouterr().err


@pytest.mark.parametrize("label", ["0", "1,0", "9" * 30])
def test_the_background_is_no_label(label):
    with pytest.raises(SystemExit):
        cli.main(["qc", "scans", "--out", "o", "--label", label])
