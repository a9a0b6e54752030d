"""Make of a finished run what the package ships (`wmhqc.reference` reads it)."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd

from wmhqc import experiment, slices, training
from wmhqc.cohort import PATHS
from wmhqc.files import replacing, write_table

FILES = (
    "cases.csv",
    "cohort.csv",
    "folds.csv",
    "histories.csv",
    "manifest.json",
    "prepared.csv",
    "reliability.csv",
    "seen.csv",
    "settings.json",
    "stress.csv",
)


def release(run, out) -> None:
    """Copy what the package ships of a finished run: tables, manifest, lineage, networks of all folds, slices.

    Weights are stored as float16, half the size, and loaded as float32.
    """
    run, out = Path(run), Path(out)
    out.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        if (run / name).exists():
            shutil.copyfile(run / name, out / name)
    # where the images lay is of no use elsewhere, and nobody's business
    table = pd.read_csv(run / "cohort.csv", dtype={"patient": str})
    write_table(table.drop(columns=PATHS, errors="ignore"), out / "cohort.csv")
    for weights in sorted(run.glob(f"fold_*/*/{training.WEIGHTS}")):
        target = out / weights.relative_to(run)
        target.parent.mkdir(parents=True, exist_ok=True)
        fold = int(weights.parents[1].name.removeprefix("fold_"))
        _save_half(experiment.network(run, fold, weights.parent.name), target)
        shutil.copyfile(weights.with_name("lineage.json"), target.with_name("lineage.json"))
    slices.save(*slices.of_run(run), out / slices.NAME)


def _save_half(model, path) -> None:
    """Weights in HDF5 as float16, without the state of the optimiser."""
    import h5py

    with replacing(path) as partial:
        whole = partial.with_name(f"whole-{partial.name}")
        try:
            model.save_weights(whole)
            with h5py.File(whole) as source, h5py.File(partial, "w", libver="latest") as half:
                source.visititems(lambda name, item: _copy_half(name, item, half))
        finally:
            whole.unlink(missing_ok=True)


def _copy_half(name, item, target) -> None:
    if hasattr(item, "shape"):
        data = item[()].astype("float16") if item.dtype.kind == "f" else item[()]
        target.create_dataset(name, data=data)
    else:
        target.require_group(name)
    for key, value in item.attrs.items():
        target[name].attrs[key] = value
