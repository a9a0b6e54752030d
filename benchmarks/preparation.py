"""Time of preparing one scan and of augmenting one example, beside other ways to do it.

    python benchmarks/preparation.py [--sizes 64 128] [--repeats 3] [--scan T1 FLAIR LESION BRAINMASK]

Without --scan a synthetic case with 1 mm voxels is made first. Seconds are the fastest of the
repeats, all in one process; the ratios are to this package, so above 1 means slower. The other
ways do the same work: the same crop, box, cube and scaling, or the same affine transform.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from wmhqc import augment, preprocess
from wmhqc.images import load_image
from wmhqc.sources import synthetic

FILES = ("t1", "flair", "lesion", "brainmask")


def fastest(work, repeats: int) -> float:
    """Seconds of the fastest of some calls, after one that does not count."""
    times = []
    for _ in range(repeats + 1):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return min(times[1:])


# --- preparation ---------------------------------------------------------------------------


def by_scipy(paths, size: int, order: int) -> None:
    """Crop, zoom, scale: what one would write first."""
    from scipy import ndimage

    t1, flair, lesion, brain = (np.asarray(nib.load(path).dataobj, np.float32) for path in paths)
    box = ndimage.find_objects((brain > 0).astype(int))[0]
    zoom = [size / (edge.stop - edge.start) for edge in box]
    images = [ndimage.zoom((image * (brain > 0))[box], zoom, order=order) for image in (t1, flair)]
    volume = np.stack([preprocess.scale(image, image > 0) for image in images], axis=-1)
    mask = ndimage.zoom(lesion[box], zoom, order=order) >= preprocess.MASK_THRESHOLD
    assert volume.shape == (size, size, size, 2) and mask.shape == (size,) * 3


def by_sitk(paths, size: int, interpolator: str) -> None:
    """The same with SimpleITK, which also reads the files."""
    import SimpleITK as sitk

    images = [sitk.ReadImage(path, sitk.sitkFloat32) for path in paths]
    brain = images[3] > 0
    shape = sitk.LabelShapeStatisticsImageFilter()
    shape.Execute(brain)
    start, extent = np.split(np.array(shape.GetBoundingBox(1)), 2)
    grid = sitk.Image([size] * 3, sitk.sitkFloat32)
    step = extent / size
    spacing = np.array(brain.GetSpacing())
    grid.SetSpacing((step * spacing).tolist())
    grid.SetDirection(brain.GetDirection())
    grid.SetOrigin(brain.TransformContinuousIndexToPhysicalPoint((start + step / 2 - 0.5).tolist()))
    kinds = [getattr(sitk, interpolator)] * 2 + [sitk.sitkLinear]
    t1, flair, lesion = (
        sitk.GetArrayFromImage(sitk.Resample(sitk.Mask(image, brain), grid, sitk.Transform(), kind))
        for image, kind in zip(images, kinds)
    )
    volume = np.stack([preprocess.scale(image, image > 0) for image in (t1, flair)], axis=-1)
    assert volume.shape == (size, size, size, 2) and (lesion >= preprocess.MASK_THRESHOLD).any()


def preparation(paths, size: int) -> dict:
    row = {"case": "sub-benchmark", "lesion_rule": ""} | dict(zip(FILES, paths))
    return {
        "this package": lambda: preprocess.prepare_row(row, size),
        "scipy order 3": lambda: by_scipy(paths, size, 3),
        "scipy order 1": lambda: by_scipy(paths, size, 1),
        "SimpleITK B-spline": lambda: by_sitk(paths, size, "sitkBSpline"),
        "SimpleITK linear": lambda: by_sitk(paths, size, "sitkLinear"),
    }


# --- augmentation --------------------------------------------------------------------------

MATRIX = np.linalg.inv([[0.98, 0.1, 0.05], [-0.1, 1.1, 0.05], [0, 0.1, 1.05]])


def affine_by_scipy(volume: np.ndarray, mask: np.ndarray, order: int) -> None:
    from scipy import ndimage

    shift = (np.array(mask.shape) - 1) / 2
    for image in (volume[..., 0], volume[..., 1], mask.astype(np.float32)):
        ndimage.affine_transform(image, MATRIX, shift - MATRIX @ shift, order=order)


def affine_by_sitk(volume: np.ndarray, mask: np.ndarray, interpolator: str) -> None:
    import SimpleITK as sitk

    centre = [(n - 1) / 2 for n in mask.shape]
    transform = sitk.AffineTransform(MATRIX[::-1, ::-1].ravel().tolist(), [0.0] * 3, centre)
    for image in (volume[..., 0], volume[..., 1], mask.astype(np.float32)):
        source = sitk.GetImageFromArray(image)
        sitk.GetArrayFromImage(sitk.Resample(source, source, transform, getattr(sitk, interpolator), 0.0))


def affines(case) -> dict:
    volume, mask = case.volume, case.lesion
    return {
        "this package": lambda: augment.affine(volume, mask, np.random.default_rng(0), probability=1),
        "scipy order 3": lambda: affine_by_scipy(volume, mask, 3),
        "scipy order 1": lambda: affine_by_scipy(volume, mask, 1),
        "SimpleITK B-spline": lambda: affine_by_sitk(volume, mask, "sitkBSpline"),
        "SimpleITK linear": lambda: affine_by_sitk(volume, mask, "sitkLinear"),
    }


def augmentations(case, file: Path) -> dict:
    """What an example of a training step takes; several seeds, as the work is random."""

    def of(change):
        return lambda: [change(case.volume, case.lesion, np.random.default_rng(seed)) for seed in range(8)]

    one = {name: lambda a=a: a(case.volume, 1.0, np.random.default_rng(0)) for name, a in augment.ARTEFACTS.items()}
    return {
        "load prepared case": lambda: preprocess.load(file),
        "train_augment, 8 examples": of(augment.train_augment),
        "paper_augment, 8 examples": of(augment.paper_augment),
    } | one


def synthetic_scan(folder: Path) -> list[str]:
    made = synthetic.make_case("sub-synms17p01", "MS17")
    paths = [str(folder / f"{name}.nii.gz") for name in FILES]
    for name, path in zip(FILES, paths):
        nib.save(getattr(made, name), path)
    return paths


def installed(ways: dict) -> dict:
    """Without SimpleITK where that is not installed."""
    import importlib.util

    return ways if importlib.util.find_spec("SimpleITK") else {n: w for n, w in ways.items() if "SimpleITK" not in n}


def table(sizes, repeats: int, scan=None) -> pd.DataFrame:
    """One row for each size, step and way: seconds of the fastest of the repeats."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        paths = scan or synthetic_scan(Path(folder))
        print(f"scan of {load_image(paths[1]).shape} voxels", flush=True)
        for size in sizes:
            case = preprocess.prepare_row({"case": "sub-benchmark"} | dict(zip(FILES, paths)), size)
            preprocess.save(case, Path(folder) / "case.npz")
            steps = {
                "load, crop, resample, scale": preparation(paths, size),
                "affine of T1, FLAIR, mask": affines(case),
                "artefact of T1, FLAIR at severity 1": augmentations(case, Path(folder) / "case.npz"),
            }
            rows += [
                {"size": size, "step": step, "way": way, "seconds": fastest(work, repeats)}
                for step, ways in steps.items()
                for way, work in installed(ways).items()
            ]
    return pd.DataFrame(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--scan", nargs=4, metavar=tuple(name.upper() for name in FILES))
    given = parser.parse_args()
    found = table(given.sizes, given.repeats, given.scan)
    ours = found[found["way"] == "this package"].set_index(["size", "step"])["seconds"]
    found["ratio"] = found["seconds"] / found.set_index(["size", "step"]).index.map(ours)
    print(found.set_index(["size", "step", "way"]).round(3).to_string(na_rep=""))
