"""The explorer that builds an uncertainty map from passes, one after the other."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import traitlets

from wmhqc import regions
from wmhqc.metrics import lesion_dice
from wmhqc.scores import grid_spacing
from wmhqc.uncertainty import entropy
from wmhqc.view.pictures import _levels, _limits, _packed, _resample
from wmhqc.view.widget import Explorer, module

# What a button that jumps to a voxel says, by the part of `wmhqc.regions.split` it lies in.
PLACES = {
    "missed_part": "Missed edge",
    "false_positive": "False positive",
    "missed_whole": "Lesion missed whole",
    "true_positive": "Inside a lesion",
}


class PassesExplorer(Explorer):
    """What `passes` returns; `passes`, `rate` (its place), `slice` and `voxel` follow the reader."""

    _esm = module("common", "viewer", "chart", "picture", "dropout")
    case = traitlets.Unicode().tag(sync=True)
    passes = traitlets.Int().tag(sync=True)
    rate = traitlets.Int().tag(sync=True)
    slice = traitlets.Int().tag(sync=True)
    voxel = traitlets.List().tag(sync=True)
    data = traitlets.Dict().tag(sync=True)


def passes(
    cases: dict[str, dict], trained: float = 0.2, start: int = 20, slices: int = 14, size: int = 64
) -> PassesExplorer:
    """Build an uncertainty map: add passes, change the dropout rate, ask a voxel.

    To keep the page small (about 0.2 MB a case) the pictures show `slices` slices, every second one
    where there is most lesion, with at most `size` voxels an edge and 64 levels. The curves of
    Dice, sum and mean are computed here, from the whole brain.

    Parameters
    ----------
    cases : dict of str to dict
        Name -> `case` (`wmhqc.preprocess.Prepared` with a manual mask), `title` (what the menu says) and
        `passes`, a dict from the dropout rate to an array (N, n, n, n): the lesion probability of each pass.
        All cases have the same rates and N.
    trained : float, default 0.2
        The rate that the network learned with; the explorer opens there.
    start : int, default 20
        Passes shown first, at most N.
    slices, size : int
        What the page shows of each case.

    Returns
    -------
    PassesExplorer
        A Jupyter widget; the last expression of a cell shows it.

    Raises
    ------
    ValueError
        There is no case, or the rates or numbers of passes differ.
    """
    kinds = {(tuple(shown["passes"]), *(len(p) for p in shown["passes"].values())) for shown in cases.values()}
    if len(kinds) != 1 or len(set(next(iter(kinds))[1:])) != 1:
        raise ValueError(
            f"expected one case or more, all with the same dropout rates and as many passes at each, got {kinds}"
        )
    (rates, count, *_) = kinds.pop()
    if trained not in rates:
        raise ValueError(f"there are no passes at the rate of the training, {trained}, only at {rates}")
    packed = {
        name: {"title": shown["title"], **_case(shown["case"], shown["passes"], trained, slices, size)}
        for name, shown in cases.items()
    }
    first = next(iter(packed))
    *voxel, z = packed[first]["places"][0][1]
    return PassesExplorer(
        case=first,
        passes=min(start, count),
        rate=rates.index(trained),
        slice=z,
        voxel=voxel,
        data={"cases": packed, "rates": list(rates), "trained": trained, "count": count},
    )


def running(probabilities, lesion, voxel_mm3: float) -> dict[str, list]:
    """Dice of the mean, sum of its entropy and mean entropy in its mask, with 1, 2 ... N passes.

    Parameters
    ----------
    probabilities : array (N, n, n, n)
    lesion : bool array (n, n, n)
    voxel_mm3 : float

    Returns
    -------
    dict
        `dice`, `vs` (mm³·bit) and `inside` (bit; None where the mask is empty), each of length N.
    """
    total, curves = np.zeros(lesion.shape, np.float32), {"dice": [], "vs": [], "inside": []}
    for n, p in enumerate(probabilities, 1):
        total += p
        mask, uncertainty = total / n >= 0.5, entropy(total / n)
        curves["dice"].append(lesion_dice(mask, lesion))
        curves["vs"].append(float(uncertainty.sum() * voxel_mm3))
        curves["inside"].append(float(uncertainty[mask].mean()) if mask.any() else None)
    return curves


def _case(case, probabilities: dict, trained: float, slices: int, size: int) -> dict:
    """One case for the page."""
    lesion, mean = case.lesion > 0, np.mean(probabilities[trained], axis=0, dtype=np.float32)
    small, shape = thinned(lesion | (mean >= 0.5), slices, size)
    flair = np.asarray(case.volume[..., 1], np.float32)
    payload = [_levels(small(p), 0, 1) for passes in probabilities.values() for p in passes]
    payload += [_levels(small(flair), *_limits(flair, "grey")), (small(lesion) >= 0.5).astype(np.uint8).tobytes("F")]
    parts = regions.split(small(mean) >= 0.5, small(lesion) >= 0.5, small(case.brain) >= 0.5)
    return {
        "shape": list(shape),
        "spacing": [
            float(edge * case.size / n) for edge, n in zip(grid_spacing(case), shape[:2])
        ],  # left-right, back-front
        "curves": [running(p, lesion, case.voxel_mm3) for p in probabilities.values()],
        "places": _places(parts, [small(p) for p in probabilities[trained]]),
        "packed": _packed(payload),
    }


def thinned(inside, slices: int, size: int) -> tuple[Callable, tuple[int, int, int]]:
    """What makes an array (n, n, n) small, and the shape it then has: see `_chosen_slices`; at most `size` an edge."""
    z = _chosen_slices(inside, slices)
    shape = (*(min(size, n) for n in inside.shape[:2]), len(z))
    return lambda array: _resample(np.asarray(array[:, :, z], np.float32), shape), shape


def _chosen_slices(inside, most: int) -> np.ndarray:
    """Every second slice, at most `most` of them, where `inside` is set most often."""
    count = inside.sum((0, 1))
    every = 2 if len(count) >= 2 * most else 1
    width = min(most, len(count))
    sums = [count[first : first + every * width : every].sum() for first in range(len(count) - every * (width - 1))]
    return int(np.argmax(sums)) + every * np.arange(width)


def _places(parts: dict, answers: list) -> list:
    """The voxel that the passes contradict each other about most, and a typical one of each part.

    Typical is the voxel whose entropy is nearest to the median of its part.
    """
    uncertainty = entropy(np.mean(answers, axis=0))
    disagreement = uncertainty - np.mean([entropy(p) for p in answers], axis=0)
    found = [["Most disputed", np.unravel_index(disagreement.argmax(), disagreement.shape)]]
    for part, label in PLACES.items():
        voxels = np.argwhere(parts[part])
        if len(voxels):
            values = uncertainty[parts[part]]
            found.append([label, voxels[np.abs(values - np.median(values)).argmin()]])
    return [[label, [int(place) for place in voxel]] for label, voxel in found]
