"""The threshold with the scans behind it: two trays, "a person looks" and "used without looking"."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import traitlets

from wmhqc import catalogue, failure
from wmhqc.slices import Slice
from wmhqc.view.brains import pack
from wmhqc.view.widget import Explorer, module, numbers

#: What may count as failure: column -> name, limit to begin with, which side of it is bad, step of the limit.
MEASURES = {
    "lesion_dice": ("lesion Dice", 0.5, "under", 0.01),
    "volume_difference_percent": ("volume error (%)", 50.0, "over", 1.0),
    "lesion_f1": ("lesion F1", 0.4, "under", 0.01),
    "hd95_mm": ("HD95 (mm)", 20.0, "over", 1.0),
}
#: Of a look, and of a failed case that is used without one, to begin with.
COSTS = (1.0, 20.0)


class TraysExplorer(Explorer):
    """What `trays` returns; `looks`, `score`, `measure`, `limit`, `costs` and `case` follow the reader."""

    _esm = module("common", "brain", "looks")
    looks = traitlets.Int().tag(sync=True)
    score = traitlets.Unicode().tag(sync=True)
    measure = traitlets.Unicode().tag(sync=True)
    limit = traitlets.Float().tag(sync=True)
    costs = traitlets.List(traitlets.Float()).tag(sync=True)
    case = traitlets.Unicode().tag(sync=True)
    data = traitlets.Dict().tag(sync=True)


def trays(
    table,
    scores: Sequence[str],
    slices: Sequence[Slice] = (),
    looks: int | None = None,
) -> TraysExplorer:
    """Let the reader decide how many cases a person looks at, see which these are, and what it costs.

    Cases stand in the order of the score that is chosen, the least trusted first; so all scores are compared at
    the same number of looks.

    Parameters
    ----------
    table : pandas.DataFrame
        One row per case: `case`, the scores and some of `MEASURES`; `synthetic`, if there, says what a case is.
        A case without a score is looked at first; one without the measure (no mask to measure) counts as failed.
    scores : sequence of str
        Columns of scores, with direction, name and unit of `wmhqc.catalogue`.
    slices : sequence of Slice, optional
        Of some or all cases; the others are drawn as symbols.
    looks : int, optional
        Number of looks to begin with; a quarter of the cases if not given.

    Returns
    -------
    TraysExplorer
        A Jupyter widget; the last expression of a cell shows it.

    Raises
    ------
    ValueError
        A column is missing or empty, a case stands in two rows, or a score is not in the catalogue.
    """
    known = {column: measure for column, measure in MEASURES.items() if column in table}
    _check(table, scores, known)
    names = table["case"].astype(str).tolist()
    shown = [each for each in slices if each.case in names]
    places = {each.case: i for i, each in enumerate(shown)}
    first = next(iter(known))
    return TraysExplorer(
        looks=round(len(names) / 4) if looks is None else int(looks),
        score=scores[0],
        measure=first,
        limit=float(known[first][1]),
        costs=list(COSTS),
        case=_slipped(table, scores[0], known),
        data={
            "names": names,
            "kinds": _kinds(table),
            "scores": [
                {"name": s.name, "label": s.axis, "confidence": s.sign, "values": numbers(table[s.name])}
                for s in map(catalogue.scores().get, scores)
            ],
            "measures": [
                {"name": name, "label": label, "limit": limit, "bad": bad, "step": step, "values": numbers(table[name])}
                for name, (label, limit, bad, step) in known.items()
            ],
            "scans": pack(shown),
            "places": [places.get(name, -1) for name in names],
        },
    )


def trays_numbers(
    values, truth, looks: int, limit: float, bad: str = "under", confidence: int = 1, costs=COSTS
) -> dict:
    """Count what `looks` looks find: the numbers that the page shows.

    Parameters
    ----------
    values, truth : array_like, shape (cases,)
        Score and measure of failure; NaN as in `trays`.
    looks : int
        How many cases a person looks at, those that are trusted least. Cases of one score go together, so that a
        threshold could do it: it becomes the smallest number from there on that separates them.
    limit : float
    bad : {"under", "over"}
        Which side of the limit is a failure.
    confidence : {1, -1}
    costs : tuple of 2 float

    Returns
    -------
    dict
        Counts `looks`, `tp`, `fp`, `fn`, `tn` and `cost`.
    """
    values, truth = np.asarray(values, float), np.asarray(truth, float)
    trust = np.where(np.isnan(values), -np.inf, confidence * values)
    ordered = np.sort(trust)
    while 0 < looks < len(ordered) and ordered[looks] == ordered[looks - 1]:
        looks += 1
    looks = max(int(looks), int(np.isnan(values).sum()))
    flagged = trust < (ordered[looks] if looks < len(ordered) else np.inf)
    failed = np.isnan(truth) | (truth < limit if bad == "under" else truth > limit)
    pairs = {"tp": (True, True), "fp": (False, True), "fn": (True, False), "tn": (False, False)}
    counts = {name: int(((failed == bad) & (flagged == sent)).sum()) for name, (bad, sent) in pairs.items()}
    return {**counts, "looks": looks, "cost": costs[0] * looks + costs[1] * counts["fn"]}


def _slipped(table, score: str, measures: dict) -> str:
    """The failed case that the score trusts most, to begin with; the most trusted one if none failed."""
    column, (_, limit, bad, _) = next(iter(measures.items()))
    failed = table[column] < limit if bad == "under" else table[column] > limit
    among = table[failed] if failed.any() else table
    trust = catalogue.sign(score) * among[score].fillna(-np.inf * catalogue.sign(score))
    return str(among["case"].iloc[int(trust.to_numpy().argmax())])


def _check(table, scores, measures) -> None:
    """Refuse what cannot be shown, with the reason."""
    failure.check_columns(table, ("case", *scores))
    if not measures:
        raise ValueError(f"the table has no measure of failure; expected one of {', '.join(MEASURES)}")
    twice = table["case"][table["case"].duplicated()]
    if len(twice):
        raise ValueError(f"{len(twice)} cases stand in more than one row, for example {twice.iloc[0]}")
    for column in (*scores, *measures):
        if table[column].isna().all() or np.isinf(table[column].to_numpy(float)).any():
            raise ValueError(f"column {column!r} has no number, or an infinite one")
    unknown = [name for name in scores if name not in catalogue.scores()]
    if unknown or not scores:
        raise ValueError(f"expected names of scores in the catalogue, got {', '.join(unknown) or 'none'}")


def _kinds(table) -> list[str]:
    if "synthetic" not in table:
        return [""] * len(table)
    return ["synthetic" if made else "real patient" for made in table["synthetic"].astype(bool)]
