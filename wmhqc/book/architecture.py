"""A network drawn from its own layers, as in the paper's Figure 4."""

from __future__ import annotations

import re

import numpy as np

from wmhqc.book.phone import DESK, PHONE, closed

#: Column and row of each block of the U-nets; the rows are the four resolutions.
_UNET = {
    "stem": (0, 0),
    "down16": (0, 1),
    "down32": (0, 2),
    "down64": (1, 3),
    "up32": (2, 2),
    "up16": (2, 1),
    "up8": (2, 0),
    "head32": (3, 2),
    "head16": (3, 1),
    "head8": (3, 0),
    "output": (4, 0),
}
_HALF = 0.44  # half the edge of a box; boxes stand one apart


def draw(model, tall: bool = False):
    """Block diagram of a network, read from its layers (the paper's Fig. 4).

    Parameters
    ----------
    model : keras.Model
        A network of `wmhqc.networks`.
    tall : bool
        For a phone: the way through the network leads down.

    Returns
    -------
    matplotlib.figure.Figure
        A box is a block: its layers in order, and the grid and channels it gives. Dashed
        arrows are skips; blocks with dropout have a thick edge.
    """
    import matplotlib.pyplot as plt
    from matplotlib.patches import FancyBboxPatch

    unet = "down64" in _blocks(model)[0]
    width, height, letters = (1.9, 1.8, 21) if not tall else (1.3, 2.8, 12) if unet else (2.2, 1, 21)
    blocks, edges = _blocks(model, letters)
    place = _UNET if unet else {name: (i, 0) for i, name in enumerate(blocks)}
    turn = 1 if not tall else -1
    columns, rows = (1 + max(at[::turn][i] for at in place.values()) for i in (0, 1))
    figure, axis = plt.subplots(figsize=(width * columns, height * rows), facecolor="white")
    axis.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))
    axis.axis("off")
    for name, block in blocks.items():
        x, y = place[name][::turn]
        style = {"facecolor": block["colour"], "edgecolor": "#222222", "linewidth": 2.4 if block["dropout"] else 0.8}
        corner, round_ = (x - _HALF, y - _HALF), "round,pad=0,rounding_size=0.05"
        axis.add_patch(FancyBboxPatch(corner, 2 * _HALF, 2 * _HALF, boxstyle=round_, **style))
        title = re.sub(r"(\d)", r" \1", name, count=1)
        axis.text(x, y - _HALF + 0.06, title, ha="center", va="top", weight="bold")
        layers = "\n".join(block["layers"])
        axis.text(x, y + 0.02, layers, ha="center", va="center", fontsize=8, linespacing=1.15)
        axis.text(x, y + _HALF - 0.05, block["shape"], ha="center", va="bottom", fontsize=8)
    for start, stop in edges:
        _arrow(axis, place[start], place[stop], turn)
    figure.subplots_adjust(0, 0, 1, 1)
    return closed(figure, PHONE if tall else DESK)


def _arrow(axis, start: tuple, stop: tuple, turn: int) -> None:
    """An arrow from box to box: straight, or round the corner at the bottom of the U; `turn` -1 swaps x and y."""
    (x0, y0), (x1, y1) = start, stop
    down, corner = np.sign(y1 - y0), None
    if y0 == y1:
        ends = (x0 + _HALF, y0), (x1 - _HALF, y1)
    elif x0 == x1:
        ends = (x0, y0 + down * _HALF), (x1, y1 - down * _HALF)
    elif down > 0:
        ends, corner = ((x0, y0 + _HALF), (x1 - _HALF, y1)), (90, 0)
    else:
        ends, corner = ((x0 + _HALF, y0), (x1, y1 + _HALF)), (0, 90)
    path = "angle,angleA={},angleB={}".format(*corner[::turn]) if corner else "arc3"
    skip = y0 == y1 and x1 - x0 > 1
    arrow = {"arrowstyle": "-|>", "color": "#222222", "linewidth": 1.4, "shrinkA": 0, "shrinkB": 0}
    arrow |= {"linestyle": "dashed" if skip else "solid", "connectionstyle": path}
    axis.annotate("", ends[1][::turn], ends[0][::turn], arrowprops=arrow)


def _blocks(model, letters: int = 21) -> tuple[dict, list]:
    """Blocks of a network by name, with their layers as text, and the edges between blocks.

    A layer belongs to the block its name begins with; another (an addition, say)
    belongs to the block of its last input.
    """
    import keras

    names = ("stem", "down", "up", "head", "output", "conv", "flatten", "dice")
    blocks, edges, block_of = {}, [], {}
    for layer in model.operations:  # unlike `layers`, with the additions
        inputs = [tensor._keras_history.operation.name for tensor in keras.tree.flatten(layer.input)]
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
        entry["layers"] = _folded(entry["layers"], letters)
        if name == next(iter(blocks)):
            entry["layers"].insert(0, given)
        colours = {"down": "#cfe5f5", "conv": "#cfe5f5", "up": "#fde2c4", "head": "#d5efe3"}
        entry["colour"] = next((c for start, c in colours.items() if name.startswith(start)), "#eeeeee")
    return blocks, edges


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
        "InstanceNorm": "norm",
        "PReLU": "PReLU",
        "LeakyReLU": "LeakyReLU",
        "MaxPooling3D": "max pool 2³",
        "UpSampling3D": "upsample ×2",
        "Concatenate": "concatenate",
        "Add": "add",
        "Flatten": "flatten",
    }.get(kind, kind)


def _shape(shape: tuple) -> str:
    return f"{shape[0]}³ × {shape[-1]}" if len(shape) > 1 else f"{shape[0]:,}"


def _folded(words: list[str], letters: int) -> list[str]:
    """Put what follows a convolution on one line with a dot, to keep boxes small, or break what has more `letters`."""
    if letters < 17:
        words = [part for word in words for part in word.split(", ")]
    lines: list[str] = []
    for word in words:
        if lines and not word.startswith(("conv", "transposed", "flatten")) and len(lines[-1]) + len(word) < letters:
            lines[-1] += f" · {word}"
        else:
            lines.append(word)
    return lines
