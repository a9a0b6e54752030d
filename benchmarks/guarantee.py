"""How often guarantees are kept, and how many scans they accept, over simulated studies.

    python benchmarks/guarantee.py [studies]

Each study draws validation cases, sets a threshold for "at most 10 % of the accepted fail, at the
level 90 %", and asks all new cases of the same kind. Three scores: the one of
`wmhqc.thresholds.simulate`, one whose trusted half fails in 3 % and whose other half fails in 60 %,
and one that is useless. Minutes on one core.
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd

from wmhqc import failure, thresholds

TAU, RISK = 0.5, 0.1
GRID = (np.arange(20_000) + 0.5) / 20_000
SCORES = {
    "good": lambda q: 1 / (1 + np.exp(8 * q - 2.5)),
    "two halves": lambda q: np.where(q > 0.5, 0.03, 0.6),
    "useless": lambda q: np.full(q.shape, 0.12),
}


def studies(chance, cases: int, draws: int, seed: int = 0) -> pd.DataFrame:
    """One row a study: what was guaranteed, the share that is accepted, and how many of those truly fail."""
    rng = np.random.default_rng(seed)
    risk_above = np.cumsum(chance(GRID)[::-1]) / np.arange(1, GRID.size + 1)  # by share accepted
    rows = []
    for _ in range(draws):
        q = rng.random(cases)
        dice = 1.0 - (rng.random(cases) < chance(q))
        for rule in (thresholds.guaranteed_risk, thresholds.best_guarantee):
            choice = rule(dice, q, TAU, RISK)
            coverage = 1 - choice.threshold if choice.possible else 0.0
            true = risk_above[max(0, round(coverage * GRID.size) - 1)] if coverage else np.nan
            rows.append({"rule": rule.__name__, "risk": choice.risk, "coverage": coverage, "true": true})
    return pd.DataFrame(rows)


def main(draws: int = 1000) -> None:
    rows = []
    for name, chance in SCORES.items():
        for cases in (60, 200, 1000):
            for rule, found in studies(chance, cases, draws).groupby("rule", sort=False):
                broken = int((found["true"] > found["risk"]).sum())
                low, high = failure.proportion_interval(broken, draws)
                rows.append(
                    {
                        "score": name,
                        "cases": cases,
                        "rule": rule,
                        "guaranteed in": (found["coverage"] > 0).mean(),
                        "risk, median": found["risk"].median(),
                        "accepted, mean": found["coverage"].mean(),
                        "broken": broken / draws,
                        "95 %": f"{low:.3f} to {high:.3f}",
                    }
                )
    print(pd.DataFrame(rows).round(3).to_string(index=False))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
