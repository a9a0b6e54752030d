"""Judge one scan: segment it, score the segmentation, predict its Dice, say whether to trust it.

    row = {"case": "sub-01", "flair": "F.nii.gz", "t1": "T.nii.gz"}
    judgement = qc.judge(row, qc.load_networks(), qc.reference_cases())
    judgement.record["verdict"], judgement.record["reasons"]

A verdict rests on *calibration cases*: scans with a manual mask, not used to train the networks
that judged them. Their predicted and true Dice give the interval of a new prediction and the
threshold with a promise; their appearance says whether a new scan is of their kind. By default
they are the validation cases of the reference run; a table that ``wmhqc qc`` wrote for labelled
scans of one's own takes their place (`read_calibration`).

References
----------
Ledoit & Wolf, J. Multivariate Analysis 2004 (covariance of few cases). The interval:
`wmhqc.regression.conformal_interval`; the promise: `wmhqc.thresholds.guaranteed_risk`.
"""

from __future__ import annotations

import csv
import datetime
import functools
import hashlib
import json
import math
import os
import platform
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from wmhqc import catalogue, cohort, failure, preprocess, thresholds
from wmhqc.images import binary, contrast, grid_mismatch, load_image, resample_to
from wmhqc.regression import conformal_interval
from wmhqc.sources import layouts

#: The score that predicts the Dice of any segmentation, and on which the verdict rests.
SCORE = "predicted_dice_bounded"
#: What a row of a case to judge may name, beside `case`.
INPUTS = {
    "flair": "FLAIR",
    "t1": "T1",
    "brainmask": "brain mask",
    "lesion": "lesion mask",
    "segmentation": "segmentation",
}
NETWORKS = ("mc_unet", "rec_unet", "reg_net_image", "reg_net_uncertainty", "reg_net_error", "reg_net_bounded")
MEMBERS = ("main", "inner0", "inner1")
#: Volume of a brain (with ventricles) in ml: what is far outside is not one.
BRAIN_ML = (300, 2200)
#: Percentiles of the intensities that are compared.
SHARES = (5, 50, 95)
#: How a scan looks (`scan_features`); compared with how the calibration cases look.
FEATURES = (
    "largest_edge_mm",
    "brain_ml",
    "width_mm",
    "length_mm",
    "height_mm",
    *(f"{image}_p{share:02d}" for image in ("t1", "flair") for share in SHARES),
    "t1_detail",
    "flair_detail",
    "t1_flair_correlation",
    "flair_symmetry",
)
#: What scores and features are called, with their unit.
LABELS = {
    **{score.name: (score.label, score.unit) for score in catalogue.scores().values()},
    "volume_on_scan_ml": ("lesion volume, on the scan's grid", "ml"),
    "agreement_dice": ("Dice with our own segmentation", ""),
    "own_volume_ml": ("lesion volume of our own segmentation", "ml"),
    "contrast": ("contrast of the mask on FLAIR", ""),
    "empty_share": ("share of passes without a lesion", ""),
    "largest_edge_mm": ("largest edge of a voxel", "mm"),
    "brain_ml": ("volume of the brain", "ml"),
    "width_mm": ("width of the brain", "mm"),
    "length_mm": ("length of the brain", "mm"),
    "height_mm": ("height of the brain", "mm"),
    **{
        f"{image.lower()}_p{share:02d}": (f"{image}, {share} % of the brain are darker than", "of 255")
        for image in ("T1", "FLAIR") for share in SHARES
    },
    "t1_detail": ("detail and noise of T1", "of 255"),
    "flair_detail": ("detail and noise of FLAIR", "of 255"),
    "t1_flair_correlation": ("correlation of T1 and FLAIR", ""),
    "flair_symmetry": ("correlation of FLAIR with its mirror image", ""),
}  # fmt: skip
#: Fewer calibration cases than this say nothing about what a scan of their kind looks like.
FEWEST_ALIKE = 20
#: Share of scans of the calibration cases' kind that are taken for it.
ALIKE = 0.95
#: A calibration case that is this many times as far from the others as the median one is odd, and left out.
ODD = 3
#: Problems of a manual mask that do not keep a scan from being judged; they become notes.
BEARABLE = "lesion mask is empty"


