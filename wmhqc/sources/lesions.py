"""White matter lesions of a synthetic case, and the mask that a rater would draw of them.

What a case consists of is drawn before any voxel is counted, so that it comes out the same on every processor.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from wmhqc.sources.anatomy import Tissue, exp32, smooth

MOST_LESIONS = 2000  # drawn for each case; the fullest takes a few hundred
GROWN = 1.35  # mean volume of a deep lesion, less what it shares with others, over the one drawn


def horns(y: np.ndarray) -> np.ndarray:
    """Near 1 at the level of the frontal horns and of the atria, where caps lie."""
    return exp32(-(((y - 32) / 14) ** 2)) + exp32(-(((y + 42) / 18) ** 2))


class Plan(NamedTuple):
    """Deep lesions as drawn, before any is laid into the brain; one row a lesion."""

    place: np.ndarray  # 0..1: where in the cumulated chance of the voxels its centre lies
    radii: np.ndarray  # (lesions, 3) mm
    turn: np.ndarray  # (lesions, 3, 3) rotation of its axes
    bright: np.ndarray  # relative brightness


def draw_plan(rng: np.random.Generator, total: float, median: float) -> Plan:
    """Draw lesions of `median` mm^3 until they fill about `total` mm^3."""
    from scipy.spatial.transform import Rotation

    volume = exp32(np.log(median) + 1.15 * rng.standard_normal(MOST_LESIONS))
    left = total - GROWN * (np.cumsum(volume, dtype=np.float64) - volume)  # when its turn comes
    axes = exp32(0.3 * rng.standard_normal((MOST_LESIONS, 3)))
    radii = np.cbrt(0.75 / np.pi * np.minimum(volume, 1.2 * left + 4) / axes.prod(1))[:, None] * axes
    turn = Rotation.from_quat(rng.standard_normal((MOST_LESIONS, 4))).as_matrix()
    plan = Plan(rng.random(MOST_LESIONS), radii, turn, exp32(0.2 * rng.standard_normal(MOST_LESIONS)))
    return Plan(*(v[left > 0].round(6) for v in plan))


def draw_lesions(rng: np.random.Generator, database: str, case: Tissue, target: float) -> tuple[np.ndarray, np.ndarray]:
    """Soft lesion map (0..1; its 0.5 line is the true border) and relative brightness of the lesions.

    Deep lesions are ellipsoids with ragged borders; periventricular caps and halos are the
    places with the highest score of nearness to the ventricle plus noise. The latter fill up
    the volume that the former leave of `target` (in voxels). Vectors over the brain.
    """
    brain, spacing, shape = case.brain, case.spacing, case.brain.shape
    voxel = float(np.prod(spacing))
    ml = target * voxel / 1000
    room = case.volume(np.clip((case.white - 0.35) * 3, 0, 1))  # lesions stop at grey matter and fluid
    ragged = smooth(rng, shape, spacing, 4) + 0.6 * smooth(rng, shape, spacing, 2.2)
    soft, bright = np.zeros(shape, np.float32), np.ones(shape, np.float32)
    fuzz = rng.uniform(0.5, 1.5)  # mm over which a border fades

    # deep lesions: centres in white matter, most of them within 50 mm of the ventricles
    reach = rng.uniform(35, 70)
    near = exp32(-((np.clip(case.depth, 0, None) / reach) ** 2)) + (0.08 if database == "MICCAI17" else 0.16)
    nuclei = case.near((20, -8, 4), (14, 24, 12))  # thalamus and basal ganglia: fewer
    chance = np.cumsum(case.white**2 * near * (1 - 0.8 * nuclei) * (case.white > 0.6), dtype=np.float64)
    deep = np.clip(rng.beta(6, 2) + (0 if ml > 2 else 0.2), 0.1, 1) * target * voxel
    plan = draw_plan(rng, deep, 22 * max(ml, 0.3) ** 0.35)
    centres = np.flatnonzero(brain)[np.searchsorted(chance, plan.place * chance[-1])]
    for centre, radii, turn, light in zip(np.transpose(np.unravel_index(centres, shape)), *plan[1:]):
        half = np.ceil((radii.max() + 2.5) / spacing).astype(int)
        low, high = np.maximum(centre - half, 0), np.minimum(centre + half + 1, shape)
        part = tuple(slice(a, b) for a, b in zip(low, high))
        offset = np.meshgrid(
            *[(np.arange(a, b) - c) * s for a, b, c, s in zip(low, high, centre, spacing)], indexing="ij"
        )
        along = np.einsum("ij,jxyz->ixyz", turn / radii[:, None], np.stack(offset))
        distance = np.sqrt((along**2).sum(0))  # 1 = border
        score = radii.min() * (1.1 - distance + 0.3 * ragged[part]) / fuzz
        value = room[part] / (1 + exp32(-np.clip(4 * score, -30, 30)))
        bright[part] = np.where(value > soft[part], light, bright[part])
        soft[part] = np.maximum(soft[part], value)

    soft, bright, room, ragged = (v[brain] for v in (soft, bright, room, ragged))
    left = int(target - (soft > 0.5).sum())
    if left > 0:  # caps on the horns and halos along the walls
        thickness = 2.0 + (0.6 * ml) ** 0.5  # mm
        score = 0.8 * horns(case.mni[1]) + 0.45 * min(1, thickness / 6) * ragged + 0.7 * case.smooth(rng, 12)
        midline = exp32(-((case.mni[0] / 10) ** 2))  # few lie there
        score -= np.clip(case.depth, -1, None) / thickness + 1.5 * midline
        free = (room > 0.5) & (soft <= 0.5) & (case.depth > -1) & (case.depth < 40)
        values = score[free]
        if left < values.size:
            limit = np.partition(values, values.size - left)[values.size - left]
            value = room / (1 + exp32(-np.clip(4 * (score - limit) * thickness / fuzz, -30, 30)))
            soft = np.maximum(soft, value * np.clip((case.depth + 2) / 2, 0, 1))
    return soft, bright


def manual_mask(rng: np.random.Generator, soft: np.ndarray, brain: np.ndarray, size: np.ndarray) -> np.ndarray:
    """The mask a rater would draw: border noise, own taste, small lesions missed; never empty."""
    from scipy import ndimage

    seen = np.where(brain & (soft > 0.05), soft + 0.12 * smooth(rng, soft.shape, size, 3), 0)
    limit = min(0.5 + rng.normal(0, 0.07), 0.9 * seen.max())
    labels, count = ndimage.label(seen > limit, np.ones((3, 3, 3)))
    volume = np.bincount(labels.ravel(), minlength=count + 1) * np.prod(size)  # mm^3
    kept = (rng.random(count + 1) > 0.5 * np.exp(-volume / 8)) & (volume >= 3)
    volume[0] = 0
    kept[np.argmax(volume)] = True
    kept[0] = False
    return kept[labels]
