"""How a scan looks."""

import math

import nibabel as nib
import numpy as np
import pytest
from scans import resave, row

from wmhqc import preprocess
from wmhqc.features import FEATURES, scan_features
from wmhqc.screen import labels


@pytest.fixture
def scan(tmp_path):
    return row(tmp_path)


def case(scan, **options):
    return preprocess.prepare("sub-a", scan["t1"], scan["flair"], scan["lesion"], scan["brainmask"], size=32, **options)


def test_scan_features_are_in_mm_and_ml(scan):
    found = scan_features(case(scan))
    assert list(found) == list(FEATURES) and all(map(math.isfinite, found.values()))
    assert found["largest_edge_mm"] == pytest.approx(3.4)
    assert found["brain_ml"] == pytest.approx(4 / 3 * np.pi * 17**3 * 3.4**3 / 1000, rel=0.03)
    assert found["width_mm"] == found["height_mm"] == pytest.approx(34 * 3.4)
    assert set(FEATURES) <= set(labels.LABELS)


def test_width_is_left_to_right_in_any_orientation(scan):
    thin = {name: resave(scan, name, lambda a: a[5:35])[name] for name in ("t1", "flair", "brainmask", "lesion")}
    turned = {}
    for name, path in thin.items():
        image = nib.load(path)
        turned[name] = path.replace(".nii.gz", "-turned.nii.gz")
        nib.save(image.as_reoriented([[2, -1], [0, 1], [1, 1]]), turned[name])
    before, after = scan_features(case(thin)), scan_features(case(turned))
    assert before["width_mm"] < before["height_mm"]
    assert after == pytest.approx(before, rel=0.02)


def test_detail_falls_with_blur_and_symmetry_with_a_mass(scan):
    from scipy import ndimage

    plain = scan_features(case(scan))
    blurred = resave(scan, "flair", lambda a: ndimage.gaussian_filter(a.astype(float), 1))
    assert scan_features(case(blurred))["flair_detail"] < 0.8 * plain["flair_detail"]
    one_side = resave(scan, "flair", lambda a: np.where(np.arange(40)[:, None, None] < 20, a, a // 2))
    assert scan_features(case(one_side))["flair_symmetry"] < plain["flair_symmetry"]
