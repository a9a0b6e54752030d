"""The command: bad input, what is written where, going on, folders and BIDS data sets."""

import json
import os
import subprocess
import sys
import types
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from wmhqc import reference
from wmhqc.features import FEATURES
from wmhqc.files import sha256
from wmhqc.screen import batch, calibration, cli, judge, records
from wmhqc.screen.labels import SCORE

ROOT = Path(__file__).resolve().parents[1]


def make_scan(folder, case, seed=0, flair_name="FLAIR", lesion=True):
    """Write a scan of 40 voxels a side: a ball of brain, a box of lesion."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(40) - 19.5] * 3, indexing="ij"))
    brain = (grid**2).sum(0) < 17**2
    box = (np.abs(grid - np.array([6, 4, 2]).reshape(3, 1, 1, 1)) < 2.6).all(0)
    noise = rng.normal(0, 20, (2, *brain.shape))
    images = {
        "T1w": np.where(brain, 600 + noise[0], 0).clip(0).astype(np.int16),
        flair_name: np.where(brain, 400 + noise[1] + 300 * box, 0).clip(0).astype(np.int16),
        "brainmask": brain.astype(np.uint8),
    } | ({"lesion": box.astype(np.uint8)} if lesion else {})
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in images.items():
        nib.save(nib.Nifti1Image(array, np.diag([3.4, 3.4, 3.4, 1])), folder / f"{case}_{name}.nii.gz")
    return folder


@pytest.fixture
def scans(tmp_path):
    """Three scans in a plain folder."""
    for i, case in enumerate(("sub-a", "sub-b", "sub-c")):
        make_scan(tmp_path / "scans" / case, case, i)
    return tmp_path / "scans"


@pytest.fixture
def judged(tmp_path, monkeypatch):
    """A reference without networks: the lesion is found, the scores are made up. Lists who was judged."""
    folder = tmp_path / "reference"
    folder.mkdir()
    (folder / "manifest.json").write_text("{}")
    monkeypatch.setattr(reference, "folder", lambda: folder)
    rng = np.random.default_rng(0)
    dice = rng.uniform(0.2, 0.95, 60)
    table = pd.DataFrame({"case": [f"c{i}" for i in range(60)], SCORE: dice, "lesion_dice": dice})
    table = table.assign(**{name: 100 + 500 * rng.standard_normal(60) for name in FEATURES})
    monkeypatch.setattr(calibration, "reference_cases", lambda: table)
    network = types.SimpleNamespace(input_shape=(None, 32, 32, 32, 2))
    monkeypatch.setattr(batch, "_networks", lambda: {"mc_unet": network})
    batch._calibration.cache_clear()
    seen = []

    def assess(prepared, networks, mask, passes, seed):
        from wmhqc.uncertainty import summarise

        seen.append(prepared.case)
        mc = summarise([np.where(prepared.volume[..., 1] > 200, 0.9, 0)])
        error = np.zeros(mc.mean.shape, np.float32)
        judged = mc.mask if mask is None else np.roll(mc.mask, 1, 0)
        maps = {"prediction": mc.mean, "uncertainty": mc.entropy, "error": error}
        return maps, judge.mask_scores(prepared, judged, mc, error) | {SCORE: 0.9}

    monkeypatch.setattr(judge, "assess", assess)
    return seen


def files(folder):
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns for path in Path(folder).rglob("*") if path.is_file()
    }


def one(scans, case="sub-a", **changes):
    paths = {"flair": "FLAIR", "t1": "T1w", "brainmask": "brainmask"}
    given = {name: str(scans / case / f"{case}_{ending}.nii.gz") for name, ending in paths.items()} | changes
    return ["qc", *(word for name, path in given.items() if path for word in (f"--{name}", path))]


# ---------------------------------------------------------------- the program


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


def test_a_brain_is_extracted_only_where_a_mask_is_missing(scans, judged, tmp_path, capsys):
    command = ["qc", str(scans), "--extract-brain", "--out", str(tmp_path / "out")]
    (scans / "sub-b" / "sub-b_brainmask.nii.gz").unlink()
    assert cli.main(command) == 2 and "pip install deepbet" in capsys.readouterr().err and judged == []
    assert cli.main([*command, "--cases", "sub-a"]) == 0


@pytest.mark.parametrize("words", [["--risk", "0"], ["--confidence-level", "1"], ["--jobs", "0"], ["--passes", "x"]])
def test_bad_numbers_are_refused(words):
    with pytest.raises(SystemExit) as refused:
        cli.main(["qc", "scans", "--out", "o", *words])
    assert refused.value.code == 2


def test_a_bad_scan_is_named_before_any_work(scans, judged, tmp_path, capsys):
    (scans / "sub-b" / "sub-b_FLAIR.nii.gz").write_bytes(b"no image")
    (scans / "sub-c" / "sub-c_T1w.nii.gz").unlink()
    assert cli.main(["qc", str(scans), "--out", str(tmp_path / "out")]) == 2
    text = capsys.readouterr().err
    assert (
        "sub-b_FLAIR.nii.gz is damaged" in text and "sub-c_T1w.nii.gz does not exist" in text and "--skip-bad" in text
    )
    assert judged == [] and not (tmp_path / "out").exists()


def test_a_bad_scan_can_be_left_out(scans, judged, tmp_path):
    (scans / "sub-b" / "sub-b_FLAIR.nii.gz").write_bytes(b"no image")
    assert cli.main(["qc", str(scans), "--skip-bad", "--out", str(tmp_path / "out")]) == 3
    table = pd.read_csv(tmp_path / "out" / "group.tsv", sep="\t").set_index("case")
    assert judged == ["sub-a", "sub-c"] and list(table.index) == ["sub-a", "sub-b", "sub-c"]
    assert table.loc["sub-b", "verdict"] == "not judged" and "is damaged" in table.loc["sub-b", "reasons"]
    # Mended, it is judged; the others are not judged again.
    make_scan(scans / "sub-b", "sub-b", 1)
    assert cli.main(["qc", str(scans), "--out", str(tmp_path / "out")]) == 0
    assert judged == ["sub-a", "sub-c", "sub-b"]


# ---------------------------------------------------------------- what is written


def test_one_scan(scans, judged, tmp_path, capsys):
    out = tmp_path / "out"
    lesion = str(scans / "sub-a" / "sub-a_lesion.nii.gz")
    assert cli.main([*one(scans, lesion=lesion), "--out", str(out)]) == 0
    assert "sub-a: accept (guarantee applies), predicted Dice 0.90 [" in capsys.readouterr().out
    anat = "sub-a/anat/sub-a_"
    maps = {f"{anat}{ending}.nii.gz" for ending in records.MAPS.values()}
    assert set(files(out)) == {"dataset_description.json", "sub-a.html", f"{anat}qc.json"} | maps
    scan = nib.load(scans / "sub-a" / "sub-a_FLAIR.nii.gz")
    for name in maps:
        image = nib.load(out / name)
        assert image.shape == scan.shape and np.array_equal(image.affine, scan.affine)
    record = json.loads((out / f"{anat}qc.json").read_text())
    assert record["verdict"] == "accept" and record["truth"]["dice_on_scan"] > 0.7
    assert record["inputs"]["flair"]["sha256"] == sha256(scans / "sub-a" / "sub-a_FLAIR.nii.gz")
    assert set(record["files"].values()) == maps
    description = json.loads((out / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative" and description["GeneratedBy"][0]["Name"] == "wmhqc"


def test_a_given_segmentation_is_judged_in_place_of_ours(scans, judged, tmp_path):
    segmentation = str(scans / "sub-a" / "sub-a_lesion.nii.gz")
    assert cli.main([*one(scans, segmentation=segmentation), "--out", str(tmp_path / "out")]) == 0
    record = json.loads((tmp_path / "out" / "sub-a" / "anat" / "sub-a_qc.json").read_text())
    assert record["judged"] == "given" and record["verdict"] == "review" and "agreement_dice" in record["scores"]
    assert "given segmentation" in (tmp_path / "out" / "sub-a.html").read_text()


def test_a_folder_gets_a_table_and_a_group_report(scans, judged, tmp_path):
    out = scans / "derivatives"  # may lie inside
    before = files(scans)
    assert cli.main(["qc", str(scans), "--out", str(out)]) == 0
    assert {name: time for name, time in files(scans).items() if not name.startswith("derivatives/")} == before
    table = pd.read_csv(out / "group.tsv", sep="\t")
    assert table["case"].tolist() == ["sub-a", "sub-b", "sub-c"] and table["lesion_dice"].notna().all()
    html = (out / "group.html").read_text()
    assert all(f'href="sub-{name}.html"' in html for name in "abc")


def test_goes_on_where_it_was(scans, judged, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["qc", str(scans), "--out", str(out)]
    assert cli.main([*command, "--cases", "sub-b"]) == 0
    assert judged == ["sub-b"] and not (out / "group.tsv").exists()
    kept = files(out)
    assert cli.main(command) == 0
    assert judged == ["sub-b", "sub-a", "sub-c"] and "1 of 3 are there already" in capsys.readouterr().out
    assert {name: files(out)[name] for name in kept} == kept
    # A scan that has changed, and another setting, are judged anew.
    make_scan(scans / "sub-a", "sub-a", 7)
    assert cli.main(command) == 0 and judged[3:] == ["sub-a"]
    assert cli.main([*command, "--risk", "0.2"]) == 0 and sorted(judged[4:]) == ["sub-a", "sub-b", "sub-c"]


def test_a_case_that_breaks_does_not_stop_the_others(scans, judged, tmp_path, monkeypatch, capsys):
    right = judge.judge

    def breaks(row, *arguments, **options):
        if row["case"] == "sub-b":
            raise MemoryError("too large")
        return right(row, *arguments, **options)

    monkeypatch.setattr(judge, "judge", breaks)
    assert cli.main(["qc", str(scans), "--out", str(tmp_path / "out")]) == 3
    assert "sub-b: not judged: MemoryError: too large" in capsys.readouterr().out
    assert judged == ["sub-a", "sub-c"]
    table = pd.read_csv(tmp_path / "out" / "group.tsv", sep="\t").set_index("case")
    assert table.loc["sub-b", "verdict"] == "not judged" and "too large" in table.loc["sub-b", "reasons"]
    monkeypatch.setattr(judge, "judge", right)
    assert cli.main(["qc", str(scans), "--out", str(tmp_path / "out")]) == 0 and judged[2:] == ["sub-b"]


def test_a_bids_data_set(tmp_path, judged):
    root = tmp_path / "bids"
    for session in ("ses-1", "ses-2"):
        make_scan(root / "sub-a" / session / "anat", f"sub-a_{session}", lesion=False)
    (root / "dataset_description.json").write_text(json.dumps({"Name": "mine", "BIDSVersion": "1.9.0"}))
    out = root / "derivatives" / "wmhqc"
    template = "{folder}/{case}_brainmask.nii.gz"
    assert cli.main(["qc", str(root), "--brainmask", template, "--out", str(out)]) == 0
    assert (out / "sub-a" / "ses-2" / "anat" / "sub-a_ses-2_label-WMH_probseg.nii.gz").exists()
    assert json.loads((root / "dataset_description.json").read_text())["Name"] == "mine"
    assert json.loads((out / "dataset_description.json").read_text())["SourceDatasets"][0]["URL"] == root.as_uri()
    # The results are not taken for cases, and with the data set itself as DIR nothing is overwritten.
    assert cli.main(["qc", str(root), "--brainmask", template, "--out", str(out)]) == 0 and len(judged) == 2
    assert cli.main(["qc", str(root), "--brainmask", template, "--out", str(root)]) == 2


def test_results_of_labelled_scans_calibrate(scans, judged, tmp_path):
    out = tmp_path / "out"
    assert cli.main(["qc", str(scans), "--out", str(out)]) == 0
    assert cli.main([*one(scans), "--calibration", str(out / "group.tsv"), "--out", str(tmp_path / "second")]) == 0
    record = json.loads((tmp_path / "second" / "sub-a" / "anat" / "sub-a_qc.json").read_text())
    # two of the three, since a scan is not calibrated on itself
    assert record["predicted_dice"]["cases"] == 2 and record["verdict"] == "review" and "out/group.tsv" in record["calibration"]
    assert "known of 2 scans only" in " ".join(record["reasons"])
    assert cli.main([*one(scans), "--calibration", str(out / "group.tsv"), "--out", str(out)]) == 2


def test_an_own_result_is_not_read_as_mask_of_the_case(scans, judged, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main([*one(scans), "--out", str(out)]) == 0
    kept = files(out)
    mask = out / "sub-a" / "anat" / "sub-a_label-WMH_mask.nii.gz"
    assert cli.main([*one(scans, segmentation=str(mask)), "--out", str(out)]) == 2
    assert "would be replaced" in capsys.readouterr().err and files(out) == kept
    assert cli.main([*one(scans, segmentation=str(mask)), "--out", str(tmp_path / "second")]) == 0


def test_a_killed_process_ends_the_run_and_says_so(monkeypatch):
    for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        monkeypatch.setenv(name, "")
    with pytest.raises(MemoryError, match="goes on where it was, better with fewer --jobs"):
        list(batch.each(die, [{"case": name} for name in "abcd"], 2))


def die(row):
    os._exit(1)


def test_a_note_says_when_no_scan_can_be_accepted(scans, judged, tmp_path, capsys):
    assert cli.main([*one(scans), "--out", str(tmp_path / "out")]) == 0
    assert "every scan will be for review" not in capsys.readouterr().out
    assert cli.main([*one(scans), "--risk", "0.0001", "--out", str(tmp_path / "out")]) == 0
    assert "So every scan will be for review" in capsys.readouterr().out


def test_another_scan_of_the_same_name_does_not_replace_the_first(scans, judged, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main([*one(scans), "--out", str(out)]) == 0
    kept = files(out)
    other = [*one(scans, "sub-b"), "--case", "sub-a", "--out", str(out)]
    assert cli.main(other) == 2 and "result of another scan under the name sub-a" in capsys.readouterr().err
    assert files(out) == kept
    # The same scan, moved elsewhere, is the same scan.
    os.rename(scans / "sub-a", scans / "moved")
    moved = [word.replace("/sub-a/", "/moved/") for word in one(scans)]
    assert cli.main([*moved, "--out", str(out)]) == 0


def test_a_case_that_became_bad_keeps_no_old_verdict(scans, judged, tmp_path):
    out = tmp_path / "out"
    assert cli.main(["qc", str(scans), "--out", str(out)]) == 0
    (scans / "sub-b" / "sub-b_FLAIR.nii.gz").write_bytes(b"no image")
    assert cli.main(["qc", str(scans), "--skip-bad", "--out", str(out)]) == 3
    assert {name for name in files(out) if "sub-b" in name} == {"sub-b/anat/sub-b_qc.json"}


def test_a_result_of_which_a_file_is_lost_is_made_again(scans, judged, tmp_path):
    command = [*one(scans), "--out", str(tmp_path / "out")]
    assert cli.main(command) == 0 and cli.main(command) == 0 and judged == ["sub-a"]
    (tmp_path / "out" / "sub-a.html").unlink()
    assert cli.main(command) == 0 and judged == ["sub-a", "sub-a"]


def test_leftovers_of_a_killed_process_do_not_reach_the_table(scans, judged, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main(["qc", str(scans), "--out", str(out)]) == 0
    (out / "sub-a" / "anat" / ".12-ab.sub-a_qc.json").write_text("")
    assert cli.main(["group", str(out)]) == 0 and len(pd.read_csv(out / "group.tsv", sep="\t")) == 3
    (out / "sub-a" / "anat" / "sub-a_qc.json").write_text("{")
    assert cli.main(["group", str(out)]) == 2 and "sub-a_qc.json is no record" in capsys.readouterr().err


def test_the_table_has_one_line_a_scan(scans, judged, tmp_path):
    (scans / "sub-b" / "sub-b_FLAIR.nii.gz").write_bytes(b"no image")  # its problem has two lines
    assert cli.main(["qc", str(scans), "--skip-bad", "--out", str(tmp_path / "out")]) == 3
    lines = (tmp_path / "out" / "group.tsv").read_text().splitlines()
    assert len(lines) == 4 and len({line.count("\t") for line in lines}) == 1


def test_an_empty_manual_mask_is_a_truth_too(scans, judged, tmp_path):
    lesion = scans / "sub-a" / "sub-a_lesion.nii.gz"
    image = nib.load(lesion)
    nib.save(nib.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine), lesion)
    assert cli.main([*one(scans, lesion=str(lesion)), "--out", str(tmp_path / "out")]) == 0
    record = json.loads((tmp_path / "out" / "sub-a" / "anat" / "sub-a_qc.json").read_text())
    assert record["truth"]["lesion_dice"] == 0 and record["notes"] == ["The lesion mask is empty."]


def test_maps_keep_what_the_header_of_the_scan_says(scans, judged, tmp_path):
    path = scans / "sub-a" / "sub-a_FLAIR.nii.gz"
    image = nib.load(path)
    changed = nib.Nifti1Image(np.asanyarray(image.dataobj), image.affine)
    changed.set_qform(image.affine, 1), changed.set_sform(image.affine, 4)
    nib.save(changed, path)
    assert cli.main([*one(scans), "--out", str(tmp_path / "out")]) == 0
    made = nib.load(tmp_path / "out" / "sub-a" / "anat" / "sub-a_label-WMH_mask.nii.gz")
    assert (int(made.header["qform_code"]), int(made.header["sform_code"])) == (1, 4)
    assert np.allclose(made.affine, image.affine)


# ---------------------------------------------------------------- names, and nothing outside


def test_names_from_outside_make_no_paths(scans, judged, tmp_path):
    hostile = scans / "sub-a" / '"><img src=x onerror=alert(1)>_FLAIR.nii.gz'
    os.rename(scans / "sub-a" / "sub-a_FLAIR.nii.gz", hostile)
    assert cli.main([*one(scans, flair=str(hostile)), "--out", str(tmp_path / "out")]) == 0
    made = [path for path in (tmp_path / "out").glob("*.html")]
    assert [path.name for path in made] == ["img-src-x-onerror-alert-1.html"]
    assert "<img" not in made[0].read_text() and "&lt;img src=x onerror" in made[0].read_text()


@pytest.mark.parametrize("name", ["../../evil", "/etc/evil", "..", "a/../../b", "-", "\x00", "C:\\evil", ".hidden"])
def test_a_case_name_stays_a_name(name):
    made = records.case_name(name)
    assert made and "/" not in made and "\\" not in made and not made.startswith((".", "-"))


def test_links_do_not_lead_out(scans, judged, tmp_path, capsys):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert cli.main([*one(scans), "--out", str(out)]) == 0
    (out / "sub-b").symlink_to(elsewhere)
    assert cli.main([*one(scans, "sub-b"), "--out", str(out)]) == 3
    assert "leads out of" in capsys.readouterr().out and list(elsewhere.iterdir()) == []


def test_nothing_is_written_outside(scans, judged, tmp_path, monkeypatch):
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir(), work.mkdir()
    for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.chdir(work)
    before = files(scans)
    assert cli.main(["qc", str(scans), "--resample", "--out", str(tmp_path / "out")]) == 0
    assert files(scans) == before and not list(home.iterdir()) and not list(work.iterdir())


# ---------------------------------------------------------------- parallel, fetch


def shout(row, *arguments):
    return f"{row['case']} {os.getpid()} {os.environ['OMP_NUM_THREADS']} {arguments}"


def test_processes_share_the_work(monkeypatch):
    for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    done = dict(batch.each(shout, [{"case": name} for name in "abcd"], 2, 5))
    assert set(done) == set("abcd")
    assert all(done[name].split()[0] == name and done[name].endswith("4 (5,)") for name in done)
    assert str(os.getpid()) not in {text.split()[1] for text in done.values()}


def test_fetch_says_where_and_whose(monkeypatch, capsys):
    from wmhqc.sources import download

    asked = []
    table = pd.DataFrame({"flair": ["there/sub-a/sub-a_FLAIR.nii.gz"], "licence": ["CC BY"], "citation": ["Lesjak"]})
    monkeypatch.setattr(download, "fetch_ms17", lambda folder, patients: asked.append((folder, patients)) or table)
    assert cli.main(["fetch", "--patients", "7", "19", "--folder", "there"]) == 0
    assert asked == [("there", [7, 19])] and "1 patients. CC BY: Lesjak" in capsys.readouterr().out


def test_snakemake_deals_the_cases_to_jobs(scans, tmp_path):
    """workflow/qc.smk with a `wmhqc` that only notes how it is called."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "wmhqc").write_text(
        '#!/bin/sh\necho "$@" >> "$CALLS"\n'
        'if [ "$1" = group ]; then touch "$2/group.tsv" "$2/group.html"; else exit 3; fi\n'  # 3: a scan was left out
    )
    (tools / "wmhqc").chmod(0o755)
    out, calls = tmp_path / "my results", tmp_path / "calls"
    environment = os.environ | {
        "PATH": f"{tools}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "CALLS": str(calls),
        "XDG_CACHE_HOME": str(tmp_path),
    }  # fmt: skip
    command = [sys.executable, *"-m snakemake --cores 2 --quiet -s".split(), str(ROOT / "workflow" / "qc.smk"), "--config"]
    command += [f"source={scans}", f"out={out}", "batch=2", "options=--risk 0.2 --brainmask {folder}/{case}_brainmask.nii.gz"]
    done = subprocess.run(command, check=False, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    *jobs, last = calls.read_text().splitlines()
    assert last == f"group {out}" and 1 <= len(jobs) <= 2
    for job in jobs:
        assert job.startswith(f"qc {scans} --out {out} --skip-bad --cases ")
        assert job.endswith("--risk 0.2 --brainmask {folder}/{case}_brainmask.nii.gz")
    named = [case for job in jobs for case in job.split("--cases ")[1].split(" --risk")[0].split()]
    assert sorted(named) == ["sub-a", "sub-b", "sub-c"]
    # Called again nothing is done; a scan that has changed, or another option, is seen.
    def again():
        calls.write_text("")
        done = subprocess.run(command, check=False, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return [line for line in calls.read_text().splitlines() if line.startswith("qc ")]

    assert again() == []
    os.utime(scans / "sub-b" / "sub-b_brainmask.nii.gz")
    assert len(again()) == 1
    make_scan(scans / "sub-a", "sub-a", 9)
    assert len(again()) == 1
    command[-1] = command[-1].replace("0.2", "0.3")
    assert len(again()) == len(jobs)
    # The workflow keeps its notes in the folder of results, which is not refused for that.
    assert (out / ".batches").is_dir()
    (out / "group.tsv").unlink(), (out / "group.html").unlink()
    assert records.output_folder(out) == out
