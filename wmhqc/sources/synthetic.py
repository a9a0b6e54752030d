"""A synthetic cohort that needs no download, drawn on real anatomy.

nilearn's wheel carries the ICBM152 2009a atlas (Fonov et al. 2011,
doi:10.1016/j.neuroimage.2010.07.033): a T1 template with its grey- and
white-matter maps at 1 mm. A case is that brain after a random affine and smooth
deformation, with wider ventricles and its own cortex, T1 and FLAIR contrast,
lesions, look-alikes of lesions, scanner faults, and a manual mask that, like
every manual mask, is not the exact truth.

What follows the publication (Williams, Niehaus et al., arXiv:2112.03277): the
databases and sites, the number of cases of each, voxel sizes, brain volumes and
the distribution of the lesion load. What follows general knowledge of such
scans: where lesions lie, faults, and that slices of 5 to 7 mm are common in the
clinic: 10 of the 105 cases have them. Contrasts, noise and the shares of the tissues
were compared with images of the 11 real patients at hand (2 of MS17, 9 of
Tabriz) while the recipe was written, and the share and the reach of deep lesions with
the distances from the ventricles in those patients and in 27 manual masks of MS17; so
these patients are an external test of networks, but not of how real the cohort is. No
network was involved.

Such a cohort lets every step of this project run, and be tested, anywhere. It is
not evidence about patients: the tables call it synthetic, and so should every
figure drawn from it.

The same case comes out on every processor. Libraries sum products in an order, and
take exponentials by a series, that the processor decides; their last digits differ.
So no product here goes through BLAS (sparse matrices and `einsum` sum in one order),
functions beyond + - * / and the root are taken in float64 and rounded, and what a case
consists of is drawn before any voxel is counted.
"""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from wmhqc.files import read_json, replacing, write_json, write_table
from wmhqc.sources.anatomy import Tissue, atlas, coordinates, exp32, smooth, tissue_of
from wmhqc.sources.lesions import draw_lesions, horns, manual_mask

RECIPE = 8  # raise it with every change of the images, so that old files are not mistaken for new


class Site(NamedTuple):
    """One scanner of the cohort.

    `voxel` is the published FLAIR voxel in mm (Table 3, with MS16-01 and GE3T
    corrected: their printed slice thickness contradicts the brain volumes).
    `load` and `brain_ml`: mean and SD of the lesion load (% of brain volume) and of the
    brain volume (ml) over the site's published cases. Loads are drawn from the beta
    distribution on `LOAD_RANGE` that has this mean and SD.
    """

    database: str
    label: str
    cases: int
    voxel: tuple[float, float, float]
    load: tuple[float, float]
    brain_ml: tuple[float, float]


COMPOSITION = {
    "MS15": Site("MS15", "ms15p", 5, (1.0, 1.0, 1.0), (1.05, 1.05), (1484, 110)),
    "MS16-01": Site("MS16", "ms16a", 5, (0.5, 0.5, 1.1), (2.35, 1.92), (1336, 160)),
    "MS16-08": Site("MS16", "ms16b", 5, (0.74, 0.74, 0.7), (1.14, 1.10), (1417, 83)),
    "MS17": Site("MS17", "ms17p", 30, (0.47, 0.47, 0.8), (1.38, 1.27), (1244, 116)),
    "Utrecht": Site("MICCAI17", "utr", 20, (0.96, 0.95, 3.0), (2.06, 1.79), (1276, 132)),
    "Singapore": Site("MICCAI17", "sing", 20, (1.0, 1.0, 3.0), (1.71, 1.43), (1348, 119)),
    "GE3T": Site("MICCAI17", "ge3t", 20, (1.2, 0.98, 3.0), (0.80, 0.84), (1396, 150)),
}
"""The paper's cohort: site name -> `Site`; 105 cases in all."""

LOAD_RANGE = (0.026, 5.74)  # lesion load, % of brain volume: smallest and largest published
FINEST = 1.0  # mm; finer voxels are made at this size, to keep files and time small
DEGRADED_SHARE = 0.12
FAULTS = ("motion", "noise", "low contrast", "thick slices")


class Case(NamedTuple):
    """Four images on one grid (nibabel, int16 or uint8) and a dict of facts."""

    t1: object
    flair: object
    lesion: object
    brainmask: object
    facts: dict


# ---------------------------------------------------------------- who is in the cohort


