import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from wmhqc import preprocess
from wmhqc.book import runs


def test_a_missing_result_names_the_chapter_that_makes_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="run the chapter 'Uncertainty maps'"):
        runs.read_cases(tmp_path, "uncertainty")


def test_cases_come_back(tmp_path):
    table = pd.DataFrame({"case": ["sub-1", "sub-2"], "lesion_dice": [0.5, np.nan]})
    path = runs.write_cases(table, tmp_path, "data")
    pd.testing.assert_frame_equal(runs.read_cases(tmp_path, "data"), table)
    assert [p.name for p in path.parent.iterdir()] == ["cases.csv"]


def test_maps_of_a_case_are_written_on_both_grids(tmp_path):
    rng = np.random.default_rng(0)
    affine = np.diag([2.0, 2, 2, 1])
    t1, flair = (nib.Nifti1Image(rng.uniform(1, 100, (20, 24, 20)).astype("float32"), affine) for _ in range(2))
    case = preprocess.prepare("sub-1.5t", t1, flair, size=16)
    mean = rng.uniform(size=(16, 16, 16)).astype("float32")
    runs.write_maps(tmp_path, case, {"mean": mean}, {"prediction": mean})
    np.testing.assert_array_equal(runs.load_maps(tmp_path / "maps" / "sub-1.5t.npz")["mean"], mean)
    assert nib.load(tmp_path / "maps" / "sub-1.5t_prediction.nii.gz").shape == (20, 24, 20)


def test_maps_and_images_come_back(tmp_path):
    mean = np.random.default_rng(0).uniform(size=(4, 4, 4)).astype("float32")
    runs.save_maps(tmp_path / "maps" / "a.npz", mean=mean)
    np.testing.assert_array_equal(runs.load_maps(tmp_path / "maps" / "a.npz")["mean"], mean)
    runs.save_image(nib.Nifti1Image(mean, np.eye(4)), tmp_path / "maps" / "a.nii.gz")
    np.testing.assert_array_equal(nib.load(tmp_path / "maps" / "a.nii.gz").get_fdata(), mean)
    assert {p.name for p in (tmp_path / "maps").iterdir()} == {"a.npz", "a.nii.gz"}
