"""One axial slice of each case, with two masks: small enough to ship, and to show by the hundred.

The slice is the one with most lesion, manual or predicted, so that what was missed is seen as well as
what was invented. Those of the synthetic test cases come with the reference run (`slices.npz`); those
of real patients are made where the patients are, and are not shipped.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wmhqc import reference
from wmhqc.files import load_maps, save_maps

NAME = "slices.npz"


@dataclass
class Slice:
    """An axial slice; the axes of its arrays are x (to the patient's right end: left to right) and y (to the front).

    Attributes
    ----------
    case : str
    flair : uint8 array (x, y)
        0 to 255; 0 outside the brain.
    predicted, manual : bool array (x, y)
    spacing : tuple of 2 float
        Edges of a pixel in mm.
    """

    case: str
    flair: np.ndarray
    predicted: np.ndarray
    manual: np.ndarray
    spacing: tuple[float, float]


def key(case: str, flair, predicted, manual, spacing) -> Slice:
    """Take the axial slice with most lesion out of a case, cropped to the brain.

    Parameters
    ----------
    case : str
    flair : array (x, y, z)
        0 to 255, RAS+ order, 0 outside the brain.
    predicted, manual : bool array (x, y, z)
    spacing : sequence of float
        Edges of a voxel in mm, in the order of the axes.
    """
    lesion = np.asarray(predicted, bool) | np.asarray(manual, bool)
    area = lesion.sum((0, 1)) if lesion.any() else (np.asarray(flair) > 0).sum((0, 1))
    z = int(area.argmax())
    shown = (flair[:, :, z] > 0) | lesion[:, :, z]
    box = tuple(slice(i.min(), i.max() + 1) for i in np.nonzero(shown)) if shown.any() else (slice(None),) * 2
    picture, *masks = (np.asarray(array)[:, :, z][box] for array in (flair, predicted, manual))
    return Slice(
        case, np.round(picture).astype(np.uint8), *(mask.astype(bool) for mask in masks), tuple(map(float, spacing[:2]))
    )


def of_scan(row, prepared, mask) -> Slice:
    """The key slice of a patient on the scan's own grid, which is finer in the plane than the networks' cube.

    Parameters
    ----------
    row : mapping
        A row of a cohort table, with a manual mask.
    prepared : wmhqc.preprocess.Prepared
    mask : bool array (n, n, n)
        Predicted mask on the networks' grid.
    """
    from wmhqc import cohort, images, preprocess

    found = {
        "flair": images.load_image(row["flair"]), "manual": cohort.load_lesion(row),
        "predicted": preprocess.to_scan(mask, prepared), "brain": preprocess.to_scan(prepared.brain, prepared, 0),
    }  # fmt: skip
    return on_scan(row["case"], found)


def on_scan(case: str, found: dict) -> Slice:
    """The key slice of images on one grid: flair, predicted (a mask from 0.5 on), brain, and manual if there is one."""
    import nibabel as nib

    from wmhqc import preprocess

    found = {name: nib.as_closest_canonical(image) for name, image in found.items()}
    arrays = {name: np.asanyarray(image.dataobj) for name, image in found.items()}
    flair = preprocess.scale(arrays["flair"], arrays["brain"], f"{case}: FLAIR")
    manual = arrays.get("manual", np.zeros(flair.shape)) > 0
    return key(case, flair, arrays["predicted"] >= 0.5, manual, nib.affines.voxel_sizes(found["flair"].affine))


def of_run(run) -> tuple[list[Slice], dict[str, np.ndarray]]:
    """What a finished run knows of its test cases, each by the networks of the fold that tested it.

    Returns
    -------
    slices : list of Slice
        Of the synthetic cases.
    masks : dict of str to bool array (n, n, n)
        Predicted masks of the real patients, whose images do not travel with the package.
    """
    import pandas as pd

    from wmhqc import preprocess, scores

    run, table = Path(run), pd.read_csv(Path(run) / "cohort.csv").set_index("case")
    tested = pd.read_csv(run / "cases.csv").query("split == 'test'")
    slices, masks = [], {}
    for case, fold in tested[["case", "fold"]].itertuples(index=False):
        mask = load_maps(run / f"fold_{fold}" / "maps" / f"{case}.npz")["mean"] >= 0.5
        if table.loc[case, "synthetic"]:
            prepared = preprocess.load(run / "prepared" / f"{case}.npz")
            slices.append(key(case, prepared.volume[..., 1], mask, prepared.lesion, scores.grid_spacing(prepared)))
        else:
            masks[case] = mask
    return slices, masks


def save(slices: list[Slice], masks: dict[str, np.ndarray], path) -> None:
    """Write what `of_run` found as one compressed npz (no pickle)."""
    content = {"case": np.array([each.case for each in slices], str)}
    content["spacing"] = np.array([each.spacing for each in slices], np.float32).reshape(-1, 2)
    for name in ("flair", "predicted", "manual"):
        content |= {f"{name}_{i}": getattr(each, name) for i, each in enumerate(slices)}
    content |= {f"mask {case}": np.packbits(mask, axis=-1) for case, mask in masks.items()}
    save_maps(path, **content)


def load(path=None) -> tuple[list[Slice], dict[str, np.ndarray]]:
    """Read what `save` wrote; without a path, that of the reference run (nothing, if it has none)."""
    path = Path(path) if path else reference.folder() / NAME
    if not path.exists():
        return [], {}
    with np.load(path) as file:
        names = [
            (str(case), tuple(spacing.tolist())) for case, spacing in zip(file["case"], file["spacing"], strict=True)
        ]
        slices = [
            Slice(case, *(file[f"{name}_{i}"] for name in ("flair", "predicted", "manual")), spacing)
            for i, (case, spacing) in enumerate(names)
        ]
        masks = {name[5:]: np.unpackbits(file[name], axis=-1) > 0 for name in file if name.startswith("mask ")}
    return slices, masks
