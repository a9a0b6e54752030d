"""Static figures of the book (matplotlib), and charts with hover text (plotly).

Every function returns the figure and shows nothing. Backgrounds are white, so that figures
read on a dark page as well; colours are safe for the colour-blind, and nothing is said by
colour alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import pandas as pd

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


def case_maps(cases: Mapping[str, Mapping]):
    """One row of maps for each case, as in the paper's Fig. 1.

    Each row is the axial slice with most lesion (manual, or else predicted), seen from the feet: the
    patient's right is on the left, as radiologists have it. Orange: outline of the manual lesions. On the error map, solid lines enclose
    values above a third of the scale, dashed ones values below minus a third.

    Parameters
    ----------
    cases : mapping
        Label of a row -> its maps, as `maps` makes them: any of the names in `MAPS` (T1,
        FLAIR and what is like them in [0, 255]), `lesion` and `spacing` (mm); all (n, n, n).
        A map that no case has gets no column.

    Returns
    -------
    matplotlib.figure.Figure
    """
    import matplotlib.pyplot as plt

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
    figure, axes = plt.subplots(
        len(cases), len(columns), squeeze=False, layout="constrained", facecolor="white",
        figsize=(2.1 * len(columns) + 0.4, 2.55 * len(cases) + 0.7),
    )
    images = {}
    for row, (label, case) in zip(axes, cases.items(), strict=True):
        x, y, _ = case.get("spacing", (1, 1, 1))
        for axis, name in zip(row, columns, strict=True):
            axis.set(xticks=[], yticks=[], facecolor="black")
            axis.spines[:].set_visible(False)
            if name not in case:
                axis.set_facecolor("white")
                axis.text(0.5, 0.5, "none", ha="center", va="center", transform=axis.transAxes)
                continue
            cut = case[name][:, :, slices[label]].T
            style = styles.get(name, {"cmap": "gray", "vmin": 0, "vmax": 255})
            images[name] = axis.imshow(cut, origin="lower", aspect=y / x, interpolation="nearest", **style)
            axis.invert_xaxis()
            if name in ("flair", "prediction") and "lesion" in case:
                _outline(axis, case["lesion"][:, :, slices[label]].T, 0.5, ORANGE)
            if name == "error":
                _outline(axis, cut, limit / 3, "black", "solid", 0.6)
                _outline(axis, cut, -limit / 3, "black", "dashed", 0.6)
        row[0].set_ylabel(label, fontsize=15)
        _sides(row[0])
    for axis, name in zip(axes[0], columns, strict=True):
        axis.set_title(MAPS[name], fontsize=15)
    for column, name in enumerate(columns):
        if name in _BARS:
            bar = figure.colorbar(images[name], ax=axes[:, column], location="bottom", shrink=0.9, pad=0.02)
            bar.set_label(_BARS[name], fontsize=13)
            bar.ax.tick_params(labelsize=12)
    return _closed(figure)


def _slice(case: Mapping) -> int:
    """Axial slice with most manual lesion, or else with most prediction, or else the middle one."""
    for name in ("lesion", "prediction"):
        if name in case:
            area = (case[name] >= 0.5).sum(axis=(0, 1))
            if area.any():
                return int(area.argmax())
    return next(case[name] for name in MAPS if name in case).shape[2] // 2


def _outline(axis, cut, level, colour, line="solid", width=1.0) -> None:
    if cut.min() < level < cut.max():
        axis.contour(cut, [level], colors=colour, linestyles=line, linewidths=width)


def _sides(axis) -> None:
    """R and L in the upper corners: the patient's right is on the left."""
    for side, place, align in (("R", 0.03, "left"), ("L", 0.97, "right")):
        axis.text(place, 0.97, side, color="white", fontsize=12, ha=align, va="top", transform=axis.transAxes)


def _blue_orange():
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("blue_orange", ["#023858", BLUE, "#f7f7f7", "#E69F00", "#7f2704"])


def _closed(figure):
    """Hand a figure to the caller alone: pyplot would show it a second time."""
    import matplotlib.pyplot as plt

    plt.close(figure)
    return figure


# --- scans and cohorts ---------------------------------------------------------------------


