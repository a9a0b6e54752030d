"""Cohort tables, and every kind of case that a cohort refuses."""

import itertools

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from toy import AFFINE, SHAPE, case, problems, scan, write

from wmhqc import checks, cohort, images
from wmhqc.sources import layouts

# ---------------------------------------------------------------- tables


def test_folder_check_and_csv_round_trip(tmp_path):
    for seed, name in enumerate(["sub-a", "sub-b"]):
        case(tmp_path, name, seed)
    table = layouts.from_folder(tmp_path)
    assert table["case"].tolist() == ["sub-a", "sub-b"] and table["patient"].tolist() == ["a", "b"]
    good, report = cohort.check(table)
    assert len(good) == 2 and report.empty
    cohort.write_csv(table, tmp_path / "cohort.csv")
    assert "sub-a/sub-a_T1w.nii.gz" in (tmp_path / "cohort.csv").read_text()
    moved = tmp_path.rename(tmp_path.with_name("moved"))
    back = cohort.read_csv(moved / "cohort.csv")
    pd.testing.assert_frame_equal(back, layouts.from_folder(moved))
    assert problems(back) == []
    moved.rename(tmp_path)


def test_csv_keeps_leading_zeros_other_columns_and_paths_elsewhere(tmp_path):
    (tmp_path / "c.csv").write_text("case,t1,flair,patient,fold\nsub-1,/x/t1.nii,f.nii,007,3\n")
    row = cohort.read_csv(tmp_path / "c.csv").iloc[0]
    assert row["patient"] == "007" and row["fold"] == 3 and row["lesion"] == "" and not row["synthetic"]
    assert row["t1"] == "/x/t1.nii" and row["flair"] == str(tmp_path / "f.nii")
    cohort.write_csv(cohort.read_csv(tmp_path / "c.csv"), tmp_path / "d.csv")
    assert cohort.read_csv(tmp_path / "d.csv").iloc[0]["t1"] == "/x/t1.nii"


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "not a table"),
        ("case,t1\nsub-a,x\n", "no column flair"),
        ("case,t1,flair\n", "no case"),
        ("case,t1,flair\nsub-a,x,y\nsub-a,x,y\n", "more than once"),
        ("case,t1,flair\n../a,x,y\n", "cannot name a file"),
        ("case,t1,flair\n,x,y\n", "cannot name a file"),
        ('case,t1,flair\na,b,c,d,e,f\na\n"', "not a table"),
    ],
)
def test_bad_csv(tmp_path, text, message):
    (tmp_path / "c.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        cohort.read_csv(tmp_path / "c.csv")


def test_missing_csv_and_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="cohort table"):
        cohort.read_csv(tmp_path / "no.csv")
    for reader in (layouts.from_folder, layouts.read_miccai17, layouts.read_ms15, layouts.read_ms16, layouts.read_ms17):
        with pytest.raises(FileNotFoundError, match="not a folder"):
            reader(tmp_path / "no")
        with pytest.raises(ValueError, match="no case found; expected"):
            reader(tmp_path)


# ---------------------------------------------------------------- one case


def test_ms15_raters_on_two_grids(tmp_path):
    mask = scan()["lesion"]
    row = {
        "lesion": write(mask, tmp_path / "1.nii"),
        "lesion2": write(mask, tmp_path / "2.nii", np.eye(4)),
        "lesion_rule": "union",
    }
    with pytest.raises(ValueError, match="different grids"):
        cohort.load_lesion({k: str(v) for k, v in row.items()})


@pytest.mark.parametrize(
    "values, rule, ok",
    [
        ([0, 1], "", True),
        ([0, 255], "", True),
        ([0, 1, 2], "", False),
        ([0, 0.4, 1], "", False),
        ([-1, 0], "", False),
        ([0, 1, 2], "label 1", True),
        ([0, 1, 2], "label > 0", True),
        ([0, 1], "lable 1", False),
        ([0, 1], None, True),
        ([0, 1], float("nan"), True),
    ],
)
def test_lesion_rules(tmp_path, values, rule, ok):
    array = np.resize(np.array(values, np.float32), SHAPE)
    row = {"lesion": str(write(array, tmp_path / "m.nii")), "lesion_rule": rule}
    if ok:
        assert set(np.unique(cohort.load_lesion(row).dataobj)) == {0, 1}
    else:
        with pytest.raises(ValueError, match="lesion_rule"):
            cohort.load_lesion(row)


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
    "no brain": (dict(FLAIR=-1 - TOY["T1w"], brainmask=None), "no voxel of the FLAIR .and T1. is above 0"),
    "empty mask": (dict(lesion=np.zeros(SHAPE, np.uint8)), "lesion mask is empty"),
    "probabilities": (
        dict(lesion=TOY["lesion"] * np.float32(0.5) + TOY["brainmask"] * np.float32(0.1)),
        "expected a mask of 0 and one other value",
    ),
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
    table = layouts.from_folder(case(tmp_path, **changes))
    with pytest.raises(cohort.CohortError, match=message) as error:
        cohort.check(table)
    report = error.value.report
    assert set(report["case"]) == {"sub-a"} and (report["file"] != "").all() and (report["action"] != "").all()


def test_missing_files_and_a_readable_report(tmp_path):
    case(tmp_path, "sub-good", 1)
    case(case(tmp_path, "sub-bad", 2), "sub-worse", 3, T1w=None, lesion=None)
    (tmp_path / "sub-bad/sub-bad_FLAIR.nii.gz").write_bytes(b"")
    table = layouts.from_folder(tmp_path)
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
    assert problems(layouts.from_folder(case(tmp_path, lesion=None, brainmask=None))) == []


