"""Scans for the first screen and the trays: real patients where they are at hand, else synthetic cases."""

from __future__ import annotations

import numpy as np
import pandas as pd

from wmhqc import cohort, metrics, preprocess, reference, slices
from wmhqc.sources import available
from wmhqc.view import brains


def six(patients: list[dict], tau: float = 0.5) -> tuple[pd.DataFrame, str, str]:
    """Six cases to begin with, half of them failed: of `patients` if they suffice, else of the reference run.

    Returns
    -------
    table : DataFrame
        `slice`, `dice` (lesion Dice on the networks' grid), `ml` and `true_ml`, as `wmhqc.view.quiz` takes them.
    kind, credit : str
        What the cases are, and where they are from.
    """
    found = _choose(patients, tau)
    if found:
        return pd.DataFrame(found), "real patients", _credit(found)
    return pd.DataFrame(_choose(synthetic(), tau)), "synthetic cases", "synthetic: real anatomy, drawn lesions"


def real() -> list[dict]:
    """The real patients at hand whose predicted mask the reference run tells, by networks that have not seen them.

    Returns
    -------
    list of dict
        `slice`, `dice`, `ml`, `true_ml`, `licence`, `citation`.
    """
    masks = slices.load()[1]
    patients, _ = available.real_patients(ms17=False)
    rows = [row for row in patients.to_dict("records") if row["case"] in masks and row["lesion"]]
    return [_patient(row, masks[row["case"]]) for row in rows]


def synthetic() -> list[dict]:
    """The same of the synthetic test cases whose slices come with the reference run."""
    known = reference.cases("test").set_index("case")
    return [
        {"slice": each, "dice": row["lesion_dice"], "ml": row["volume_ml"], "true_ml": row["true_ml"]}
        for each in slices.load()[0]
        for row in [known.loc[each.case]]
    ]


def with_slices(patients: list[dict]) -> tuple[pd.DataFrame, list[slices.Slice]]:
    """The test cases of the reference run that can be shown: their rows, with `synthetic`, and their slices."""
    table = reference.cases("test")
    if "synthetic" not in table:
        table = table.assign(synthetic=True)
    shown = [*slices.load()[0], *(patient["slice"] for patient in patients)]
    return table[table["case"].isin([each.case for each in shown])].reset_index(drop=True), shown


def _patient(row: dict, mask: np.ndarray) -> dict:
    prepared = preprocess.prepare_row(row, len(mask))
    lesion = prepared.lesion > 0
    return {
        "slice": slices.of_scan(row, prepared, mask),
        "dice": metrics.lesion_dice(mask, lesion),
        "ml": metrics.volume_ml(mask, prepared.voxel_mm3),
        "true_ml": metrics.volume_ml(lesion, prepared.voxel_mm3),
        "licence": row.get("licence", ""),
        "citation": row.get("citation", ""),
    }


def _choose(cases: list[dict], tau: float) -> list[dict]:
    """Six of the cases; none if they are fewer, or all good, or all failed."""
    dice = np.array([case["dice"] for case in cases])
    failed = (dice < tau).sum()
    return [cases[i] for i in brains.pick(dice, 6, tau)] if len(cases) >= 6 and 0 < failed < len(cases) else []


def _credit(cases: list[dict]) -> str:
    """Each source once, with its licence."""
    given = dict.fromkeys(cohort.credit({"case": "", **case}).removeprefix(": ").strip() for case in cases)
    return "; ".join(given)