def pictures(panels: Mapping[str, Mapping], columns: int = 3):
    """Slices (axial or coronal) beside each other, each with its title; the patient's right is on the left.

    Parameters
    ----------
    panels : mapping
        Title -> `image` (array (x, y)) and, if wanted, `outline` (mask of that shape: the manual lesions, orange),
        `predicted` (likewise: a segmentation, dashed in light blue), `voxel` (edges along x and y in mm), `limits` (values that are black and white; 0 and the
        largest value of the image by default).
    columns : int
        Pictures in a row.

    Returns
    -------
    matplotlib.figure.Figure
    """
    import matplotlib.pyplot as plt

    if not panels:
        raise ValueError("no picture to show")
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(
        rows, columns, squeeze=False, layout="constrained", facecolor="white", figsize=(9, 9 / columns * 1.2 * rows)
    )
    for axis in axes.flat[len(panels):]:
        axis.set_visible(False)
    for axis, (title, panel) in zip(axes.flat, panels.items()):
        x, y = panel.get("voxel", (1, 1))
        low, high = panel.get("limits", (0, panel["image"].max()))
        axis.imshow(panel["image"].T, cmap="gray", vmin=low, vmax=high, origin="lower", aspect=y / x,
                    interpolation="nearest")
        axis.invert_xaxis()
        if "outline" in panel:
            _outline(axis, panel["outline"].T, 0.5, ORANGE, width=1.4)
        if "predicted" in panel:
            _outline(axis, panel["predicted"].T, 0.5, SKY, "dashed", 1.4)
        _sides(axis)
        axis.set(xticks=[], yticks=[], facecolor="black")
        axis.set_title(title, fontsize=16)
    return _closed(figure)


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
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator

    groups = dict(tuple(table.groupby(by, sort=False)))
    figure, axes = plt.subplots(
        len(columns), 1, squeeze=False, layout="constrained", facecolor="white",
        figsize=(6.5, len(columns) * (0.75 + 0.32 * len(groups))),
    )
    rng = np.random.default_rng(0)
    for axis, (column, name) in zip(axes[:, 0], columns.items(), strict=True):
        for i, rows in enumerate(groups.values()):
            values = rows[column].dropna().to_numpy(float)
            axis.plot(values, i + rng.uniform(-0.25, 0.25, len(values)), "oDs^vP"[i % 6], color=COLOURS[i % 6],
                      markersize=6, alpha=0.85, markeredgewidth=0.3, markeredgecolor="black")
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
    return _closed(figure)


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
        figure.add_scatter(
            x=values, y=np.arange(1, len(values) + 1) / len(values), mode="lines+markers", name=name,
            line={"shape": "hv", "color": COLOURS[i % 6], "dash": DASHES[i % 6], "width": 2},
            marker={"symbol": SYMBOLS[i % 6], "size": 6}, hovertemplate="%{x:.3g}: share %{y:.2f}<extra></extra>",
        )
        low, middle, high = np.percentile(values, (25, 50, 75))
        said.append(f"{name}: median {middle:.2g}, middle half {low:.2g} to {high:.2g}.")
    if not said:
        raise ValueError("no values to show")
    alt = f"Cumulative distributions of {label}. {' '.join(said)}"
    return _plain(figure, title, label, "share of cases up to here", alt).update_xaxes(type="log")


# --- networks ------------------------------------------------------------------------------

#: Column and row of each block of the U-nets; the rows are the four resolutions.
_UNET = {
    "stem": (0, 0), "down16": (0, 1), "down32": (0, 2), "down64": (1, 3),
    "up32": (2, 2), "up16": (2, 1), "up8": (2, 0),
    "head32": (3, 2), "head16": (3, 1), "head8": (3, 0), "output": (4, 0),
}
_HALF = 0.4  # half the edge of a box; boxes stand one apart


def architecture(model):
    """Block diagram of a network, read from its layers (the paper's Fig. 4).

    Parameters
    ----------
    model : keras.Model
        A network of `wmhqc.networks`.

    Returns
    -------
    matplotlib.figure.Figure
        A box is a block: its layers in order, and the grid and channels it gives. Dashed
        arrows are skips; blocks with dropout have a thick edge.
    """
    import matplotlib.pyplot as plt
    from matplotlib.patches import FancyBboxPatch

    blocks, edges = _blocks(model)
    place = _UNET if "down64" in blocks else {name: (i, 0) for i, name in enumerate(blocks)}
    columns, rows = (1 + max(at[i] for at in place.values()) for i in (0, 1))
    figure, axis = plt.subplots(figsize=(2.5 * columns, 2.05 * rows + 0.3), facecolor="white")
    axis.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))
    axis.axis("off")
    for name, block in blocks.items():
        x, y = place[name]
        axis.add_patch(FancyBboxPatch(
            (x - _HALF, y - _HALF), 2 * _HALF, 2 * _HALF, boxstyle="round,pad=0,rounding_size=0.05",
            facecolor=block["colour"], edgecolor="#222222", linewidth=2.4 if block["dropout"] else 0.8,
        ))
        title = re.sub(r"(\d)", r" \1", name, count=1)
        axis.text(x, y - _HALF + 0.06, title, ha="center", va="top", fontsize=12, weight="bold")
        axis.text(x, y + 0.02, "\n".join(block["layers"]), ha="center", va="center", fontsize=9.5, linespacing=1.15)
        axis.text(x, y + _HALF - 0.05, block["shape"], ha="center", va="bottom", fontsize=11)
    for start, stop in edges:
        _arrow(axis, place[start], place[stop])
    figure.subplots_adjust(0, 0, 1, 1)
    return _closed(figure)


