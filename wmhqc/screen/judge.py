"""Judge one scan: segment it, score the segmentation, predict its Dice, say whether to trust it.

row = {"case": "sub-01", "flair": "F.nii.gz", "t1": "T.nii.gz"}
judgement = judge(row, load_networks(), reference_cases())
judgement.record["verdict"], judgement.record["reasons"]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import nibabel as nib
import numpy as np
import pandas as pd

from wmhqc import preprocess
from wmhqc.checks import contrast, find_brain
from wmhqc.features import scan_features
from wmhqc.screen import calibration as known
from wmhqc.screen import inputs
from wmhqc.screen.labels import SCORE
from wmhqc.screen.orientation import orientation
from wmhqc.screen.records import to_json
from wmhqc.screen.verdict import decide

NETWORKS = ("mc_unet", "rec_unet", "reg_net_image", "reg_net_uncertainty", "reg_net_error", "reg_net_bounded")
MEMBERS = ("main", "inner0", "inner1")


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


def load_networks() -> dict:
    """The reference networks by name; `ensemble` holds the three members of MC U-net."""
    from wmhqc import reference

    networks = {name: reference.network(name) for name in NETWORKS}
    others = [reference.network("mc_unet", member) for member in MEMBERS[1:]]
    return networks | {"ensemble": [networks["mc_unet"], *others]}


def judge(
    row: Mapping,
    networks: Mapping,
    calibration: pd.DataFrame,
    images: Mapping | None = None,
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
        From `load_networks`.
    calibration : DataFrame
        From `wmhqc.screen.calibration`: `reference_cases` or `read_calibration`.
    images : mapping, optional
        What `read` returned for this row, if it was called before.
    passes : int
        Monte Carlo passes.
    **rule
        criterion, risk and level of `wmhqc.screen.verdict.decide`.

    Returns
    -------
    Judgement
        Its `record`: case; patient; judged (own or given) and program; what `decide` returns; scores; truth (empty
        without a manual mask); features; orientation; ranges (what the middle 98 % of the calibration cases have).
        Dice and threshold are measured on the networks' grid; `dice_on_scan` and `*_on_scan_ml` on the scan's.
    """
    images = dict(inputs.read(row) if images is None else images)
    given, program = "segmentation" in images, row.get("program") or ""
    size = networks["mc_unet"].input_shape[1]
    scan = (row["case"], images["t1"], images["flair"])
    prepared = preprocess.prepare(*scan, images.get("lesion"), images.get("brainmask"), size)
    mask = None
    if given:
        mask = preprocess.prepare(*scan, images["segmentation"], images.get("brainmask"), size).lesion > 0
    maps, scores = assess(prepared, networks, mask, passes, seed)
    images |= {name: preprocess.to_scan(values, prepared) for name, values in maps.items()}
    probability = np.asanyarray(images["prediction"].dataobj)
    images["mask"] = nib.Nifti1Image((probability >= 0.5).astype(np.uint8), prepared.affine)
    on_scan, truth_on_scan = _on_scan(images)
    scores |= on_scan

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
        "ranges": known.ranges(calibration, [*scores, *features]),
    }
    return Judgement(to_json(record), prepared, images)


