"""Charts of the book with text under the mouse (plotly).

Every function returns the figure and shows nothing; colours and backgrounds are those of `wmhqc.book.figures`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from wmhqc.book.figures import COLOURS, DASHES, GREY, ORANGE, SYMBOLS

#: To be seen on a light ground and on a dark one.
MIDDLE = "#808080"


def cumulative(groups: Mapping[str, np.ndarray], title: str, label: str):
    """Cumulative distributions on a logarithmic axis.

    Parameters
    ----------
    groups : mapping
        Name in the legend -> values > 0, one a case; NaN and empty groups are left out.
    title, label : str
        Of the figure and of its horizontal axis.

    Returns
    -------
    plotly.graph_objects.Figure
        `layout.meta.alt` gives the quartiles of each group.
    """
    import plotly.graph_objects as go

    figure, said = go.Figure(), []
    for i, (name, values) in enumerate(groups.items()):
        values = np.sort(np.asarray(values, float))
        values = values[np.isfinite(values)]
        if not len(values):
            continue
        line = {"shape": "hv", "color": COLOURS[i % 6], "dash": DASHES[i % 6], "width": 2}
        marker, hover = {"symbol": SYMBOLS[i % 6], "size": 6}, "%{x:.3g}: share %{y:.2f}<extra></extra>"
        share = np.arange(1, len(values) + 1) / len(values)
        _line(figure, values, share, name, line, mode="lines+markers", marker=marker, hovertemplate=hover)
        low, middle, high = np.percentile(values, (25, 50, 75))
        said.append(f"{name}: median {middle:.2g}, middle half {low:.2g} to {high:.2g}.")
    if not said:
        raise ValueError("no values to show")
    alt = f"Cumulative distributions of {label}. {' '.join(said)}"
    return _plain(figure, title, label, "share of cases up to here", alt).update_xaxes(type="log")


def scatter_dice(table: pd.DataFrame, score: str, tau: float | None = None, label: str | None = None):
    """A score of each case against its true Dice, as in the paper's Fig. 2 and 3.

    Parameters
    ----------
    table : DataFrame
        One row a case with its true Dice, `lesion_dice`, 0 to 1; rows without it or the score are left out.
    score : str
        Column of the horizontal axis. For a predicted Dice (`predicted_dice_...`) the line of
        perfect prediction is drawn too.
    tau : float, optional
        A case with Dice below this has failed (horizontal line).
    label : str, optional
        Title of the horizontal axis; by default the column's name.

    Returns
    -------
    plotly.graph_objects.Figure
        With the least-squares line and its 95 % confidence band. `layout.meta.alt` describes
        it in words.
    """
    import plotly.graph_objects as go

    cases = table.dropna(subset=[score, "lesion_dice"])
    if cases.empty:
        raise ValueError(f"no case has both {score!r} and 'lesion_dice'")
    label = label or _name(score)
    figure = go.Figure()
    names = cases.get("case", pd.Series(cases.index.astype(str), cases.index))
    groups = cases["database"].fillna("other") if "database" in cases else pd.Series("cases", cases.index)
    said = [f"Scatter plot of {label} against true Dice, {len(cases)} cases."]
    both = cases[[score, "lesion_dice"]].to_numpy(float)
    line = _regression(*both.T)
    if line:
        x, y = np.r_[line["x"], line["x"][::-1]], np.r_[line["high"], line["low"][::-1]]
        band = {"fill": "toself", "fillcolor": "rgba(128,128,128,0.35)", "hoverinfo": "skip"}
        _line(figure, x, y, "95 % band", None, mode="none", **band)
        _line(figure, line["x"], line["y"], "regression line", {"color": MIDDLE}, hoverinfo="skip")
        said.append(f"Pearson r = {line['r']:.2f}.")
    for i, (group, rows) in enumerate(cases.groupby(groups, sort=False)):
        marker = {"color": COLOURS[i % 6], "symbol": SYMBOLS[i % 6], "size": 9, "line": {"color": "white", "width": 1}}
        more = {"text": names[rows.index], "hovertemplate": "%{text}<br>%{x:.4g}, Dice %{y:.3f}<extra></extra>"}
        _line(figure, rows[score], rows["lesion_dice"], str(group), None, mode="markers", marker=marker, **more)
    if score.startswith("predicted_dice"):
        ends = [both.min(), both.max()]
        _line(figure, ends, ends, "perfect prediction", {"color": MIDDLE, "dash": "dot"}, hoverinfo="skip")
    if tau is not None:
        dashed = {"color": ORANGE, "dash": "dash"}
        figure.add_hline(tau, line=dashed, name=f"failed below Dice {tau:g}", showlegend=True)
        said.append(f"{int((cases['lesion_dice'] < tau).sum())} cases have a Dice below {tau:g}.")
    title = f"{label} and true Dice" + (f", r = {line['r']:.2f}" if line else "")
    return _plain(figure, title, label, "true Dice", " ".join(said))


def _regression(x: np.ndarray, y: np.ndarray) -> dict | None:
    """Least-squares line with the 95 % confidence band of the mean; None where undefined."""
    from scipy import stats

    if len(x) < 3 or np.ptp(x) == 0:
        return None
    fit = stats.linregress(x, y)
    at = np.linspace(x.min(), x.max(), 50)
    half = stats.t.ppf(0.975, len(x) - 2) * fit.stderr * np.sqrt(x.var() + (at - x.mean()) ** 2)
    line = fit.intercept + fit.slope * at
    return {"x": at, "y": line, "low": line - half, "high": line + half, "r": fit.rvalue}


def risk_coverage(table: pd.DataFrame, scores, dice: str = "lesion_dice"):
    """Risk-coverage curves: what remains wrong when only the most trusted cases are kept.

    Parameters
    ----------
    table : DataFrame
        One row a case, with the columns `scores` and `dice`.
    scores : sequence of str, or mapping
        Columns (directions as in `wmhqc.catalogue`), or column -> name in the legend.
    dice : str
        Column of the true Dice.

    Returns
    -------
    plotly.graph_objects.Figure
        Risk is the mean of 1 - Dice over the kept cases. Grey: the oracle, which knows the
        Dice, and chance.
    """
    import plotly.graph_objects as go

    from wmhqc import failure

    cases = failure.judged(table, dice)
    names = dict(scores) if isinstance(scores, Mapping) else {score: _name(score) for score in scores}
    risk = 1 - cases[dice].to_numpy(float)
    figure, areas = go.Figure(), []
    for i, (score, name) in enumerate(names.items()):
        confidence = failure.confidence(cases, score)
        curve = failure.risk_coverage(1 - risk, confidence)
        areas.append(f"{name} {failure.aurc(1 - risk, confidence):.3f}")
        line = {"color": COLOURS[i % 6], "dash": DASHES[i % 6], "width": 2.5}
        _line(figure, curve["coverage"], curve["risk"], name, line)
    oracle = failure.risk_coverage(1 - risk, 1 - risk)
    _line(figure, oracle["coverage"], oracle["risk"], "oracle", {"color": GREY, "width": 1})
    _line(figure, [0, 1], [risk.mean()] * 2, "chance", {"color": GREY, "width": 1, "dash": "dot"})
    areas.append(f"chance {risk.mean():.3f}")
    alt = f"Risk-coverage curves of {len(cases)} cases. Area under the curve: {', '.join(areas)}."
    return _plain(figure, "Risk and coverage", "coverage: share of cases kept", "risk: mean of 1 − Dice", alt)


def _line(figure, x, y, name: str, line: dict | None, mode: str = "lines", **more) -> None:
    figure.add_scatter(x=x, y=y, name=name, line=line, mode=mode, **more)


def _name(column: str) -> str:
    return column.replace("_", " ").replace("dice", "Dice")


def _plain(figure, title: str, x: str, y: str, alt: str):
    figure.update_layout(
        template="plotly_white",
        paper_bgcolor="white",
        title=title,
        xaxis_title=x,
        yaxis_title=y,
        meta={"alt": alt},
        height=480,
        margin={"l": 60, "r": 20, "t": 60, "b": 60},
        font={"size": 14, "color": "#222222"},
        legend={"orientation": "h", "yanchor": "top", "y": -0.18},
    )
    return figure