@dataclass
class Judgement:
    """What is known about one scan.

    Attributes
    ----------
    record : dict
        Everything but the images, ready for JSON: see `judge`.
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


# ---------------------------------------------------------------- what comes in


def read(row: Mapping, resample: bool = False, whole_head: bool = False, notes: list | None = None) -> dict:
    """Read the images of a case and refuse what cannot be judged, before any work is done.

    Parameters
    ----------
    row : Mapping
        `case`, and paths by the names in `INPUTS`; flair and t1 are needed, an empty path
        counts as not given. The segmentation to be judged is a mask of 0 and one other value.
    resample : bool
        Put images that are on another grid onto that of the FLAIR, trusting the headers.
    whole_head : bool
        Accept images with skull and without a brain mask, since one is made (`brain_mask`).
    notes : list of str, optional
        Gets what a reader of the result should know: what was resampled, what is odd about the manual mask.

    Returns
    -------
    dict of str to nibabel image
        All on the grid of the FLAIR; masks hold 0 and 1.

    Raises
    ------
    wmhqc.cohort.CohortError
        With one line for each problem: what, in which file, what to do.
    """
    images: dict = {}
    notes = [] if notes is None else notes
    problems = cohort.case_problems(row, images)
    if not _given(row, "t1") and row.get("t1_choice"):
        problems[0]["action"] = f"several lie beside the FLAIR ({row['t1_choice']}): choose with --t1 '{{folder}}/...'"

    def add(name: str, problem: str, action: str) -> None:
        problems.append({"case": row["case"], "file": str(row.get(name, "")), "problem": problem, "action": action})

    if _given(row, "segmentation"):
        try:
            image = load_image(row["segmentation"])
            mask = binary(np.asanyarray(image.dataobj), row["segmentation"])
            images["segmentation"] = nib.Nifti1Image(mask.astype(np.uint8), image.affine)
        except FileNotFoundError as error:
            add("segmentation", f"segmentation is missing: {error}", "correct the path, or make the segmentation")
        except (OSError, ValueError) as error:
            add("segmentation", f"segmentation: {error}", "give a mask of 0 and one other value")
    if "flair" in images and "segmentation" in images:
        difference = grid_mismatch(images["segmentation"], images["flair"])
        if difference:
            add("segmentation", f"segmentation is not on the grid of the FLAIR ({difference})", cohort.RESAMPLE)
    if "flair" in images and "t1" in images and _same(images["flair"], images["t1"]):
        add("t1", "T1 and FLAIR are the same image", "give the T1-weighted scan as T1")
    if resample:
        problems = [problem for problem in problems if problem["action"] != cohort.RESAMPLE]
    _refuse([problem for problem in problems if not problem["problem"].startswith(BEARABLE)])
    notes += [f"The {problem['problem']}." for problem in problems]

    flair, problems = images["flair"], []
    moved = [name for name, image in images.items() if grid_mismatch(image, flair)]
    for name in moved:
        images[name] = resample_to(images[name], flair, order=1 if name == "t1" else 0)
        notes.append(f"The {INPUTS[name]} was resampled onto the grid of the FLAIR, trusting the headers.")
    problem = _head_problem(images)
    if problem and ("brainmask" in images or not whole_head):
        add("brainmask" if "brainmask" in images else "t1", *problem)
    elif "lesion" in moved:
        array = np.asanyarray(flair.dataobj)
        for problem, action in cohort.lesion_problems(images["lesion"], flair, array, _brain(images)):
            add("lesion", f"lesion mask {problem}", action)
    _refuse([problem for problem in problems if not problem["problem"].startswith(BEARABLE)])
    return images


def _brain(images: Mapping) -> np.ndarray:
    """Where the brain is: the brain mask, or without one what is above 0 in T1 and FLAIR."""
    names = ("brainmask",) if "brainmask" in images else ("t1", "flair")
    return np.logical_and.reduce([np.asanyarray(images[name].dataobj) > 0 for name in names])


def _given(row: Mapping, name: str) -> bool:
    return isinstance(row.get(name), (str, Path)) and str(row[name]) != ""


def _same(a, b) -> bool:
    return a.shape == b.shape and np.array_equal(np.asanyarray(a.dataobj), np.asanyarray(b.dataobj))


def _refuse(problems: list[dict]) -> None:
    if problems:
        raise cohort.CohortError(pd.DataFrame(problems))


def _head_problem(images: Mapping) -> tuple[str, str] | None:
    """Is what should be the brain as large as a brain? As (problem, action)."""
    ml = abs(np.linalg.det(images["flair"].affine[:3, :3])) / 1000
    low, high = BRAIN_ML
    if "brainmask" in images:
        volume = ml * np.count_nonzero(_brain(images))
        if not low <= volume <= high:
            return f"brain mask has {volume:.0f} ml; a brain has {low} to {high} ml", "give the mask of the brain"
        return None
    volume = ml * np.count_nonzero(_brain(images))
    if volume > high:
        return f"no brain mask was given, and {volume:.0f} ml are above 0 in T1 and FLAIR, {WHOLE_HEAD}", GIVE_MASK
    return None


WHOLE_HEAD = (
    "more than any brain has: the images show the whole head, or their background is not 0; the networks know brains "
    "without skull only"
)
GIVE_MASK = (
    "give a brain mask on the grid of the FLAIR (--brainmask), made for example with SynthStrip, HD-BET or deepbet; "
    "or install deepbet (pip install deepbet) and add --extract-brain"
)


def need_deepbet() -> None:
    """Say how to get deepbet, where it is not installed (ImportError)."""
    from importlib.util import find_spec

    if find_spec("deepbet") is None:
        raise ImportError(
            "--extract-brain needs deepbet, which is not installed: pip install deepbet (with PyTorch, about 1 GB), "
            "or make a brain mask with any other tool and give it with --brainmask"
        )


def brain_mask(t1, scratch) -> nib.Nifti1Image:
    """Brain mask of a T1 with skull, by deepbet (Fisch et al., 2024), on the CPU.

    deepbet reads and writes files: in a folder below `scratch`, which is removed.
    """
    need_deepbet()
    from deepbet import run_bet

    with tempfile.TemporaryDirectory(dir=scratch, prefix=".deepbet-") as folder:
        head, brain, mask, volume = (
            str(Path(folder) / name) for name in ("t1.nii.gz", "brain.nii.gz", "mask.nii.gz", "ml.csv")
        )
        nib.save(t1, head)
        run_bet([head], [brain], [mask], [volume], no_gpu=True)
        made = load_image(mask)
    made = nib.Nifti1Image((np.asanyarray(made.dataobj) > 0).astype(np.uint8), t1.affine)
    problem = _head_problem({"flair": t1, "brainmask": made})
    if problem:
        raise ValueError(f"the {problem[0]}: deepbet did not find the brain; make a mask with another tool (--brainmask)")
    return made


def find(source, templates: Mapping[str, str] | None = None) -> pd.DataFrame:
    """The cases of a folder or of a BIDS data set.

    A BIDS data set has a file ``dataset_description.json``: each
    ``sub-x[/ses-y]/anat/*_FLAIR.nii.gz`` is a case, with the T1w of the same name or else the
    only one beside it (where there are several, the only one without contrast agent). A brain mask is
    looked for in its derivatives (``*_desc-brain_mask.nii.gz``), but not in those that this
    program made. Any other folder is read by `wmhqc.sources.layouts.from_folder`.

    Parameters
    ----------
    source : path
    templates : mapping, optional
        Where further files lie, by the names in `INPUTS`: a path in which ``{case}`` stands for
        the name of the case, ``{folder}`` for the folder of its FLAIR and ``{path}`` for that folder as
        seen from `source` (sub-x/ses-y/anat). A mask that is not there counts as not given, or stays
        the one that was found; a segmentation or T1 that is not there is missing.

    Returns
    -------
    DataFrame
        A cohort (`wmhqc.cohort`) with the column segmentation.
    """
    source = Path(source)
    table = _bids(source) if (source / "dataset_description.json").is_file() else layouts.from_folder(source)
    table["segmentation"] = ""
    for name, template in (templates or {}).items():
        paths = [_fill(template, row, source) for row in table.to_dict("records")]
        there = [Path(path).is_file() for path in paths]
        if not any(there):
            raise FileNotFoundError(f"no case has a file {template}, for example {paths[0]}")
        needed = name in ("segmentation", "t1")
        table[name] = [path if needed or is_there else old for path, is_there, old in zip(paths, there, table[name])]
    return table


def _fill(template: str, row: Mapping, source: Path) -> str:
    folder = Path(row["flair"]).parent
    words = {"{case}": row["case"], "{folder}": str(folder)}
    if "{path}" in template:
        words["{path}"] = os.path.relpath(folder.resolve(), source.resolve())
    for word, value in words.items():
        template = template.replace(word, value)
    return template


def other_masks(patients: pd.DataFrame) -> pd.DataFrame:
    """Masks that other programs drew, where they lie beside a scan as pred/<case>_pred-<program>.nii.gz.

    Returns
    -------
    DataFrame
        The row of the patient once for each mask, with the columns segmentation and program.
    """
    rows = []
    for row in patients.to_dict("records"):
        for mask in sorted((Path(row["flair"]).parent / "pred").glob(f"{row['case']}_pred-*.nii*")):
            program = mask.name.removeprefix(f"{row['case']}_pred-").split(".")[0]
            rows.append(row | {"segmentation": str(mask), "program": program})
    return pd.DataFrame(rows, columns=[*patients.columns, "segmentation", "program"])


def _bids(source: Path) -> pd.DataFrame:
    """The FLAIR scans of a BIDS data set, without its derivatives."""
    rows = []
    derivatives = [folder for folder in sorted(source.glob("derivatives/*")) if not made_by_us(folder)]
    for pattern in ("sub-*/anat", "sub-*/ses-*/anat"):
        for anat in sorted(source.glob(pattern)):
            session = anat.relative_to(source)
            masks = [file for folder in derivatives for file in _images(folder / session, "desc-brain_mask")]
            masks = [file for file in masks if "_space-" not in file.name or "_space-FLAIR" in file.name]
            for flair in _images(anat, "FLAIR"):
                case = flair.name.removesuffix(".gz").removesuffix("_FLAIR.nii")
                t1 = _t1(anat, case)
                rows.append(
                    {"case": case, "patient": session.parts[0].removeprefix("sub-"), "flair": str(flair),
                     "brainmask": _mask(masks, case, Path(t1["t1"]).name.split("_T1w.")[0]), **t1}
                )  # fmt: skip
    if not rows:
        raise ValueError(f"{source}: no case found; expected files like sub-x/anat/sub-x_FLAIR.nii.gz")
    return cohort.as_table(rows, str(source))


