"""How a scan looks, whatever its lesions: what tells whether it is like the scans that one knows."""

from __future__ import annotations

import nibabel as nib
import numpy as np

#: Percentiles of the intensities that are compared.
PERCENTILES = (5, 50, 95)
#: The features of a scan: name -> (what it is, unit).
FEATURES = {
    "largest_edge_mm": ("largest edge of a voxel", "mm"),
    "brain_ml": ("volume of the brain", "ml"),
    "width_mm": ("width of the brain", "mm"),
    "length_mm": ("length of the brain", "mm"),
    "height_mm": ("height of the brain", "mm"),
    **{
        f"{image.lower()}_p{percent:02d}": (f"{image}, {percent} % of the brain are darker than", "of 255")
        for image in ("T1", "FLAIR")
        for percent in PERCENTILES
    },
    "t1_detail": ("detail and noise of T1", "of 255"),
    "flair_detail": ("detail and noise of FLAIR", "of 255"),
    "t1_flair_correlation": ("correlation of T1 and FLAIR", ""),
    "flair_symmetry": ("correlation of FLAIR with its mirror image", ""),
}


def scan_features(prepared) -> dict:
    """The features of a prepared scan (`wmhqc.preprocess.Prepared`).

    Returns
    -------
    dict of str to float
        The names in `FEATURES`. Largest edge of the scan's voxels (thick slices), and width (left-right), length and
        height of the brain in mm; percentiles of the intensities of the brain, which
        `wmhqc.preprocess.scale` brought to [0, 255]; `detail`: mean distance of a voxel from its
        smoothed surroundings, small for blurred and large for noisy images; correlation of T1
        and FLAIR; correlation of FLAIR with its mirror image, small where one side differs.
    """
    from scipy import ndimage

    brain = prepared.brain > 0
    edges = nib.affines.voxel_sizes(prepared.affine)
    lengths = edges * [stop - start for start, stop in prepared.box]
    axis_of = np.argsort(nib.io_orientation(prepared.affine)[:, 0])  # scan axis of x, y, z
    found = {"largest_edge_mm": edges.max(), "brain_ml": brain.sum() * prepared.voxel_mm3 / 1000}
    found |= dict(zip(("width_mm", "length_mm", "height_mm"), lengths[axis_of]))
    core = ndimage.binary_erosion(brain)
    for name, channel in zip(("t1", "flair"), np.moveaxis(prepared.volume, -1, 0)):
        values = np.percentile(channel[brain], PERCENTILES)
        found |= {f"{name}_p{percent:02d}": value for percent, value in zip(PERCENTILES, values)}
        found[f"{name}_detail"] = np.abs(channel - ndimage.gaussian_filter(channel, 1))[core].mean()
    t1, flair = prepared.volume[..., 0], prepared.volume[..., 1]
    both = brain & brain[::-1]
    found["t1_flair_correlation"] = np.corrcoef(t1[brain], flair[brain])[0, 1]
    found["flair_symmetry"] = np.corrcoef(flair[both], flair[::-1][both])[0, 1]
    return {name: float(found[name]) for name in FEATURES}