def members(cases=105) -> pd.DataFrame:
    """The cases of the cohort, in an order in which every prefix is fair.

    The first seven are one of each site; after that each site comes in proportion to
    its size. So a smaller cohort is always part of a larger one.

    Parameters
    ----------
    cases : int or sequence of str
        The first so many, 1 to 105; or the names of cases.

    Returns
    -------
    pandas.DataFrame
        Columns case, database, site, patient (str).
    """
    rows = [
        ((j + 0.5) / s.cases if j else -s.cases, f"sub-syn{s.label}{j + 1:02d}", s.database, name, f"{j + 1:02d}")
        for name, s in COMPOSITION.items()
        for j in range(s.cases)
    ]
    rows.sort(key=lambda row: row[0])
    table = pd.DataFrame([row[1:] for row in rows], columns=["case", "database", "site", "patient"])
    if isinstance(cases, (int, np.integer)) and not isinstance(cases, bool):
        if not 1 <= cases <= len(table):
            raise ValueError(f"cases must be a whole number from 1 to {len(table)}, or names of cases, got {cases!r}")
        return table.head(cases)
    names = list(cases) if np.ndim(cases) == 1 else []
    unknown = sorted(set(map(str, names)) - set(table["case"]))
    if unknown or not names:
        raise ValueError(
            f"cases must be a whole number from 1 to {len(table)}, or names as in members()['case'], got "
            f"{', '.join(unknown[:3]) or repr(cases)}"
        )
    return table[table["case"].isin(names)].reset_index(drop=True)


def draw_load(case: str, site: str, seed: int = 0) -> float:
    """Lesion load of one case, in % of brain volume.

    The cases of a site are spread evenly over its fitted distribution (golden-ratio
    steps from a random start), so that a small cohort also has small and large loads.
    """
    from scipy.stats import beta

    number = int(case[-2:])
    start = _generator(seed, site).random()
    mean, sd = _site(site).load
    low, width = LOAD_RANGE[0], LOAD_RANGE[1] - LOAD_RANGE[0]
    mean, sd = (mean - low) / width, sd / width
    a = mean * (mean * (1 - mean) / sd**2 - 1)  # the beta distribution of this mean and SD
    quantile = (start + number * 0.6180339887498949) % 1
    return round(float(low + width * beta.ppf(quantile, a, a * (1 - mean) / mean)), 6)


def _site(name: str) -> Site:
    if name not in COMPOSITION:
        raise ValueError(f"site must be one of {', '.join(COMPOSITION)}, got {name!r}")
    return COMPOSITION[name]


def _size(site: Site, voxel: tuple[float, float, float] | None, number: int = 0) -> np.ndarray:
    """Voxel size in mm of case `number` of a site; every sixth case of two databases has thick slices."""
    size = np.maximum(site.voxel, FINEST) if voxel is None else np.asarray(voxel, float)
    if voxel is None and site.database in ("MICCAI17", "MS15") and number % 6 == 5:
        size[2] = 5 + number // 6  # 5, 6, 7 mm
    if size.shape != (3,) or not ((size >= 0.5) & (size <= 10)).all():
        raise ValueError(f"voxel must be three sizes from 0.5 to 10 mm, got {voxel!r}")
    return size


def _generator(seed: int, name: str) -> np.random.Generator:
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(f"seed must be a whole number >= 0, got {seed!r}")
    return np.random.default_rng([int(seed), zlib.crc32(name.encode())])


# ---------------------------------------------------------------- images