def _images(folder: Path, ending: str) -> list[Path]:
    """NIfTI files of a folder that end so; hidden ones, as some systems leave beside the real ones, are none."""
    found = [file for kind in (".nii", ".nii.gz") for file in folder.glob(f"*_{ending}{kind}")]
    return sorted(file for file in found if not file.name.startswith("."))


def _t1(anat: Path, case: str) -> dict:
    """The T1w of the same name, else the only one, else the only one without contrast agent; the candidates if none."""
    beside = _images(anat, "T1w")
    named = [file for file in beside if file.name.startswith(f"{case}_T1w.")]
    plain = [file for file in beside if "_ce-" not in file.name]
    for found in (named, beside, plain):
        if len(found) == 1:
            return {"t1": str(found[0]), "t1_choice": ""}
    names = ", ".join(file.name for file in beside)
    return {"t1": "" if beside else str(anat / f"{case}_T1w.nii.gz"), "t1_choice": names}


def _mask(masks: list[Path], case: str, t1: str) -> str:
    """The mask that names the case, else its T1, else the first that may be one of the case."""
    agree = [mask for mask in masks if _agree(mask.name, case) or (t1 and _agree(mask.name, t1))]
    for name in (f"{case}_", f"{t1}_", ""):
        for mask in agree:
            if mask.name.startswith(name):
                return str(mask)
    return ""


