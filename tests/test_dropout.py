"""Numbers of the explorer that builds an uncertainty map pass by pass."""

import base64
import gzip

import numpy as np
import pytest

from wmhqc import preprocess, uncertainty, view
from wmhqc.view import dropout


def prepared(n=16):
    """A round lesion in a round brain."""
    place = np.indices((n, n, n)) - (n - 1) / 2
    radius = np.sqrt((place**2).sum(0))
    brain = (radius < 0.45 * n).astype(np.uint8)
    lesion = (radius < 0.2 * n).astype(np.uint8)
    volume = np.stack([brain * 100.0, brain * 90.0 + lesion * 120.0], -1).astype(np.float32)
    return preprocess.Prepared("sub-x", volume, lesion, brain, (n, n, n), np.diag([2.0, 2, 3, 1]), ((0, n),) * 3)


def answers(case, rate, count=5, seed=0):
    """Passes that waver about the lesion, the more the higher the rate."""
    rng = np.random.default_rng(seed)
    p = 0.8 * case.lesion + rng.normal(0, rate, (count, *case.lesion.shape)) * case.brain
    return np.clip(p, 0, 1).astype(np.float32)


def explorer(**changes):
    case = prepared()
    shown = {"case": case, "title": "synthetic", "passes": {r: answers(case, r) for r in (0.05, 0.2)}}
    return case, shown, dropout.passes({"sub-x": {**shown, **changes}}, start=3, slices=5)


def test_curves_are_those_of_the_package():
    case = prepared()
    p = answers(case, 0.2)
    curves = dropout.running(p, case.lesion > 0, case.voxel_mm3)
    for n in (1, 3, 5):
        mc = uncertainty.summarise(p[:n])
        mask, lesion = mc.mask, case.lesion > 0
        assert curves["dice"][n - 1] == pytest.approx(2 * (mask & lesion).sum() / (mask.sum() + lesion.sum()))
        assert curves["vs"][n - 1] == pytest.approx(mc.entropy.sum() * case.voxel_mm3, rel=1e-5)
        assert curves["inside"][n - 1] == pytest.approx(mc.entropy[mask].mean(), rel=1e-5)


def test_an_empty_mask_has_no_mean():
    lesion = np.zeros((4, 4, 4), bool)
    assert dropout.running(np.zeros((2, 4, 4, 4)), lesion, 1.0) == {
        "dice": [1.0] * 2,
        "vs": [0.0] * 2,
        "inside": [None] * 2,
    }


def test_the_page_holds_the_passes_in_64_levels():
    case, shown, widget = explorer()
    packed = widget.data["cases"]["sub-x"]
    nx, ny, nz = packed["shape"]
    data = np.frombuffer(gzip.decompress(base64.b64decode(packed["packed"])), np.uint8)
    assert len(data) == (2 * 5 + 2) * nx * ny * nz
    first = data[: nx * ny * nz].reshape((nx, ny, nz), order="F") / 63
    slices = dropout._chosen_slices((case.lesion > 0) | (shown["passes"][0.2].mean(0) >= 0.5), 5)
    assert first == pytest.approx(shown["passes"][0.05][0][:, :, slices], abs=0.5 / 63 + 1e-6)
    assert packed["spacing"] == [2.0, 2.0]


def test_it_opens_at_the_voxel_that_the_passes_dispute_most():
    case, shown, widget = explorer()
    mc = uncertainty.summarise(shown["passes"][0.2])
    label, (x, y, z) = widget.data["cases"]["sub-x"]["places"][0]
    inner = dropout._chosen_slices((case.lesion > 0) | mc.mask, 5)
    gap = (mc.entropy - mc.expected_entropy)[:, :, inner]
    assert label == "Most disputed" and gap[x, y, z] == gap.max()
    assert [widget.voxel, widget.slice, widget.passes, widget.rate] == [[x, y], z, 3, 1]


def test_places_lie_in_the_part_that_their_button_names():
    case, shown, widget = explorer()
    inner = dropout._chosen_slices((case.lesion > 0) | (shown["passes"][0.2].mean(0) >= 0.5), 5)
    lesion = case.lesion[:, :, inner]
    places = dict(map(tuple, widget.data["cases"]["sub-x"]["places"]))
    assert lesion[tuple(places["Inside a lesion"])] and not lesion[tuple(places.get("False positive", (0, 0, 0)))]


@pytest.mark.parametrize("most", [1, 4, 7, 40])
def test_slices_are_those_with_most_lesion_and_never_too_many(most):
    inside = np.zeros((4, 4, 12), bool)
    inside[:, :, 5:8] = True
    chosen = dropout._chosen_slices(inside, most)
    assert len(chosen) == min(most, 12) and chosen[0] >= 0 and chosen[-1] < 12
    assert inside[:, :, chosen].any()


def test_cases_with_other_rates_and_a_rate_without_passes_are_refused():
    case, shown, _ = explorer()
    other = {**shown, "passes": {0.2: answers(case, 0.2, 4)}}
    with pytest.raises(ValueError, match="the same dropout rates"):
        view.passes({"a": shown, "b": other})
    with pytest.raises(ValueError, match="no passes at the rate of the training, 0.3"):
        view.passes({"a": shown}, trained=0.3)
