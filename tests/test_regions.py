"""Parts of the brain that a segmentation makes, and what the maps hold there."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wmhqc import regions

CUBES = arrays(bool, (4, 4, 4), elements=st.booleans())


def example():
    """A lesion of two voxels of which one was found, one missed whole, one false positive."""
    lesion, mask, brain = (np.zeros((8, 8, 8), bool) for _ in range(3))
    brain[1:7, 1:7, 1:7] = True
    lesion[2, 2, 2:4] = lesion[6, 6, 6] = True
    mask[2, 2, 2] = mask[2, 6, 2] = True
    return mask, lesion, brain


@given(CUBES, CUBES, CUBES)
def test_each_voxel_lies_in_one_part(mask, lesion, brain):
    parts = regions.split(mask, lesion, brain)
    assert np.array_equal(sum(part.astype(int) for part in parts.values()), mask | lesion | brain)


def test_lesions_that_touch_by_a_corner_are_one():
    lesion, mask = np.zeros((2, 4, 4, 4), bool)
    lesion[0, 0, 0] = lesion[1, 1, 1] = mask[0, 0, 0] = True
    parts = regions.split(mask, lesion, np.ones((4, 4, 4)))
    assert parts["missed_part"][1, 1, 1] and not parts["missed_whole"].any()


def test_entropy_of_a_worked_example():
    mask, lesion, brain = example()
    entropy = np.full((8, 8, 8), 0.01, np.float32)
    entropy[2, 2, 2], entropy[2, 6, 2], entropy[2, 2, 3], entropy[6, 6, 6] = 0.2, 0.6, 0.9, 0.4
    row = regions.entropy_row(entropy, mask, lesion, brain)
    expected = {"true_positive": 0.2, "false_positive": 0.6, "missed_part": 0.9, "missed_whole": 0.4, "healthy": 0.01}
    for part, value in expected.items():
        assert row[f"entropy_{part}"] == pytest.approx(value)
    assert (row["high_missed_part"], row["high_missed_whole"], row["high_healthy"]) == (1, 1, 0)
    assert (row["missed_lesions"], row["missed_marked"], row["auroc_missed_whole"]) == (1, 1, 1.0)


def test_a_lesion_like_healthy_brain_does_not_stand_out():
    mask, lesion, brain = example()
    row = regions.entropy_row(np.full((8, 8, 8), 0.1), mask, lesion, brain)
    assert row["auroc_missed_whole"] == 0.5 and row["missed_marked"] == 0


def test_where_nothing_was_missed_the_numbers_are_undefined():
    mask, _, brain = example()
    row = regions.entropy_row(np.zeros((8, 8, 8)), mask, mask, brain)
    assert np.isnan(row["entropy_missed_whole"]) and np.isnan(row["auroc_missed_whole"])
    assert row["missed_lesions"] == 0


def test_error_of_a_worked_example():
    mask, lesion, brain = example()
    flair = np.where(lesion, 0.8, 0.5) * brain
    painted = np.where(mask, 0.7, flair)  # bright in every hole
    row = regions.error_row(flair, painted, mask, lesion, brain)
    assert row["error_true_positive"] == pytest.approx(0.1) and row["negative_true_positive"] == 0
    assert row["error_false_positive"] == pytest.approx(-0.2) and row["negative_false_positive"] == 1
    assert row["error_missed_whole"] == row["error_healthy"] == 0
    assert row["painted_false_positive"] == pytest.approx(0.7) and row["flair_false_positive"] == pytest.approx(0.5)


def test_how_a_map_tells_lesion_from_other_tissue():
    mask, lesion, brain = example()
    told = regions.lesion_auroc(np.where(lesion, 0.8, 0.5), mask, lesion, brain)
    assert told == {"inside": 1, "outside": 1}
    told = regions.lesion_auroc(np.where(mask, 0.8, 0.5), mask, lesion, brain)  # a map that only repeats the mask
    assert told == {"inside": 0.5, "outside": 0.5}
    assert np.isnan(regions.lesion_auroc(np.zeros((8, 8, 8)), lesion, lesion, brain)["inside"])


def test_masks_of_two_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(3, 3, 3\) \(manual\)"):
        regions.split(np.zeros((4, 4, 4)), np.zeros((3, 3, 3)), np.zeros((4, 4, 4)))


def test_means_over_cases_leave_out_those_without_the_part():
    rows = pd.DataFrame({f"entropy_{part}": [0.2, 0.4] for part in regions.LABELS})
    rows["entropy_missed_whole"] = [np.nan, 0.3]
    rows["entropy_missed_part"] = np.nan
    found = regions.by_part(rows, "entropy")
    assert found.loc["healthy", "mean"] == pytest.approx(0.3) and found.loc["healthy", "cases"] == 2
    assert 0.2 <= found.loc["healthy", "low"] < 0.3 < found.loc["healthy", "high"] <= 0.4
    assert found.loc["missed_whole"].tolist() == [0.3, 0.3, 0.3, 1]
    assert np.isnan(found.loc["missed_part", "mean"]) and found.loc["missed_part", "cases"] == 0
