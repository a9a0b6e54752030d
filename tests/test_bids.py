"""BIDS data sets: which FLAIR, T1w and brain mask belong together."""

import errno
import os

import pytest
from toy import touch

from wmhqc.sources import bids


def names(table, column):
    return [os.path.basename(path) for path in table[column]]


def test_sessions_capitals_and_linked_subjects(tmp_path):
    root = tmp_path / "set"
    touch(root, "sub-1/ses-1/anat/sub-1_ses-1_FLAIR.nii", "sub-1/ses-1/anat/sub-1_ses-1_T1w.nii.gz")
    touch(root, "sub-1/ses-1/func/sub-1_ses-1_FLAIR.nii", "derivatives/x/sub-1/ses-1/anat/sub-1_ses-1_FLAIR.nii")
    touch(tmp_path, "elsewhere/anat/sub-2_FLAIR.NII.GZ", "elsewhere/anat/sub-2_T1w.NII.GZ")
    (root / "sub-2").symlink_to(tmp_path / "elsewhere")
    table = bids.read_bids(root)
    assert table["case"].tolist() == ["sub-1_ses-1", "sub-2"] and table["patient"].tolist() == ["1", "2"]
    assert names(table, "t1") == ["sub-1_ses-1_T1w.nii.gz", "sub-2_T1w.NII.GZ"]


def test_several_t1s(tmp_path):
    touch(tmp_path, *(f"sub-1/anat/sub-1_{kind}.nii.gz" for kind in ("FLAIR", "acq-a_T1w", "ce-gd_T1w")))
    touch(tmp_path, *(f"sub-2/anat/sub-2_{kind}.nii.gz" for kind in ("FLAIR", "acq-a_T1w", "acq-b_T1w")))
    table = bids.read_bids(tmp_path)
    assert names(table, "t1") == ["sub-1_acq-a_T1w.nii.gz", ""]
    assert table["t1_choice"].tolist() == ["", "sub-2_acq-a_T1w.nii.gz, sub-2_acq-b_T1w.nii.gz"]


def test_several_brain_masks_are_a_choice_of_the_user(tmp_path):
    touch(tmp_path, "sub-1/anat/sub-1_FLAIR.nii.gz", "sub-1/anat/sub-1_T1w.nii.gz")
    masks = [f"derivatives/{program}/sub-1/anat/sub-1_desc-brain_mask.nii.gz" for program in ("bet", "hd-bet")]
    touch(tmp_path, masks[0])
    assert names(bids.read_bids(tmp_path), "brainmask") == ["sub-1_desc-brain_mask.nii.gz"]
    touch(tmp_path, masks[1])
    row = bids.read_bids(tmp_path).iloc[0]
    assert row["brainmask"] == "" and row["brainmask_choice"] == ", ".join(str(tmp_path / mask) for mask in masks)


def test_a_subject_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    touch(tmp_path, *(f"sub-{n}/anat/sub-{n}_FLAIR.nii.gz" for n in (1, 2)))
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("sub-2/anat"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError, match="sub-2/anat: Permission denied"):
        bids.read_bids(tmp_path)


def test_nothing_there(tmp_path):
    with pytest.raises(ValueError, match="no case found"):
        bids.read_bids(tmp_path)
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        bids.read_bids(tmp_path / "no")
