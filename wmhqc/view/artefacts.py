"""The explorer that breaks a scan and asks the reader before it tells."""

from __future__ import annotations

import numpy as np
import traitlets

from wmhqc import catalogue
from wmhqc.scores import grid_spacing
from wmhqc.view.dropout import thinned
from wmhqc.view.pictures import _levels, _limits, _packed
from wmhqc.view.widget import Explorer, module, numbers


class ArtefactExplorer(Explorer):
    """What `artefacts` returns; `artefact`, `severity` (its place), `slice` and `score` follow the reader."""

    _esm = module("common", "viewer", "chart", "picture", "artefacts")
    artefact = traitlets.Unicode().tag(sync=True)
    severity = traitlets.Int().tag(sync=True)
    slice = traitlets.Int().tag(sync=True)
    score = traitlets.Unicode().tag(sync=True)
    data = traitlets.Dict().tag(sync=True)


def artefacts(
    scans: list[dict],
    thresholds: dict[str, float],
    tau: float = 0.5,
    labels: dict[str, str] | None = None,
    slices: int = 4,
) -> ArtefactExplorer:
    """Break a scan: what the outline, the entropy and the scores do, and, once the reader has guessed, the Dice.

    It starts with the first artefact at its worst, the Dice covered.

    Parameters
    ----------
    scans : list of dict
        The same case, spoilt in several ways, each with `artefact` (name), `severity` (0 to 1), `case`
        (`wmhqc.preprocess.Prepared` with a manual mask, the spoilt one), `maps`
        (`wmhqc.uncertainty.MonteCarlo`) and `row` (from `wmhqc.scores.row`). One has severity 0; all artefacts
        have the same severities.
    thresholds : dict of str to float
        Score -> the threshold beyond which a case goes to review, in the unit of the score. Signs are
        those of `wmhqc.catalogue`.
    tau : float, default 0.5
        A segmentation with a lower Dice has failed.
    labels : dict of str to str, optional
        What scores are called, with their unit.
    slices : int
        How many the page shows, with at most 64 voxels an edge.

    Returns
    -------
    ArtefactExplorer
        A Jupyter widget; the last expression of a cell shows it.

    Raises
    ------
    ValueError
        There is no scan of severity 0, or an artefact lacks a severity.
    """
    clean = next((scan for scan in scans if scan["severity"] == 0), None)
    names = list(dict.fromkeys(scan["artefact"] for scan in scans if scan["severity"]))
    severities = sorted({scan["severity"] for scan in scans})
    place = {(scan["artefact"], scan["severity"]): k for k, scan in enumerate(scans) if scan["severity"]}
    missing = [(name, s) for name in names for s in severities if s and (name, s) not in place]
    if clean is None or not names or missing:
        raise ValueError(
            "expected one scan of severity 0, and of each artefact all severities; missing: "
            f"{missing or ('severity 0' if clean is None else 'an artefact')}"
        )
    small, shape = thinned((clean["case"].lesion > 0) | clean["maps"].mask, slices, size=64)
    limits = _limits(np.asarray(clean["case"].volume[..., 1], np.float32), "grey")

    lesion = small(clean["case"].lesion) >= 0.5
    payload = [lesion.astype(np.uint8).tobytes("F")]
    for scan in scans:
        payload += [
            _levels(small(scan["case"].volume[..., 1]), *limits),
            _levels(small(scan["maps"].mean), 0, 1),
            _levels(small(scan["maps"].entropy), 0, 1),
        ]
    edges = grid_spacing(clean["case"])
    return ArtefactExplorer(
        artefact=names[0],
        severity=len(severities) - 1,
        slice=int(lesion.sum((0, 1)).argmax()),
        score=next(iter(thresholds)),
        data={
            "artefacts": [[name, name.replace("_", " ")] for name in names],
            "severities": severities,
            "places": [[scans.index(clean)] + [place[name, s] for s in severities if s] for name in names],
            "dice": [scan["row"]["lesion_dice"] for scan in scans],
            "scores": [
                {
                    "name": name,
                    "label": (labels or {}).get(name, name),
                    "sign": catalogue.sign(name),
                    "threshold": float(threshold),
                    "values": numbers(scan["row"][name] for scan in scans),
                }
                for name, threshold in thresholds.items()
            ],
            "tau": tau,
            "shape": list(shape),
            "ratio": float(edges[0] / edges[1]),
            "packed": _packed(payload),
        },
    )
