"""The readers of the plain folder and of the four databases."""

import errno
import os

import numpy as np
import pytest
from toy import SHAPE, problems, touch, write

from wmhqc import cohort, images
from wmhqc.sources import layouts


def test_folder_bids_sessions_and_plain_nii(tmp_path):
    touch(
        tmp_path,
        "sub-1/ses-1/anat/sub-1_ses-1_T1w.nii",
        "sub-1/ses-1/anat/sub-1_ses-1_FLAIR.nii.gz",
        "sub-1/ses-2/anat/sub-1_ses-2_FLAIR.nii.gz",
        "sub-2/anat/sub-2_T1w.nii.gz",
        "sub-2/anat/._sub-3_T1w.nii.gz",
        "sub-2/pred/sub-2_pred-LPA.nii.gz",
    )
    table = layouts.from_folder(tmp_path).set_index("case")
    assert table.index.tolist() == ["sub-1_ses-1", "sub-1_ses-2", "sub-2"]
    assert table["patient"].tolist() == ["1", "1", "2"]
    assert table.loc["sub-1_ses-1", "t1"].endswith("_T1w.nii")
    # A FLAIR that is not there stays in the table, so that the check can name it.
    assert any("FLAIR is missing" in problem for problem in problems(table.reset_index()))


@pytest.mark.parametrize("prefix", ["", "training/", "WMH/test/"])
def test_miccai17(tmp_path, prefix):
    for name in ("Utrecht/0", "Singapore/50", "Amsterdam/GE3T/100", "GE3T/101"):
        touch(
            tmp_path,
            *(
                f"{prefix}{name}/{f}.nii.gz"
                for f in ("pre/T1", "pre/FLAIR", "orig/FLAIR", "orig/T1", "orig/3DT1", "wmh")
            ),
        )
    touch(tmp_path, *(f"{prefix}Utrecht/2/{f}.nii.gz" for f in ("orig/FLAIR", "orig/T1", "wmh")))
    touch(tmp_path, "additional_annotations/observer_o3/training/Utrecht/0/result.nii.gz")
    table = layouts.read_miccai17(tmp_path).set_index("case")
    assert table.index.tolist() == ["sub-ge3t100", "sub-ge3t101", "sub-sing50", "sub-utr00", "sub-utr02"]
    assert set(table["site"]) == {"GE3T", "Singapore", "Utrecht"} and set(table["database"]) == {"MICCAI17"}
    assert table.loc["sub-utr00", "flair"].endswith("0/pre/FLAIR.nii.gz")
    assert table.loc["sub-utr02", "t1"].endswith("2/orig/T1.nii.gz")
    assert table.loc["sub-utr02", "lesion"].endswith("2/wmh.nii.gz")
    # A single site may be given too.
    assert len(layouts.read_miccai17(tmp_path / prefix / "Utrecht")) == 2


def test_miccai17_label_two_is_lesion_only_when_asked(tmp_path):
    labels = np.zeros(SHAPE, np.uint8)
    labels[5, 5, 5:8], labels[9, 9, 9] = 1, 2
    write(labels, tmp_path / "Utrecht/7/wmh.nii.gz")
    touch(tmp_path, "Utrecht/7/pre/FLAIR.nii.gz", "Utrecht/7/pre/T1.nii.gz")
    for merge, count in ((False, 3), (True, 4)):
        mask = cohort.load_lesion(layouts.read_miccai17(tmp_path, merge).iloc[0])
        assert mask.get_data_dtype() == np.uint8 and int(mask.get_fdata().sum()) == count


@pytest.mark.parametrize("raters, count", [("union", 3), ("intersection", 1), ("1", 2), ("2", 2)])
def test_ms15(tmp_path, raters, count):
    for time in ("02", "01", "03"):
        touch(
            tmp_path,
            *(f"training01/preprocessed/training01_{time}_{k}_pp.nii" for k in ("flair", "mprage", "t2", "pd")),
        )
    first, second = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    first[3, 3, 3:5] = second[3, 3, 4:6] = 1
    write(first, tmp_path / "training01/masks/training01_01_mask1.nii")
    write(second, tmp_path / "training01/masks/training01_01_mask2.nii")
    touch(tmp_path, "training02/training02_01_flair_pp.nii", "training02/training02_01_mask1.nii")
    table = layouts.read_ms15(tmp_path, raters)
    assert table["case"].tolist() == ["sub-ms15p01", "sub-ms15p02"]
    assert table["flair"][0].endswith("training01_01_flair_pp.nii")
    assert int(cohort.load_lesion(table.iloc[0]).get_fdata().sum()) == count
    with pytest.raises(ValueError, match="raters"):
        layouts.read_ms15(tmp_path, "both")


