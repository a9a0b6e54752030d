"""Judged scans told to a reader: which of them to show, a sentence about each, and tables in words.

seen = [look(row) for row in rows]
shown = choose([each.record for each in seen])
print(told(shown["accepted"]))
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from wmhqc import cohort, failure, preprocess, reference, slices
from wmhqc.checks import MIN_CONTRAST
from wmhqc.screen.calibration import exclude_patient, reference_cases, with_features
from wmhqc.screen.judge import Judgement, judge
from wmhqc.screen.labels import LABELS, SCORE
from wmhqc.screen.render import at_most, chance, dice, percent
from wmhqc.screen.verdict import decide

#: What is to be shown -> how it is called where there is none.
WANTED = {
    "accepted": "accepted",
    "rightly": "rightly kept for review",
    "wrongly": "wrongly kept for review",
}
#: The column of the true Dice on the networks' grid and, in brackets, on the scan's own.
TRUE = "true Dice (on the scan)"
#: Scores that say of any mask how good it is, in words.
OF_MASKS = {SCORE: "predicted", "expected_dice": "expected", "agreement_dice": "agreement"}


@dataclass
class Seen:
    """A judged scan, what it is called and its key slice; `problem` says why it was refused instead."""

    record: dict
    name: str
    slice: slices.Slice | None = None
    problem: str = ""


def look(row: Mapping, *arguments, **options) -> Seen:
    """Judge a scan (`wmhqc.screen.judge.judge`) and keep of its images only the key slice; refused scans say why.

    `row["called"]` names it, where its case, by which the networks that have not learnt from it are known, is no name.
    """
    name = row.get("called") or row["case"]
    try:
        found = judge(row, *arguments, **options)
    except cohort.CohortError as error:
        return Seen({"case": row["case"]}, name, problem=error.report["problem"].iloc[0])
    return Seen(found.record | {"synthetic": bool(row.get("synthetic"))}, name, key_slice(found))


def key_slice(judgement: Judgement) -> slices.Slice:
    """The axial slice with most lesion on the scan's own grid, with the outlines of the judged and the manual mask."""
    images = judgement.images
    found = {"flair": images["flair"], "predicted": images.get("segmentation", images["mask"])}
    found["brain"] = preprocess.to_scan(judgement.prepared.brain, judgement.prepared, 0)
    if "lesion" in images:
        found["manual"] = images["lesion"]
    return slices.on_scan(judgement.record["case"], found)


def panels(shown: slices.Slice) -> dict:
    """A key slice with and without its outlines, as `wmhqc.book.figures.pictures` takes them."""
    plain = {"image": shown.flair, "voxel": shown.spacing, "limits": (0, 255)}
    return {"with outlines": plain | {"outline": shown.manual, "predicted": shown.predicted}, "FLAIR": plain}


def of_reference() -> list[dict]:
    """The reference run's patients, judged from its tables alone, each left out of his own calibration.

    Returns
    -------
    list of dict
        `case`, `truth` (lesion_dice), `calibration_cases` (how many) and what `wmhqc.screen.verdict.decide` says. How
        bright a mask is on FLAIR is not in the tables; it is taken to be bright enough.
    """
    known, records = reference_cases(), []
    for row in with_features(reference.cases("test", "real")).to_dict("records"):
        others = exclude_patient(known, row)
        found = decide(row | {"contrast": MIN_CONTRAST}, others, given=False)
        truth = {"lesion_dice": row["lesion_dice"]}
        records.append({"case": row["case"], "truth": truth, "calibration_cases": len(others), **found})
    return records


# ---------------------------------------------------------------- which to show, and what is said of it


