"""Explorers of maps: one case slice by slice, and many cases of which one is chosen."""

from __future__ import annotations

import base64
import gzip

import numpy as np
import traitlets

from wmhqc import failure
from wmhqc.view.widget import Explorer, module


class SliceExplorer(Explorer):
    """What `slices` returns; `slice` follows the reader's slider (0 = lowest)."""

    _esm = module("common", "viewer", "slices")
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

    Returns
    -------
    SliceExplorer
        A Jupyter widget; the last expression of a cell shows it.

    Raises
    ------
    ValueError
        If the arrays differ in shape, hold NaN, or a name or colour is not known.
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
    spacing = [spacing[list(order[:, 0]).index(axis)] * shape[axis] / shown[axis] for axis in range(3)]

    payload, maps = [], []
    for name, array in volumes.items():
        array = np.asarray(array, np.float32)
        if not np.isfinite(array).all():
            raise ValueError(f"map {name!r} holds NaN or infinite values")
        color = colors.get(name, "grey")
        low, high = _limits(array, color)
        small = _resample(apply_orientation(array, order), shown)
        payload.append(_levels(small, low, high))
        maps.append({"name": name, "color": color, "low": low, "high": high})
    inside = []
    for array in contours.values():
        mask = _resample(apply_orientation(np.asarray(array, np.float32), order), shown) >= 0.5
        payload.append(_bits(mask))
        inside.append(mask.sum(axis=(0, 1)))
    middle = int(np.argmax(inside[0])) if inside and inside[0].any() else shown[2] // 2
    return SliceExplorer(
        slice=middle,
        maps={
            "maps": maps,
            "contours": list(contours),
            "shape": list(shown),
            "spacing": [float(edge) for edge in spacing],
            "caption": caption,
            "data": _packed(payload),
        },
    )


# The maps of a case, as `wmhqc.book.figures.maps` names them: what stands above, and the colours.
_SHOWN = {
    "flair": ("FLAIR", "grey"),
    "prediction": ("Prediction", "grey"),
    "uncertainty": ("Uncertainty (bit)", "cividis"),
    "error": ("Error map", "diverging"),
}


class CaseExplorer(Explorer):
    """What `cases` returns; `case` and `slice` (0 = lowest) follow the reader's choice."""

    _esm = module("common", "viewer", "cases")
    case = traitlets.Unicode().tag(sync=True)
    slice = traitlets.Int().tag(sync=True)
    data = traitlets.Dict().tag(sync=True)


def cases(
    table,
    maps: dict[str, dict],
    score: str,
    tau: float = 0.5,
    dice: str = "lesion_dice",
    label: str | None = None,
    facts: dict[str, str] | None = None,
    every: int = 2,
) -> CaseExplorer:
    """Explore cases: choose a point of the scatter plot, see the maps of that case.

    To keep the page small the maps are cropped to the brain, only every second slice is
    taken (among them the one with most lesion), and values are rounded to 64 levels. All
    cases share one scale for each map.

    Parameters
    ----------
    table : pandas.DataFrame
        One row per case, with the columns `case`, `score` and `dice`. All rows with both are
        drawn; those with maps can be chosen.
    maps : dict of str to dict
        Case -> its maps, as `wmhqc.book.figures.maps` makes them: `flair`, `prediction`,
        `uncertainty` and `error` are shown, with the outline of `lesion` and of the
        prediction at one half. About a dozen cases; each adds some 0.15 MB to the page.
    score, dice : str
        Columns of the two axes.
    tau : float, default 0.5
        A case counts as failed if its Dice lies under `tau`.
    label : str, optional
        Name of the score on the axis, with its unit.
    facts : dict of str to str, optional
        Further columns of the table and what they are called beside the chosen case.
    every : int, default 2
        Which slices are taken: every one, every second, ...

    Returns
    -------
    CaseExplorer
        A Jupyter widget; it opens at the case with maps and the lowest Dice.

    Raises
    ------
    ValueError
        If a column is missing, or no case of the table has maps.
    """
    facts = facts or {}
    failure.check_columns(table, ("case", score, dice, *facts))
    drawn = table[table[[score, dice]].notna().all(axis=1)].sort_values(score)
    names = [name for name in drawn["case"] if name in maps]
    if not names:
        raise ValueError(f"no case of the table has maps, or none of those has both {score!r} and {dice!r}")
    shown = [key for key in _SHOWN if all(key in maps[name] for name in names)]
    limits = {key: _limits(np.stack([maps[name][key] for name in names]), _SHOWN[key][1]) for key in shown}
    limits |= {key: (0.0, 1.0) for key in ("prediction", "uncertainty") if key in limits}
    contours = {"lesion": "Manual outline", "prediction": "Prediction"}
    contours = {key: said for key, said in contours.items() if all(key in maps[name] for name in names)}
    packed = {name: _case(maps[name], shown, limits, list(contours), every) for name in names}
    lowest = drawn[drawn["case"].isin(names)].set_index("case")[dice].idxmin()
    return CaseExplorer(
        case=lowest,
        slice=packed[lowest]["slice"],
        data={
            "points": drawn[["case", score, dice]].astype({"case": str}).to_numpy().tolist(),
            "facts": {
                row["case"]: [[said, row[column]] for column, said in facts.items() if row[column] == row[column]]
                for row in drawn[drawn["case"].isin(names)].to_dict("records")
            },
            "label": label or score,
            "dice_label": dice[0].upper() + dice[1:].replace("_", " ").replace("dice", "Dice"),
            "tau": tau,
            "maps": [dict(zip(("name", "color", "low", "high"), (*_SHOWN[key], *limits[key]))) for key in shown],
            "contours": list(contours.values()),
            "cases": packed,
        },
    )


def _case(maps: dict, shown: list, limits: dict, contours: list, every: int) -> dict:
    """One case for the page: cropped, thinned out, packed."""
    masks = [np.asarray(maps[key]) >= 0.5 for key in contours]
    inside = np.any([maps["flair"] > 0, *masks], axis=0) if "flair" in maps else np.ones(masks[0].shape, bool)
    box = [slice(where.min(), where.max() + 1) for where in np.nonzero(inside)] if inside.any() else [slice(None)] * 3
    first, last = box[2].start or 0, box[2].stop or inside.shape[2]
    middle = int(masks[0].sum((0, 1)).argmax()) if masks and masks[0].any() else (first + last) // 2
    box[2] = slice(first + (middle - first) % every, last, every)
    box = tuple(box)
    payload = [_levels(np.asarray(maps[key], np.float32)[box], *limits[key]) for key in shown]
    payload += [_bits(mask[box]) for mask in masks]
    spacing = maps.get("spacing", (1, 1, 1))
    return {
        "shape": list(inside[box].shape),
        "spacing": [float(edge) for edge in spacing],
        "slice": int(middle - box[2].start) // every,
        "data": _packed(payload),
    }


def _levels(array: np.ndarray, low: float, high: float) -> bytes:
    """64 levels, x fastest, then y: the order of a picture."""
    return np.round(63 * np.clip((array - low) / (high - low), 0, 1)).astype(np.uint8).tobytes(order="F")


def _bits(mask: np.ndarray) -> bytes:
    """A mask in the same order, eight voxels a byte."""
    return np.packbits(mask.ravel(order="F")).tobytes()


def _packed(payload: list[bytes]) -> str:
    return base64.b64encode(gzip.compress(b"".join(payload), 9, mtime=0)).decode()


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

    factors = [new / old for new, old in zip(shape, array.shape, strict=True)]
    return zoom(array, factors, order=1, grid_mode=True, mode="nearest")