def _contrast(rng: np.random.Generator, case: Tissue, soft: np.ndarray, bright: np.ndarray, flat: bool):
    """T1 and FLAIR before the scanner's faults; vectors over the brain; white matter is 1."""
    from scipy import ndimage

    grey, white, fluid, depth = case.grey, case.white, case.fluid, case.depth
    outside = np.clip(depth, 0, None)
    fine, middle, broad = case.smooth(rng, 3), case.smooth(rng, 7), case.smooth(rng, 14)

    # FLAIR: cortex brighter than white matter, most of all in insula, cingulum, hippocampus
    limbic = (
        case.near((38, 4, 0), (7, 16, 12)) + case.near((5, 10, 30), (6, 35, 14)) + case.near((26, -16, -18), (9, 16, 9))
    )
    deep = case.near((20, -5, 4), (20, 24, 14))
    cortex = np.clip(rng.normal(0.14, 0.07), 0, 0.3) * (1 - deep) + rng.uniform(0.05, 0.25) * np.clip(limbic, 0, 1)
    g = 1 + cortex + rng.uniform(0.06, 0.14) * (fine + 0.5 * middle)
    # white matter that is not quite normal: patches, haze near the ventricles, caps of the
    # healthy old, and a fading surround of each lesion, none of which a rater outlines
    surround = ndimage.gaussian_filter(case.volume(soft), 2.5 / case.spacing, truncate=2.5)[case.brain]
    dirty = rng.gamma(2, 0.06) * np.clip(0.5 + 0.7 * broad, 0, 2) * exp32(-outside / 14)
    caps = rng.uniform(0.05, 0.35) * np.clip(0.5 + middle, 0.2, 2) * exp32(-outside / 2.5) * horns(case.mni[1])
    contrast = np.clip(rng.normal(0.48, 0.13), 0.15, 0.9) * (0.5 if flat else 1)
    w = 1 + dirty + caps + rng.uniform(0.03, 0.07) * broad + rng.uniform(0.02, 0.04) * (fine + middle)
    w += rng.uniform(0.1, 0.5) * contrast * surround
    flow = np.clip(case.near((0, -30, -20), (16, 16, 14)) + case.near((0, 0, -6), (4, 20, 12)), 0, 1)
    c = rng.uniform(0.12, 0.32) + rng.gamma(1.5, 0.25) * flow * np.clip(middle, 0, None)
    lesion = soft * contrast * bright * (1 + 0.08 * fine)
    flair = g * grey + (w + 0.7 * lesion) * white + c * fluid + lesion * (0.3 * white + 0.2 * grey)
    # look-alikes: lining of the ventricles, choroid plexus (floor of the body, atrium), septum
    wall = exp32(-((depth / 1.2) ** 2)) * np.clip(0.6 + 0.8 * middle, 0, 2)
    flair += rng.uniform(0, 0.35) * wall * (white + 0.5 * fluid)
    plexus = case.near((22, -40, 6), (7, 8, 7)) + 0.7 * case.near((10, -15, 14), (6, 22, 3))
    plexus = np.clip(plexus, 0, 1) * fluid * (depth < 0)
    flair += rng.uniform(0.3, 1.3) * plexus * np.clip(0.3 + fine, 0, 1.5)
    flair += rng.uniform(0.2, 0.9) * case.near((0, 8, 14), (1.6, 16, 9)) * np.clip(1 - 0.5 * white, 0, 1)

    t1 = (rng.normal(0.73, 0.03) + 0.01 * fine) * grey + (1 + 0.03 * broad) * white + rng.uniform(0.2, 0.42) * fluid
    t1 += 0.3 * plexus - rng.uniform(0, 0.3) * soft * bright * white

    # what brain extraction left at the border: dura and vessels, bright on both
    rim = case.brain & ~ndimage.binary_erosion(case.brain, iterations=2)
    remnant = rng.gamma(1.0, 0.4) * rim[case.brain] * np.clip(broad + 0.5 * middle - 0.8, 0, 1)
    flair += remnant
    t1 += 0.7 * remnant

    # perivascular spaces: dark on both, in basal ganglia and centrum semiovale
    place = case.near((22, 2, -4), (9, 12, 7)) + 0.35 * white * case.near((24, -15, 34), (12, 30, 10))
    speck = rng.uniform(0, 1) * place * np.clip(case.smooth(rng, 1.6) - 1.6, 0, 0.7)
    return np.clip(t1 - 0.5 * speck, 0.05, None), np.clip(flair - 0.6 * speck, 0.05, None)


