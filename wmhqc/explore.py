"""Explorers: small interactive figures that compute in the reader's browser.

Each explorer is one widget in three places. In JupyterLab and in Colab it is an
ordinary Jupyter widget (anywidget). On a page of the book, where no Python runs, its
`text/html` view mounts the same JavaScript module with a few lines of script: no
request, no kernel, and it works from a file that was opened with a double click.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import itertools
import json
from pathlib import Path

import anywidget
import numpy as np
import traitlets

from wmhqc import failure

_FOLDER = Path(__file__).parent
_shown = itertools.count(1)  # so that one widget shown twice on a page gets two ids

# What a page needs beside the module: the `model` that Jupyter would have handed to it.
_PAGE = """<div class="wmhqc-static" id="{id}"><noscript>This explorer needs JavaScript.</noscript></div>
<style>{css}</style>
<script type="module">
{module}
const state = {state};
explorer.render({{
  model: {{
    get: (name) => state[name],
    set: (name, value) => {{ state[name] = value; }},
    save_changes() {{}}, on() {{}}, off() {{}},
  }},
  el: document.getElementById("{id}"),
}});
</script>"""


class Explorer(anywidget.AnyWidget):
    """A widget that also carries a `text/html` view which needs no kernel.

    A subclass names its ES module in `_esm` (ending in `export default { render }`) and
    declares what the module reads as traits with `sync=True`.
    """

    _css = _FOLDER / "explore.css"

    def to_html(self) -> str:
        """Return the explorer as a piece of HTML that works on its own, also offline."""
        names = set(self.trait_names(sync=True)) - set(anywidget.AnyWidget.class_trait_names())
        state = {name: getattr(self, name) for name in sorted(names) if name[0] != "_"}
        # `<` can only stand inside strings of this JSON; written as an escape it can
        # neither end the script element nor open a comment.
        state = json.dumps(state, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
        digest = hashlib.sha256(state.encode()).hexdigest()[:8]
        return _PAGE.format(
            id=f"wmhqc-{digest}-{next(_shown)}",
            css=str(self._css),
            module=str(self._esm).replace("export default", "const explorer ="),
            state=state,
        )

    def _repr_mimebundle_(self, **kwargs):
        data, metadata = super()._repr_mimebundle_(**kwargs)
        return {**data, "text/html": self.to_html()}, metadata


class ThresholdExplorer(Explorer):
    """What `threshold` returns; `value` and `tau` follow the reader's sliders."""

    _esm = _FOLDER / "threshold.js"
    value = traitlets.Float().tag(sync=True)
    tau = traitlets.Float().tag(sync=True)
    cases = traitlets.Dict().tag(sync=True)


def threshold(
    table,
    score: str,
    tau: float = 0.5,
    threshold: float | None = None,
    dice: str = "lesion_dice",
    confidence: int | None = None,
    label: str | None = None,
    presets: tuple[tuple[str, float], ...] = (("keep", 0.8), ("catch", 0.9)),
) -> ThresholdExplorer:
    """Explore what a threshold on a score keeps, and what it lets through.

    Parameters
    ----------
    table : pandas.DataFrame
        One row per case, with the columns `score` and `dice`; `case` names the points.
        Rows without a score or without a Dice are left out, and counted on the figure.
    score : str
        Column of the score.
    tau : float, default 0.5
        A case counts as failed if its Dice lies under `tau` (0 to 1).
    threshold : float, optional
        A threshold that was chosen on validation cases: shown as a mark, and the place
        where the slider starts (otherwise it starts at the median score).
    dice : str, default "lesion_dice"
        Column of the true Dice (0 to 1).
    confidence : {1, -1}, optional
        +1 if a higher score means more trust, -1 if less. Looked up in
        `wmhqc.scores.CONFIDENCE` if not given.
    label : str, optional
        Name of the score on the axis, with its unit; otherwise the column's name.
    presets : tuple of (kind, share)
        Buttons: ("keep", 0.8) keeps at least 80 % of the cases, ("catch", 0.9) flags at
        least 90 % of the failures. They are worked out on the cases shown, and say so.

    Returns
    -------
    ThresholdExplorer
        A Jupyter widget; the last expression of a cell shows it.

    Raises
    ------
    ValueError
        If a column is missing, no row is complete, a Dice lies outside 0 to 1, or the
        direction of the score is not known.
    """
    for column in (score, dice):
        if column not in table:
            raise ValueError(f"the table has no column {column!r}; it has {', '.join(map(str, table.columns))}")
    if confidence is None:
        from wmhqc.scores import CONFIDENCE

        confidence = CONFIDENCE.get(score)
    if confidence not in (1, -1):
        raise ValueError(
            f"confidence of {score!r} must be +1 (higher = trust more) or -1 (higher = trust less), not {confidence!r}"
        )
    if not 0 <= tau <= 1:
        raise ValueError(f"tau is a Dice and must lie in 0 to 1, not {tau!r}")
    for kind, share in presets:
        if kind not in ("keep", "catch") or not 0 < share <= 1:
            raise ValueError(f"a preset is ('keep' or 'catch', share in 0 to 1), not {(kind, share)!r}")
    scores, truth, complete = _complete(table[score], table[dice])
    if not complete.any():
        raise ValueError(f"no row of the table has both {score!r} and {dice!r}")
    names = table["case"][complete].astype(str).tolist() if "case" in table else []
    dice_label = dice.replace("_", " ").replace("dice", "Dice")
    return ThresholdExplorer(
        value=float(np.median(scores) if threshold is None else threshold),
        tau=float(tau),
        cases={
            "score": scores.tolist(),
            "dice": truth.tolist(),
            "name": names,
            "left_out": int((~complete).sum()),
            "label": label or score,
            "dice_label": dice_label[0].upper() + dice_label[1:],
            "confidence": int(confidence),
            "chosen": None if threshold is None else float(threshold),
            "presets": [[kind, float(share)] for kind, share in presets],
        },
    )


