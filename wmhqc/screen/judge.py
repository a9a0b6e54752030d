"""Judge one scan: segment it, score the segmentation, predict its Dice, say whether to trust it.

    from wmhqc.screen import judge, report

    found = judge.judge({"case": "sub-01", "flair": "F.nii.gz", "t1": "T.nii.gz", "brainmask": "B.nii.gz"})
    print(found.record["verdict"], found.record["reasons"], found.record["predicted_dice"])
    pathlib.Path("sub-01.html").write_text(report.case(found))

The reference networks judge it, and the reference run's validation cases say how far they err, unless others are given.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import nibabel as nib
import numpy as np
import pandas as pd

from wmhqc import preprocess
from wmhqc.assess import assess, on_scan
from wmhqc.features import scan_features
from wmhqc.screen import inputs
from wmhqc.screen.calibration import exclude_patient, ranges, reference_cases
from wmhqc.screen.orientation import orientation
from wmhqc.screen.records import map_names, provenance, to_json
from wmhqc.screen.verdict import decide


@dataclass
class Judgement:
    """What is known about one scan.

    Attributes
    ----------
    record : dict
        Everything but the images: see `judge`.
    prepared : wmhqc.preprocess.Prepared
        The scan as the networks saw it.
    images : dict of str to nibabel image
        On the scan's own grid: `t1`, `flair`, `prediction` (mean probability), `mask`
        (our segmentation), `uncertainty` (bit), `error` (FLAIR minus reconstruction) and, if
        given, `brainmask`, `segmentation` and `lesion`.
    """

    record: dict
    prepared: preprocess.Prepared
    images: dict


@functools.cache
def load_networks() -> dict:
    """The reference networks of all folds together, as `wmhqc.assess.assess` takes them."""
    from wmhqc import reference

    return reference.networks()


def unseen_networks(row: Mapping, networks: Mapping, notes: list) -> Mapping:
    """Networks that have not learnt from a scan: of a patient of the reference run, those of the fold that tests him.

    A patient of the run is known by the name of the case; a note says so. Everybody else is judged by all folds.
    """
    from wmhqc import reference

    fold = pd.NA if row.get("synthetic") else reference.unseen([row["case"]]).iloc[0]
    if pd.isna(fold) or fold not in reference.folds():
        return networks
    notes.append(
        f"By its name this is a patient of the reference run: only the networks of fold {fold} judged, which have not "
        "learnt from it."
    )
    place = reference.folds().index(fold)
    return {name: nets[place : place + 1] for name, nets in networks.items()}


def judge(
    row: Mapping,
    networks: Mapping | None = None,
    calibration: pd.DataFrame | None = None,
    images: Mapping | None = None,
    notes: Sequence[str] = (),
    passes: int = 20,
    seed: int = 0,
    **rule,
) -> Judgement:
    """Segment a scan, score the segmentation or the given one, and decide.

    Parameters
    ----------
    row : Mapping
        As in `wmhqc.screen.inputs.read`; `program`, if known, names what drew the given segmentation.
    networks : mapping
        From `load_networks`, whose they are if none are given.
    calibration : DataFrame
        From `wmhqc.screen.calibration`: `reference_cases` (if none is given) or `read_calibration`. Other scans of the
        patient, and the scan itself, are left out.
    images, notes : mapping, sequence of str
        What `read` returned and noted for this row, if it was called before.
    passes : int
        Monte Carlo passes.
    **rule
        criterion, risk and level of `wmhqc.screen.verdict.decide`.

    Returns
    -------
    Judgement
        Its `record`: case; patient; judged (own or given) and program; what `decide` returns; scores; truth (empty
        without a manual mask); features; orientation; ranges (what the middle 98 % of the calibration cases have);
        notes; what it rests on (`wmhqc.screen.records.provenance`). Dice and threshold are measured on the networks'
        grid; `dice_on_scan` and `*_on_scan_ml` on the scan's.
    """
    networks = load_networks() if networks is None else networks
    known = reference_cases() if calibration is None else calibration
    calibration, notes = exclude_patient(known, row), [*notes]
    images = dict(inputs.read(row, notes=notes) if images is None else images)
    if len(calibration) < len(known):
        left_out = len(known) - len(calibration)
        notes.append(f"Not asked, as of the same scan or patient: {left_out} of the calibration cases.")
    networks = unseen_networks(row, networks, notes)
    given, program = "segmentation" in images, row.get("program") or ""
    size = networks["mc_unet"][0].input_shape[1]
    scan = (row["case"], images["t1"], images["flair"])
    prepared = preprocess.prepare(*scan, images.get("lesion"), images.get("brainmask"), size)
    mask = None
    if given:
        mask = preprocess.prepare(*scan, images["segmentation"], images.get("brainmask"), size).lesion > 0
    maps, scores = assess(prepared, networks, mask, passes=passes, seed=seed)
    del scores["case"]
    shown = {"prediction": maps["mean"], "uncertainty": maps["entropy"], "error": maps["error"]}
    images |= {name: preprocess.to_scan(values, prepared) for name, values in shown.items()}
    probability = np.asanyarray(images["prediction"].dataobj)
    images["mask"] = nib.Nifti1Image((probability >= 0.5).astype(np.uint8), prepared.affine)
    judged = np.asanyarray(images.get("segmentation", images["mask"]).dataobj) > 0
    found, truth_on_scan = on_scan(images, judged)
    scores |= found

    truth = {name: scores.pop(name) for name in _truth_names() if name in scores} | truth_on_scan
    features, lies = scan_features(prepared), orientation(prepared)
    record = {
        "case": row["case"],
        "patient": row.get("patient") or row["case"],
        "judged": "given" if given else "own",
        "program": program,
        **decide(scores | features, calibration, given, program=program, orientation=lies, **rule),
        "orientation": lies,
        "truth": truth,
        "scores": scores,
        "features": features,
        "ranges": ranges(calibration, [*scores, *features]),
        "calibration": known.attrs.get("origin", ""),
        "notes": notes,
        **provenance(row),
    }
    return Judgement(to_json(record | {"files": map_names(record, images)}), prepared, images)


def _truth_names() -> list[str]:
    from wmhqc.metrics import measure

    some = np.zeros((3, 3, 3))
    return list(measure(some, some > 0, (1, 1, 1)))
