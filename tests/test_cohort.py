"""Cohort tables, the readers of four layouts, and every kind of bad input."""

import gzip
import itertools
import warnings

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wmhqc import cohort

SHAPE = (24, 26, 22)
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])


def scan(seed=0):
    """A toy head: T1, FLAIR, lesion, brain mask; the lesions are bright and not symmetric."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij"))
    brain = (grid**2).sum(0) < 0.9
    lesion = np.zeros(SHAPE, bool)
    for _ in range(3):
        x, y, z = rng.integers(6, 12, 3)
        lesion[x:x + 3, y:y + 3, z:z + 3] = True
    t1 = brain * (100 + rng.normal(0, 5, SHAPE))
    flair = brain * (100 + rng.normal(0, 5, SHAPE)) + 60 * lesion
    return {"T1w": t1.astype(np.float32), "FLAIR": flair.astype(np.float32),
            "lesion": lesion.astype(np.uint8), "brainmask": brain.astype(np.uint8)}


def write(array, path, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def case(folder, name="sub-a", seed=0, **changes):
    for kind, array in (scan(seed) | changes).items():
        if array is not None:
            write(array, folder / name / f"{name}_{kind}.nii.gz")
    return folder


def problems(table):
    try:
        return cohort.check(table)[1]["problem"].tolist()
    except cohort.CohortError as error:
        return error.report["problem"].tolist()


# ---------------------------------------------------------------- tables and readers


def test_folder_check_and_csv_round_trip(tmp_path):
    for seed, name in enumerate(["sub-a", "sub-b"]):
        case(tmp_path, name, seed)
    table = cohort.from_folder(tmp_path)
    assert table["case"].tolist() == ["sub-a", "sub-b"] and table["patient"].tolist() == ["a", "b"]
    good, report = cohort.check(table)
    assert len(good) == 2 and report.empty
    cohort.write_csv(table, tmp_path / "cohort.csv")
    assert "sub-a/sub-a_T1w.nii.gz" in (tmp_path / "cohort.csv").read_text()
    moved = tmp_path.rename(tmp_path.with_name("moved"))
    back = cohort.read_csv(moved / "cohort.csv")
    pd.testing.assert_frame_equal(back, cohort.from_folder(moved))
    assert problems(back) == []
    moved.rename(tmp_path)


def test_csv_keeps_leading_zeros_other_columns_and_paths_elsewhere(tmp_path):
    (tmp_path / "c.csv").write_text("case,t1,flair,patient,fold\nsub-1,/x/t1.nii,f.nii,007,3\n")
    row = cohort.read_csv(tmp_path / "c.csv").iloc[0]
    assert row["patient"] == "007" and row["fold"] == 3 and row["lesion"] == "" and not row["synthetic"]
    assert row["t1"] == "/x/t1.nii" and row["flair"] == str(tmp_path / "f.nii")
    cohort.write_csv(cohort.read_csv(tmp_path / "c.csv"), tmp_path / "d.csv")
    assert cohort.read_csv(tmp_path / "d.csv").iloc[0]["t1"] == "/x/t1.nii"


@pytest.mark.parametrize("text, message", [
    ("", "not a table"),
    ("case,t1\nsub-a,x\n", "no column flair"),
    ("case,t1,flair\n", "no case"),
    ("case,t1,flair\nsub-a,x,y\nsub-a,x,y\n", "more than once"),
    ("case,t1,flair\n../a,x,y\n", "cannot name a file"),
    ("case,t1,flair\n,x,y\n", "cannot name a file"),
    ("case,t1,flair\na,b,c,d,e,f\na\n\"", "not a table"),
])
def test_bad_csv(tmp_path, text, message):
    (tmp_path / "c.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        cohort.read_csv(tmp_path / "c.csv")


def test_missing_csv_and_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="cohort table"):
        cohort.read_csv(tmp_path / "no.csv")
    for reader in (cohort.from_folder, cohort.read_miccai17, cohort.read_ms15, cohort.read_ms16, cohort.read_ms17):
        with pytest.raises(FileNotFoundError, match="not a folder"):
            reader(tmp_path / "no")
        with pytest.raises(ValueError, match="no case found; expected"):
            reader(tmp_path)


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_folder_bids_sessions_and_plain_nii(tmp_path):
    touch(tmp_path, "sub-1/ses-1/anat/sub-1_ses-1_T1w.nii", "sub-1/ses-1/anat/sub-1_ses-1_FLAIR.nii.gz",
          "sub-1/ses-2/anat/sub-1_ses-2_FLAIR.nii.gz", "sub-2/anat/sub-2_T1w.nii.gz", "sub-2/anat/._sub-3_T1w.nii.gz",
          "sub-2/pred/sub-2_pred-LPA.nii.gz")
    table = cohort.from_folder(tmp_path).set_index("case")
    assert table.index.tolist() == ["sub-1_ses-1", "sub-1_ses-2", "sub-2"]
    assert table["patient"].tolist() == ["1", "1", "2"]
    assert table.loc["sub-1_ses-1", "t1"].endswith("_T1w.nii")
    # A FLAIR that is not there stays in the table, so that the check can name it.
    assert any("FLAIR is missing" in problem for problem in problems(table.reset_index()))


@pytest.mark.parametrize("prefix", ["", "training/", "WMH/test/"])
def test_miccai17(tmp_path, prefix):
    for name in ("Utrecht/0", "Singapore/50", "Amsterdam/GE3T/100", "GE3T/101"):
        touch(tmp_path, *(f"{prefix}{name}/{f}.nii.gz" for f in ("pre/T1", "pre/FLAIR", "orig/FLAIR", "orig/T1", "orig/3DT1", "wmh")))
    touch(tmp_path, *(f"{prefix}Utrecht/2/{f}.nii.gz" for f in ("orig/FLAIR", "orig/T1", "wmh")))
    touch(tmp_path, "additional_annotations/observer_o3/training/Utrecht/0/result.nii.gz")
    table = cohort.read_miccai17(tmp_path).set_index("case")
    assert table.index.tolist() == ["sub-ge3t100", "sub-ge3t101", "sub-sing50", "sub-utr00", "sub-utr02"]
    assert set(table["site"]) == {"GE3T", "Singapore", "Utrecht"} and set(table["database"]) == {"MICCAI17"}
    assert table.loc["sub-utr00", "flair"].endswith("0/pre/FLAIR.nii.gz")
    assert table.loc["sub-utr02", "t1"].endswith("2/orig/T1.nii.gz")
    assert table.loc["sub-utr02", "lesion"].endswith("2/wmh.nii.gz")
    # A single site may be given too.
    assert len(cohort.read_miccai17(tmp_path / prefix / "Utrecht")) == 2


def test_miccai17_label_two_is_lesion_only_when_asked(tmp_path):
    labels = np.zeros(SHAPE, np.uint8)
    labels[5, 5, 5:8], labels[9, 9, 9] = 1, 2
    write(labels, tmp_path / "Utrecht/7/wmh.nii.gz")
    touch(tmp_path, "Utrecht/7/pre/FLAIR.nii.gz", "Utrecht/7/pre/T1.nii.gz")
    for merge, count in ((False, 3), (True, 4)):
        mask = cohort.load_lesion(cohort.read_miccai17(tmp_path, merge).iloc[0])
        assert mask.get_data_dtype() == np.uint8 and int(mask.get_fdata().sum()) == count


@pytest.mark.parametrize("raters, count", [("union", 3), ("intersection", 1), ("1", 2), ("2", 2)])
def test_ms15(tmp_path, raters, count):
    for time in ("02", "01", "03"):
        touch(tmp_path, *(f"training01/preprocessed/training01_{time}_{k}_pp.nii" for k in ("flair", "mprage", "t2", "pd")))
    first, second = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    first[3, 3, 3:5] = second[3, 3, 4:6] = 1
    write(first, tmp_path / "training01/masks/training01_01_mask1.nii")
    write(second, tmp_path / "training01/masks/training01_01_mask2.nii")
    touch(tmp_path, "training02/training02_01_flair_pp.nii", "training02/training02_01_mask1.nii")
    table = cohort.read_ms15(tmp_path, raters)
    assert table["case"].tolist() == ["sub-ms15p01", "sub-ms15p02"]
    assert table["flair"][0].endswith("training01_01_flair_pp.nii")
    assert int(cohort.load_lesion(table.iloc[0]).get_fdata().sum()) == count
    with pytest.raises(ValueError, match="raters"):
        cohort.read_ms15(tmp_path, "both")


def test_ms15_raters_on_two_grids(tmp_path):
    mask = scan()["lesion"]
    row = {"lesion": write(mask, tmp_path / "1.nii"), "lesion2": write(mask, tmp_path / "2.nii", np.eye(4)), "lesion_rule": "union"}
    with pytest.raises(ValueError, match="different grids"):
        cohort.load_lesion({k: str(v) for k, v in row.items()})


def test_ms16(tmp_path):
    for centre, patient in (("01", "01"), ("08", "03")):
        root = f"Training/Center_{centre}/Patient_{patient}/"
        touch(tmp_path, *(root + f"Preprocessed_Data/{k}_preprocessed.nii.gz" for k in ("FLAIR", "T1", "T2", "DP", "GADO")),
              root + "Masks/Consensus.nii.gz", root + "Raw_Data/FLAIR.nii.gz")
    touch(tmp_path, "Training/Center_01/Patient_01/Masks/Brain_Mask.nii.gz")
    table = cohort.read_ms16(tmp_path)
    assert table["case"].tolist() == ["sub-ms16c01p01", "sub-ms16c08p03"] and table["site"].tolist() == ["01", "08"]
    assert table["brainmask"][0].endswith("Brain_Mask.nii.gz") and table["brainmask"][1] == ""
    assert table["lesion"][1].endswith("Masks/Consensus.nii.gz")


def test_ms17_owners_layout_and_mirror(tmp_path):
    touch(tmp_path / "own", *(f"patient01/patient01_{k}.nii.gz" for k in ("FLAIR", "T1W", "T1WKS", "T2W", "consensus_gt", "brainmask")),
          "patient01/raw/patient01_FLAIR.nii.gz")
    row = cohort.read_ms17(tmp_path / "own").iloc[0]
    assert row["case"] == "sub-ms17p01" and row["t1"].endswith("patient01/patient01_T1W.nii.gz")
    assert row["lesion"].endswith("_consensus_gt.nii.gz") and row["brainmask"].endswith("_brainmask.nii.gz")
    touch(tmp_path / "co", *(f"coregistered/patient02/{k}.nii.gz" for k in ("FLAIR", "T1W", "patient02_consensus_gt", "brainmask")),
          "raw/patient02/FLAIR.nii.gz", "raw/patient03/FLAIR.nii.gz")
    table = cohort.read_ms17(tmp_path / "co")
    assert table["case"].tolist() == ["sub-ms17p02"] and table["lesion"][0].endswith("patient02_consensus_gt.nii.gz")


def test_ms17_public_mirror(shared):
    table = cohort.read_ms17(shared / "data/mirror/open_ms_data")
    assert table["patient"].tolist() == ["07", "19"]
    for column in ("t1", "flair", "lesion"):
        assert cohort.load(table[column][0]).shape == (182, 218, 182)


# ---------------------------------------------------------------- one image


def test_load_forms(tmp_path):
    array = scan()["FLAIR"]
    for name in ("a.nii", "a.nii.gz"):
        image = cohort.load(write(array, tmp_path / name))
        np.testing.assert_array_equal(image.dataobj, array)
        assert image.get_filename() == str(tmp_path / name)
    nib.save(nib.Nifti2Image(array[..., None], AFFINE), tmp_path / "four.nii.gz")
    assert cohort.load(tmp_path / "four.nii.gz").shape == SHAPE
    scaled = nib.Nifti1Image(array, AFFINE)
    scaled.set_data_dtype(np.int16)
    nib.save(scaled, tmp_path / "s.nii.gz")
    np.testing.assert_allclose(cohort.load(tmp_path / "s.nii.gz").dataobj, array, atol=0.02)


def flip_bit(data, place):
    return data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1:]


@pytest.mark.parametrize("name, change, message", [
    ("a.nii.gz", lambda data: b"", "is empty"),
    ("a.nii.gz", lambda data: data[: len(data) // 2], "truncated"),
    ("a.nii.gz", lambda data: data[:-4], "truncated"),
    ("a.nii.gz", lambda data: data[:5], "truncated"),
    ("a.nii.gz", lambda data: flip_bit(data, len(data) // 2), "damaged"),
    ("a.nii.gz", lambda data: flip_bit(data, len(data) - 6), "damaged"),
    ("a.nii.gz", gzip.decompress, "not compressed although named .gz"),
    ("a.nii.gz", lambda data: b"<html>404 Not Found</html>", "not compressed although named .gz"),
    ("a.nii.gz", lambda data: gzip.compress(b"hello"), "not a NIfTI"),
    ("a.nii", lambda data: data, "not a NIfTI"),
    ("a.nii", lambda data: gzip.decompress(data)[:-1], "truncated"),
    ("a.nii", lambda data: gzip.decompress(data)[:200], "not a NIfTI"),
    ("a.nii", lambda data: b"version https://git-lfs.github.com/spec/v1\n", "not a NIfTI"),
])
def test_load_refuses_damaged_files(tmp_path, name, change, message):
    data = write(scan()["FLAIR"], tmp_path / "good.nii.gz").read_bytes()
    (tmp_path / name).write_bytes(change(data))
    with pytest.raises(ValueError, match=message) as error:
        cohort.load(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)


def test_load_refuses_what_is_not_one_volume(tmp_path):
    for array in (np.zeros((4, 4, 4, 2), np.float32), np.zeros((4, 4), np.float32), np.zeros((4, 4, 4), np.complex64)):
        with pytest.raises(ValueError, match="one 3-D image of numbers"):
            cohort.load(write(array, tmp_path / "a.nii"))
    image = nib.Nifti1Image(np.ones(SHAPE, np.uint8), None)
    image.set_sform(np.diag([1, 1, 0, 1]), code=1)
    nib.save(image, tmp_path / "flat.nii")
    with pytest.raises(ValueError, match="no volume"):
        cohort.load(tmp_path / "flat.nii")
    for path in (tmp_path, tmp_path / "no.nii"):
        with pytest.raises(FileNotFoundError, match="does not exist"):
            cohort.load(path)


@settings(max_examples=80, deadline=None)
@given(place=st.integers(0, 351), value=st.integers(0, 255))
def test_load_never_raises_anything_else(tmp_path_factory, place, value):
    """Any one byte of the header changed: an image, or an error that names the file."""
    path = tmp_path_factory.getbasetemp() / "fuzz.nii"
    if not path.exists():
        write(np.zeros((3, 4, 5), np.int16), path)
    data = bytearray(path.read_bytes())
    data[place] = value
    changed = path.with_name("fuzzed.nii")
    changed.write_bytes(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert cohort.load(changed).ndim == 3
    except ValueError as error:
        assert str(changed) in str(error)


@pytest.mark.parametrize("values, rule, ok", [
    ([0, 1], "", True), ([0, 255], "", True), ([0, 1, 2], "", False), ([0, 0.4, 1], "", False), ([-1, 0], "", False),
    ([0, 1, 2], "label 1", True), ([0, 1, 2], "label > 0", True), ([0, 1], "label 7", False), ([0, 1], None, True),
    ([0, 1], float("nan"), True),
])
def test_lesion_rules(tmp_path, values, rule, ok):
    array = np.resize(np.array(values, np.float32), SHAPE)
    row = {"lesion": str(write(array, tmp_path / "m.nii")), "lesion_rule": rule}
    if ok:
        assert set(np.unique(cohort.load_lesion(row).dataobj)) == {0, 1}
    else:
        with pytest.raises(ValueError, match="lesion_rule"):
            cohort.load_lesion(row)


def test_resample_to(tmp_path):
    mask = nib.Nifti1Image(scan()["lesion"], AFFINE)
    turned = nib.Nifti1Image(np.flip(mask.dataobj, 0), AFFINE @ np.array([[-1, 0, 0, SHAPE[0] - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
    back = cohort.resample_to(turned, mask, order=0)
    np.testing.assert_array_equal(back.dataobj, mask.dataobj)
    assert back.get_data_dtype() == np.uint8
    with pytest.raises(ValueError, match="order"):
        cohort.resample_to(turned, mask, order=2)


# ---------------------------------------------------------------- one case


def with_value(array, value):
    array = array.copy()
    array[10, 10, 10] = value
    return array


TOY = scan()
BAD_CASES = {
    "NaN": (dict(T1w=with_value(TOY["T1w"], np.nan)), "T1 has 1 NaN or infinite"),
    "infinite": (dict(FLAIR=with_value(TOY["FLAIR"], np.inf)), "FLAIR has 1 NaN or infinite"),
    "constant": (dict(T1w=np.full(SHAPE, 7, np.float32)), r"T1 is constant \(7\)"),
    "all zero": (dict(FLAIR=np.zeros(SHAPE, np.float32)), "FLAIR is constant"),
    "series": (dict(FLAIR=np.stack([TOY["FLAIR"]] * 2, -1)), "one 3-D image"),
    "other shape": (dict(T1w=TOY["T1w"][:-1]), "T1 is not on the grid of the FLAIR .shapes"),
    "brain mask shape": (dict(brainmask=TOY["brainmask"][:, :-1]), "brain mask is not on the grid"),
    "mask shape": (dict(lesion=TOY["lesion"][:, :, :-1]), "lesion mask is not on the grid"),
    "empty brain": (dict(brainmask=np.zeros(SHAPE, np.uint8)), "no voxel of the brain mask"),
    "no brain": (dict(FLAIR=-1 - TOY["T1w"], brainmask=None), "no voxel of the FLAIR is above 0"),
    "empty mask": (dict(lesion=np.zeros(SHAPE, np.uint8)), "lesion mask is empty"),
    "probabilities": (dict(lesion=TOY["lesion"] * np.float32(0.5) + TOY["brainmask"] * np.float32(0.1)), "expected a mask of 0 and one other value"),
    "mask NaN": (dict(lesion=with_value(TOY["lesion"].astype(np.float32), np.nan)), "expected a mask"),
    "inverted": (dict(lesion=1 - TOY["lesion"]), "is outside the brain by"),
    "outside": (dict(lesion=np.roll(TOY["lesion"], 12, axis=2)), "is outside the brain by"),
    "mirrored": (dict(lesion=np.flip(TOY["lesion"], 0)), "fits the FLAIR better when mirrored along x .contrast 1.00"),
    "rotated": (dict(lesion=np.flip(TOY["lesion"], (0, 1))), "mirrored along x and y"),
    "other patient": (dict(lesion=scan(5)["lesion"]), "not brighter than its surroundings"),
    "inverse FLAIR": (dict(FLAIR=250 * TOY["brainmask"] - TOY["FLAIR"]), "not brighter than its surroundings"),
}


@pytest.mark.parametrize("kind", BAD_CASES)
def test_bad_cases(tmp_path, kind):
    changes, message = BAD_CASES[kind]
    table = cohort.from_folder(case(tmp_path, **changes))
    with pytest.raises(cohort.CohortError, match=message) as error:
        cohort.check(table)
    report = error.value.report
    assert set(report["case"]) == {"sub-a"} and (report["file"] != "").all() and (report["action"] != "").all()


def test_missing_files_and_a_readable_report(tmp_path):
    case(tmp_path, "sub-good", 1)
    case(case(tmp_path, "sub-bad", 2), "sub-worse", 3, T1w=None, lesion=None)
    (tmp_path / "sub-bad/sub-bad_FLAIR.nii.gz").write_bytes(b"")
    table = cohort.from_folder(tmp_path)
    with pytest.raises(cohort.CohortError) as error:
        cohort.check(table)
    lines = str(error.value).splitlines()
    assert lines[0].startswith("2 problem(s) in 2 case(s)")
    assert any("sub-bad" in line and "is empty" in line for line in lines)
    assert any("sub-worse" in line and "T1 is missing" in line for line in lines)
    good, report = cohort.check(table, "leave out")
    assert good["case"].tolist() == ["sub-good"] and len(report) == 2
    with pytest.raises(cohort.CohortError):  # nothing left
        cohort.check(table[table["case"] != "sub-good"], "leave out")
    with pytest.raises(ValueError, match="on_bad"):
        cohort.check(table, "ignore")
    with pytest.raises(ValueError, match="no column t1"):
        cohort.check(table.drop(columns="t1"))


def test_cases_without_masks_are_good(tmp_path):
    assert problems(cohort.from_folder(case(tmp_path, lesion=None, brainmask=None))) == []


def test_affines(tmp_path):
    """Half a voxel apart is refused, a hundredth is not."""
    for shift, count in ((0.02, 0), (1.0, 1)):
        moved = AFFINE.copy()
        moved[0, 3] = shift
        write(TOY["T1w"], case(tmp_path) / "sub-a/sub-a_T1w.nii.gz", moved)
        assert len(problems(cohort.from_folder(tmp_path))) == count


@pytest.mark.parametrize("copy", ["same", "rescaled", "turned", "T1 is the FLAIR"])
def test_one_image_under_two_names(tmp_path, copy):
    case(case(tmp_path, "sub-a", 1), "sub-b", 2)
    source = nib.load(tmp_path / "sub-a/sub-a_FLAIR.nii.gz")
    target = tmp_path / "sub-b/sub-b_FLAIR.nii.gz"
    if copy == "rescaled":
        write(np.round(source.get_fdata() * 10).astype(np.int16), target)
    elif copy == "turned":
        for kind in ("T1w", "FLAIR", "lesion", "brainmask"):
            image = nib.load(tmp_path / f"sub-a/sub-a_{kind}.nii.gz")
            turned = image.as_reoriented(nib.orientations.axcodes2ornt("LPS"))
            nib.save(turned, tmp_path / f"sub-b/sub-b_{kind}.nii.gz")
    else:
        target = target.with_name("sub-b_T1w.nii.gz") if copy.startswith("T1") else target
        target.write_bytes((tmp_path / "sub-a/sub-a_FLAIR.nii.gz").read_bytes())
    found = " ".join(problems(cohort.from_folder(tmp_path)))
    assert "is the same image as FLAIR of sub-a" in found


def test_thousands_of_problems_stay_readable(tmp_path):
    rows = pd.DataFrame({"case": [f"sub-{i}" for i in range(300)], "t1": "no.nii", "flair": ""})
    with pytest.raises(cohort.CohortError, match="600 problem.* in 300") as error:
        cohort.check(rows)
    assert len(str(error.value).splitlines()) == 52 and len(error.value.report) == 600


# ---------------------------------------------------------------- contrast


def test_a_symmetric_mask_is_not_called_mirrored(tmp_path):
    lesion = np.zeros(SHAPE, np.uint8)
    lesion[8:16, 10:16, 8:14] = 1
    flair = TOY["brainmask"] * np.float32(100) + 50 * lesion.astype(np.float32)
    assert problems(cohort.from_folder(case(tmp_path, lesion=lesion, FLAIR=flair))) == []


def test_contrast_known_values():
    mask = np.zeros((20, 20, 20), bool)
    mask[8:12, 8:12, 8:12] = True
    brain = np.ones_like(mask)
    flat = np.random.default_rng(0).normal(size=mask.shape)
    assert cohort.contrast(mask, flat + 100 * mask, brain, np.eye(4)) == 1
    assert cohort.contrast(mask, flat - 100 * mask, brain, np.eye(4)) == 0
    assert cohort.contrast(mask, flat, brain, np.eye(4)) == pytest.approx(0.5, abs=0.15)
    assert cohort.contrast(mask, np.ones_like(flat), brain, np.eye(4)) == 0.5
    assert np.isnan(cohort.contrast(np.zeros_like(mask), flat, brain, np.eye(4)))
    assert np.isnan(cohort.contrast(mask, flat, mask, np.eye(4)))  # nothing around it


@settings(max_examples=15, deadline=None)
@given(factor=st.floats(0.01, 100), offset=st.floats(-50, 50))
def test_contrast_does_not_depend_on_the_scale(factor, offset):
    brain, lesion, flair = TOY["brainmask"] > 0, TOY["lesion"] > 0, TOY["FLAIR"].astype(float)
    assert cohort.contrast(lesion, factor * flair + offset, brain, AFFINE) == pytest.approx(
        cohort.contrast(lesion, flair, brain, AFFINE), abs=1e-9)


# ---------------------------------------------------------------- real patients


@pytest.fixture(scope="module")
def real(shared):
    table = cohort.from_folder(shared / "data/real").set_index("case", drop=False)
    images = {}
    for row in table.to_dict("records"):
        read = {}
        found = cohort.case_problems(row, read)
        images[row["case"]] = (read, found)
    return images


def judge(read, mask):
    """Problems of another mask for the images of a real patient."""
    flair = read["flair"]
    lesion = mask if hasattr(mask, "affine") else nib.Nifti1Image(np.ascontiguousarray(mask), flair.affine)
    brain = np.asanyarray(read["brainmask"].dataobj) > 0
    return cohort.lesion_problems(lesion, flair, np.asanyarray(flair.dataobj), brain)


def test_no_real_patient_is_accused(real):
    assert len(real) >= 2
    for name, (read, found) in real.items():
        assert found == [], name
        arrays = [np.asanyarray(read[key].dataobj) for key in ("lesion", "flair", "brainmask")]
        assert cohort.contrast(arrays[0] > 0, arrays[1], arrays[2] > 0, read["flair"].affine) > 0.9, name


def test_real_defects_are_caught(real, shared):
    for name, how in (("sub-tab01", "mirrored"), ("sub-tab06", "another")):
        path = next((shared / "data/defects").glob(f"{name}*{how}*"))
        defect = cohort.load_lesion({"lesion": str(path)})
        read = real[name][0]
        assert "not on the grid" in judge(read, defect)[0][0]
        # Resampled, so that the headers agree: the content gives it away.
        assert judge(read, cohort.resample_to(defect, read["flair"], order=0)), name
        # The header ignored, on the image as distributed (the scanner's LPS order of voxels).
        lps = {key: image.as_reoriented(nib.orientations.ornt_transform(
            nib.io_orientation(image.affine), nib.orientations.axcodes2ornt("LPS"))) for key, image in read.items()}
        found = judge(lps, np.asanyarray(defect.dataobj))
        assert found, name
        if how == "mirrored":
            assert "better when mirrored along x and y" in found[0][0]


@pytest.mark.parametrize("name", ["sub-ms17p07", "sub-tab06"])
def test_mirrored_shifted_and_swapped_masks_of_real_patients_are_caught(real, name):
    if name not in real:
        pytest.skip(f"{name} is not there")
    read = real[name][0]
    mask = np.asanyarray(read["lesion"].dataobj)
    for axes in cohort.FLIPS if name != "sub-ms17p07" else [(0,)]:
        assert judge(read, np.flip(mask, axes)), axes
    for axis, voxels in itertools.product((0, 1), (10, -10)):
        assert judge(read, np.roll(mask, voxels, axis)), (axis, voxels)
    for other, (images, _) in real.items():
        if other != name and images["lesion"].shape == mask.shape:
            assert judge(read, np.asanyarray(images["lesion"].dataobj)), other


def test_facts(real, shared):
    facts = cohort.add_facts(cohort.from_folder(shared / "data/real")).set_index("case")
    assert facts.loc["sub-ms17p07", "lesion_ml"] == pytest.approx(1.3)
    assert facts.loc["sub-ms17p19", "lesion_percent"] == pytest.approx(100 * 49769 / 1066747)
    assert facts.loc["sub-tab01", "voxel_x"] == pytest.approx(0.9, abs=0.05)


def test_credit_names_the_source_of_a_picture():
    row = {"case": "sub-a", "synthetic": False, "licence": "CC BY", "citation": "Somebody (2017)"}
    assert cohort.credit(row) == "sub-a: CC BY. Somebody (2017)"
    assert cohort.credit(row | {"licence": float("nan"), "citation": None}) == "sub-a: real, source unknown"
    assert cohort.credit(row | {"synthetic": True}) == "sub-a: synthetic"


def test_a_quaternion_that_is_a_little_off_keeps_no_scan_out(tmp_path):
    image = nib.Nifti1Image(np.arange(27.0, dtype=np.float32).reshape(3, 3, 3), np.diag([1.0, 2, 3, 1]))
    image.header["qform_code"], image.header["sform_code"] = 1, 1
    image.header["quatern_b"], image.header["quatern_c"], image.header["quatern_d"] = 0.6, 0.8, 0.01
    nib.save(image, tmp_path / "off.nii")
    assert np.array_equal(cohort.load(tmp_path / "off.nii").affine, image.affine)