def _agree(name: str, case: str) -> bool:
    """May a derivative be one of this case?  Not if an entity of its name (acq-, run- ...) says otherwise."""
    theirs, ours = (dict(re.findall(r"([a-z]+)-([A-Za-z0-9]+)", text)) for text in (name, case))
    return all(ours.get(key) == value for key, value in theirs.items() if key not in ("desc", "space", "res", "label"))


def made_by_us(folder: Path) -> bool:
    """Does the folder hold results of `wmhqc qc`?"""
    try:
        made = json.loads((folder / "dataset_description.json").read_text(encoding="utf-8"))["GeneratedBy"]
        return any(by.get("Name") == "wmhqc" for by in made)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


# ---------------------------------------------------------------- networks and calibration cases


def load_networks() -> dict:
    """The reference networks by name; `ensemble` holds the three members of MC U-net."""
    from wmhqc import reference

    networks = {name: reference.network(name) for name in NETWORKS}
    others = [reference.network("mc_unet", member) for member in MEMBERS[1:]]
    return networks | {"ensemble": [networks["mc_unet"], *others]}


def reference_cases() -> pd.DataFrame:
    """The validation cases of the reference run, each once, with how their scans look.

    Of a case that several folds validated, the first fold's row counts: rows of one case are not
    independent. No test case is among the rows of its fold.
    """
    from wmhqc import reference

    rows = thresholds.one_row_a_case(reference.cases("validation").sort_values("fold", kind="stable"))
    looks = pd.read_csv(reference.folder() / "scans.csv")
    return rows.merge(
        looks[["case", *(name for name in looks if name in FEATURES and name not in rows)]], on="case", how="left"
    )


def read_calibration(path) -> pd.DataFrame:
    """Calibration cases of one's own: the `group.tsv` that ``wmhqc qc`` wrote for labelled scans.

    Of a patient with several scans the first counts, as those are not independent.

    Raises
    ------
    FileNotFoundError, ValueError
        No such file; no row with a predicted and a true Dice; a case twice; judged by other reference networks.
    """
    from wmhqc import reference

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist; expected the group.tsv that `wmhqc qc` wrote for labelled scans"
        )
    text = {name: str for name in ("case", "patient", "program")}
    table = pd.read_csv(
        path, sep="\t", dtype=text, keep_default_na=False, na_values=["n/a", ""], quoting=csv.QUOTE_NONE
    )
    missing = [name for name in ("case", SCORE, "lesion_dice") if name not in table]
    if missing:
        raise ValueError(f"{path} has no column {', '.join(missing)}; expected the group.tsv that `wmhqc qc` wrote")
    table = table[table["lesion_dice"].notna() & table[SCORE].notna()]
    if table.empty:
        raise ValueError(f"{path}: no case has a true Dice; judge scans with manual masks first (`--lesion`)")
    twice = table["case"][table["case"].duplicated()].unique()
    if len(twice):
        raise ValueError(f"{path}: case {', '.join(twice[:3])} is there more than once; calibration cases are independent")
    if "reference" in table and (table["reference"] != sha256(reference.folder() / "manifest.json")).any():
        raise ValueError(f"{path} was made with other reference networks than these; judge the labelled scans anew")
    if "patient" in table:
        table = table[~table["patient"].duplicated() | table["patient"].isna()]
    return table.reset_index(drop=True)


def without(calibration: pd.DataFrame, row: Mapping) -> pd.DataFrame:
    """The calibration cases that are neither this scan itself nor another one of its patient."""
    own = pd.Series(False, calibration.index)
    if "flair_sha256" in calibration:
        own |= calibration["flair_sha256"] == sha256(row["flair"])
    if "patient" in calibration and row.get("patient"):
        own |= calibration["patient"] == row["patient"]
    return calibration[~own]


