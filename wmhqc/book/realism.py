"""How like real scans are synthetic ones? Five numbers a case, and how two groups differ in them."""

from __future__ import annotations

from collections.abc import Mapping

import nibabel as nib
import numpy as np
import pandas as pd

from wmhqc import cohort, failure
from wmhqc.checks import surroundings
from wmhqc.images import load_image
from wmhqc.metrics import CONNECTED
from wmhqc.sources import anatomy

#: Column of `measures` -> its name with unit.
MEASURES = {
    "lesion_count": "number of lesions",
    "lesion_mm3": "size of the median lesion (mm³)",
    "lesion_ml": "volume of all lesions (ml)",
    "ventricle_mm": "median distance to the ventricles (mm)",
    "flair_contrast": "brighter than surroundings on FLAIR (%)",
}
#: Ventricles are looked for where the atlas has them, and this far around, in mm.
VENTRICLES_MM = 12
#: Fluid is darker than this part of the brain's median on FLAIR.
FLUID = 0.8


def measures(row: Mapping) -> dict:
    """Measure the manual lesions of one case.

    Parameters
    ----------
    row : Mapping
        A row of a cohort with t1, flair, lesion and, if there is one, brainmask.

    Returns
    -------
    dict
        case; lesion_count: connected pieces of the mask (voxels that share a face, an edge or a
        corner); lesion_mm3: volume of the median piece; lesion_ml: of all; ventricle_mm: median
        over the lesion voxels of `ventricle_distance`; flair_contrast: by how many per cent the
        mean FLAIR of the lesions exceeds that of the brain 2 to 6 mm away from them. Of an empty
        mask all but count and volume are NaN.
    """
    from scipy import ndimage

    flair, mask = (nib.as_closest_canonical(i) for i in (load_image(row["flair"]), cohort.load_lesion(row)))
    brain = nib.as_closest_canonical(load_image(row.get("brainmask") or row["t1"]))
    voxel_mm3 = float(np.prod(nib.affines.voxel_sizes(flair.affine)))
    affine, flair, mask, brain = flair.affine, *(np.asanyarray(i.dataobj) for i in (flair, mask, brain))
    mask, brain = mask > 0, brain > 0
    labels, count = ndimage.label(mask, CONNECTED)
    found = {
        "case": row["case"],
        "lesion_count": count,
        "lesion_mm3": np.nan,
        "lesion_ml": mask.sum() * voxel_mm3 / 1000,
        "ventricle_mm": np.nan,
        "flair_contrast": np.nan,
    }
    if count:
        around = surroundings(mask, affine) & brain
        found["lesion_mm3"] = np.median(np.bincount(labels.ravel())[1:]) * voxel_mm3
        found["ventricle_mm"] = np.median(ventricle_distance(mask, flair, brain, affine))
        found["flair_contrast"] = 100 * (flair[mask].mean() / flair[around].mean() - 1)
    return found


def ventricle_distance(mask: np.ndarray, flair: np.ndarray, brain: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Distance of each voxel of a mask to the lateral ventricles in mm, about.

    The atlas of `wmhqc.sources.synthetic` is laid over the brain so that their boxes agree; what is
    dark on FLAIR there and `VENTRICLES_MM` around counts as ventricle. In nine real patients
    with outlined ventricles the median distance of the lesions comes out 0.3 mm too small to
    2.2 mm too large.

    Parameters
    ----------
    mask, flair, brain : array (x, y, z)
        Mask (bool), FLAIR and brain mask (bool), with axes in RAS+ order.
    affine : array (4, 4)

    Returns
    -------
    float array (voxels of the mask,)
        From voxel centre to voxel centre; NaN if no ventricle is found.
    """
    from scipy import ndimage, spatial

    atlas = anatomy.atlas()
    box, there = (ndimage.find_objects(b.astype(np.uint8))[0] for b in (brain, atlas.brain > 0.5))
    depth = atlas.depth[there]
    depth = ndimage.zoom(depth, np.divide(brain[box].shape, depth.shape), order=1)
    fluid = (depth < VENTRICLES_MM) & brain[box] & (flair[box] < FLUID * np.median(flair[brain]))
    if not fluid.any():
        return np.full(np.count_nonzero(mask), np.nan)
    sizes = nib.affines.voxel_sizes(affine)
    ventricles = (np.argwhere(fluid) + [b.start for b in box]) * sizes
    return spatial.KDTree(ventricles).query(np.argwhere(mask) * sizes)[0]


def compare(table: pd.DataFrame) -> pd.DataFrame:
    """Compare the real with the synthetic cases of a table, measure by measure.

    Parameters
    ----------
    table : DataFrame
        One row a case, with the columns of `MEASURES` and synthetic (bool).

    Returns
    -------
    DataFrame, one row a measure
        Medians of the synthetic and of the real cases; `real_larger`: how often a real case has
        the larger value when one of each is drawn (0.5: alike; ties count half); NaN where a
        group is empty.
    """
    rows = {}
    for column, name in MEASURES.items():
        made, real = (table.loc[table["synthetic"] == kind, column].dropna() for kind in (True, False))
        rows[name] = {"synthetic": made.median(), "real": real.median(), "real_larger": failure.larger(real, made)}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("measure")