def choose(records: Iterable[Mapping], tau: float = 0.5) -> dict[str, Mapping]:
    """One scan that was accepted, one that was rightly not, one that was wrongly not; a kind may be missing.

    Of the accepted the one with the middle true Dice; of those that rightly were not the worst, of those that wrongly
    were not the best. Patients go before synthetic cases; without a manual mask nobody knows.
    """
    known = [record for record in records if record.get("truth", {}).get("lesion_dice") is not None]
    kinds = {name: [] for name in WANTED}
    for record in sorted(known, key=lambda record: record["truth"]["lesion_dice"]):
        right = "rightly" if record["truth"]["lesion_dice"] < tau else "wrongly"
        kinds["accepted" if record["verdict"] == "accept" else right].append(record)
    places = {"accepted": lambda kind: (len(kind) - 1) // 2, "rightly": lambda kind: 0, "wrongly": lambda kind: -1}
    kinds = {name: [one for one in kind if not one.get("synthetic")] or kind for name, kind in kinds.items()}
    return {name: kind[places[name](kind)] for name, kind in kinds.items() if kind}


def told(record: Mapping | None, kind: str = "accepted", of: int = 0) -> str:
    """A verdict in a few sentences (Markdown): what, predicted and true Dice, why, what is guaranteed."""
    if record is None:
        return f"Of the scans of this run ({of}) none with a manual mask was {WANTED[kind]}."
    whose = "a synthetic case" if record.get("synthetic") else "a patient"
    verdict = "Accept" if record["verdict"] == "accept" else "Review"
    true = record["truth"].get("lesion_dice")
    text = f"**{verdict}: {record['case']}, {whose}.** Predicted Dice **{predicted(record)}**"
    text += f", true Dice **{dice(true)}**. " if true is not None else ". "
    return text + why(record) + (f" {guaranteed(record)}" if record["verdict"] == "accept" else "")


def predicted(record: Mapping) -> str:
    """The predicted Dice with its interval, as in "0.51 (0.40 to 0.62)", or that the interval does not hold."""
    found = record["predicted_dice"]
    if found["low"] is None:
        return dice(found["value"])
    ends = f"{dice(found['low'])}\u00a0to\u00a0{dice(found['high'])}"
    return f"{dice(found['value'])} ({ends if found['valid'] else 'interval not valid'})"


def why(record: Mapping) -> str:
    """Why a segmentation is accepted or not, in a sentence for each reason."""
    value, needed = record["predicted_dice"]["value"], record["guarantee"]["threshold"]
    if record["verdict"] == "accept":
        return (
            "Scan and mask look like those of the calibration cases, and the predicted Dice reaches "
            f"{dice(needed)}, from which on masks are accepted."
        )
    said = []
    for finding in record["findings"]:
        if finding["kind"] == "doubt" and record["guarantee"]["possible"] and value is not None:
            said.append(
                f"The predicted Dice is {dice(needed - value)} below {dice(needed)}, from which on masks are accepted."
            )
        elif finding["kind"] == "scan" and record["ood"]["outside"] and "unlike" in finding["short"]:
            said.append(f"{finding['short'].rstrip('.')}, most of all in {most_unlike(record)}.")
        else:
            said.append(finding["short"])
    return " ".join(said)


def most_unlike(record: Mapping) -> str:
    """The feature in which a scan differs most from the calibration cases; empty where none lies outside."""
    return LABELS[record["ood"]["outside"][0]["name"]][0] if record["ood"]["outside"] else ""


def guaranteed(record: Mapping) -> str:
    """What the guarantee of a record says, in a sentence."""
    found = record["guarantee"]
    if not found["possible"]:
        return "With these calibration cases nothing can be guaranteed."
    text = f"Of the masks accepted so at most {at_most(found['risk'])} have {found['failure']}"
    return f"{text}, with {percent(found['level'])} certainty."


# ---------------------------------------------------------------- tables


def table(records: Iterable[Mapping], tau: float = 0.5) -> pd.DataFrame:
    """Verdict, predicted Dice, true Dice on both grids (failed below `tau` on the networks'), reasons; a row a scan."""

    def true(value: float | None, on_scan: float | None = None) -> str:
        return "" if value is None else f"{dice(value)} ({dice(on_scan)}){', failed' if value < tau else ''}"

    return pd.DataFrame.from_dict(
        {
            record["case"]: {
                "verdict": record["verdict"],
                "predicted Dice": predicted(record),
                TRUE: true(*map(record["truth"].get, ("lesion_dice", "dice_on_scan"))),
                "what speaks against it": " ".join(record["reasons"]),
            }
            for record in records
        },
        orient="index",
    )


def outcomes(records: Iterable[Mapping], tau: float = 0.5) -> pd.DataFrame:
    """Of records with a true Dice: predicted, true, on_scan, inside (the interval holds it), accepted, failed.

    All but `on_scan` and `failed_on_scan` are measured on the networks' grid.
    """
    rows = []
    for record in records:
        found, true = record["predicted_dice"], record["truth"].get("lesion_dice")
        if true is not None:
            inside = found["low"] is not None and found["low"] <= true <= found["high"]
            accepted = record["verdict"] == "accept"
            on_scan = record["truth"]["dice_on_scan"]
            rows.append((record["case"], found["value"], true, on_scan, inside, accepted, true < tau, on_scan < tau))
    columns = ["case", "predicted", "true", "on_scan", "inside", "accepted", "failed", "failed_on_scan"]
    return pd.DataFrame(rows, columns=columns).set_index("case").astype(dict.fromkeys(columns[4:], bool))


def kept(groups: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Is the guarantee kept? Counts with 95 % intervals of the shares, a column for each group of `outcomes`."""

    def share(of: pd.DataFrame, name: str) -> str:
        if of.empty:
            return "none"
        low, high = failure.proportion_interval(int(of[name].sum()), len(of))
        return f"{of[name].sum()} of {len(of)} ({low:.2f}\u00a0to\u00a0{high:.2f})"

    return pd.DataFrame(
        {
            name: {
                "true Dice inside its interval": share(rows, "inside"),
                "accepted": share(rows, "accepted"),
                "failed, of the accepted": share(rows[rows["accepted"]], "failed"),
                "failed, of all": share(rows, "failed"),
            }
            for name, rows in groups.items()
        }
    )


def sure(tested: pd.DataFrame, level: float = 0.9) -> tuple[str, pd.DataFrame]:
    """Four kinds of "sure", of one mask and of many: whose mask it is, and a row for each.

    `tested` is from `verdict.evaluate_guarantee`, each case a fold of its own. The mask is that of the accepted with
    the middle true Dice; of all where none is accepted.
    """
    chosen = tested[tested["accepted"]]
    ranked = (chosen if len(chosen) else tested).sort_values("lesion_dice", kind="stable")
    one = ranked.iloc[(len(ranked) - 1) // 2]
    failed, held = int(chosen["failed"].sum()), percent(level)
    seen = "none was accepted"
    if len(chosen):
        low, high = failure.proportion_interval(failed, len(chosen))
        seen = f"{failed} of {len(chosen)} failed ({100 * low:.0f} to {100 * high:.0f} %)"
    share = "nothing" if math.isnan(one["risk"]) else f"at most {at_most(one['risk'])} fail, with {held} certainty"
    rows = {
        "interval of the predicted Dice": (
            f"{dice(one['predicted_dice'])} ({dice(one['low'])}\u00a0to\u00a0{dice(one['high'])})",
            f"the Dice of this mask; {held} of such intervals hold the true one",
            "whether it failed; a promise for a mask that was picked by its prediction",
        ),
        "chance of failure": (
            f"{chance(one['chance'])} ({chance(one['chance_low'])}\u00a0to\u00a0{chance(one['chance_high'])})",
            "this mask: masks of about this predicted Dice",
            "a guarantee: it believes a curve through all calibration cases, synthetic ones too",
        ),
        "share guaranteed": (
            share,
            "all masks of this kind that the threshold accepts",
            "this mask; an estimate: it is the most that so few labelled cases cannot rule out",
        ),
        "share observed": (
            seen,
            "the accepted of this table",
            "a promise; the 95 % interval shows how little so few tell",
        ),
    }
    return one["case"], pd.DataFrame.from_dict(rows, orient="index", columns=["here", "it is about", "it is not"])


def strangers_table(seen: Sequence[Seen]) -> pd.DataFrame:
    """Scans of another kind: verdict, predicted Dice, distance and reasons, or why they are refused."""
    rows = {}
    for each in seen:
        record = each.record
        if each.problem:
            rows[each.name] = {"verdict": "refused", "what speaks against it": each.problem}
            continue
        rows[each.name] = {
            "verdict": record["verdict"],
            "predicted Dice": record["predicted_dice"]["value"],
            "distance": record["ood"]["score"],
            "what speaks against it": " ".join(record["reasons"]),
        }
    columns = ["verdict", "predicted Dice", "distance", "what speaks against it"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def masks_table(rows: Iterable[Mapping], records: Iterable[Mapping]) -> pd.DataFrame:
    """Masks of other programs: true Dice (on the scan's grid) and what is said of them, the columns of `OF_MASKS`."""
    columns = ["patient", "mask", "true Dice", *OF_MASKS.values()]
    found = [
        [row["case"], f"{row['case']}, {row['program']}", record["truth"]["dice_on_scan"]]
        + [record["scores"][name] for name in OF_MASKS]
        for row, record in zip(rows, records, strict=True)
    ]
    return pd.DataFrame(found, columns=columns)


# ---------------------------------------------------------------- scans that a network was not made for


def changed(row: Mapping, name: str, how, folder) -> dict:
    """The row of a scan whose two images were changed: `how` takes and gives the array of one."""
    new = {**row, "called": name, "lesion": "", "brainmask": ""}
    for image in ("t1", "flair"):
        scan = nib.load(row[image])
        new[image] = str(Path(folder) / f"{row['case']}_{name.replace(' ', '-')}_{image}.nii.gz")
        Path(folder).mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(how(np.asarray(scan.dataobj, "float32")), scan.affine), new[image])
    return new


def exchanged(row: Mapping) -> dict:
    """The row of a scan with its T1 given as FLAIR and its FLAIR as T1."""
    called = f"{row['case']}, T1 and FLAIR exchanged"
    return {**row, "called": called, "t1": row["flair"], "flair": row["t1"], "lesion": ""}


def strangers(row: Mapping, mine: Mapping, others: Iterable[Mapping], folder) -> list[dict]:
    """Rows of scans that the networks were not made for.

    A scan upside down, the same with light and dark exchanged, another one (`mine`) with T1 and FLAIR exchanged, and
    `others`, each of them also without its brain mask.
    """

    def negative(array):
        return np.where(array > 0, array.max() + 1 - array, 0)

    rows = [changed(row, "upside down", lambda array: array[:, :, ::-1], folder)]
    rows += [changed(row, "light and dark exchanged", negative, folder), exchanged(mine)]
    for other in others:
        rows.append(other)
        if other.get("brainmask"):
            name = other.get("called") or other["case"]
            rows.append({**other, "called": f"{name}, no brain mask", "brainmask": ""})
    return rows