def origin(path=None) -> str:
    """Where the calibration cases are from, as a sentence."""
    if path:
        return f"The calibration cases are the labelled scans of {Path(path).absolute().parent.name}/{Path(path).name}."
    return (
        "The calibration cases are the validation cases of all folds of the reference run, synthetic scans, each judged "
        "by its own fold's networks; those used here are the networks of one fold."
    )


# ---------------------------------------------------------------- judging


def judge(
    row: Mapping,
    networks: Mapping,
    calibration: pd.DataFrame,
    images: Mapping | None = None,
    passes: int = 20,
    seed: int = 0,
    tau: float = 0.5,
    risk: float = 0.1,
    certainty: float = 0.9,
) -> Judgement:
    """Segment a scan, score the segmentation or the given one, and decide.

    Parameters
    ----------
    row : Mapping
        As in `read`; `program`, if known, names what drew the given segmentation.
    networks : mapping
        From `load_networks`.
    calibration : DataFrame
        From `reference_cases` or `read_calibration`.
    images : mapping, optional
        What `read` returned for this row, if it was called before.
    passes : int
        Monte Carlo passes.
    tau : float
        A segmentation with a lesion Dice below this has failed.
    risk, certainty : float
        The promise: at most this share of the accepted fail, with this probability. The
        interval of the predicted Dice has the probability `certainty` too.

    Returns
    -------
    Judgement
        Its `record`: case; judged (own or given) and program; verdict (accept or review); reasons (list
        of str); predicted_dice (value, low, high, level, cases, valid: does the interval hold for such a
        scan?); promise; likeness; scores; truth (empty without a manual mask); features; ranges (what
        the middle 98 % of the calibration cases have). Dice and threshold are measured on the networks' grid;
        `dice_on_scan` and `*_on_scan_ml` on the scan's.
    """
    images = dict(read(row) if images is None else images)
    size = networks["mc_unet"].input_shape[1]
    prepared = preprocess.prepare(
        row["case"], images["t1"], images["flair"], images.get("lesion"), images.get("brainmask"), size
    )
    given = "segmentation" in images
    mc, error, scores = _scores(prepared, images, networks, passes, seed)
    images |= {
        "prediction": preprocess.to_scan(mc.mean, prepared),
        "uncertainty": preprocess.to_scan(mc.entropy, prepared),
        "error": preprocess.to_scan(error, prepared),
    }
    probability = np.asanyarray(images["prediction"].dataobj)
    images["mask"] = nib.Nifti1Image((probability >= 0.5).astype(np.uint8), prepared.affine)
    judged = np.asanyarray(images["segmentation" if given else "mask"].dataobj) > 0
    ml = abs(np.linalg.det(prepared.affine[:3, :3])) / 1000
    scores["volume_on_scan_ml"] = ml * np.count_nonzero(judged)
    flair = np.asanyarray(images["flair"].dataobj)
    scores["contrast"] = contrast(judged, flair, _brain(images), prepared.affine)

    names = set(_truth_names())
    truth = {name: value for name, value in scores.items() if name in names}
    scores = {name: value for name, value in scores.items() if name not in names}
    if "lesion" in images:
        from wmhqc.metrics import lesion_dice

        lesion = np.asanyarray(images["lesion"].dataobj) > 0
        truth |= {"dice_on_scan": lesion_dice(judged, lesion), "true_on_scan_ml": ml * np.count_nonzero(lesion)}
    features = scan_features(prepared)
    record = {
        "case": row["case"],
        "patient": row.get("patient") or row["case"],
        "judged": "given" if given else "own",
        "program": row.get("program") or "",
        **decide(scores | features, calibration, given, tau, risk, certainty, row.get("program") or ""),
        "truth": truth,
        "scores": scores,
        "features": features,
        "ranges": _ranges(calibration, [*scores, *features]),
    }
    return Judgement(plain(record), prepared, images)


def _scores(prepared, images: Mapping, networks: Mapping, passes: int, seed: int):
    """Monte Carlo maps, error map of the judged mask, and all its scores (with the truth if known)."""
    from wmhqc import regression, scores, uncertainty
    from wmhqc.errormaps import error_map

    flair = prepared.volume[..., 1]
    mc = uncertainty.monte_carlo(networks["mc_unet"], prepared.volume, passes, seed)
    if "segmentation" in images:
        given = preprocess.prepare(
            prepared.case, images["t1"], images["flair"], images["segmentation"], images.get("brainmask"), prepared.size
        )
        mask = given.lesion > 0
        error = error_map(networks["rec_unet"], flair / 255, mask)
        result = mask_scores(prepared, mask, mc, error)
    else:
        mask = mc.mask
        error = error_map(networks["rec_unet"], flair / 255, mask)
        result = scores.row(prepared, mc, error)
        tta = uncertainty.summarise(uncertainty.test_time(networks["mc_unet"], prepared.volume, seed=seed))
        ensemble = uncertainty.summarise(uncertainty.ensemble(networks["ensemble"], prepared.volume, seed=seed))
        result |= scores.of_samples("tta", tta, prepared.voxel_mm3)
        result |= scores.of_samples("ensemble", ensemble, prepared.voxel_mm3)
        for name in regression.PAIRS:
            pair = regression.pair(name, mc.mean, flair=flair, uncertainty=mc.entropy, error=error)
            result[f"predicted_dice_{name}"] = regression.predict_dice(networks[f"reg_net_{name}"], pair)
    result[SCORE] = regression.predict_dice(networks["reg_net_bounded"], regression.mask_pair(mask, flair))
    result.pop("case", None)
    return mc, error, result


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


