"""Explorers of maps: one case slice by slice."""

from __future__ import annotations

import base64
import gzip

import numpy as np
import traitlets

from wmhqc.explore.widget import Explorer, module


class SliceExplorer(Explorer):
    """What `slices` returns; `slice` follows the reader's slider (0 = lowest)."""

    _esm = module("common", "slices")
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