def assess(prepared, networks: Mapping, mask: np.ndarray | None, passes: int, seed: int) -> tuple[dict, dict]:
    """Maps of a scan, and the scores of its segmentation or of `mask` (with the truth if known).

    Returns
    -------
    maps : dict of str to array (n, n, n)
        prediction (mean probability), uncertainty (bit), error (of the judged mask).
    scores : dict of str to float
    """
    from wmhqc import regression, scores, uncertainty
    from wmhqc.errormaps import error_map

    flair = prepared.volume[..., 1]
    mc = uncertainty.monte_carlo(networks["mc_unet"], prepared.volume, passes, seed)
    judged = mc.mask if mask is None else mask
    error = error_map(networks["rec_unet"], flair / 255, judged)
    if mask is None:
        found = scores.row(prepared, mc, error)
        tta = uncertainty.summarise(uncertainty.test_time(networks["mc_unet"], prepared.volume, seed=seed))
        ensemble = uncertainty.summarise(uncertainty.ensemble(networks["ensemble"], prepared.volume, seed=seed))
        found |= scores.of_samples("tta", tta, prepared.voxel_mm3)
        found |= scores.of_samples("ensemble", ensemble, prepared.voxel_mm3)
        for name in regression.PAIRS:
            pair = regression.pair(name, mc.mean, flair=flair, uncertainty=mc.entropy, error=error)
            found[f"predicted_dice_{name}"] = regression.predict_dice(networks[f"reg_net_{name}"], pair)
        found.pop("case", None)
    else:
        found = mask_scores(prepared, mask, mc, error)
    found[SCORE] = regression.predict_dice(networks["reg_net_bounded"], regression.mask_pair(judged, flair))
    return {"prediction": mc.mean, "uncertainty": mc.entropy, "error": error}, found


def mask_scores(prepared, mask: np.ndarray, mc, error: np.ndarray) -> dict:
    """Scores of a mask of any origin, and its truth where there is a manual one.

    Parameters
    ----------
    prepared : wmhqc.preprocess.Prepared
    mask : bool array (n, n, n)
        The segmentation that is judged.
    mc : wmhqc.uncertainty.MonteCarlo
        What our networks say about the same scan.
    error : array (n, n, n)
        Error map of this mask (`wmhqc.errormaps.error_map`).

    Returns
    -------
    dict
        As in `wmhqc.scores.row` where a score needs no samples; `expected_dice`: the Dice of
        this mask to expect under our mean probability; `agreement_dice`: its Dice with our own
        segmentation; `own_volume_ml`.
    """
    from scipy import ndimage

    from wmhqc import metrics, scores

    voxel, brain = prepared.voxel_mm3, prepared.brain > 0
    p, inside = mc.mean.astype(np.float64), mask & brain
    total = p[brain].sum() + inside.sum()
    result = {
        "volume_ml": scores.volume_ml(mask, voxel),
        "brain_ml": scores.volume_ml(brain, voxel),
        "brain_share": mask.sum() / brain.sum(),
        "lesion_count": ndimage.label(mask, np.ones((3, 3, 3)))[1],
        "mean_entropy": scores.mean_inside(mc.entropy, mask),
        "expected_dice": 2 * p[inside].sum() / total if total > 0 else 1.0,
        "agreement_dice": metrics.lesion_dice(mask, mc.mask),
        "own_volume_ml": scores.volume_ml(mc.mask, voxel),
        "vs_error": scores.voxel_sum(error, voxel),
        "vs_error_inside": scores.voxel_sum(error[mask], voxel),
    }
    if prepared.lesion is not None:
        result |= metrics.measure(mask.astype(np.float32), prepared.lesion > 0, scores.grid_spacing(prepared))
    return {name: float(value) for name, value in result.items()}


def _on_scan(images: Mapping) -> tuple[dict, dict]:
    """Scores of the judged mask on the scan's own grid, and its truth where there is a manual mask."""
    from wmhqc.metrics import lesion_dice

    flair, judged = images["flair"], _bool(images.get("segmentation", images["mask"]))
    ml = abs(np.linalg.det(flair.affine[:3, :3])) / 1000
    found = contrast(judged, np.asanyarray(flair.dataobj), find_brain(images), flair.affine)
    scores, truth = {"volume_on_scan_ml": ml * np.count_nonzero(judged), "contrast": found}, {}
    if "lesion" in images:
        lesion = _bool(images["lesion"])
        truth = {"dice_on_scan": lesion_dice(judged, lesion), "true_on_scan_ml": ml * np.count_nonzero(lesion)}
    return scores, truth


def _bool(image) -> np.ndarray:
    return np.asanyarray(image.dataobj) > 0


def _truth_names() -> list[str]:
    from wmhqc.metrics import measure

    some = np.zeros((3, 3, 3))
    return list(measure(some, some > 0, (1, 1, 1)))
