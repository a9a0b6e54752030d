"""Scans, folders and data sets are judged: what is written where, and going on."""

import errno
import json
import os
import re
import resource
import shutil
import signal

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scans import files, make_scan, one

from wmhqc.files import sha256
from wmhqc.screen import cli, group, judge, output, report


def test_a_brain_is_extracted_only_where_a_mask_is_missing(scans, judged, tmp_path, capsys):
    command = ["qc", str(scans), "--extract-brain", "--out", str(tmp_path / "out")]
    (scans / "sub-b" / "sub-b_brainmask.nii.gz").unlink()
    assert cli.main(command) == 2 and "pip install deepbet" in capsys.readouterr().err and judged == []
    assert cli.main([*command, "--cases", "sub-a"]) == 0


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


def test_one_scan(scans, judged, tmp_path, capsys):
    out = tmp_path / "out"
    lesion = str(scans / "sub-a" / "sub-a_lesion.nii.gz")
    assert cli.main([*one(scans, lesion=lesion), "--out", str(out)]) == 0
    assert "sub-a: accept (guarantee applies), predicted Dice 0.89 [" in capsys.readouterr().out
    anat = "sub-a/anat/sub-a_"
    maps = {f"{anat}{ending}.nii.gz" for ending in output.MAPS.values()}
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
    assert (
        record["predicted_dice"]["cases"] == 2
        and record["verdict"] == "review"
        and "out/group.tsv" in record["calibration"]
    )
    assert "known of 2 scans only" in record["findings"][0]["detail"]
    assert cli.main([*one(scans), "--calibration", str(out / "group.tsv"), "--out", str(out)]) == 2


