"""The burden explorer: is a score more than the volume in disguise?"""

from __future__ import annotations

import numpy as np
import traitlets

from wmhqc import failure
from wmhqc.view.widget import Explorer, module

TERTILES = ("small", "medium", "large")


class BurdenExplorer(Explorer):
    """What `burden` returns; `score` and `measure` follow the reader's choice."""

    _esm = module("common", "burden")
    score = traitlets.Unicode().tag(sync=True)
    measure = traitlets.Unicode("auroc").tag(sync=True)
    data = traitlets.Dict().tag(sync=True)


def burden(
    table,
    scores: list[str],
    tau: float = 0.5,
    label: dict[str, str] | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> BurdenExplorer:
    """Explore how the skill of a score changes among cases of like volume.

    A score that only follows the volume ranks well over all cases, as small lesion loads are
    hard, and poorly within a third of the cases that have about the same volume. All numbers
    are computed here; the page only shows those of the score that is chosen.

    Parameters
    ----------
    table : pandas.DataFrame
        One row per case, with the scores, `lesion_dice` and `volume_ml`, by which the thirds are made.
    scores : list of str
        Names in `wmhqc.catalogue` (others count as: higher = trust more).
    tau : float, default 0.5
        A case counts as failed if its Dice lies under `tau`.
    label : dict of str to str, optional
        Names of the scores on the page.
    draws, seed : int
        Of the bootstrap, within the thirds, for the 95 % intervals.

    Returns
    -------
    BurdenExplorer
        A Jupyter widget; the last expression of a cell shows it.

    Raises
    ------
    ValueError
        If a column is missing, fewer than three cases have a Dice, or one stands in two rows.
    """
    failure.check_columns(table, (*scores, "volume_ml"))
    table = failure.judged(table)
    if len(table) < 3:
        raise ValueError(f"thirds by volume need three cases or more, got {len(table)}")
    truth, ml = table[["lesion_dice", "volume_ml"]].to_numpy(float).T
    thirds = failure.volume_tertile(ml)
    groups = {"all": np.full(len(table), True), **{name: thirds == name for name in TERTILES}}

    def auroc(d, q):
        return failure.auroc(d, q, tau)

    names = list(dict.fromkeys([*scores, "volume_ml"]))
    found = {}
    for name in names:
        q = failure.confidence(table, name)
        found[name] = {
            measure: {
                group: _interval(statistic, truth, q, thirds, [where], draws, seed) for group, where in groups.items()
            }
            | {"within": _interval(statistic, truth, q, thirds, [groups[name] for name in TERTILES], draws, seed)}
            for measure, statistic in {"auroc": auroc, "spearman": failure.spearman}.items()
        }
    return BurdenExplorer(
        score=scores[0],
        data={
            "scores": list(scores),
            "baseline": "volume_ml",
            "labels": {name: (label or {}).get(name, name) for name in names},
            "tau": tau,
            "groups": {name: _facts(truth[where], ml[where], tau) for name, where in groups.items()},
            "results": found,
        },
    )


def _interval(statistic, dice, confidence, thirds, groups, draws: int, seed: int) -> list | None:
    """Estimate and 95 % interval of the mean of a statistic over groups; None where it is undefined."""
    defined = [where for where in groups if not np.isnan(statistic(dice[where], confidence[where]))]
    if not defined:
        return None

    def mean(d, q):  # every draw keeps the thirds in place
        return np.mean([statistic(d[..., where], q[..., where]) for where in defined], axis=0)

    found = failure.bootstrap(mean, dice, confidence, strata=thirds, draws=draws, seed=seed)
    return None if np.isnan(found).any() else list(found)


def _facts(dice, volume, tau: float) -> dict:
    """What is said of a group."""
    return {"cases": len(dice), "failed": int((dice < tau).sum()), "volume": [float(volume.min()), float(volume.max())]}
