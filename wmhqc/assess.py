"""The chain from a prepared scan to its maps and one row of scores, written once.

    maps, row = assess(prepared, networks)
    maps, row = assess(prepared, networks, mask=other_mask)   # the segmentation of another program

The experiment, the stress test, the chapters and the tool for one's own scans call it. It takes and gives
plain things and knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from wmhqc import checks, errormaps, metrics, regression, scores, uncertainty


def assess(
    prepared,
    networks: Mapping[str, Sequence],
    mask: np.ndarray | None = None,
    *,
    passes: int = uncertainty.PASSES,
    seed: int = 0,
    other_samples: bool = True,
) -> tuple[dict, dict]:
    """Segment a scan, score the segmentation, predict its Dice.

    Parameters
    ----------
    prepared : wmhqc.preprocess.Prepared
        The scan as a cube of n voxels a side; a manual mask in it gives the row its truth.
    networks : mapping of str to sequence of keras.Model
        "mc_unet" and, where wanted, "rec_unet", "reg_net_image", "reg_net_uncertainty", "reg_net_error",
        "reg_net_mask". None of them may have seen the scan. Where a kind has several, the passes are dealt
        among the MC U-nets and the answers of the others are averaged.
    mask : bool array (n, n, n), optional
        The segmentation to be judged; by default our own, the mean of the passes >= 0.5.
    passes : int
        Monte Carlo passes in all.
    seed : int
        Of the dropout.
    other_samples : bool
        Also score what does not come from dropout: changed inputs, and the ensemble of the MC U-nets. It
        takes about 8 passes more, and 4 for each of several networks.

    Returns
    -------
    maps : dict
        `mc` (`wmhqc.uncertainty.MonteCarlo`), and arrays (n, n, n): `mean`, `entropy` (bit), `mask` (the
        one that is judged); with Rec U-net `reconstruction` and `error` (FLAIR in [0, 1] minus that, Eq. 4).
    row : dict
        Scores by the names of the catalogue, and the truth if `prepared.lesion` is not None.
    """
    flair = prepared.volume[..., 1]
    mc = uncertainty.summarise(uncertainty.deal(networks["mc_unet"], prepared.volume, passes, seed))
    judged = mc.mask if mask is None else np.asarray(mask, bool)
    maps = {"mc": mc, "mean": mc.mean, "entropy": mc.entropy, "mask": judged}
    if networks.get("rec_unet"):
        rebuilt = sum(errormaps.reconstruct(net, flair / 255, judged) for net in networks["rec_unet"])
        maps["reconstruction"] = rebuilt / len(networks["rec_unet"])
        maps["error"] = flair / 255 - maps["reconstruction"]
    row = scores.row(prepared, mc, maps.get("error"), None if mask is None else judged)
    if "error" in maps:
        row["ssim"] = errormaps.similarity(flair / 255, maps["reconstruction"])
    if mask is None and other_samples:
        row |= _other_samples(prepared, networks["mc_unet"], seed)
    return maps, row | predicted_dice(networks, maps, flair, own=mask is None)


def predicted_dice(networks: Mapping[str, Sequence], maps: Mapping, flair: np.ndarray, own: bool = True) -> dict:
    """The Dice that each Reg-net at hand predicts, as `predicted_dice_<pair>`.

    Parameters
    ----------
    networks, maps
        As in `assess`.
    flair : array (n, n, n)
        In [0, 255].
    own : bool
        The mask is our own. The paper's three pairs read the mean of our passes and say nothing about
        the mask of another program; that of mask and FLAIR takes any.
    """
    row = {}
    for name in regression.PAIRS if own else ("mask",):
        nets = networks.get(f"reg_net_{name}")
        if not nets or (name == "error" and "error" not in maps):
            continue
        pair = regression.pair_of(name, maps, flair)
        row[f"predicted_dice_{name}"] = float(np.mean([regression.predict_dice(net, pair) for net in nets]))
    return row


def _other_samples(prepared, models, seed):
    """Agreement and VS of changed inputs, and of several networks where there are several."""
    samples = {"tta": uncertainty.test_time(models[0], prepared.volume, seed=seed)}
    if len(models) > 1:
        samples["ensemble"] = uncertainty.ensemble(models, prepared.volume, seed=seed)
    row = {}
    for name, passes in samples.items():
        row |= scores.of_samples(name, uncertainty.summarise(passes), prepared.voxel_mm3)
    return row


def on_scan(images: Mapping, judged: np.ndarray) -> tuple[dict, dict]:
    """What is measured on the scan's own grid, where `assess` measures on the networks'.

    Parameters
    ----------
    images : mapping of str to nibabel image
        `t1`, `flair` and, where there are, `brainmask` and the manual mask `lesion`, on one grid.
    judged : bool array (x, y, z)
        The mask that is judged, on that grid.

    Returns
    -------
    row, truth : dict
        `volume_on_scan_ml` and `contrast` (`wmhqc.checks.contrast`); with a manual mask `dice_on_scan`,
        `true_on_scan_ml` and `true_contrast`, else nothing.
    """
    flair = images["flair"]
    ml = abs(np.linalg.det(flair.affine[:3, :3])) / 1000
    scan = np.asanyarray(flair.dataobj), checks.find_brain(images), flair.affine
    row, truth = {"volume_on_scan_ml": ml * np.count_nonzero(judged), "contrast": checks.contrast(judged, *scan)}, {}
    if "lesion" in images:
        lesion = np.asanyarray(images["lesion"].dataobj) > 0
        truth = {
            "dice_on_scan": metrics.lesion_dice(judged, lesion),
            "true_on_scan_ml": ml * np.count_nonzero(lesion),
            "true_contrast": checks.contrast(lesion, *scan),
        }
    return row, truth
