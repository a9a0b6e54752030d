"""Where a map is high: right and wrong parts of a segmentation, and healthy brain.

An uncertainty or an error map is judged by what it marks. `split` names the parts of the brain that
the manual mask and the segmentation make together; `entropy_row` and `error_row` say in numbers what
the two maps hold in each, one row a case.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import ndimage

from wmhqc import failure
from wmhqc.metrics import CONNECTED

HIGH = 0.3  # bit: from here on a voxel counts as marked


def split(mask, lesion, brain) -> dict[str, np.ndarray]:
    """Parts of the brain, each voxel in one of them.

    Parameters
    ----------
    mask, lesion, brain : array (n, n, n)
        Segmentation, manual mask and brain, set where not 0. What lies outside the brain counts
        where `mask` or `lesion` is set.

    Returns
    -------
    dict of str to bool array (n, n, n)
        `true_positive`, `false_positive`, `missed_part` (the rest of a lesion of which a voxel was
        found), `missed_whole` (lesions of which nothing was found) and `healthy`.

    Raises
    ------
    ValueError
        The three differ in shape.
    """
    mask, lesion, brain = (np.asarray(array) > 0 for array in (mask, lesion, brain))
    if not mask.shape == lesion.shape == brain.shape:
        raise ValueError(
            f"expected three masks of one shape, got {mask.shape} (segmentation), {lesion.shape} (manual) and "
            f"{brain.shape} (brain)"
        )
    labels, _ = ndimage.label(lesion, CONNECTED)
    found = np.isin(labels, np.unique(labels[mask & lesion]))
    return {
        "true_positive": mask & lesion,
        "false_positive": mask & ~lesion,
        "missed_part": lesion & ~mask & found,
        "missed_whole": lesion & ~found,
        "healthy": brain & ~mask & ~lesion,
    }


def means(values, parts: dict[str, np.ndarray], name: str) -> dict[str, float]:
    """Mean of a map in each part, as `<name>_<part>`; NaN where a part is empty."""
    return {f"{name}_{part}": float(values[where].mean()) if where.any() else np.nan for part, where in parts.items()}


def entropy_row(entropy, mask, lesion, brain) -> dict[str, float]:
    """What an uncertainty map marks.

    Parameters
    ----------
    entropy : float array (n, n, n)
        In bits, `wmhqc.uncertainty.MonteCarlo.entropy`.
    mask, lesion, brain : array (n, n, n)
        As in `split`.

    Returns
    -------
    dict
        `entropy_<part>`: mean in each part of `split`. `high_<part>`: how many of its voxels are above
        `HIGH`, for the three parts outside the segmentation. `missed_lesions`: lesions of which nothing
        was found; `missed_marked`: those that hold a voxel above `HIGH`. `auroc_missed_whole`: chance that
        a voxel of such a lesion has a higher entropy than one of healthy brain. NaN where undefined.
    """
    parts = split(mask, lesion, brain)
    high = entropy > HIGH
    labels, _ = ndimage.label(np.asarray(lesion) > 0, CONNECTED)
    missed = np.unique(labels[parts["missed_whole"]])
    return {
        **means(entropy, parts, "entropy"),
        **{f"high_{part}": int(high[parts[part]].sum()) for part in ("missed_part", "missed_whole", "healthy")},
        "missed_lesions": len(missed),
        "missed_marked": len(np.intersect1d(missed, labels[high])),
        "auroc_missed_whole": failure.larger(entropy[parts["missed_whole"]], entropy[parts["healthy"]]),
    }


def error_row(flair, reconstruction, mask, lesion, brain) -> dict[str, float]:
    """What an error map shows, inside the segmentation (where the network had to paint) and outside.

    Parameters
    ----------
    flair, reconstruction : float array (n, n, n)
        The scan and what `wmhqc.errormaps.reconstruct` made of it, 0 to 1.
    mask, lesion, brain : array (n, n, n)
        As in `split`.

    Returns
    -------
    dict
        `error_<part>`, `flair_<part>` and `painted_<part>`: mean of error map, scan and reconstruction in
        each part; `negative_<part>`: share of its voxels that are painted brighter than the scan.
    """
    parts = split(mask, lesion, brain)
    error = flair - reconstruction
    return {
        **means(error, parts, "error"),
        **means(flair, parts, "flair"),
        **means(reconstruction, parts, "painted"),
        **means(error < 0, parts, "negative"),
    }


def lesion_auroc(values, mask, lesion, brain) -> dict[str, float]:
    """How well a map tells lesion from other tissue, voxel by voxel, inside the segmentation and outside.

    Parameters
    ----------
    values : float array (n, n, n)
        Of any map: error, FLAIR, probability.
    mask, lesion, brain : array (n, n, n)
        As in `split`.

    Returns
    -------
    dict
        `inside`: chance that a voxel of a true positive has a higher value than one of a false positive; `outside`:
        that one of a missed lesion has a higher value than one of healthy brain. 0.5 is chance; NaN where undefined.
    """
    parts = split(mask, lesion, brain)
    missed = parts["missed_part"] | parts["missed_whole"]
    return {
        "inside": failure.larger(values[parts["true_positive"]], values[parts["false_positive"]]),
        "outside": failure.larger(values[missed], values[parts["healthy"]]),
    }


#: What each part is called in a table.
LABELS = {
    "true_positive": "found lesion",
    "false_positive": "false positive",
    "missed_part": "missed part of a found lesion",
    "missed_whole": "lesion missed whole",
    "healthy": "healthy brain",
}


def by_part(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """Mean of `<name>_<part>` over cases with its 95 % interval (bootstrap), one row a part.

    Parameters
    ----------
    rows : DataFrame
        One row a case, from `entropy_row` or `error_row`.
    name : str
        "entropy", "error", "negative" ...

    Returns
    -------
    DataFrame
        Index: the parts of `split`; `mean`, `low`, `high` and `cases`, those that have the part.
    """
    found = {}
    for part in LABELS:
        values = rows[f"{name}_{part}"].dropna().to_numpy(float)
        estimate = failure.bootstrap(lambda sample: sample.mean(-1), values) if len(values) else (np.nan,) * 3
        found[part] = dict(zip(("mean", "low", "high"), estimate)) | {"cases": len(values)}
    return pd.DataFrame.from_dict(found, orient="index").astype({"cases": int}).rename_axis("part")
