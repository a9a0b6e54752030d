"""Key slices of cases: which one is taken, what is shipped and what is not."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from wmhqc import preprocess, reference, slices


def volume(shape=(8, 9, 7)):
    flair = np.zeros(shape)
    flair[1:-1, 2:-2, 1:-1] = 100.4
    return flair, np.zeros(shape, bool), np.zeros(shape, bool)


def test_the_slice_has_most_lesion_missed_or_invented_and_ends_with_the_brain():
    flair, predicted, manual = volume()
    predicted[2, 3, 2] = True
    manual[3:5, 3, 4] = True
    flair[:, :, 4] *= 2
    found = slices.key("a", flair, predicted, manual, (1, 2, 3))
    assert found.flair.shape == (6, 5) and (found.flair == 201).all()
    assert np.argwhere(found.manual).tolist() == [[2, 1], [3, 1]] and not found.predicted.any()
    assert found.spacing == (1, 2)


def test_a_case_without_lesion_shows_the_slice_with_most_brain():
    flair, predicted, manual = volume()
    flair[:, :, 3] = 50
    assert slices.key("a", flair, predicted, manual, (1, 1, 1)).flair.shape == (8, 9)


def test_what_is_written_is_read_again(tmp_path):
    flair, predicted, manual = volume()
    manual[3, 4, 4] = True
    one = slices.key("sub-a", flair, predicted, manual, (1.5, 2, 3))
    mask = np.random.default_rng(0).random((16, 16, 16)) > 0.7
    slices.save([one], {"sub-real": mask}, tmp_path / "slices.npz")
    (read,), masks = slices.load(tmp_path / "slices.npz")
    assert (read.case, read.spacing) == ("sub-a", (1.5, 2.0))
    for name in ("flair", "predicted", "manual"):
        assert (
            np.array_equal(getattr(read, name), getattr(one, name))
            and getattr(read, name).dtype == getattr(one, name).dtype
        )
    assert list(masks) == ["sub-real"] and np.array_equal(masks["sub-real"], mask)
    assert slices.load(tmp_path / "none.npz") == ([], {})


@pytest.mark.parametrize("turned", [False, True])
def test_a_patients_slice_is_on_the_scans_own_grid(tmp_path, turned):
    shape, row = (40, 48, 36), {"case": "sub-a"}
    flair, lesion, brain = np.zeros(shape, np.float32), np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    brain[4:36, 5:44, 3:33] = 1
    flair[brain > 0] = np.random.default_rng(0).uniform(50, 90, int(brain.sum()))
    lesion[10:20, 10:20, 12:22], lesion[30:33, 30:33, 15] = 1, 1
    for name, array in {"t1": flair, "flair": flair, "lesion": lesion, "brainmask": brain}.items():
        image = nib.Nifti1Image(array, np.diag([1, 1, 2, 1]))
        row[name] = str(tmp_path / f"{name}.nii.gz")
        nib.save(image.as_reoriented(nib.orientations.axcodes2ornt("LSP")) if turned else image, row[name])
    prepared = preprocess.prepare_row(row, 32)
    found = slices.of_scan(row, prepared, prepared.lesion > 0)
    assert found.flair.shape == (32, 39) and found.spacing == (1, 1)
    assert found.manual.sum() == 109 and found.manual[6:16, 5:15].all() and found.manual[26:29, 25:28].all()
    assert (found.predicted & found.manual).sum() > 80


def test_a_run_gives_slices_of_synthetic_cases_and_only_masks_of_real_ones(tiny_run, tmp_path):
    tested = pd.read_csv(tiny_run / "cases.csv").query("split == 'test'")["case"].tolist()
    pictures, masks = slices.of_run(tiny_run)
    assert [each.case for each in pictures] == tested and masks == {}
    copy = tmp_path / "run"
    copy.mkdir()
    for path in tiny_run.iterdir():
        (copy / path.name).symlink_to(path)
    (copy / "cohort.csv").unlink()
    table = pd.read_csv(tiny_run / "cohort.csv")
    table.assign(synthetic=table["case"] != tested[0]).to_csv(copy / "cohort.csv", index=False)
    pictures, masks = slices.of_run(copy)
    assert [each.case for each in pictures] == tested[1:] and list(masks) == tested[:1]
    assert masks[tested[0]].shape == (16, 16, 16)


def test_what_ships_belongs_to_the_reference_run_and_shows_no_patient():
    pictures, masks = slices.load()
    test = reference.cases("test")
    made = test["case"] if "synthetic" not in test else test.loc[test["synthetic"].astype(bool), "case"]
    assert {each.case for each in pictures} <= set(made) and len(pictures) >= 6
    assert not set(masks) & {each.case for each in pictures}
