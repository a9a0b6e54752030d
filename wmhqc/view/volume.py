"""Hold the volume fixed: how a score follows the Dice among cases of like volume."""

from __future__ import annotations

import numpy as np
import traitlets

from wmhqc import failure
from wmhqc.view.widget import Explorer, module


class HoldExplorer(Explorer):
    """What `hold` returns; `score`, `first` and `count` (the window, in order of volume) follow the reader."""

    _esm = module("common", "volume")
    score = traitlets.Unicode().tag(sync=True)
    first = traitlets.Int(0).tag(sync=True)
    count = traitlets.Int().tag(sync=True)
    data = traitlets.Dict().tag(sync=True)


def hold(table, scores: dict[str, tuple[str, str]], tau: float = 0.5) -> HoldExplorer:
    """Let the reader move a window over the volume, and see which way the regression line points within it.

    Parameters
    ----------
    table : pandas.DataFrame
        One row per case, with the scores, `volume_ml` and `lesion_dice`; rows that lack one of them are left out.
    scores : dict of str to (str, str)
        Columns of two or more scores: the word on the button, and the name on the axis with its unit. The first
        is shown to begin with.
    tau : float, default 0.5
        A case counts as failed if its Dice lies under `tau`.

    Returns
    -------
    HoldExplorer
        A Jupyter widget; the last expression of a cell shows it, with the window open over all cases.

    Raises
    ------
    ValueError
        A column is missing, or fewer than ten rows have all numbers and a volume above 0.
    """
    columns = ["volume_ml", "lesion_dice", *scores]
    failure.check_columns(table, columns)
    whole = table[np.isfinite(table[columns].astype(float)).all(axis=1)]
    whole = whole[whole["volume_ml"] > 0].sort_values("volume_ml", kind="stable")
    if len(whole) < 10:
        raise ValueError(
            f"a window needs ten cases with {', '.join(columns)} and a volume above 0; there are {len(whole)}"
        )
    return HoldExplorer(
        score=next(iter(scores)),
        count=len(whole),
        data={
            "names": whole["case"].astype(str).tolist() if "case" in whole else [""] * len(whole),
            "volume": whole["volume_ml"].astype(float).tolist(),
            "dice": whole["lesion_dice"].astype(float).tolist(),
            "tau": tau,
            "scores": [
                {"name": name, "word": word, "label": label, "values": whole[name].astype(float).tolist()}
                for name, (word, label) in scores.items()
            ],
        },
    )


def hold_numbers(table, score: str, first: int, count: int) -> dict:
    """Fit the line among `count` cases from the `first` one on, in order of volume: the numbers that the page shows.

    Returns
    -------
    dict
        `r` (Pearson; NaN if a column is constant), `slope` (Dice per unit of the score), `low` and `high` (ml).
    """
    part = table.sort_values("volume_ml", kind="stable").iloc[first : first + count]
    volume, x, y = part[["volume_ml", score, "lesion_dice"]].to_numpy(float).T
    x, y = x - x.mean(), y - y.mean()
    xx, xy, yy = x @ x, x @ y, y @ y
    r = xy / np.sqrt(xx * yy) if xx > 0 and yy > 0 else np.nan
    slope = xy / xx if xx > 0 else np.nan
    return {"r": float(r), "slope": float(slope), "low": float(volume.min()), "high": float(volume.max())}