def _truth_names() -> list[str]:
    from wmhqc.metrics import measure

    some = np.zeros((3, 3, 3))
    return list(measure(some, some > 0, (1, 1, 1)))


def scan_features(prepared) -> dict:
    """How a scan looks, without its lesions: grid, size of the brain, intensities.

    Returns
    -------
    dict of str to float
        The names in `FEATURES`. Largest edge of the scan's voxels (thick slices), and width (left-right), length and
        height of the brain in mm; percentiles of the intensities of the brain, which
        `wmhqc.preprocess.scale` brought to [0, 255]; `detail`: mean distance of a voxel from its
        smoothed surroundings, small for blurred and large for noisy images; correlation of T1
        and FLAIR; correlation of FLAIR with its mirror image, small where one side differs.
    """
    from scipy import ndimage

    brain = prepared.brain > 0
    edges = nib.affines.voxel_sizes(prepared.affine)
    lengths = edges * [stop - start for start, stop in prepared.box]
    axis_of = np.argsort(nib.io_orientation(prepared.affine)[:, 0])  # scan axis of x, y, z
    features = {
        "largest_edge_mm": edges.max(),
        "brain_ml": brain.sum() * prepared.voxel_mm3 / 1000,
        **dict(zip(("width_mm", "length_mm", "height_mm"), lengths[axis_of])),
    }
    for name, channel in zip(("t1", "flair"), np.moveaxis(prepared.volume, -1, 0)):
        features |= {f"{name}_p{share:02d}": v for share, v in zip(SHARES, np.percentile(channel[brain], SHARES))}
        features[f"{name}_detail"] = np.abs(channel - ndimage.gaussian_filter(channel, 1))[
            ndimage.binary_erosion(brain)
        ].mean()
    t1, flair = prepared.volume[..., 0], prepared.volume[..., 1]
    both = brain & brain[::-1]
    features["t1_flair_correlation"] = np.corrcoef(t1[brain], flair[brain])[0, 1]
    features["flair_symmetry"] = np.corrcoef(flair[both], flair[::-1][both])[0, 1]
    return {name: float(features[name]) for name in FEATURES}


# ---------------------------------------------------------------- deciding


def same_origin(calibration: pd.DataFrame, given: bool, program: str = "") -> pd.DataFrame:
    """The calibration cases whose segmentations are of the same origin: our networks', or that program's."""
    made = calibration["judged"] if "judged" in calibration else pd.Series("own", calibration.index)
    same = made == ("given" if given else "own")
    if given and "program" in calibration:
        same &= calibration["program"].fillna("") == program
    return calibration[same]


def promised(cases: pd.DataFrame, tau: float = 0.5, risk: float = 0.1, certainty: float = 0.9) -> thresholds.Choice:
    """The threshold on `SCORE` with the promise, from the calibration cases of `same_origin`."""
    if cases.empty:
        return thresholds.Choice(math.nan, "cannot be guaranteed: no calibration case is a segmentation of the same origin")
    cases = cases.dropna(subset=["lesion_dice", SCORE])
    return thresholds.guaranteed_risk(cases["lesion_dice"], cases[SCORE], tau, risk, level=certainty)


