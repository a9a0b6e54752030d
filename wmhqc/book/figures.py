"""Static figures of the book (matplotlib).

Every function returns the figure and shows nothing. Words are large enough for a phone
(`wmhqc.book.phone`). Brains stand on black, as in a viewer of scans; charts stand on white, which the page
turns dark in its dark theme. Colours are safe for the colour-blind, and nothing is said by colour alone.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from wmhqc.book.phone import DESK, PHONE, closed, on_black

#: Colours of Okabe and Ito, which the colour-blind can tell apart.
BLUE, ORANGE, GREEN, PURPLE, SKY, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#595959"
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, GREY)
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "x", "cross")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
# --- maps ----------------------------------------------------------------------------------

#: Columns of `case_maps`: name of the map and its title, in the order of the paper's Fig. 1.
MAPS = {
    "t1": "T1",
    "flair": "FLAIR",
    "prediction": "Prediction",
    "uncertainty": "Uncertainty",
    "blanked": "Rec U-net input",
    "reconstruction": "Reconstruction",
    "error": "Error map",
}
_CUT = {"origin": "lower", "interpolation": "nearest"}
_BARS = {
    "prediction": "lesion probability",
    "uncertainty": "entropy (bits)",
    "error": "FLAIR − reconstruction",
}


def maps(prepared, mc=None, reconstruction: np.ndarray | None = None) -> dict:
    """Maps of one case, for `case_maps`.

    Parameters
    ----------
    prepared : wmhqc.preprocess.Prepared
    mc : wmhqc.uncertainty.MonteCarlo, optional
    reconstruction : array (n, n, n), optional
        Output of Rec U-net (`wmhqc.errormaps.reconstruct`), FLAIR in [0, 1]; needs `mc`.
    """
    from wmhqc.errormaps import blank
    from wmhqc.scores import grid_spacing

    flair = prepared.volume[..., 1]
    found = {"t1": prepared.volume[..., 0], "flair": flair, "spacing": grid_spacing(prepared)}
    if prepared.lesion is not None:
        found["lesion"] = prepared.lesion
    if mc is not None:
        found |= {"prediction": mc.mean, "uncertainty": mc.entropy}
    if reconstruction is not None:
        found["blanked"] = blank(flair, mc.mask)
        found |= {"reconstruction": 255 * reconstruction, "error": flair / 255 - reconstruction}
    return found


@on_black
def case_maps(cases: Mapping[str, Mapping], tall: bool = False):
    """One row of maps for each case, as in the paper's Fig. 1.

    Each row is the axial slice with most lesion (manual, or else predicted), seen from the feet: the
    patient's right is on the left, as radiologists have it. Orange: outline of the manual lesions. On the
    error map, solid lines enclose values above a third of the scale, dashed ones values below minus a third.

    Parameters
    ----------
    cases : mapping
        Label of a row -> its maps, as `maps` makes them: any of the names in `MAPS` (T1,
        FLAIR and what is like them in [0, 255]), `lesion` and `spacing` (mm); all (n, n, n).
        A map that no case has gets no column.
    tall : bool
        One column for each case instead, for a phone: more than four maps in a row are for a desk.

    Returns
    -------
    matplotlib.figure.Figure
    """
    columns = [name for name in MAPS if any(name in case for case in cases.values())]
    if not columns:
        raise ValueError(f"no case has a map to show; expected some of {', '.join(MAPS)}")
    slices = {label: _slice(case) for label, case in cases.items()}
    errors = [case["error"][:, :, slices[label]] for label, case in cases.items() if "error" in case]
    limit = max((np.percentile(np.abs(error), 99.5) for error in errors), default=1) or 1
    styles = {
        "prediction": {"cmap": "gray", "vmin": 0, "vmax": 1},
        "uncertainty": {"cmap": "cividis", "vmin": 0, "vmax": 1},
        "error": {"cmap": _blue_orange(), "vmin": -limit, "vmax": limit},
    }
    across, down = (len(cases), len(columns)) if tall else (len(columns), len(cases))
    size = (1.8 * across + 1.3, 2.2 * down + 0.6) if tall else (2.1 * across + 0.4, 2.55 * down + 0.7)
    figure, axes = _panels(down, across, size, ground=None)
    axes = axes.T if tall else axes
    images = {}
    for row, (label, case) in zip(axes, cases.items(), strict=True):
        x, y, _ = case.get("spacing", (1, 1, 1))
        for axis, name in zip(row, columns, strict=True):
            axis.set(xticks=[], yticks=[], facecolor="black")
            axis.spines[:].set_visible(False)
            if name not in case:
                axis.text(0.5, 0.5, "none", ha="center", va="center", transform=axis.transAxes)
                continue
            cut = case[name][:, :, slices[label]].T
            style = styles.get(name, {"cmap": "gray", "vmin": 0, "vmax": 255})
            images[name] = axis.imshow(cut, aspect=y / x, **_CUT, **style)
            axis.invert_xaxis()
            if name in ("flair", "prediction") and "lesion" in case:
                _outline(axis, case["lesion"][:, :, slices[label]].T, 0.5, ORANGE)
            if name == "error":
                _outline(axis, cut, limit / 3, "black", "solid", 0.6)
                _outline(axis, cut, -limit / 3, "black", "dashed", 0.6)
        (row[0].set_title if tall else row[0].set_ylabel)(label, fontsize=15)
        _sides(row[0])
    for column, name in enumerate(columns):
        first = axes[0, column]
        (first.set_ylabel if tall else first.set_title)(MAPS[name], fontsize=15)
        if name in _BARS:
            where = "right" if tall else "bottom"
            bar = figure.colorbar(images[name], ax=axes[:, column], location=where, shrink=0.9, pad=0.02)
            bar.set_label(_BARS[name].replace(" ", "\n", 1) if tall else _BARS[name], fontsize=15)
            low, high = images[name].get_clim()
            bar.set_ticks([low, (low + high) / 2, high], labels=[f"{x:.2g}" for x in (low, (low + high) / 2, high)])
    return closed(figure, PHONE if tall or len(columns) <= 4 else DESK)


def _panels(rows: int, columns: int, size: tuple, ground: str | None = "white", **shared):
    """Figure and its axes (rows, columns), placed so that no words overlap (`ground` None: as the style has it)."""
    import matplotlib.pyplot as plt

    return plt.subplots(rows, columns, squeeze=False, layout="constrained", facecolor=ground, figsize=size, **shared)


def _slice(case: Mapping) -> int:
    """Axial slice with most manual lesion, or else with most prediction, or else the middle one."""
    for name in ("lesion", "prediction"):
        if name in case:
            area = (case[name] >= 0.5).sum(axis=(0, 1))
            if area.any():
                return int(area.argmax())
    return next(case[name] for name in MAPS if name in case).shape[2] // 2


def _outline(axis, cut, level, colour, line="solid", width=1.0, edge: bool = False) -> None:
    """A contour; with `edge` its dashes have a black one, to be seen on white and on grey."""
    from matplotlib.patheffects import withStroke

    if cut.min() < level < cut.max():
        drawn = axis.contour(cut, [level], colors=colour, linestyles=line, linewidths=width)
        if edge:
            drawn.set_path_effects([withStroke(linewidth=2 * width, foreground="black")])


def _sides(axis) -> None:
    """R and L in the upper corners: the patient's right is on the left."""
    for side, place, align in (("R", 0.03, "left"), ("L", 0.97, "right")):
        axis.text(place, 0.97, side, color="white", fontsize=15, ha=align, va="top", transform=axis.transAxes)