def test_a_cohort_says_which_scans_do_not_say_how_they_lie(tmp_path):
    folder = case(case(tmp_path, "sub-a", 1), "sub-b", 2)
    for path in (folder / "sub-b").iterdir():
        image = nib.load(path)
        image.set_sform(None, 0)
        nib.save(nib.Nifti1Image(np.asanyarray(image.dataobj), None, image.header), path)
    with pytest.warns(UserWarning, match=r"left and right are a guess: sub-b \(1 of 2 cases\)"):
        assert problems(layouts.from_folder(folder)) == []


def test_union_without_a_second_mask(tmp_path):
    row = {"lesion": str(write(scan()["lesion"], tmp_path / "1.nii")), "lesion_rule": "union"}
    with pytest.raises(ValueError, match="needs a second mask, in the column lesion2"):
        cohort.load_lesion(row)


def test_affines(tmp_path):
    """Half a voxel apart is refused, a hundredth is not."""
    for shift, count in ((0.02, 0), (1.0, 1)):
        moved = AFFINE.copy()
        moved[0, 3] = shift
        write(TOY["T1w"], case(tmp_path) / "sub-a/sub-a_T1w.nii.gz", moved)
        assert len(problems(layouts.from_folder(tmp_path))) == count


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
    found = " ".join(problems(layouts.from_folder(tmp_path)))
    assert "is the same image as FLAIR of sub-a" in found


def test_thousands_of_problems_stay_readable(tmp_path):
    rows = pd.DataFrame({"case": [f"sub-{i}" for i in range(300)], "t1": "no.nii", "flair": ""})
    with pytest.raises(cohort.CohortError, match="600 problem.* in 300") as error:
        cohort.check(rows)
    assert len(str(error.value).splitlines()) == 52 and len(error.value.report) == 600


def test_a_symmetric_mask_is_not_called_mirrored(tmp_path):
    lesion = np.zeros(SHAPE, np.uint8)
    lesion[8:16, 10:16, 8:14] = 1
    flair = TOY["brainmask"] * np.linspace(99, 101, SHAPE[2], dtype=np.float32) + 50 * lesion.astype(np.float32)
    assert problems(layouts.from_folder(case(tmp_path, lesion=lesion, FLAIR=flair))) == []


# ---------------------------------------------------------------- real patients


@pytest.fixture(scope="module")
def real(shared):
    table = layouts.from_folder(shared / "data/real").set_index("case", drop=False)
    read_images = {}
    for row in table.to_dict("records"):
        read = {}
        found = cohort.case_problems(row, read)
        read_images[row["case"]] = (read, found)
    return read_images


def judge(read, mask):
    """Problems of another mask for the images of a real patient."""
    flair = read["flair"]
    lesion = mask if hasattr(mask, "affine") else nib.Nifti1Image(np.ascontiguousarray(mask), flair.affine)
    brain = np.asanyarray(read["brainmask"].dataobj) > 0
    return checks.lesion_problems(lesion, flair, np.asanyarray(flair.dataobj), brain)


def test_no_real_patient_is_accused(real):
    assert len(real) >= 2
    for name, (read, found) in real.items():
        assert found == [], name
        arrays = [np.asanyarray(read[key].dataobj) for key in ("lesion", "flair", "brainmask")]
        assert checks.contrast(arrays[0] > 0, arrays[1], arrays[2] > 0, read["flair"].affine) > 0.9, name


def test_real_defects_are_caught(real, shared):
    for name, how in (("sub-tab01", "mirrored"), ("sub-tab06", "another")):
        path = next((shared / "data/defects").glob(f"{name}*{how}*"))
        defect = cohort.load_lesion({"lesion": str(path)})
        read = real[name][0]
        assert "not on the grid" in judge(read, defect)[0][0]
        # Resampled, so that the headers agree: the content gives it away.
        assert judge(read, images.resample_to(defect, read["flair"], order=0)), name
        # The header ignored, on the image as distributed (the scanner's LPS order of voxels).
        lps = {
            key: image.as_reoriented(
                nib.orientations.ornt_transform(nib.io_orientation(image.affine), nib.orientations.axcodes2ornt("LPS"))
            )
            for key, image in read.items()
        }
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
    for axes in checks.FLIPS if name != "sub-ms17p07" else [(0,)]:
        assert judge(read, np.flip(mask, axes)), axes
    for axis, voxels in itertools.product((0, 1), (10, -10)):
        assert judge(read, np.roll(mask, voxels, axis)), (axis, voxels)
    for other, (theirs, _) in real.items():
        if other != name and theirs["lesion"].shape == mask.shape:
            assert judge(read, np.asanyarray(theirs["lesion"].dataobj)), other


def test_facts(real, shared):
    facts = cohort.add_facts(layouts.from_folder(shared / "data/real")).set_index("case")
    assert facts.loc["sub-ms17p07", "lesion_ml"] == pytest.approx(1.3)
    assert facts.loc["sub-ms17p19", "lesion_percent"] == pytest.approx(100 * 49769 / 1066747)
    assert facts.loc["sub-tab01", "voxel_x"] == pytest.approx(0.9, abs=0.05)


def test_credit_names_the_source_of_a_picture():
    row = {"case": "sub-a", "synthetic": False, "licence": "CC BY", "citation": "Somebody (2017)"}
    assert cohort.credit(row) == "sub-a: CC BY. Somebody (2017)"
    assert cohort.credit(row | {"licence": float("nan"), "citation": None}) == "sub-a: real, source unknown"
    assert cohort.credit(row | {"synthetic": True}) == "sub-a: synthetic"