def test_an_own_result_is_not_read_as_mask_of_the_case(scans, judged, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main([*one(scans), "--out", str(out)]) == 0
    kept = files(out)
    mask = out / "sub-a" / "anat" / "sub-a_label-WMH_mask.nii.gz"
    assert cli.main([*one(scans, segmentation=str(mask)), "--out", str(out)]) == 2
    assert "would be replaced" in capsys.readouterr().err and files(out) == kept
    assert cli.main([*one(scans, segmentation=str(mask)), "--out", str(tmp_path / "second")]) == 0


def test_a_note_says_when_no_scan_can_be_accepted(scans, judged, tmp_path, capsys):
    assert cli.main([*one(scans), "--out", str(tmp_path / "out")]) == 0
    assert "every scan will be for review" not in capsys.readouterr().out
    assert cli.main([*one(scans), "--risk", "0.001", "--out", str(tmp_path / "out")]) == 0
    assert "The best is at most" in capsys.readouterr().out
    mask = ["--segmentation", str(scans / "sub-a" / "sub-a_lesion.nii.gz")]
    assert cli.main([*one(scans), *mask, "--out", str(tmp_path / "out")]) == 0
    assert "so every scan will be for review" in capsys.readouterr().out


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


def test_a_case_that_became_bad_is_not_judged_in_the_table_and_keeps_its_old_files(scans, judged, tmp_path):
    out = tmp_path / "out"
    assert cli.main(["qc", str(scans), "--out", str(out)]) == 0
    kept = {name: time for name, time in files(out).items() if "sub-b" in name}
    (scans / "sub-b" / "sub-b_FLAIR.nii.gz").write_bytes(b"no image")
    assert cli.main(["qc", str(scans), "--skip-bad", "--out", str(out)]) == 3
    found = {name: time for name, time in files(out).items() if "sub-b" in name}
    assert found.pop("sub-b/anat/sub-b_notjudged.json") and found == kept
    table = pd.read_csv(out / "group.tsv", sep="\t").set_index("case")
    assert table.loc["sub-b", "verdict"] == "not judged"
    assert "The result of an earlier call is kept." in table.loc["sub-b", "reasons"]
    make_scan(scans / "sub-b", "sub-b", 1)
    assert cli.main(["qc", str(scans), "--out", str(out)]) == 0
    assert not (out / "sub-b" / "anat" / "sub-b_notjudged.json").exists()


def test_a_result_of_which_a_file_is_lost_is_made_again(scans, judged, tmp_path):
    command = [*one(scans), "--out", str(tmp_path / "out")]
    assert cli.main(command) == 0 and cli.main(command) == 0 and judged == ["sub-a"]
    (tmp_path / "out" / "sub-a.html").unlink()
    assert cli.main(command) == 0 and judged == ["sub-a", "sub-a"]


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


def test_a_manual_mask_that_is_not_bright_is_judged_marked_and_no_calibration_case(scans, judged, tmp_path):
    from wmhqc.screen import calibration

    lesion = scans / "sub-a" / "sub-a_lesion.nii.gz"
    image = nib.load(lesion)
    elsewhere = np.roll(np.asanyarray(image.dataobj), (-6, -12, 7), axis=(0, 1, 2))
    nib.save(nib.Nifti1Image(elsewhere, image.affine), lesion)
    out = tmp_path / "out"
    assert cli.main(["qc", str(scans), "--out", str(out)]) == 0
    record = json.loads((out / "sub-a" / "anat" / "sub-a_qc.json").read_text())
    assert record["truth"]["lesion_dice"] == 0 and record["truth"]["true_contrast"] < 0.8
    assert "The lesion mask is not brighter than its surroundings on FLAIR" in record["notes"][0]
    known = calibration.read_calibration(out / "group.tsv")
    assert known["case"].tolist() == ["sub-b", "sub-c"] and "hardly brighter" in known.attrs["origin"]


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


def test_names_from_outside_make_no_paths(scans, judged, tmp_path):
    hostile = scans / "sub-a" / '"><img src=x onerror=alert(1)>_FLAIR.nii.gz'
    os.rename(scans / "sub-a" / "sub-a_FLAIR.nii.gz", hostile)
    assert cli.main([*one(scans, flair=str(hostile)), "--out", str(tmp_path / "out")]) == 0
    made = [path for path in (tmp_path / "out").glob("*.html")]
    assert [path.name for path in made] == ["img-src-x-onerror-alert-1.html"]
    assert "<img" not in made[0].read_text() and "&lt;img src=x onerror" in made[0].read_text()


@pytest.mark.parametrize("name", ["../../evil", "/etc/evil", "..", "a/../../b", "-", "\x00", "C:\\evil", ".hidden"])
def test_a_case_name_stays_a_name(name):
    made = output.case_name(name)
    assert made and "/" not in made and "\\" not in made and not made.startswith((".", "-"))


def test_links_do_not_lead_out(scans, judged, tmp_path, capsys):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert cli.main([*one(scans), "--out", str(out)]) == 0
    (out / "sub-b").symlink_to(elsewhere)
    assert cli.main([*one(scans, "sub-b"), "--out", str(out)]) == 2
    assert "leads out of" in capsys.readouterr().err and list(elsewhere.iterdir()) == []


def test_nothing_is_written_outside(scans, judged, tmp_path, monkeypatch):
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir(), work.mkdir()
    for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.chdir(work)
    before = files(scans)
    assert cli.main(["qc", str(scans), "--resample", "--out", str(tmp_path / "out")]) == 0
    assert files(scans) == before and not list(home.iterdir()) and not list(work.iterdir())


# ---------------------------------------------------------------- what an earlier call made survives


def full(*arguments, **options):
    raise OSError(errno.ENOSPC, "No space left on device")


def constant_t1(scans):
    """Constant but for two voxels: it passes the checks, and cannot be prepared."""
    path, brain = (scans / "sub-a" / f"sub-a_{name}.nii.gz" for name in ("T1w", "brainmask"))
    image = nib.load(path)
    array = np.where(np.asanyarray(nib.load(brain).dataobj) > 0, 500, np.arange(40)).astype(np.int16)
    array[20, 20, 20:22] = 900, 700
    nib.save(nib.Nifti1Image(array, image.affine), path)


def bad_table(scans):
    (scans.parent / "bad.tsv").write_text("case\tlesion_dice\na\tb\n")


@pytest.mark.parametrize(
    ("words", "change", "status"),
    [
        (["--calibration", "bad.tsv"], bad_table, 2),
        (["--risk", "1e-300"], lambda scans: None, 2),
        (["--risk", "0.2"], constant_t1, 3),
        (["--passes", "7"], lambda scans: None, 0),
    ],
)
def test_results_survive_the_failure_of_a_later_call(scans, judged, tmp_path, monkeypatch, words, change, status):
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out"
    assert cli.main([*one(scans), "--out", str(out)]) == 0
    kept = files(out)
    change(scans)
    if not status:
        monkeypatch.setattr(judge, "judge", full)
    try:
        assert cli.main([*one(scans), "--out", str(out), *words]) == (status or 3)
    except SystemExit as refused:
        assert refused.code == status
    found = files(out)
    found.pop("sub-a/anat/sub-a_notjudged.json", None)
    assert found == kept


def test_a_full_disk_leaves_the_old_result_and_says_so(scans, judged, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    assert cli.main([*one(scans), "--out", str(out)]) == 0
    kept = files(out)
    monkeypatch.setattr(nib.Nifti1Image, "to_filename", full)
    monkeypatch.setattr(output, "write_text", full)
    assert cli.main([*one(scans), "--risk", "0.2", "--out", str(out)]) == 3
    said = capsys.readouterr().out
    assert f"no space is left for {out}/sub-a/anat/sub-a_label-WMH_probseg.nii.gz (No space left on device)" in said
    assert "nor could this be written down: no space is left for the results" in said
    assert files(out) == kept


@pytest.mark.parametrize(
    ("limit", "file"),
    [(20_000, "sub-a.html"), (3000, "sub-a/anat/sub-a_qc.json"), (1000, "sub-a/anat/sub-a_label-WMH_probseg.nii.gz")],
)
def test_a_file_that_the_disk_refuses_is_named(scans, judged, tmp_path, monkeypatch, capsys, limit, file):
    """The limit of the size of a file is met where a full disk would be: while writing."""
    out = tmp_path / "out"
    assert cli.main([*one(scans), "--out", str(out)]) == 0
    kept, before = files(out), resource.getrlimit(resource.RLIMIT_FSIZE)
    if file != "sub-a.html":  # the largest
        monkeypatch.setattr(report, "case", lambda judgement: "short")
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        assert cli.main([*one(scans), "--risk", "0.2", "--out", str(out)]) == 3
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert f"no space is left for {out / file} (File too large); make room" in capsys.readouterr().out
    found = files(out)
    assert found.pop("sub-a/anat/sub-a_notjudged.json") and found == kept


def test_a_full_disk_leaves_the_old_table(scans, judged, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    assert cli.main(["qc", str(scans), "--cases", "sub-a", "--out", str(out)]) == cli.main(["group", str(out)]) == 0
    kept = files(out)
    monkeypatch.setattr(group, "write_text", full)
    assert cli.main(["group", str(out)]) == 2 and "make room" in capsys.readouterr().err and files(out) == kept


def test_files_of_two_calls_are_not_taken_for_one_result(scans, judged, tmp_path):
    command = [*one(scans), "--out", str(tmp_path / "out")]
    assert cli.main(command) == 0
    with open(tmp_path / "out" / "sub-a" / "anat" / "sub-a_label-WMH_mask.nii.gz", "ab") as mask:
        mask.write(b"of another call")
    assert cli.main(command) == 0 and judged == ["sub-a", "sub-a"]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["int", "term"])
def test_a_batch_that_is_stopped_while_it_writes_goes_on(scans, judged, tmp_path, monkeypatch, capsys, number, status):
    out, right = tmp_path / "out", nib.Nifti1Image.to_filename

    def stopped(image, path):
        right(image, path)
        if "sub-b" in path.name:
            os.kill(os.getpid(), number)

    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in the background
    try:
        with monkeypatch.context() as patched:
            patched.setattr(nib.Nifti1Image, "to_filename", stopped)
            assert cli.main(["qc", str(scans), "--out", str(out)]) == status
    finally:
        signal.signal(signal.SIGINT, handler)
    assert "the same command goes on where it was" in capsys.readouterr().err
    kept = files(out)
    assert judged == ["sub-a", "sub-b"] and len(kept) == 7 and not [name for name in kept if "sub-b" in name]
    assert cli.main(["qc", str(scans), "--out", str(out)]) == 0 and judged[2:] == ["sub-b", "sub-c"]
    assert {name: files(out)[name] for name in kept} == kept


@pytest.mark.parametrize("words", [[], ["--passes", "7"]], ids=["the same", "other settings"])
def test_two_runs_at_once_in_one_folder_end_with_whole_results(scans, judged, tmp_path, monkeypatch, capsys, words):
    """The second begins and ends while the first writes."""
    command, right = ["qc", str(scans), "--out", str(tmp_path / "out")], nib.Nifti1Image.to_filename

    def meanwhile(image, path):
        right(image, path)
        monkeypatch.setattr(nib.Nifti1Image, "to_filename", right)
        assert cli.main([*command, *words]) == 0

    monkeypatch.setattr(nib.Nifti1Image, "to_filename", meanwhile)
    assert cli.main(command) == 0 and not list((tmp_path / "out").rglob(".*"))
    assert len(table(tmp_path / "out")) == 3
    capsys.readouterr()
    assert cli.main(command) == 0 and "3 of 3 are there already" in capsys.readouterr().out


# ---------------------------------------------------------------- names


def test_names_that_cannot_be_written_are_refused_before_judging(scans, judged, tmp_path, capsys):
    out = ["--out", str(tmp_path / "out")]
    for name in ("dataset_description.json", "group.tsv", "group", "sub-a.html"):
        assert cli.main([*one(scans), "--case", name, *out]) == 2
        assert f"cannot be called {name}" in capsys.readouterr().err
    make_scan(tmp_path / "long", f"sub-{'a' * 200}")
    assert cli.main(["qc", str(tmp_path / "long"), *out]) == 2 and "204 characters" in capsys.readouterr().err
    (tmp_path / "out" / "sub-a.html").mkdir(parents=True)
    (tmp_path / "out" / "dataset_description.json").write_text('{"GeneratedBy": [{"Name": "wmhqc"}]}')
    assert cli.main([*one(scans), *out]) == 2 and "sub-a.html is a folder" in capsys.readouterr().err
    assert judged == []


def test_links_to_themselves_are_refused(scans, judged, tmp_path, capsys):
    loop = tmp_path / "loop_FLAIR.nii.gz"
    loop.symlink_to(loop)
    assert cli.main([*one(scans, flair=str(loop)), "--out", str(tmp_path / "out")]) == 2
    assert "does not exist" in capsys.readouterr().err
    assert cli.main([*one(scans), "--out", str(loop)]) == 2 and "a link to nowhere" in capsys.readouterr().err


# ---------------------------------------------------------------- the group


def table(out):
    return pd.read_csv(out / "group.tsv", sep="\t").set_index("case")


def test_leftovers_and_damaged_records_do_not_reach_the_table(scans, judged, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main(["qc", str(scans), "--out", str(out)]) == 0
    (out / "sub-a" / "anat" / ".12-ab.sub-a_qc.json").write_text("")
    (out / "sub-b" / "anat" / "sub-b_qc.json").write_text("[]")
    (out / "sub-c" / "anat" / "sub-c_qc.json").unlink()
    os.mkfifo(out / "sub-c" / "anat" / "sub-c_qc.json")
    assert cli.main(["group", str(out)]) == 0 and list(table(out).index) == ["sub-a"]
    said = capsys.readouterr().out
    assert "sub-b_qc.json is no record" in said and "sub-c_qc.json is no record" in said
    assert cli.main(["qc", str(scans), "--out", str(out)]) == 0 and judged[3:] == ["sub-b", "sub-c"]
    assert len(table(out)) == 3


def test_results_of_a_folder_below_do_not_enter_the_table(scans, judged, tmp_path):
    out = tmp_path / "out"
    assert cli.main([*one(scans), "--out", str(out)]) == 0
    assert cli.main([*one(scans, "sub-b"), "--out", str(out / "second")]) == 0
    assert cli.main(["group", str(out)]) == 0 and list(table(out).index) == ["sub-a"]


def test_scans_that_left_their_folder_leave_the_table(scans, judged, tmp_path, capsys):
    out, other = tmp_path / "out", make_scan(tmp_path / "single", "sub-z")
    assert cli.main(["qc", str(scans), "--out", str(out)]) == 0
    assert (
        cli.main(
            [
                *one(tmp_path, "sub-z", flair="", t1="", brainmask=""),
                "--flair",
                str(other / "sub-z_FLAIR.nii.gz"),
                "--t1",
                str(other / "sub-z_T1w.nii.gz"),
                "--out",
                str(out),
            ]
        )
        == 0
    )
    shutil.rmtree(scans / "sub-b"), shutil.rmtree(other)
    assert cli.main(["qc", str(scans), "--out", str(out)]) == 0
    assert list(table(out).index) == ["sub-a", "sub-c", "sub-z"] and "1 scans are no longer" in capsys.readouterr().out
    assert (out / "sub-b.html").exists()
    scans.rename(tmp_path / "moved")  # the folder itself is gone: nobody knows
    assert cli.main(["group", str(out)]) == 0 and len(table(out)) == 4


def test_a_scan_that_is_there_twice_is_named(scans, judged, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main(["qc", str(scans), "--out", str(out)]) == 0
    assert "same scan" not in capsys.readouterr().out + (out / "group.html").read_text()
    for name in ("FLAIR", "T1w", "brainmask"):  # a copy, packed anew
        image = nib.load(scans / "sub-a" / f"sub-a_{name}.nii.gz")
        image.header["descrip"] = b"copy"
        nib.save(image, scans / "sub-c" / f"sub-c_{name}.nii.gz")
    shutil.copy(scans / "sub-a" / "sub-a_FLAIR.nii.gz", scans / "sub-b" / "sub-b_FLAIR.nii.gz")  # T1 of another
    assert cli.main(["qc", str(scans), "--out", str(out)]) == 0
    said, page = capsys.readouterr().out, (out / "group.html").read_text()
    for name in ("sub-b", "sub-c"):
        assert f"note: sub-a and {name} are the same scan under two names" in said and f"sub-a and {name}" in page
    assert said.count("the same scan") == 2 and "Some are the same scan under two names" in page


def test_no_cell_of_the_table_is_a_formula(scans, judged, tmp_path):
    os.rename(scans / "sub-b", scans / "sub-=1+1")
    for path in (scans / "sub-=1+1").iterdir():
        path.rename(path.with_name(path.name.replace("sub-b", "sub-b_x")))
    out, program = tmp_path / "out", '=HYPERLINK("http://x")'
    segmentation = ["--segmentation", "{folder}/{case}_lesion.nii.gz", "--program", program]
    assert cli.main(["qc", str(scans), *segmentation, "--out", str(out)]) == 0
    cells = [cell for line in (out / "group.tsv").read_text().splitlines() for cell in line.split("\t")]
    assert not [cell for cell in cells if re.match(r"[=+@]|-[^0-9]", cell)]
    again = cli.main(
        ["qc", str(scans), *segmentation, "--calibration", str(out / "group.tsv"), "--out", str(tmp_path / "2")]
    )
    record = json.loads((tmp_path / "2" / "sub-a" / "anat" / "sub-a_qc.json").read_text())
    assert again == 0 and record["predicted_dice"]["cases"] == 2, "the program is known by its name"


def test_a_link_in_a_record_leads_nowhere_else(scans, judged, tmp_path):
    out = tmp_path / "out"
    assert cli.main([*one(scans), "--out", str(out)]) == 0
    path = out / "sub-a" / "anat" / "sub-a_qc.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"report": "//evil/x"}))
    assert cli.main(["group", str(out)]) == 0
    html = (out / "group.html").read_text()
    assert "evil" not in html and 'href="sub-a.html"' in html


def test_rules_are_kept_apart(scans, judged, tmp_path):
    out = tmp_path / "out"
    assert cli.main(["qc", str(scans), "--out", str(out)]) == 0
    assert cli.main(["qc", str(scans), "--cases", "sub-b", "--risk", "0.2", "--out", str(out)]) == 0
    assert cli.main(["group", str(out)]) == 0
    html = (out / "group.html").read_text()
    assert "Rule A, 2 of them:" in html and "Rule B, 1 of them:" in html and ">Rule<" in html
    assert table(out)["asked"].tolist() == [0.1, 0.2, 0.1]
    assert (
        ">Guarantee applies<" in html and html.count('data-value="yes"') == table(out)["guarantee_applies"].sum() == 3
    )


def test_labels_are_lesions_on_demand(scans, judged, tmp_path):
    path = scans / "sub-a" / "sub-a_lesion.nii.gz"
    image = nib.load(path)
    nib.save(nib.Nifti1Image(np.asanyarray(image.dataobj) * 2, image.affine), path)
    command = [*one(scans, lesion=str(path)), "--out", str(tmp_path / "out"), "--label"]
    assert cli.main([*command, "2"]) == 0
    record = json.loads((tmp_path / "out" / "sub-a" / "anat" / "sub-a_qc.json").read_text())
    assert record["truth"]["dice_on_scan"] > 0.7 and record["settings"]["label"] == "label 2"
    assert cli.main([*command, "1"]) == 0 and len(judged) == 2, "another label is another question"
    record = json.loads((tmp_path / "out" / "sub-a" / "anat" / "sub-a_qc.json").read_text())
    assert "The lesion mask is empty." in record["notes"]
    with pytest.raises(SystemExit):
        cli.main([*command, "x"])


def test_what_a_killed_run_left_is_swept(scans, judged, tmp_path):
    from wmhqc.files import _machine

    out = tmp_path / "out"
    assert cli.main([*one(scans), "--out", str(out)]) == 0
    for folder in (out, out / "sub-a" / "anat"):
        (folder / f".{_machine()}-{2**22 + 1}-00000000.a.json").touch()  # no process has such a number
    assert cli.main([*one(scans), "--out", str(out)]) == 0
    assert not list(out.rglob(".*")) and judged == ["sub-a"]


def test_a_pipe_under_the_name_of_a_judged_scan_is_refused_at_once(scans, judged, tmp_path, capsys):
    out, pipe = tmp_path / "out", tmp_path / "sub-a_FLAIR.nii.gz"
    assert cli.main([*one(scans), "--out", str(out)]) == 0
    os.mkfifo(pipe)
    assert cli.main([*one(scans, flair=str(pipe)), "--out", str(out)]) == 2
    assert "is not a file" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["source", "flair"])
def test_a_record_of_a_failure_with_other_types_is_none(scans, judged, tmp_path, capsys, name):
    out = tmp_path / "out"
    (scans / "sub-b" / "sub-b_FLAIR.nii.gz").write_bytes(b"no image")
    assert cli.main(["qc", str(scans), "--skip-bad", "--out", str(out)]) == 3
    path = out / "sub-b" / "anat" / "sub-b_notjudged.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: [1]}))
    assert cli.main(["group", str(out)]) == 0 and "is no record" in capsys.readouterr().out


def test_a_folder_whose_name_is_no_text_is_printed(scans, judged, tmp_path):
    import subprocess
    import sys

    out = os.fsencode(tmp_path) + b"/\xff"
    assert cli.main(["qc", str(scans), "--out", os.fsdecode(out)]) == 0
    done = subprocess.run([sys.executable, "-m", "wmhqc.screen.cli", "group", out], capture_output=True)
    assert done.returncode == 0 and done.stdout.endswith(b"group.html\n"), done.stderr