def decide(
    scores: Mapping, calibration: pd.DataFrame, given: bool, tau: float = 0.5, risk: float = 0.1, certainty: float = 0.9,
    program: str = "",
) -> dict:  # fmt: skip
    """Verdict on a segmentation, from its scores and the calibration cases alone.

    Accept needs all of: a threshold with the promise can be had from the calibration cases;
    they are segmentations of the same origin; scan and mask look like theirs; the mask is not empty
    and brighter than its surroundings on FLAIR; the predicted Dice reaches the threshold. Whatever is
    missing is a reason for review.

    Parameters
    ----------
    scores : mapping
        Scores and features of the case.
    calibration : DataFrame
        One row per case with `lesion_dice`, the score `SCORE` and, if known, `FEATURES`; the
        columns `judged` and `program` say whose segmentations they are (own if there is none).
    given : bool
        The segmentation was given, not made by our networks.
    program : str
        What drew it, if that is known.

    Returns
    -------
    dict
        verdict, reasons, predicted_dice, promise, likeness; see `judge`.
    """
    same = same_origin(calibration, given, program)
    cases = (same if len(same) else calibration).dropna(subset=["lesion_dice", SCORE])
    value = float(scores.get(SCORE, math.nan))
    choice = promised(same, tau, risk, certainty)
    low, high = (float(end[0]) for end in conformal_interval(value, cases[SCORE], cases["lesion_dice"], certainty))
    alike = likeness(scores, calibration)
    unlike = ([] if alike["like"] else [_most_unlike(alike)]) + _mask_unlike(scores, cases)

    reasons = [*unlike]
    if not choice.possible:
        origins = "" if len(same) else f" ({_origins(calibration)}; this one: {_origin(given, program)})"
        reasons.insert(0, f"At most {100 * risk:g} % failures among the accepted {choice.message}{origins}.")
    applies = not reasons
    reasons += _mask_problems(scores)
    if choice.possible and not value >= choice.threshold:
        reasons.append(f"The predicted Dice {value:.2f} is below the threshold {choice.threshold:.2f}.")
    return {
        "verdict": "review" if reasons else "accept",
        "reasons": reasons,
        "predicted_dice": {
            "value": value, "low": low, "high": high, "level": certainty, "cases": len(cases),
            "valid": bool(len(same)) and not unlike,
        },
        "promise": {
            "applies": applies, "possible": choice.possible, "threshold": choice.threshold, "score": SCORE, "tau": tau,
            "risk": risk, "certainty": certainty, "cases": len(cases), "message": choice.message,
        },
        "likeness": alike,
    }  # fmt: skip


def _origin(given: bool, program: str) -> str:
    return (program or "a program without a name") if given else "our own"


def _origins(calibration: pd.DataFrame) -> str:
    if calibration.empty:
        return "none is left but this patient's own"
    made = calibration["judged"] if "judged" in calibration else pd.Series("own", calibration.index)
    program = calibration["program"].fillna("") if "program" in calibration else pd.Series("", calibration.index)
    return "theirs: " + ", ".join(sorted({_origin(m == "given", p) for m, p in zip(made, program)}))


def _mask_unlike(scores: Mapping, cases: pd.DataFrame) -> list[str]:
    """What of the mask no calibration case has: a volume so small or large, so little agreement with our own."""
    reasons = []
    for name in ("volume_ml", "agreement_dice"):
        known = cases[name].dropna() if name in cases else pd.Series(dtype=float)
        value = scores.get(name)
        if value is None or math.isnan(value) or len(known) < FEWEST_ALIKE:
            continue
        low, high = known.min(), known.max()
        if value < low or (value > high and name == "volume_ml"):
            found = {"name": name, "value": value, "low": low, "high": high}
            reasons.append(f"No calibration case has such a mask: {_words(found)}.")
    return reasons


def _mask_problems(scores: Mapping) -> list[str]:
    contrast = scores.get("contrast", math.nan)
    if scores.get("volume_ml") == 0:
        return ["The mask is empty: whether there is nothing to find, only a look at the scan can tell."]
    if math.isnan(contrast):
        return ["The mask or its surroundings lie outside the brain: whether it is bright on FLAIR is not known."]
    if contrast < cohort.MIN_CONTRAST:
        return [
            f"The mask is hardly brighter than its surroundings on FLAIR (contrast {contrast:.2f}; manual masks: above 0.9)."
        ]
    return []


def keep_promise(
    validation: pd.DataFrame, test: pd.DataFrame, tau: float = 0.5, risk: float = 0.1, certainty: float = 0.9
) -> pd.DataFrame:
    """Interval and verdict for cases whose true Dice is known: are the promises kept?

    Parameters
    ----------
    validation, test : DataFrame
        Rows of `wmhqc.reference.cases`. The cases of each fold are judged with the validation
        cases of all folds without its own.

    Returns
    -------
    DataFrame, one row for each of `test`
        case, fold, lesion_dice, low, high, inside (the interval holds the true Dice), accepted,
        failed.
    """
    rows = []
    for fold, cases in test.groupby("fold"):
        known = thresholds.one_row_a_case(validation, cases["case"])
        low, high = conformal_interval(cases[SCORE], known[SCORE], known["lesion_dice"], certainty)
        choice = thresholds.guaranteed_risk(known["lesion_dice"], known[SCORE], tau, risk, level=certainty)
        dice = cases["lesion_dice"]
        rows.append(
            cases[["case", "fold", "lesion_dice", SCORE]].assign(
                low=low,
                high=high,
                inside=(low <= dice) & (dice <= high),
                accepted=~failure.flag(cases[SCORE], choice.threshold),
                failed=dice < tau,
            )
        )
    return pd.concat(rows).sort_index()


