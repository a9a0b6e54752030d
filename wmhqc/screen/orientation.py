"""Does a scan lie as its header says? Its brain is compared with the atlas in every orientation.

Voxels that were flipped under an unchanged header look like any other brain to scores and features. Their fit to
the MNI152 template, which comes with nilearn, tells: the box around the brain, as a cube of a few voxels, is
correlated with that of the template as it is, and turned and mirrored in all ways. Left and right cannot be told
apart, as brain and template are nearly symmetric.

References
----------
Fonov et al., NeuroImage 2009 (supplement; the template MNI152 2009a).
"""

from __future__ import annotations

import functools
import itertools

import nibabel as nib
import numpy as np

#: Edge of the compared cubes, in voxels: about a centimetre each.
EDGE = 16
#: Another orientation must fit better by so much, as a correlation, to be believed.
MARGIN = 0.02


def orientation(prepared) -> dict:
    """How well a scan fits the atlas as it lies, and in the orientation that fits best.

    Parameters
    ----------
    prepared : wmhqc.preprocess.Prepared
        Its T1 is compared.

    Returns
    -------
    dict
        `upright` (bool), `fit` and `best_fit` (correlations with the template), `words`: what seems wrong, or that
        nothing does. Left and right are not looked at.
    """
    scan, atlas = _coarse(prepared.volume[..., 0]), template()
    fits = {(axes, flips): _correlation(_turned(scan, axes, flips), atlas) for axes, flips in _ways()}
    fit, best = fits[(0, 1, 2), (1, 1, 1)], max(fits, key=fits.get)
    upright = not fits[best] > fit + MARGIN
    words = "The brain lies as the header says" if upright else _words(*best)
    second = max(value for way, value in fits.items() if way != ((0, 1, 2), (1, 1, 1)))
    numbers = f"(correlation with the atlas {fit:.2f}, otherwise at best {second:.2f})"
    if not upright:
        numbers = f"(correlation with the atlas {fits[best]:.2f} so, {fit:.2f} as the header says)"
    return {"upright": upright, "fit": fit, "best_fit": fits[best], "words": f"{words} {numbers}."}


@functools.cache
def template() -> np.ndarray:
    """T1 of the template as a coarse cube, in RAS+ order like a prepared scan."""
    from nilearn.datasets import load_mni152_brain_mask, load_mni152_template

    from wmhqc.preprocess import prepare

    t1, mask = load_mni152_template(resolution=4), load_mni152_brain_mask(resolution=4)
    mask = nib.Nifti1Image(np.asanyarray(mask.dataobj).astype(np.uint8), mask.affine)
    return _coarse(prepare("MNI152", t1, t1, brainmask=mask, size=2 * EDGE).volume[..., 0])


def _ways():
    """All orientations that differ in more than left and right: order of the axes, and signs."""
    return [
        (axes, (1 if axes[0] == 0 else x, y, z))
        for axes in itertools.permutations(range(3))
        for x, y, z in itertools.product((1, -1), repeat=3)
        if axes[0] != 0 or x == 1
    ]


def _turned(cube: np.ndarray, axes, flips) -> np.ndarray:
    return np.transpose(cube, axes)[tuple(slice(None, None, flip) for flip in flips)]


def _coarse(volume: np.ndarray) -> np.ndarray:
    """Means of blocks: a cube of `EDGE` voxels."""
    block = len(volume) // EDGE
    return volume.reshape(EDGE, block, EDGE, block, EDGE, block).mean(axis=(1, 3, 5))


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def _words(axes, flips) -> str:
    if axes != (0, 1, 2):
        return "The axes of the images seem exchanged"
    wrong = [name for name, flip in zip(("front to back", "upside down"), flips[1:], strict=True) if flip < 0]
    return f"The images seem {' and '.join(wrong)}"