def _arrow(axis, start: tuple, stop: tuple) -> None:
    """An arrow from box to box: straight, or round the corner at the bottom of the U."""
    (x0, y0), (x1, y1) = start, stop
    down, path = np.sign(y1 - y0), "arc3"
    if y0 == y1:
        ends = (x0 + _HALF, y0), (x1 - _HALF, y1)
    elif x0 == x1:
        ends = (x0, y0 + down * _HALF), (x1, y1 - down * _HALF)
    elif down > 0:
        ends, path = ((x0, y0 + _HALF), (x1 - _HALF, y1)), "angle,angleA=90,angleB=0"
    else:
        ends, path = ((x0 + _HALF, y0), (x1, y1 + _HALF)), "angle,angleA=0,angleB=90"
    skip = y0 == y1 and x1 - x0 > 1
    axis.annotate("", ends[1], ends[0], arrowprops={
        "arrowstyle": "-|>", "color": "#222222", "linewidth": 1.4, "shrinkA": 0, "shrinkB": 0,
        "linestyle": "dashed" if skip else "solid", "connectionstyle": path,
    })


def _blocks(model) -> tuple[dict, list]:
    """Blocks of a network by name, with their layers as text, and the edges between blocks.

    A layer belongs to the block its name begins with; another (an addition, say)
    belongs to the block of its last input.
    """
    names = ("stem", "down", "up", "head", "output", "conv", "flatten", "dice")
    config = {layer["name"]: layer for layer in model.get_config()["layers"]}
    blocks, edges, block_of = {}, [], {}
    for layer in model.operations:  # unlike `layers`, with the additions
        inputs = _inputs(config[layer.name]["inbound_nodes"])
        kind = type(layer).__name__
        if kind == "InputLayer":
            given = f"input {_shape(layer.output.shape[1:])}"
            continue
        block = layer.name.split("_")[0]
        if not block.startswith(names):
            block = block_of[inputs[-1]]
        block_of[layer.name] = block
        entry = blocks.setdefault(block, {"layers": [], "dropout": False})
        entry["layers"].append(_words(layer, kind))
        entry["dropout"] |= "Dropout" in kind
        entry["shape"] = _shape(layer.output.shape[1:])
        for source in inputs:
            edge = (block_of.get(source), block)
            if edge[0] not in (None, block) and edge not in edges:
                edges.append(edge)
    for name, entry in blocks.items():
        entry["layers"] = _folded(entry["layers"])
        if name == next(iter(blocks)):
            entry["layers"].insert(0, given)
        colours = {"down": "#cfe5f5", "conv": "#cfe5f5", "up": "#fde2c4", "head": "#d5efe3"}
        entry["colour"] = next((c for start, c in colours.items() if name.startswith(start)), "#eeeeee")
    return blocks, edges


def _inputs(node) -> list[str]:
    """Names of the layers whose outputs a layer takes, from its entry in a model's config."""
    if isinstance(node, Mapping):
        history = node.get("config", {}).get("keras_history") if node.get("class_name") == "__keras_tensor__" else None
        return [history[0]] if history else [name for part in node.values() for name in _inputs(part)]
    if isinstance(node, (list, tuple)):
        return [name for part in node for name in _inputs(part)]
    return []


def _words(layer, kind: str) -> str:
    if kind.startswith("Conv3D"):
        stride = f", stride {layer.strides[0]}" if layer.strides[0] > 1 else ""
        word = "transposed" if kind.endswith("Transpose") else "conv"
        return f"{word} {layer.kernel_size[0]}³{stride}"
    if "Dropout" in kind:
        return f"dropout {layer.rate:g}"
    if kind == "Activation":
        return layer.activation.__name__
    if kind == "Dense":
        return f"dense {layer.units}"
    return {
        "InstanceNorm": "norm", "PReLU": "PReLU", "LeakyReLU": "LeakyReLU", "MaxPooling3D": "max pool 2³",
        "UpSampling3D": "upsample ×2", "Concatenate": "concatenate", "Add": "add", "Flatten": "flatten",
    }.get(kind, kind)