def _blue_orange():
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("blue_orange", ["#023858", BLUE, "#f7f7f7", "#E69F00", "#7f2704"])


# --- scans and cohorts ---------------------------------------------------------------------


@on_black
def pictures(panels: Mapping[str, Mapping], columns: int = 3):
    """Slices (axial or coronal) beside each other, each with its title; the patient's right is on the left.

    Parameters
    ----------
    panels : mapping
        Title -> `image` (array (x, y)) and, if wanted, `outline` (mask of that shape: the manual lesions, orange),
        `predicted` (likewise: a segmentation, dashed in light blue), `voxel` (edges along x and y in mm), `limits`
        (values that are black and white; 0 and the largest value of the image by default).
    columns : int
        Pictures in a row.

    Returns
    -------
    matplotlib.figure.Figure
    """
    if not panels:
        raise ValueError("no picture to show")
    rows, width = -(-len(panels) // columns), min(9, 3 * columns)  # in inches: two can be read on a phone
    size = (width, width / columns * 1.2 * rows)
    figure, axes = _panels(rows, columns, size, ground=None)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    for axis, (title, panel) in zip(axes.flat, panels.items()):
        x, y = panel.get("voxel", (1, 1))
        low, high = panel.get("limits", (0, panel["image"].max()))
        axis.imshow(panel["image"].T, cmap="gray", vmin=low, vmax=high, aspect=y / x, **_CUT)
        axis.invert_xaxis()
        if "outline" in panel:
            _outline(axis, panel["outline"].T, 0.5, ORANGE, width=1.4)
        if "predicted" in panel:
            _outline(axis, panel["predicted"].T, 0.5, SKY, "dashed", 2, edge=True)
        _sides(axis)
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
        axis.set_title(title, fontsize=16)
    return closed(figure)


def strips(table: pd.DataFrame, columns: Mapping[str, str], by: str, log: tuple[str, ...] = ()):
    """Compare groups of cases: a panel for each column, a row of points for each group.

    Parameters
    ----------
    table : DataFrame
        One row a case.
    columns : mapping
        Column -> its name on the axis.
    by : str
        Column of the groups.
    log : tuple of str
        Columns on a logarithmic axis.

    Returns
    -------
    matplotlib.figure.Figure
        A bar marks the median of a group.
    """
    from matplotlib.ticker import LogLocator

    groups = dict(tuple(table.groupby(by, sort=False)))
    figure, axes = _panels(len(columns), 1, (5.6, len(columns) * (0.75 + 0.32 * len(groups))))
    rng, edge = np.random.default_rng(0), {"markersize": 6, "markeredgewidth": 0.3, "markeredgecolor": "black"}
    for axis, (column, name) in zip(axes[:, 0], columns.items(), strict=True):
        for i, rows in enumerate(groups.values()):
            values = rows[column].dropna().to_numpy(float)
            heights = i + rng.uniform(-0.25, 0.25, len(values))
            axis.plot(values, heights, "oDs^vP"[i % 6], color=COLOURS[i % 6], alpha=0.85, **edge)
            if len(values):
                axis.plot([np.median(values)] * 2, [i - 0.4, i + 0.4], color="black", linewidth=2.5)
        axis.set(ylim=(len(groups) - 0.5, -0.5))
        axis.set_xlabel(name, fontsize=12)
        if column in log:
            axis.set_xscale("log")
            axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.xaxis.set_major_formatter("{x:g}")
            axis.xaxis.set_minor_formatter("")
        axis.set_yticks(range(len(groups)), groups, fontsize=12)
        axis.grid(axis="x", alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    return closed(figure)


# --- training ------------------------------------------------------------------------------


def by_severity(table: pd.DataFrame, columns: Mapping[str, str]):
    """Means over cases against the severity of an artefact, one panel for each artefact.

    Parameters
    ----------
    table : DataFrame
        artefact ("none" for the scans as they are), severity, and the columns that are asked for.
    columns : mapping
        Column -> label; all on the scale of a Dice, 0 to 1. The first is drawn thick.

    Returns
    -------
    matplotlib.figure.Figure
    """
    clean = table[table["severity"] == 0]
    artefacts = [name for name in table["artefact"].unique() if name != "none"]
    if not artefacts or clean.empty:
        raise ValueError("expected rows of at least one artefact, and of the scans as they are (severity 0)")
    rows = -(-len(artefacts) // 2)
    figure, axes = _panels(rows, 2, (5.6, 2.2 * rows + 1.2), sharex=True, sharey=True)
    for axis in axes.flat[len(artefacts) :]:
        axis.remove()
    for axis, artefact in zip(axes.flat, artefacts):
        part = pd.concat([clean, table[table["artefact"] == artefact]])
        means = part.groupby("severity")[list(columns)].mean()
        for i, (column, label) in enumerate(columns.items()):
            colour, width = ("black", 3) if i == 0 else (COLOURS[i - 1], 1.6)
            marker = {"marker": "os^Dv"[i % 5], "markersize": 5}
            axis.plot(means.index, means[column], color=colour, label=label, linewidth=width, **marker)
        axis.set(title=artefact.replace("_", " "), ylim=(0, 1), xlabel="severity")
        axis.grid(alpha=0.3)
    handles, names = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", frameon=False)
    return closed(figure)


def learning_curves(histories: Mapping[str, pd.DataFrame]):
    """Training and validation loss by epoch, one panel for each history.

    Parameters
    ----------
    histories : mapping
        Title -> table with the columns epoch, loss and val_loss (`wmhqc.training.read_history`).

    Returns
    -------
    matplotlib.figure.Figure
        A ring marks the epoch with the lowest validation loss, whose weights are kept.
    """
    if not histories:
        raise ValueError("no history to show")
    figure, axes = _panels(len(histories), 1, (4.2, 3.4 * len(histories)))
    for axis, (title, history) in zip(axes[:, 0], histories.items(), strict=True):
        if len(history) == 0:
            raise ValueError(f"the history of {title} is empty: nothing was trained yet")
        axis.plot(history["epoch"], history["loss"], color=BLUE, label="training")
        axis.plot(history["epoch"], history["val_loss"], color=ORANGE, linestyle="dashed", label="validation")
        best = history.loc[history["val_loss"].idxmin()]
        ring = {"color": ORANGE, "fillstyle": "none", "markersize": 9}
        axis.plot(best["epoch"], best["val_loss"], "o", label=f"kept: epoch {best['epoch']:.0f}", **ring)
        axis.set(title=title, xlabel="epoch", ylabel="loss")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)
        axis.spines[["top", "right"]].set_visible(False)
    return closed(figure)


def predicted(table: pd.DataFrame, tau: float):
    """True against predicted Dice, a symbol for each kind of case.

    Parameters
    ----------
    table : DataFrame
        One row a case: `predicted`, `true` (Dice, 0 to 1) and `kind`.
    tau : float
        A case with a true Dice below this has failed (dashed line).

    Returns
    -------
    matplotlib.figure.Figure
        Dotted: perfect prediction.
    """
    figure, ((axis,),) = _panels(1, 1, (5.6, 4.4))
    for (kind, cases), colour, symbol in zip(table.groupby("kind", sort=False), COLOURS, "oDs^xP", strict=False):
        axis.plot(cases["predicted"], cases["true"], symbol, color=colour, markersize=5, label=kind)
    axis.plot([0, 1], [0, 1], ":", color=GREY, label="perfect prediction")
    axis.axhline(tau, color=GREY, linestyle="dashed", label=f"failed below {tau:g}")
    axis.set(xlabel="predicted Dice", ylabel="true Dice", xlim=(0, 1), ylim=(0, 1))
    axis.legend(frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    return closed(figure)