def likeness(scores: Mapping, calibration: pd.DataFrame) -> dict:
    """Does a scan look like the calibration cases?

    The Mahalanobis distance of its `FEATURES` from their mean, with a shrunken covariance
    (Ledoit-Wolf), is compared with the distance of each calibration case from the others: a
    scan farther off than a share `ALIKE` of them is not of their kind (of those that are, about one
    in twenty is taken for another). Odd calibration cases, as one without a good brain mask, would widen
    what counts as alike; they are left out, and named.

    Returns
    -------
    dict
        like (bool), distance, limit, cases, outside (list of features beyond the range of the
        middle 98 %, the farthest first: name, value, low, high), words.
    """
    known = [name for name in FEATURES if name in calibration]
    table = calibration[known].dropna() if known else pd.DataFrame()
    result = {"like": False, "distance": math.nan, "limit": math.nan, "cases": len(table), "outside": []}
    if len(table) < FEWEST_ALIKE:
        return result | {"words": f"How the calibration cases look is known of {len(table)} scans only, and "
                                  f"{FEWEST_ALIKE} are needed to say whether this one is of their kind."}  # fmt: skip
    point, others = np.array([scores[name] for name in known], float), table.to_numpy(float)
    usual, limit = _usual(others.tobytes(), len(known))
    odd = table.index[[i not in usual for i in range(len(table))]]
    others = others[list(usual)]
    distance = _distance(point, others)
    deviation = np.abs(point - others.mean(axis=0)) / _spread(others)
    low, high = np.percentile(others, (1, 99), axis=0)
    outside = [
        {"name": known[i], "value": point[i], "low": low[i], "high": high[i]}
        for i in np.argsort(-deviation)
        if not low[i] <= point[i] <= high[i]
    ]
    like = bool(distance <= limit)
    words = f"The scan {'looks' if like else 'does not look'} like the {len(others)} calibration cases"
    words += f" (distance {distance:.1f}; {100 * ALIKE:g} % of theirs are at most {limit:.1f})."
    if len(odd):
        names = ", ".join(calibration.loc[odd, "case"].astype(str)) if "case" in calibration else len(odd)
        words += f" Calibration cases unlike all others were left out: {names}."
    result |= {"like": like, "distance": distance, "limit": limit, "cases": len(others), "outside": outside}
    return result | {"words": words}


@functools.lru_cache(maxsize=8)  # the same calibration cases for all scans
def _usual(data: bytes, columns: int) -> tuple[tuple[int, ...], float]:
    """Rows of a table of features that are not odd, and the distance from the others that most of them keep."""
    table = np.frombuffer(data).reshape(-1, columns)
    usual = np.arange(len(table))
    distances = _from_the_others(table)
    good = distances <= ODD * np.median(distances)
    if not good.all() and good.sum() >= FEWEST_ALIKE:
        usual, distances = usual[good], _from_the_others(table[good])
    enough = math.ceil(round(ALIKE * (len(usual) + 1), 9))
    return tuple(usual.tolist()), float(np.sort(distances)[min(enough, len(usual)) - 1])


def _from_the_others(table: np.ndarray) -> np.ndarray:
    return np.array([_distance(row, np.delete(table, i, axis=0)) for i, row in enumerate(table)])


def _most_unlike(alike: Mapping) -> str:
    most = "; ".join(_words(found) for found in alike["outside"][:3])
    return f"{alike['words']} Most unlike: {most}." if most else alike["words"]


def _words(found: Mapping) -> str:
    label, unit = LABELS[found["name"]]
    return f"{label} {found['value']:.3g} {unit} (theirs {found['low']:.3g} to {found['high']:.3g})".replace("  ", " ")


def _spread(others: np.ndarray) -> np.ndarray:
    """Standard deviation of each feature, at least 1 % of its mean: a constant one has none."""
    return np.maximum(others.std(axis=0), 0.01 * np.abs(others.mean(axis=0)) + 1e-9)


def _distance(point: np.ndarray, others: np.ndarray) -> float:
    """Mahalanobis distance of a point from the rows of `others`, per square root of the dimension."""
    from sklearn.covariance import LedoitWolf

    mean, spread = others.mean(axis=0), _spread(others)
    covariance = LedoitWolf().fit((others - mean) / spread).covariance_
    z = (point - mean) / spread
    return float(np.sqrt(z @ np.linalg.solve(covariance, z) / len(z)))


def _ranges(calibration: pd.DataFrame, names: list[str]) -> dict:
    """What the middle 98 % of the calibration cases have: name -> [low, high]."""
    known = [name for name in names if name in calibration and calibration[name].notna().any()]
    return {name: np.nanpercentile(calibration[name].to_numpy(float), (1, 99)).tolist() for name in known}


# ---------------------------------------------------------------- what goes out


def provenance(row: Mapping) -> dict:
    """What a record rests on: input files with their SHA-256, versions, the reference run."""
    from wmhqc import reference

    def installed(name: str) -> str:
        try:
            return version(name)
        except PackageNotFoundError:
            return ""

    return {
        "inputs": {name: {"path": str(row[name]), "sha256": sha256(row[name])} for name in INPUTS if _given(row, name)},
        "software": {"python": platform.python_version()}
        | {name: installed(name) for name in ("wmhqc", "tensorflow", "keras", "numpy", "nibabel")},
        "reference": sha256(reference.folder() / "manifest.json"),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def sha256(path) -> str:
    """SHA-256 of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def plain(value):
    """A value as JSON knows it: numpy numbers become Python's, NaN and infinity None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value
