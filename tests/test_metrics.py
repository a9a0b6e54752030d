"""Agreement with the manual mask, of small cases worked out by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp

from wmhqc import metrics

N = 12


def cube(*boxes, n=N):
    """Mask of boxes given as (start, stop) of all three axes, or as three slices."""
    mask = np.zeros((n, n, n), bool)
    for box in boxes:
        mask[box if isinstance(box[0], slice) else (slice(*box),) * 3] = True
    return mask


def test_volume_is_in_ml():
    assert metrics.volume_ml(cube((0, 10)), 2.0) == 2.0  # 1000 voxels of 2 mm^3


def test_lesion_dice_by_hand():
    assert metrics.lesion_dice(cube((0, 2)), cube((slice(0, 2), slice(0, 2), slice(0, 1)))) == pytest.approx(2 * 4 / 12)
    assert metrics.lesion_dice(cube(), cube()) == 1 and metrics.lesion_dice(cube(), cube((0, 1))) == 0


def test_paper_dice_by_hand():
    # 4 voxels, one lesion: background (2*2.5+1)/(2.8+3+1), lesion (2*0.7+1)/(1.2+1+1).
    p, y = np.array([0.7, 0.3, 0.1, 0.1]), np.array([1, 0, 0, 0])
    assert metrics.paper_dice(p, y) == pytest.approx((6 / 6.8 + 2.4 / 3.2) / 2)


def test_paper_dice_of_an_untrained_network_is_the_papers_first_epoch():
    lesion = cube((0, 3), n=24)
    assert metrics.paper_dice(np.full(lesion.shape, 0.5), lesion) == pytest.approx(0.34, abs=0.01)


def test_half_the_lesion_dice_is_three_quarters_of_the_papers():
    lesion = cube((10, 16), n=32)
    mask = np.roll(lesion, 3, axis=0)
    assert metrics.lesion_dice(mask, lesion) == 0.5
    assert metrics.paper_dice(mask.astype(float), lesion) == pytest.approx(0.75, abs=0.005)


def test_normalised_dice_by_hand():
    lesion, mask = cube((0, 1), n=10), cube((0, 1), n=10)
    mask[5, 5, 5:7] = True
    # At the reference load of 1 in 1000 the weight is 1: plain Dice.
    assert metrics.normalised_dice(mask, lesion) == pytest.approx(metrics.lesion_dice(mask, lesion))
    # Eight times the load: a false positive weighs 0.999 * 8 / (0.001 * 992).
    lesion = cube((0, 2), n=10)
    k = 0.999 * 8 / (0.001 * 992)
    assert metrics.normalised_dice(mask, lesion) == pytest.approx(2 / (2 + 2 * k + 7))
    assert metrics.normalised_dice(cube(), cube()) == 1 and metrics.normalised_dice(mask, cube(n=10)) == 0


def test_lesion_f1_by_hand():
    true, found = cube((0, 2), (4, 6), (8, 9)), cube((1, 3), (10, 11))  # hits 1 of 3, 1 of 2 is right
    assert metrics.lesion_f1(found, true) == pytest.approx(2 * (1 / 2) * (1 / 3) / (1 / 2 + 1 / 3))
    assert metrics.lesion_f1(cube(), cube()) == 1
    assert metrics.lesion_f1(found, cube()) == 0 and metrics.lesion_f1(cube(), true) == 0


def test_volume_difference():
    assert metrics.volume_difference_percent(cube((0, 2)), cube((slice(0, 2), slice(0, 2), slice(0, 1)))) == 100
    assert np.isnan(metrics.volume_difference_percent(cube((0, 1)), cube()))


def test_hd95_by_hand():
    a, b = cube((2, 4)), np.roll(cube((2, 4)), 3, axis=2)
    assert metrics.hd95_mm(a, a, (1, 1, 1)) == 0
    # The far slice of the one is 3 slices of 2.5 mm from the far slice of the other.
    assert metrics.hd95_mm(a, b, (1, 1, 2.5)) == pytest.approx(7.5)
    assert metrics.hd95_mm(cube((0, 1)), cube((3, 4)), (1, 2, 2)) == pytest.approx(9)
    assert np.isnan(metrics.hd95_mm(cube(), a, (1, 1, 1)))


def test_hd95_is_that_of_the_wmh_challenge():
    import SimpleITK as sitk
    from scipy.spatial import KDTree

    rng = np.random.default_rng(0)
    masks = [np.pad(rng.random((8, 8, 8)) > share, 2) for share in (0.2, 0.9)]
    images = [sitk.GetImageFromArray(m.transpose(2, 1, 0).astype(np.uint8)) for m in masks]
    a, b = [np.argwhere(sitk.GetArrayFromImage(i - sitk.BinaryErode(i, (1, 1, 0)))) * (3, 1, 1) for i in images]
    expected = max(np.percentile(KDTree(a).query(b)[0], 95), np.percentile(KDTree(b).query(a)[0], 95))
    assert metrics.hd95_mm(*masks, (1, 1, 3)) == expected > 0


def test_hd95_of_a_mask_that_fills_the_grid():
    assert metrics.hd95_mm(~cube(), ~cube(), (1, 1, 1)) == 0


def test_grids_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"prediction has shape \(12, 12, 12\), manual mask \(10, 10, 10\)"):
        metrics.lesion_dice(cube(), cube(n=10))


@given(hnp.arrays(bool, (4, 4, 4)), hnp.arrays(bool, (4, 4, 4)))
@settings(max_examples=40, deadline=None)
def test_properties_of_the_truth(a, b):
    for metric in (metrics.lesion_dice, metrics.lesion_f1):
        assert 0 <= metric(a, b) <= 1 and metric(a, b) == pytest.approx(metric(b, a)) and metric(a, a) == 1
    if a.any() and b.any():
        assert metrics.hd95_mm(a, b, (1, 2, 3)) == pytest.approx(metrics.hd95_mm(b, a, (1, 2, 3)))


def test_a_real_mask_against_itself_eroded(shared):
    nib = pytest.importorskip("nibabel")
    from scipy import ndimage

    image = nib.load(shared / "data" / "real" / "sub-ms17p19" / "sub-ms17p19_lesion.nii.gz")
    lesion = np.asarray(image.dataobj) > 0
    assert metrics.volume_ml(lesion, 1.0) == pytest.approx(49.8, abs=0.1)
    eroded = ndimage.binary_erosion(lesion)
    assert 0.3 < metrics.lesion_dice(eroded, lesion) < 0.9
    assert 1 <= metrics.hd95_mm(eroded, lesion, image.header.get_zooms()) < 20
