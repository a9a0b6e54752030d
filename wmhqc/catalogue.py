"""The catalogue of scores: what quality control may know of a case without a manual mask.

It stands in `data/scores.csv`. Scoreboard, explorers, reports and chapters read names, signs, units
and labels there and nowhere else. A new score is one line in that file and one in `scores.row`.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True)
class Score:
    """One score.

    Attributes
    ----------
    name : str
        Its column in a table of cases.
    sign : {1, -1}
        1: the higher, the more the segmentation is trusted; -1: the less.
    unit : str
        Empty for what has none.
    label : str
        What it is called in a report and on an axis.
    needs : str
        The least that it takes to compute it.
    meaning : str
        What it is.
    """

    name: str
    sign: int
    unit: str
    label: str
    needs: str
    meaning: str

    @property
    def axis(self) -> str:
        """The label with the unit, if it has one."""
        return f"{self.label} ({self.unit})" if self.unit else self.label


@cache
def scores() -> dict[str, Score]:
    """All scores by name, in the order in which tables show them."""
    with (files("wmhqc") / "data" / "scores.csv").open(encoding="utf-8", newline="") as file:
        return {row["name"]: Score(**row | {"sign": int(row["sign"])}) for row in csv.DictReader(file)}


def sign(name: str) -> int:
    """Whether a high value speaks for (1) or against (-1) the segmentation; 1 for names not in the catalogue."""
    return scores()[name].sign if name in scores() else 1


def table():
    """The catalogue as a DataFrame: one row a score, indexed by `name`."""
    import pandas as pd

    return pd.DataFrame(vars(score) for score in scores().values()).set_index("name")
