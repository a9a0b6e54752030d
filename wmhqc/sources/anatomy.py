"""Brains to draw on: the ICBM152 2009a atlas, bent and given a cortex of its own for each synthetic case.

No product here goes through BLAS, and exponentials are taken in float64 and rounded, so that a brain comes out
the same on every processor.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from scipy import sparse


class Anatomy(NamedTuple):
    """Maps of the atlas on its 1 mm grid, float32. Grey matter is what is neither white nor fluid."""

    white: np.ndarray
    fluid: np.ndarray
    depth: np.ndarray  # mm from the wall of the lateral ventricles, negative inside
    brain: np.ndarray  # 0..1; the 0.5 surface is the border
    origin: np.ndarray  # MNI position of voxel (0, 0, 0), mm


@lru_cache(maxsize=1)
def atlas() -> Anatomy:
    """The maps that the images are drawn from; read once."""
    from nilearn import datasets
    from scipy import ndimage

    images = (
        datasets.load_mni152_gm_template(resolution=1),
        datasets.load_mni152_wm_template(resolution=1),
        datasets.load_mni152_brain_mask(resolution=1),
    )
    box = ndimage.find_objects(np.asarray(images[2].dataobj).astype(int))[0]
    box = tuple(slice(max(b.start - 2, 0), b.stop + 2) for b in box)
    grey, white, brain = (np.asarray(i.dataobj, np.float32)[box] for i in images)
    origin = images[0].affine[:3, 3] + [b.start for b in box]
    fluid = np.clip(brain - grey - white, 0, 1)
    x, y, z = (np.arange(n) + o for n, o in zip(brain.shape, origin))
    x, y, z = x[:, None, None], y[None, :, None], z[None, None, :]
    inside = (abs(x) > 2) & (abs(x) < 40) & (y > -56) & (y < 42) & (z > -2) & (z < 34)
    labels, _ = ndimage.label((fluid > 0.5) & inside)
    largest = 1 + np.argsort(np.bincount(labels.ravel())[1:])[-2:]  # left and right
    ventricles = np.isin(labels, largest)
    depth = ndimage.distance_transform_edt(~ventricles) - ndimage.distance_transform_edt(ventricles)
    # The atlas averages 152 people: the ventricle wall is half fluid, half white, which its
    # grey map takes for a thin sheet of grey. Only grey that is thick (the caudate) is kept.
    thick = ndimage.gaussian_filter(ndimage.binary_opening(grey > 0.5, iterations=3).astype(np.float32), 1)
    sheet = np.where(depth < 5, grey * (1 - np.clip(2 * thick, 0, 1)), 0)
    white = white + np.where(depth > 0.5, sheet, 0)
    fluid = fluid + np.where(depth <= 0.5, sheet, 0)
    brain = ndimage.gaussian_filter(brain, 2)  # a border without steps
    return Anatomy(*(np.ascontiguousarray(m, np.float32) for m in (white, fluid, depth, brain)), origin)


def exp32(values: np.ndarray) -> np.ndarray:
    """The exponential in float32, the same on every processor: taken in float64, then rounded."""
    return np.exp(values, dtype=np.float64).astype(np.float32)


def _spline(points: int, step: float) -> sparse.csr_array:
    """Matrix (points, knots) of the cubic B-spline whose knots lie `step` points apart; float32."""
    from scipy import sparse

    knots = int(np.ceil(points / step)) + 3
    t = abs(np.arange(points)[:, None] / step + 1 - np.arange(knots)[None, :])
    rest = np.clip(2 - t, 0, None)
    return sparse.csr_array(np.where(t < 1, 2 / 3 - t * t + t * t * t / 2, rest * rest * rest / 6).astype(np.float32))


def smooth(rng: np.random.Generator, shape: tuple, spacing: np.ndarray, scale: float) -> np.ndarray:
    """Smooth noise, mean 0, SD about 1, with structures of about `scale` mm; float32."""
    bases = [_spline(n, max(scale / s, 1.0)) for n, s in zip(shape, spacing)]
    noise = rng.standard_normal([b.shape[1] for b in bases], dtype=np.float32)
    sd = np.sqrt(np.prod([(b.data**2).sum() / b.shape[0] for b in bases]))
    return _expand(noise / np.float32(sd), bases)


def _expand(values: np.ndarray, bases: list[sparse.csr_array]) -> np.ndarray:
    """Values on spline knots -> values on voxels, one axis after the other."""
    for axis in (2, 1, 0):  # the first axis last: its rows are the longest
        values = np.moveaxis(values, axis, 0)
        rows = bases[axis] @ values.reshape(len(values), -1)
        values = np.moveaxis(rows.reshape(-1, *values.shape[1:]), 0, axis)
    return values


def coordinates(rng, shape, spacing, scale) -> np.ndarray:
    """Where each voxel of the case lies in the atlas: (3, x, y, z) in atlas voxels."""
    from scipy import ndimage
    from scipy.spatial.transform import Rotation

    maps = atlas()
    turn = Rotation.from_euler("xyz", rng.normal(0, [4, 2, 3]), degrees=True).as_matrix()
    matrix = (turn / (scale * rng.normal(1, 0.025, 3))).round(9)
    # positions on a lattice of about 4 mm, then cubic splines to the voxels
    bases = [_spline(n, 4 / s) for n, s in zip(shape, spacing)]
    lattice = [(np.arange(b.shape[1]) - 1) * 4 - (n - 1) * s / 2 for b, n, s in zip(bases, shape, spacing)]
    points = np.stack(np.meshgrid(*lattice, indexing="ij"))
    size = points.shape[1:]
    points = np.einsum("ij,jxyz->ixyz", matrix, points) + (np.array(maps.brain.shape).reshape(3, 1, 1, 1) - 1) / 2
    for axis in range(3):
        points[axis] += 1.8 * smooth(rng, size, np.full(3, 4.0), 30) + 0.6 * smooth(rng, size, np.full(3, 4.0), 12)
    # wider ventricles: tissue near the wall is read from nearer the ventricle, or from inside
    depth = ndimage.gaussian_filter(maps.depth, 1.5)
    at = ndimage.map_coordinates(depth, points, order=1, mode="nearest")
    slope = [ndimage.map_coordinates(g, points, order=1, mode="nearest") for g in np.gradient(depth)]
    widen = np.clip(rng.normal(1.0, 2.0), -1.5, 6.0)
    points -= widen * exp32(-np.clip(at, 0, None) / 12) * np.clip((at + 6) / 6, 0, 1) * np.stack(slope)
    return np.stack([_expand(p.astype(np.float32), bases) for p in points])


class Tissue(NamedTuple):
    """What each voxel of a brain is made of: vectors over the voxels of `brain`, float32."""

    brain: np.ndarray  # bool (x, y, z)
    spacing: np.ndarray  # mm
    mni: np.ndarray  # (3, voxels): position in the atlas, mm
    grey: np.ndarray
    white: np.ndarray
    fluid: np.ndarray
    depth: np.ndarray  # mm from the wall of the lateral ventricles

    def smooth(self, rng: np.random.Generator, scale: float) -> np.ndarray:
        return smooth(rng, self.brain.shape, self.spacing, scale)[self.brain]

    def near(self, centre: tuple, width: tuple) -> np.ndarray:
        """Bell around an MNI position, alike on both sides of the brain."""
        x, y, z = self.mni
        across, along, up = ((p - c) / w for p, c, w in zip((abs(x), y, z), centre, width))
        return exp32(-(across**2 + along**2 + up**2))

    def volume(self, values: np.ndarray, outside: float = 0) -> np.ndarray:
        out = np.full(self.brain.shape, outside, np.float32)
        out[self.brain] = values
        return out


def tissue_of(rng: np.random.Generator, where: np.ndarray, spacing: np.ndarray) -> Tissue:
    from scipy import ndimage

    maps = atlas()
    edge = ndimage.map_coordinates(maps.brain, where, order=0) + 0.08 * smooth(rng, where.shape[1:], spacing, 8)
    brain = edge > 0.5
    at = where[:, brain]
    mni = at + maps.origin[:, None].astype(np.float32)
    white, fluid, depth = (ndimage.map_coordinates(m, at, order=1) for m in (maps.white, maps.fluid, maps.depth))
    case = Tissue(brain, spacing, mni, 1 - white - fluid, white, fluid, depth)
    # An average brain is blurred. Sharpening with noise gives each case a cortex of its own;
    # `sulci` opens the fluid between the folds (atrophy).
    power, sulci = np.float32(rng.uniform(2.0, 2.6)), np.float32(rng.uniform(1.5, 4.5))
    parts = []
    for fraction, gain, sd in ((case.grey, 1, 0), (white, 1, 0.25), (fluid, sulci, 0.45)):
        share = np.power(gain * np.clip(fraction, 0, 1), power, dtype=np.float64).astype(np.float32)
        parts.append(share * exp32(sd * (case.smooth(rng, 5) + case.smooth(rng, 2.5))) if sd else share)
    total = sum(parts) + np.float32(1e-6)
    return case._replace(grey=parts[0] / total, white=parts[1] / total, fluid=parts[2] / total)