def _shape(shape: tuple) -> str:
    return f"{shape[0]}³ × {shape[-1]}" if len(shape) > 1 else f"{shape[0]:,}"


def _folded(words: list[str]) -> list[str]:
    """Put what follows a convolution on one line with a dot, to keep boxes small."""
    lines: list[str] = []
    for word in words:
        if lines and not word.startswith(("conv", "transposed", "flatten")) and len(lines[-1]) + len(word) < 21:
            lines[-1] += f" · {word}"
        else:
            lines.append(word)
    return lines


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
    import matplotlib.pyplot as plt

    clean = table[table["severity"] == 0]
    artefacts = [name for name in table["artefact"].unique() if name != "none"]
    if not artefacts or clean.empty:
        raise ValueError("expected rows of at least one artefact, and of the scans as they are (severity 0)")
    rows = -(-len(artefacts) // 3)
    figure, axes = plt.subplots(rows, 3, sharex=True, sharey=True, squeeze=False, layout="constrained",
                                facecolor="white", figsize=(10, 3 * rows + 0.6))
    for axis in axes.flat[len(artefacts):]:
        axis.remove()
    for axis, artefact in zip(axes.flat, artefacts):
        part = pd.concat([clean, table[table["artefact"] == artefact]])
        means = part.groupby("severity")[list(columns)].mean()
        for i, (column, label) in enumerate(columns.items()):
            axis.plot(means.index, means[column], color="black" if i == 0 else COLOURS[i - 1], label=label,
                      linewidth=3 if i == 0 else 1.6, marker="os^Dv"[i % 5], markersize=5)
        axis.set(title=artefact.replace("_", " "), ylim=(0, 1), xlabel="severity")
        axis.grid(alpha=0.3)
    handles, names = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=2, frameon=False)
    plt.close(figure)
    return figure


def learning_curves(histories: Mapping[str, pd.DataFrame], ylabel: str = "loss"):
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
    import matplotlib.pyplot as plt

    if not histories:
        raise ValueError("no history to show")
    figure, axes = plt.subplots(
        1, len(histories), squeeze=False, layout="constrained", facecolor="white", figsize=(4.2 * len(histories), 3.4)
    )
    for axis, (title, history) in zip(axes[0], histories.items(), strict=True):
        if len(history) == 0:
            raise ValueError(f"the history of {title} is empty: nothing was trained yet")
        axis.plot(history["epoch"], history["loss"], color=BLUE, label="training")
        axis.plot(history["epoch"], history["val_loss"], color=ORANGE, linestyle="dashed", label="validation")
        best = history.loc[history["val_loss"].idxmin()]
        axis.plot(best["epoch"], best["val_loss"], "o", color=ORANGE, fillstyle="none", markersize=9,
                  label=f"kept: epoch {best['epoch']:.0f}")
        axis.set(title=title, xlabel="epoch", ylabel=ylabel)
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)
        axis.spines[["top", "right"]].set_visible(False)
    return _closed(figure)


# --- scores and Dice -----------------------------------------------------------------------