def test_ms16(tmp_path):
    for centre, patient in (("01", "01"), ("08", "03")):
        root = f"Training/Center_{centre}/Patient_{patient}/"
        touch(
            tmp_path,
            *(root + f"Preprocessed_Data/{k}_preprocessed.nii.gz" for k in ("FLAIR", "T1", "T2", "DP", "GADO")),
            root + "Masks/Consensus.nii.gz",
            root + "Raw_Data/FLAIR.nii.gz",
        )
    touch(tmp_path, "Training/Center_01/Patient_01/Masks/Brain_Mask.nii.gz")
    table = layouts.read_ms16(tmp_path)
    assert table["case"].tolist() == ["sub-ms16c01p01", "sub-ms16c08p03"] and table["site"].tolist() == ["01", "08"]
    assert table["brainmask"][0].endswith("Brain_Mask.nii.gz") and table["brainmask"][1] == ""
    assert table["lesion"][1].endswith("Masks/Consensus.nii.gz")


def test_ms17_owners_layout_and_mirror(tmp_path):
    touch(
        tmp_path / "own",
        *(f"patient01/patient01_{k}.nii.gz" for k in ("FLAIR", "T1W", "T1WKS", "T2W", "consensus_gt", "brainmask")),
        "patient01/raw/patient01_FLAIR.nii.gz",
    )
    row = layouts.read_ms17(tmp_path / "own").iloc[0]
    assert row["case"] == "sub-ms17p01" and row["t1"].endswith("patient01/patient01_T1W.nii.gz")
    assert row["lesion"].endswith("_consensus_gt.nii.gz") and row["brainmask"].endswith("_brainmask.nii.gz")
    touch(
        tmp_path / "co",
        *(f"coregistered/patient02/{k}.nii.gz" for k in ("FLAIR", "T1W", "patient02_consensus_gt", "brainmask")),
        "raw/patient02/FLAIR.nii.gz",
        "raw/patient03/FLAIR.nii.gz",
    )
    table = layouts.read_ms17(tmp_path / "co")
    assert table["case"].tolist() == ["sub-ms17p02"] and table["lesion"][0].endswith("patient02_consensus_gt.nii.gz")


def test_ms17_public_mirror(shared):
    table = layouts.read_ms17(shared / "data/mirror/open_ms_data")
    assert table["patient"].tolist() == ["07", "19"]
    for column in ("t1", "flair", "lesion"):
        assert images.load_image(table[column][0]).shape == (182, 218, 182)


# ---------------------------------------------------------------- nothing is left out or exchanged silently


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    touch(tmp_path, "sub-1/sub-1_FLAIR.nii.gz", "sub-2/sub-2_FLAIR.nii.gz")
    scandir = os.scandir

    def refuse(path):  # the owner of the machine may read everything
        if str(path).endswith("sub-2"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError, match="cannot read the folder .*sub-2: Permission denied"):
        layouts.from_folder(tmp_path)


def test_linked_folders_and_capitals(tmp_path):
    touch(
        tmp_path, "elsewhere/sub-2/sub-2_FLAIR.NII.GZ", "elsewhere/sub-2/sub-2_T1w.NII", "scans/sub-1/sub-1_FLAIR.nii"
    )
    (tmp_path / "scans/sub-2").symlink_to(tmp_path / "elsewhere/sub-2")
    (tmp_path / "scans/again").symlink_to(tmp_path / "scans/sub-1")
    (tmp_path / "scans/sub-1/up").symlink_to(tmp_path / "scans")
    table = layouts.from_folder(tmp_path / "scans").set_index("case")
    assert table.index.tolist() == ["sub-1", "sub-2"]
    assert table.loc["sub-1", "flair"] == str(tmp_path / "scans/sub-1/sub-1_FLAIR.nii")
    assert table.loc["sub-2", "t1"].endswith("sub-2_T1w.NII")


@pytest.mark.parametrize(
    "reader, first, second",
    [
        (layouts.from_folder, "derivatives/x/sub-1/sub-1_FLAIR.nii.gz", "sub-1/sub-1_FLAIR.nii.gz"),
        (layouts.from_folder, "flair/sub-1_FLAIR.nii.gz", "t1/sub-1_T1w.nii.gz"),
        (
            layouts.read_ms16,
            *(f"{part}/Center_01/Patient_01/Preprocessed_Data/FLAIR_preprocessed.nii.gz" for part in "ab"),
        ),
        (layouts.read_miccai17, *(f"{part}/Utrecht/0/pre/FLAIR.nii.gz" for part in "ab")),
        (layouts.read_ms15, *(f"{part}/training01_01_flair_pp.nii" for part in "ab")),
        (layouts.read_ms17, *(f"{part}/patient01/patient01_FLAIR.nii.gz" for part in "ab")),
    ],
)
def test_one_case_in_two_folders(tmp_path, reader, first, second):
    """In MS16, training and test part have patients of the same number."""
    touch(tmp_path, first, second)
    with pytest.raises(ValueError, match="is there twice") as error:
        reader(tmp_path)
    assert str(tmp_path / first) in str(error.value) and str(tmp_path / second) in str(error.value)


def test_one_image_in_two_forms(tmp_path):
    touch(tmp_path, "sub-1_FLAIR.nii.gz", "sub-1_T1w.nii.gz", "sub-1_T1w.nii")
    with pytest.raises(ValueError, match="sub-1_T1w.nii are both there"):
        layouts.from_folder(tmp_path)
