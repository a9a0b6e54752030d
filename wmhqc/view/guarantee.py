"""The explorer that draws studies until one sees what a guarantee means."""

from __future__ import annotations

import traitlets

from wmhqc import thresholds
from wmhqc.view.widget import Explorer, module


class GuaranteeExplorer(Explorer):
    """What `guarantee` returns; all but `data` follow the reader's choice."""

    _esm = module("common", "chart", "guarantee")
    cases = traitlets.Int().tag(sync=True)
    risk = traitlets.Float().tag(sync=True)
    level = traitlets.Float().tag(sync=True)
    drift = traitlets.Float().tag(sync=True)
    seed = traitlets.Int().tag(sync=True)
    data = traitlets.Dict().tag(sync=True)


def guarantee(
    cases: int = 100, risk: float = 0.1, level: float = 0.9, drift: float = 0.0, studies: int = 200, seed: int = 0
) -> GuaranteeExplorer:
    """Explore a guarantee: many studies set a threshold each, and new cases show whether it holds.

    Drawn and computed in the reader's browser, by the model of `wmhqc.thresholds.simulate` and the
    rule of `wmhqc.thresholds.guaranteed_risk`.

    Parameters
    ----------
    cases : int, default 100
        Calibration cases of a study, 20 to 400.
    risk : {0.05, 0.1, 0.15, 0.2}
        Share of failures among the accepted that is guaranteed.
    level : {0.8, 0.9, 0.95}
        Confidence level.
    drift : float, default 0
        Raises the odds of failure of the new cases by exp(drift), 0 to 2.
    studies : int, default 200
        How many are drawn.
    seed : int, default 0
        Another seed, other studies.

    Returns
    -------
    GuaranteeExplorer
        A Jupyter widget; the last expression of a cell shows it.

    Raises
    ------
    ValueError
        A number that the controls do not offer.
    """
    if not (20 <= cases <= 400 and 0 <= drift <= 2 and studies >= 1):
        raise ValueError(
            f"expected 20 to 400 cases, a drift of 0 to 2 and a study or more, got {cases}, {drift}, {studies}"
        )
    if risk not in (0.05, 0.1, 0.15, 0.2) or level not in (0.8, 0.9, 0.95):
        raise ValueError(
            f"expected a risk of 0.05, 0.1, 0.15 or 0.2 and a level of 0.8, 0.9 or 0.95, got {risk} and {level}"
        )
    return GuaranteeExplorer(
        cases=cases,
        risk=risk,
        level=level,
        drift=float(drift),
        seed=seed,
        data={"studies": studies, "start": thresholds.START},
    )