def _scan(rng: np.random.Generator, image: np.ndarray, brain: np.ndarray, size: np.ndarray, noise: float, ghost: float):
    """The image as a scanner gives it: point spread, bias field, motion ghosts, Rician noise."""
    from scipy import ndimage

    image = ndimage.gaussian_filter(image * brain, [0.45, 0.45, 0.2], truncate=3)
    image *= exp32(rng.uniform(0.01, 0.08) * smooth(rng, image.shape, size, 70))
    if ghost:  # shifted, attenuated copies along the phase-encoding axis (y) and a slight blur
        shift = int(rng.integers(image.shape[1] // 12, image.shape[1] // 4))
        copies = sum(np.roll(image, k * shift, 1) * ghost / abs(k) * (-1) ** k for k in (-2, -1, 1, 2))
        image = ndimage.gaussian_filter1d(image, 0.9, axis=1) + copies
    values = image[brain]
    errors = np.float32(noise) * rng.standard_normal((2, values.size), dtype=np.float32)
    image = np.zeros_like(image)
    image[brain] = np.sqrt((values + errors[0]) ** 2 + errors[1] ** 2)
    return image


def _slabs(array: np.ndarray, count: int) -> np.ndarray:
    """Mean of each `count` neighbouring thin slices: partial volume of a thick one."""
    return array if count == 1 else array.reshape(*array.shape[:2], -1, count).mean(-1)


def make_case(case: str, site: str, seed: int = 0, voxel: tuple[float, float, float] | None = None) -> Case:
    """Make one synthetic patient.

    Parameters
    ----------
    case : str
        Name that ends in a two-digit number, such as sub-synutr03; part of the seed.
    site : str
        A key of `COMPOSITION`.
    seed : int
        Seed of the cohort, >= 0. The result depends only on (seed, case, site, voxel).
    voxel : three floats, optional
        Voxel size in mm; by default the site's own, but not finer than 1 mm in any
        direction (MS16 and MS17 would take three to six times the time and
        space, and the networks see 128 voxels a side whatever comes in), and in the
        cases 05, 11 and 17 of a site of MICCAI17 or MS15 with slices of 5, 6 and 7 mm.

    Returns
    -------
    Case
        t1, flair (int16), lesion (the manual mask) and brainmask (uint8), RAS+, on one
        grid, 0 outside the brain; and facts: case, database, site, patient, synthetic,
        voxel_x, voxel_y, voxel_z (mm), lesion_ml, brain_ml, lesion_percent (of the manual
        mask), degraded (bool), fault (text; empty if not degraded).
    """
    import nibabel as nib
    from scipy import ndimage

    info = _site(site)
    if len(case) < 3 or not case[-2:].isdigit():
        raise ValueError(f"case must end in a two-digit number, such as sub-synutr03, got {case!r}")
    size = _size(info, voxel, int(case[-2:]))
    rng = _generator(seed, f"{site}/{case}")
    fault = str(rng.choice(FAULTS)) if rng.random() < DEGRADED_SHARE else ""

    thin = int(np.ceil(size[2] / 1.6))
    spacing = size / [1, 1, thin]
    maps = atlas()
    ml = np.clip(rng.normal(*info.brain_ml), 1000, 1750)
    scale = round(float(ml * 1000 / (maps.brain > 0.5).sum()) ** (1 / 3), 6)
    shape = np.ceil((np.array(maps.brain.shape) * scale + 14) / size).astype(int) * [1, 1, thin]
    where = coordinates(rng, tuple(shape), spacing, scale)
    tissue = tissue_of(rng, where, spacing)
    target = max(draw_load(case, site, seed) / 100 * tissue.brain.sum(), 1.0)
    soft, bright = draw_lesions(rng, info.database, tissue, target)
    t1, flair = _contrast(rng, tissue, soft, bright, fault == "low contrast")
    t1, flair, soft = (tissue.volume(v) for v in (t1, flair, soft))
    if fault == "thick slices":  # read as 6 mm slices, then interpolated to the grid
        t1, flair = (ndimage.gaussian_filter1d(v, 2.2 / spacing[2], axis=2) for v in (t1, flair))
    t1, flair, soft = (_slabs(v, thin) for v in (t1, flair, soft))
    brain = _slabs(tissue.brain.astype(np.float32), thin) > 0.5

    noise = rng.uniform([0.02, 0.006], [0.06, 0.025]) * (2 if fault == "noise" else 1)
    ghost = rng.uniform(0.05, 0.12) if fault == "motion" else 0.0
    flair = _scan(rng, flair, brain, size, noise[0], ghost)
    t1 = _scan(rng, t1, brain, size, noise[1], ghost / 2)
    lesion = manual_mask(rng, soft, brain, size)

    affine = np.diag([*size, 1.0])
    affine[:3, 3] = -size * (np.array(brain.shape) - 1) / 2
    level = np.exp(rng.normal(np.log(600), 0.4, 2)).round(3)  # scanners count in arbitrary units
    images = [
        np.where(brain, np.clip(np.rint(v * s), 1, 32767), 0).astype(np.int16) for v, s in zip((t1, flair), level)
    ]
    images += [lesion.astype(np.uint8), brain.astype(np.uint8)]
    images = [nib.Nifti1Image(v, affine) for v in images]
    for image in images:
        image.header.set_xyzt_units("mm")
    cube = float(np.prod(size)) / 1000
    facts = {
        "case": case,
        "database": info.database,
        "site": site,
        "patient": case[-2:],
        "synthetic": True,
        "voxel_x": float(size[0]),
        "voxel_y": float(size[1]),
        "voxel_z": float(size[2]),
        "lesion_ml": float(lesion.sum() * cube),
        "brain_ml": float(brain.sum() * cube),
        "lesion_percent": float(100 * lesion.sum() / brain.sum()),
        "degraded": bool(fault),
        "fault": fault,
    }
    return Case(*images, facts)


# ---------------------------------------------------------------- files

_SUFFIX = {"t1": "T1w", "flair": "FLAIR", "lesion": "lesion", "brainmask": "brainmask"}


def _make_and_write(folder: Path, case: str, site: str, seed: int, voxel) -> dict:
    """Make one case and write it, unless it lies there complete; return its facts."""
    from threadpoolctl import threadpool_limits

    made_with = {
        "recipe": RECIPE,
        "seed": int(seed),
        "site": site,
        "voxel": None if voxel is None else list(map(float, voxel)),
    }
    note = folder / case / f"{case}.json"
    files = {key: folder / case / f"{case}_{suffix}.nii.gz" for key, suffix in _SUFFIX.items()}
    found = read_json(note, {})
    if found.get("made_with") == made_with and all(f.is_file() for f in files.values()):
        return found["facts"]
    (folder / case).mkdir(parents=True, exist_ok=True)
    note.unlink(missing_ok=True)  # the note is written last: a case without it is not complete
    with threadpool_limits(1):  # the matrices are small: more threads cost twice the time
        made = make_case(case, site, seed, voxel)
    for key, path in files.items():
        # a fixed time in the gzip header: the same case gives the same bytes
        with replacing(path) as partial:
            partial.write_bytes(gzip.compress(getattr(made, key).to_bytes(), compresslevel=1, mtime=0))
    write_json({"made_with": made_with, "facts": made.facts}, note)
    return made.facts


def make_cohort(
    folder: str | os.PathLike,
    cases=105,
    seed: int = 0,
    jobs: int = 1,
    progress: bool = True,
    voxel: tuple[float, float, float] | None = None,
) -> pd.DataFrame:
    """Make a synthetic cohort on disk and return its table.

    Writes <folder>/<case>/<case>_T1w.nii.gz, _FLAIR, _lesion, _brainmask and
    <folder>/cohort.csv (paths relative to the folder). A case that lies there complete,
    made with the same parameters, is kept; so an interrupted run continues where it
    stopped and ends with the same files.

    Parameters
    ----------
    folder : path
        Made if it does not exist.
    cases : int or sequence of str
        1 to 105; fewer than 105 take a proportional part of each site, see `members`. Or the names of cases.
    seed : int
        Seed of the cohort, >= 0.
    jobs : int
        Processes at once, >= 1. Does not change the result.
    progress : bool
        Show a progress bar.
    voxel : three floats, optional
        Voxel size in mm for all cases, see `make_case`.

    Returns
    -------
    pandas.DataFrame
        One row per case: case, database, site, patient, t1, flair, lesion, brainmask
        (absolute paths) and the facts of `make_case`.
    """
    from joblib import Parallel, delayed
    from tqdm.auto import tqdm

    if isinstance(jobs, bool) or not isinstance(jobs, (int, np.integer)) or jobs < 1:
        raise ValueError(f"jobs must be a whole number >= 1, got {jobs!r}")
    table = members(cases)
    _generator(seed, ""), _size(COMPOSITION["MS15"], voxel)  # bad ones are refused before anything is written
    folder = Path(folder).resolve()
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"folder must be a folder, but {folder} is a file")
    folder.mkdir(parents=True, exist_ok=True)
    work = (delayed(_make_and_write)(folder, case, site, seed, voxel) for case, site in zip(table.case, table.site))
    facts = Parallel(n_jobs=jobs, return_as="generator")(work)
    table = pd.DataFrame(tqdm(facts, total=len(table), desc="synthetic cases", disable=not progress))
    for position, (key, suffix) in enumerate(_SUFFIX.items(), start=4):
        table.insert(position, key, [f"{c}/{c}_{suffix}.nii.gz" for c in table.case])
    write_table(table, folder / "cohort.csv")
    for key in _SUFFIX:
        table[key] = [str(folder / path) for path in table[key]]
    return table