class SliceExplorer(Explorer):
    """What `slices` returns; `slice` follows the reader's slider (0 = lowest)."""

    _esm = _FOLDER / "slices.js"
    slice = traitlets.Int().tag(sync=True)
    maps = traitlets.Dict().tag(sync=True)


def slices(
    volumes: dict[str, np.ndarray],
    contours: dict[str, np.ndarray] | None = None,
    colors: dict[str, str] | None = None,
    axes: str = "RAS",
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    caption: str = "",
    size: int = 80,
    steps: tuple[str, ...] = (),
    step: str = "Slice",
) -> SliceExplorer:
    """Explore several maps of one case side by side, axial slice by axial slice.

    The maps are shown in the radiological convention: the patient's right is on the left
    of the picture. To keep the page small they are resampled to at most `size` voxels an
    edge and rounded to 64 levels.

    Parameters
    ----------
    volumes : dict of str to array, shape (x, y, z)
        The maps by the name (with the unit) that stands above them, all on one grid.
    contours : dict of str to array, shape (x, y, z), optional
        Up to three masks on the same grid, drawn as outlines on every map; each has a
        button. The first decides on which slice the explorer opens.
    colors : dict of str to {"grey", "cividis", "diverging"}, optional
        Colour map by name of the map; "grey" if not named. "diverging" is blue below 0
        and orange above, on one scale for both signs.
    axes : str, default "RAS"
        Where the three axes of the arrays point to, as in `nibabel.aff2axcodes`; "RAS" is
        what `wmhqc.preprocess.prepare` gives.
    spacing : tuple of 3 float
        Edges of a voxel in mm, in the order of the axes.
    caption : str, optional
        What is to be seen; also the accessible name.
    size : int, default 80
        Longest edge shown, in voxels.
    steps : tuple of str, optional
        If the third axis is not a place but, say, a severity: the name of each step. It is not
        resampled, and the explorer opens at the first.
    step : str, default "Slice"
        What the slider changes.

    Returns
    -------
    SliceExplorer
        A Jupyter widget; the last expression of a cell shows it.

    Raises
    ------
    ValueError
        If the arrays differ in shape, hold NaN, or a name or colour is not known; if there is
        not one of `steps` for each position on the third axis.
    """
    from nibabel.orientations import apply_orientation, axcodes2ornt

    contours, colors = contours or {}, colors or {}
    if not volumes or len(contours) > 3:
        raise ValueError(f"expected one map or more and at most 3 contours, got {len(volumes)} and {len(contours)}")
    shapes = {name: np.shape(array) for name, array in [*volumes.items(), *contours.items()]}
    if len(set(shapes.values())) > 1 or len(next(iter(shapes.values()))) != 3:
        raise ValueError(f"expected 3-D arrays of one shape, got {shapes}")
    for name, color in colors.items():
        if name not in volumes or color not in ("grey", "cividis", "diverging"):
            raise ValueError(f"colors[{name!r}] = {color!r}: expected the name of a map and grey, cividis or diverging")
    order = axcodes2ornt(tuple(axes))
    shape = tuple(int(n) for n in apply_orientation(np.empty(next(iter(shapes.values())), bool), order).shape)
    shown = tuple(max(1, round(n * min(1, size / max(shape)))) for n in shape)
    if steps:
        if len(steps) != shape[2]:
            raise ValueError(f"expected one step for each of {shape[2]} positions, got {len(steps)}")
        shown = (*shown[:2], len(steps))
    spacing = [spacing[list(order[:, 0]).index(axis)] * shape[axis] / shown[axis] for axis in range(3)]

    payload, maps = [], []
    for name, array in volumes.items():
        array = np.asarray(array, np.float32)
        if not np.isfinite(array).all():
            raise ValueError(f"map {name!r} holds NaN or infinite values")
        color = colors.get(name, "grey")
        low, high = _limits(array, color)
        small = _resample(apply_orientation(array, order), shown)
        levels = np.round(63 * np.clip((small - low) / (high - low), 0, 1)).astype(np.uint8)
        payload.append(levels.tobytes(order="F"))  # x fastest, then y: the order of a picture
        maps.append({"name": name, "color": color, "low": low, "high": high})
    inside = []
    for array in contours.values():
        mask = _resample(apply_orientation(np.asarray(array, np.float32), order), shown) >= 0.5
        payload.append(np.packbits(mask.ravel(order="F")).tobytes())
        inside.append(mask.sum(axis=(0, 1)))
    middle = int(np.argmax(inside[0])) if inside and inside[0].any() else shown[2] // 2
    return SliceExplorer(
        slice=0 if steps else middle,
        maps={
            "maps": maps,
            "step": step,
            "steps": list(steps),
            "contours": list(contours),
            "shape": list(shown),
            "spacing": [float(edge) for edge in spacing],
            "caption": caption,
            "data": base64.b64encode(gzip.compress(b"".join(payload), 9, mtime=0)).decode(),
        },
    )