def scatter_dice(
    table: pd.DataFrame,
    score: str,
    tau: float | None = None,
    threshold: float | None = None,
    dice: str = "lesion_dice",
    label: str | None = None,
):
    """A score of each case against its true Dice, as in the paper's Fig. 2 and 3.

    Parameters
    ----------
    table : DataFrame
        One row a case; rows without Dice or score are left out.
    score : str
        Column of the horizontal axis. For a predicted Dice (`predicted_dice_...`) the line of
        perfect prediction is drawn too.
    tau : float, optional
        A case with Dice below this has failed (horizontal line).
    threshold : float, optional
        Threshold of the score (vertical line).
    dice : str
        Column of the true Dice, 0 to 1.
    label : str, optional
        Title of the horizontal axis; by default the column's name.

    Returns
    -------
    plotly.graph_objects.Figure
        With the least-squares line and its 95 % confidence band. `layout.meta.alt` describes
        it in words.
    """
    import plotly.graph_objects as go

    cases = table.dropna(subset=[score, dice])
    if cases.empty:
        raise ValueError(f"no case has both {score!r} and {dice!r}")
    label = label or _name(score)
    figure = go.Figure()
    names = cases.get("case", pd.Series(cases.index.astype(str), cases.index))
    groups = cases["database"].fillna("other") if "database" in cases else pd.Series("cases", cases.index)
    said = [f"Scatter plot of {label} against true Dice, {len(cases)} cases."]
    line = _regression(cases[score].to_numpy(float), cases[dice].to_numpy(float))
    if line:
        x = np.concatenate([line["x"], line["x"][::-1]])
        y = np.concatenate([line["high"], line["low"][::-1]])
        figure.add_scatter(x=x, y=y, fill="toself", fillcolor="rgba(89,89,89,0.15)", mode="none", name="95 % band",
                           hoverinfo="skip")
        figure.add_scatter(x=line["x"], y=line["y"], mode="lines", line={"color": GREY}, name="regression line",
                           hoverinfo="skip")
        said.append(f"Pearson r = {line['r']:.2f}.")
    for i, (group, rows) in enumerate(cases.groupby(groups, sort=False)):
        marker = {"color": COLOURS[i % 6], "symbol": SYMBOLS[i % 6], "size": 9, "line": {"color": "white", "width": 1}}
        figure.add_scatter(x=rows[score], y=rows[dice], mode="markers", name=str(group), text=names[rows.index],
                           marker=marker, hovertemplate="%{text}<br>%{x:.4g}, Dice %{y:.3f}<extra></extra>")
    if score.startswith("predicted_dice"):
        ends = [cases[[score, dice]].to_numpy(float).min(), cases[[score, dice]].to_numpy(float).max()]
        figure.add_scatter(x=ends, y=ends, mode="lines", line={"color": GREY, "dash": "dot"},
                           name="perfect prediction", hoverinfo="skip")
    if tau is not None:
        figure.add_hline(tau, line={"color": ORANGE, "dash": "dash"}, annotation_text=f"failed below Dice {tau:g}",
                         annotation_position="bottom right")
        said.append(f"{int((cases[dice] < tau).sum())} cases have a Dice below {tau:g}.")
    if threshold is not None:
        figure.add_vline(threshold, line={"color": BLUE, "dash": "dashdot"}, annotation_text=f"threshold {threshold:g}",
                         annotation_position="top left")
        said.append(f"The threshold of the score is {threshold:g}.")
    title = f"{label} and true Dice" + (f", r = {line['r']:.2f}" if line else "")
    return _plain(figure, title, label, "true Dice", " ".join(said))


def _regression(x: np.ndarray, y: np.ndarray) -> dict | None:
    """Least-squares line with the 95 % confidence band of the mean; None where undefined."""
    from scipy import stats

    if len(x) < 3 or np.ptp(x) == 0:
        return None
    fit = stats.linregress(x, y)
    at = np.linspace(x.min(), x.max(), 50)
    residual = np.sqrt(np.sum((y - fit.intercept - fit.slope * x) ** 2) / (len(x) - 2))
    spread = residual * np.sqrt(1 / len(x) + (at - x.mean()) ** 2 / np.sum((x - x.mean()) ** 2))
    half = stats.t.ppf(0.975, len(x) - 2) * spread
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
        figure.add_scatter(x=curve["coverage"], y=curve["risk"], mode="lines", name=name,
                           line={"color": COLOURS[i % 6], "dash": DASHES[i % 6], "width": 2.5})
    oracle = failure.risk_coverage(1 - risk, 1 - risk)
    figure.add_scatter(x=oracle["coverage"], y=oracle["risk"], mode="lines", name="oracle",
                       line={"color": GREY, "width": 1})
    figure.add_scatter(x=[0, 1], y=[risk.mean()] * 2, mode="lines", name="chance",
                       line={"color": GREY, "width": 1, "dash": "dot"})
    areas.append(f"chance {risk.mean():.3f}")
    alt = f"Risk-coverage curves of {len(cases)} cases. Area under the curve: {', '.join(areas)}."
    return _plain(figure, "Risk and coverage", "coverage: share of cases kept", "risk: mean of 1 − Dice", alt)


def _name(column: str) -> str:
    return column.replace("_", " ").replace("dice", "Dice")


def _plain(figure, title: str, x: str, y: str, alt: str):
    figure.update_layout(
        template="plotly_white", paper_bgcolor="white", title=title, xaxis_title=x, yaxis_title=y, meta={"alt": alt},
        height=480, margin={"l": 60, "r": 20, "t": 60, "b": 60}, font={"size": 14, "color": "#222222"},
        legend={"orientation": "h", "yanchor": "top", "y": -0.18},
    )
    return figure
