"""The scans of a folder or of a BIDS data set."""

import json
import shutil

import pandas as pd
import pytest

from wmhqc import cohort
from wmhqc.screen import discover, inputs


def refusal(row, **options):
    with pytest.raises(cohort.CohortError) as refused:
        inputs.read(row, **options)
    return str(refused.value)


def test_find_reads_a_bids_data_set(scan, tmp_path):
    root = tmp_path / "bids"
    for session in ("ses-1", "ses-2"):
        anat = root / "sub-a" / session / "anat"
        anat.mkdir(parents=True)
        shutil.copy(scan["flair"], anat / f"sub-a_{session}_acq-3d_FLAIR.nii.gz")
        shutil.copy(scan["t1"], anat / f"sub-a_{session}_T1w.nii.gz")
    masks = root / "derivatives" / "bet" / "sub-a" / "ses-2" / "anat"
    masks.mkdir(parents=True)
    for space in ("", "_space-MNI152"):
        shutil.copy(scan["brainmask"], masks / f"sub-a_ses-2{space}_desc-brain_mask.nii.gz")
    shutil.copy(scan["flair"], masks / "sub-a_ses-2_FLAIR.nii.gz")  # a derivative is no case
    (root / "dataset_description.json").write_text(json.dumps({"Name": "test", "BIDSVersion": "1.9.0"}))
    table = discover.discover(root).set_index("case")
    assert list(table.index) == ["sub-a_ses-1_acq-3d", "sub-a_ses-2_acq-3d"]
    assert table["t1"].str.endswith("_T1w.nii.gz").all()
    assert table["brainmask"].map(lambda path: path.rsplit("/")[-1]).tolist() == [
        "",
        "sub-a_ses-2_desc-brain_mask.nii.gz",
    ]


def test_masks_of_other_programs_are_found_beside_the_scan(scan, tmp_path):
    folder = tmp_path / "scans" / "pred"
    folder.mkdir()
    for name in ("sub-a_pred-LPA.nii.gz", "sub-a_pred-BIANCA.nii.gz", "sub-a_prob-LPA.nii.gz", "sub-b_pred-LPA.nii.gz"):
        shutil.copy(scan["lesion"], folder / name)
    found = discover.other_masks(pd.DataFrame([scan]))
    assert found["program"].tolist() == ["BIANCA", "LPA"] and (found["case"] == "sub-a").all()
    assert found["segmentation"].tolist() == [str(folder / f"sub-a_pred-{p}.nii.gz") for p in ("BIANCA", "LPA")]
    none = discover.other_masks(pd.DataFrame([scan | {"flair": str(tmp_path / "elsewhere" / "F.nii.gz")}]))
    assert none.empty and {"segmentation", "program"} <= set(none)


def test_find_takes_the_mask_of_the_t1(scan, tmp_path):
    anat, masks = (tmp_path / "bids" / part / "sub-a" / "anat" for part in ("", "derivatives/fmriprep"))
    anat.mkdir(parents=True), masks.mkdir(parents=True)
    (tmp_path / "bids" / "dataset_description.json").write_text("{}")
    for name in ("acq-space_FLAIR", "acq-mprage_T1w"):
        shutil.copy(scan["flair"], anat / f"sub-a_{name}.nii.gz")
    shutil.copy(scan["brainmask"], masks / "sub-a_acq-mprage_desc-brain_mask.nii.gz")
    assert discover.discover(tmp_path / "bids")["brainmask"].item().endswith("sub-a_acq-mprage_desc-brain_mask.nii.gz")


def test_find_takes_no_mask_of_another_scan_and_none_of_its_own_making(scan, tmp_path, monkeypatch):
    root = tmp_path / "bids"
    anat = root / "sub-a" / "anat"
    anat.mkdir(parents=True)
    for name in ("acq-ax_FLAIR", "acq-sag_FLAIR", "T1w", "ce-gad_T1w"):
        shutil.copy(scan["flair"], anat / f"sub-a_{name}.nii.gz")
    (anat / "._sub-a_acq-ax_FLAIR.nii.gz").write_bytes(b"left by a Mac")
    (anat / "sub-a_acq-new_FLAIR.nii.gz.part").write_bytes(b"half")
    (root / "dataset_description.json").write_text("{}")
    for pipeline, made in (("bet", "bet"), ("wmhqc", "wmhqc")):
        folder = root / "derivatives" / pipeline / "sub-a" / "anat"
        folder.mkdir(parents=True)
        (folder.parents[1] / "dataset_description.json").write_text(json.dumps({"GeneratedBy": [{"Name": made}]}))
        shutil.copy(scan["brainmask"], folder / f"sub-a_acq-{'ax' if made == 'bet' else 'sag'}_desc-brain_mask.nii.gz")
    table = discover.discover(root).set_index("case")
    assert list(table.index) == ["sub-a_acq-ax", "sub-a_acq-sag"]
    assert table["t1"].str.endswith("sub-a_T1w.nii.gz").all(), "not the one with contrast agent"
    assert table["brainmask"].str.endswith("bet/sub-a/anat/sub-a_acq-ax_desc-brain_mask.nii.gz").tolist() == [
        True,
        False,
    ]
    assert table["brainmask"].iloc[1] == ""
    table = discover.discover(
        root, {"segmentation": str(root / "derivatives/bet/{path}/{case}_desc-brain_mask.nii.gz")}
    )
    assert table["segmentation"].iloc[0].endswith("bet/sub-a/anat/sub-a_acq-ax_desc-brain_mask.nii.gz")
    monkeypatch.chdir(tmp_path)
    relative = discover.discover("bids", {"segmentation": "bids/derivatives/bet/{path}/{case}_desc-brain_mask.nii.gz"})
    assert relative["segmentation"].iloc[0] == "bids/derivatives/bet/sub-a/anat/sub-a_acq-ax_desc-brain_mask.nii.gz"
    shutil.copy(scan["flair"], anat / "sub-a_run-2_T1w.nii.gz")
    text = refusal(discover.discover(root).iloc[0].to_dict())
    assert (
        "no T1 given" in text
        and "several lie beside the FLAIR (sub-a_T1w.nii.gz, sub-a_ce-gad_T1w.nii.gz" in text
        and "--t1" in text
    )
    shutil.copy(scan["flair"], anat / "sub-a_acq-ax_FLAIR.nii")
    with pytest.raises(ValueError, match="sub-a_acq-ax is there more than once"):
        discover.discover(root)


def test_find_fills_templates(scan, tmp_path):
    folder = tmp_path / "scans"
    table = discover.discover(folder, {"segmentation": "{folder}/{case}_lesion.nii.gz"})
    assert table["segmentation"].tolist() == [scan["lesion"]]
    with pytest.raises(FileNotFoundError, match="no case has a file .*_bet.nii.gz"):
        discover.discover(folder, {"brainmask": "{folder}/{case}_bet.nii.gz"})