def _limits(array: np.ndarray, color: str) -> tuple[float, float]:
    """Return the values at the two ends of a colour scale."""
    if color == "diverging":
        high = float(np.quantile(np.abs(array), 0.999)) or float(np.abs(array).max()) or 1.0
        return -high, high
    low = min(0.0, float(array.min()))
    high = float(np.quantile(array, 0.999)) if color == "grey" else float(array.max())
    return low, high if high > low else low + 1.0


def _resample(array: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Resample linearly to `shape`."""
    if array.shape == shape:
        return array
    from scipy.ndimage import zoom

    return zoom(array, [new / old for new, old in zip(shape, array.shape, strict=True)], order=1, grid_mode=True, mode="nearest")


def threshold_numbers(scores, dice, threshold: float, tau: float = 0.5, confidence: int = 1) -> dict:
    """Count what a threshold keeps and flags: the numbers that the explorer shows.

    A case is flagged, that is sent to review, if its score lies strictly on the distrusted
    side of the threshold. A case failed if its Dice is under `tau`; failure is the
    positive class, as it is what the score is asked to find.

    Parameters
    ----------
    scores, dice : array_like, shape (cases,)
        Score and true Dice (0 to 1) of each case; a case with a NaN in either is left out.
    threshold : float
        In the unit of the score.
    tau : float, default 0.5
        Failure limit on the Dice.
    confidence : {1, -1}
        +1 if a higher score means more trust (flagged: score < threshold), -1 if less
        (flagged: score > threshold).

    Returns
    -------
    dict
        Counts `cases`, `left_out`, `kept`, `flagged`, `tp`, `fp`, `fn`, `tn`; ratios
        `sensitivity`, `ppv`, `specificity`, `npv`, `coverage` (kept / cases); means
        `dice_before` (all cases) and `dice_after` (kept cases). What would divide by zero
        is undefined, and NaN.
    """
    if confidence not in (1, -1):
        raise ValueError(f"confidence must be +1 or -1, not {confidence!r}")
    scores, dice, complete = _complete(scores, dice)
    flagged = failure.flag(confidence * scores, confidence * threshold)
    counts = failure.confusion(dice, flagged, tau)
    mean = failure.removal(dice, flagged) if len(dice) else {"before": np.nan, "after": np.nan}
    return {
        **counts,
        "cases": len(dice),
        "left_out": int((~complete).sum()),
        "kept": counts["fn"] + counts["tn"],
        "coverage": (~flagged).mean() if len(dice) else np.nan,
        "dice_before": mean["before"],
        "dice_after": mean["after"],
    }


def _complete(scores, dice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the scores and Dice of the cases that have both, and which cases those are."""
    scores, dice = np.asarray(scores, float), np.asarray(dice, float)
    if scores.shape != dice.shape or scores.ndim != 1:
        raise ValueError(f"expected one score and one Dice per case, got shapes {scores.shape} and {dice.shape}")
    complete = np.isfinite(scores) & np.isfinite(dice)
    wrong = dice[complete][(dice[complete] < 0) | (dice[complete] > 1)]
    if len(wrong):
        raise ValueError(f"a Dice lies in 0 to 1, but {len(wrong)} do not, for example {wrong[0]:g}")
    return scores[complete], dice[complete], complete
