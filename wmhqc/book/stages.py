"""What a chapter needs of those before it, with one call: read where it is there, made where it is missing.

    cases = stages.data("runs/cpu")             the cohort, every case prepared
    cases = stages.uncertainty("runs/cpu")      one row a case, from Monte Carlo passes
    cases = stages.error_maps("runs/cpu")       the same with the error map's numbers
    case, maps = stages.load(run, name)         a prepared case and its maps

Networks are those that the chapters trained in this folder (`train = True`), or else the reference run's: for a
case of its cohort those of the fold that tests it, for any other scan all of them together. So a chapter that is
opened alone, as in Colab, finds what it reads, and called again after a stop a stage goes on where it was.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from wmhqc import cohort, errormaps, preprocess, reference, regression, training
from wmhqc.assess import assess
from wmhqc.files import load_maps, read_json, save_maps, write_json, write_table

FACTS = ["case", "database", "site", "synthetic", "split", "network"]
#: Columns that the error maps add to the row of a case.
OF_ERROR_MAPS = ["vs_error", "vs_error_inside", "ssim"]


def data(
    run, size: int = 64, cases: int | None = None, seed: int = 0, jobs: int | None = None, ms17: bool = True
) -> pd.DataFrame:
    """The cohort of a run: synthetic cases and the real patients that can be had, checked and prepared.

    Parameters
    ----------
    run : path
        The folder of results that the chapters share.
    size : int
        Edge of the cube, in voxels.
    cases : int, optional
        So many synthetic cases, split anew, to train on. By default those that the first fold of the
        reference run tests or validates: its networks have not seen them.
    seed, jobs
        Of the synthetic cohort; processes at once.
    ms17 : bool
        Fetch the MS17 patients if that is possible.

    Returns
    -------
    DataFrame
        A cohort with facts (`wmhqc.cohort.add_facts`) and `split`: train, validation, test or real.
    """
    folder = Path(run) / "data"
    if (folder / "cohort.csv").exists():
        return cohort.read_csv(folder / "cohort.csv")
    table, note = _cohort(folder, cases, seed, jobs or os.cpu_count() or 1, ms17)
    print(note)
    table, problems = cohort.check(table, on_bad="leave out")
    write_table(problems, folder / "problems.csv")
    table = cohort.add_facts(table)
    prepare(table, folder, size, jobs)
    cohort.write_csv(table, folder / "cohort.csv")
    return table


def _cohort(folder, cases, seed, jobs, ms17):
    from wmhqc.sources import download, synthetic

    part = pd.Series(reference.parts())
    chosen = cases if cases is not None else part.index[(part != "train") & part.index.isin(synthetic.members()["case"])]
    table = synthetic.make_cohort(folder / "cohort", chosen, seed, jobs, progress=False)
    table["split"] = training.split(table, seed) if cases is not None else table["case"].map(part)
    real, note = download.real_patients(ms17, progress=False)
    real = real[real["lesion"] != ""].assign(split="real")  # without a manual mask there is nothing to compare with
    return pd.concat([table, real], ignore_index=True), note


def prepare(table: pd.DataFrame, folder, size: int, jobs: int | None = None) -> None:
    """Prepare every case of a table in `folder`/prepared, several at once; what is there and fits is kept."""
    from joblib import Parallel, delayed

    jobs = jobs or os.cpu_count() or 1
    work = [
        delayed(_prepare)(row, str(Path(folder) / "prepared" / f"{row['case']}.npz"), size)
        for row in table.to_dict("records")
    ]
    for _ in _progress(Parallel(n_jobs=jobs, return_as="generator")(work), "prepared cases", len(work)):
        pass


def _prepare(row, path, size):
    preprocess.keep_prepared(row, path, size)


def asked(run, size: int | None = None) -> pd.DataFrame:
    """The cases of a run with the column `network`: which networks judge each without having seen it.

    A name of the folder's own networks where chapter "Training" trained them, else the fold of the reference run
    or "all".
    """
    table = data(run) if size is None else data(run, size)
    own = Path(run) / "training" / "networks.csv"
    if own.exists():
        return table.merge(pd.read_csv(own, dtype=str), on="case")
    fold = reference.unseen(table["case"]).astype(object)
    return table.assign(network=[("all" if pd.isna(one) else str(one)) for one in fold])


def networks(run, name: str, kinds=("mc_unet",)) -> dict[str, list]:
    """Networks by the name in `asked`, as `wmhqc.assess.assess` takes them."""
    if name == "all" or name.isdigit():
        return reference.networks(None if name == "all" else int(name), kinds)
    return {kind: [_own(run, name if kind == "mc_unet" else kind)] for kind in kinds}


def _own(run, name):
    """A network that a chapter trained in this folder."""
    from wmhqc import networks as build

    chapter = {"rec_unet": "error_maps"}.get(name, "dice_regression" if name.startswith("reg_net") else "training")
    folder = Path(run) / chapter / name
    size, slopes = (read_json(folder / "network.json", {}).get(key) for key in ("size", "slopes"))
    if size is None:
        raise FileNotFoundError(f"{folder} holds no trained network; run the chapter that trains it first, with train=True")
    if name.startswith("reg_net"):
        model = build.reg_net(size)
    else:
        model = (build.rec_unet if name == "rec_unet" else build.mc_unet)(size, slopes=slopes)
    model.load_weights(folder / training.WEIGHTS)
    return model


def describe(folder, size: int, slopes: str = "channel") -> None:
    """Note beside a trained network how to build it again, for `networks`."""
    write_json({"size": size, "slopes": slopes}, Path(folder) / "network.json")


def uncertainty(run, size: int = 64, passes: int = 20, seed: int = 0) -> pd.DataFrame:
    """One row a case: scores of its Monte Carlo passes, and the truth. The maps lie in `run`/uncertainty/maps."""

    def one(case, nets, _):
        maps, row = assess(case, nets, passes=passes, seed=seed, other_samples=False)
        return {"mean": maps["mean"]}, row

    return _stage(run, "uncertainty", size, ("mc_unet",), one)


def error_maps(run, size: int = 64) -> pd.DataFrame:
    """The rows of `uncertainty` with `vs_error`, `vs_error_inside` and `ssim`; reconstructions in `run`/error_maps/maps."""
    from wmhqc import scores

    before = uncertainty(run, size)

    def one(case, nets, run):
        flair, mask = case.volume[..., 1] / 255, mean(run, case.case) >= 0.5
        rebuilt = np.mean([errormaps.reconstruct(net, flair, mask) for net in nets["rec_unet"]], axis=0)
        error = flair - rebuilt
        row = {
            "case": case.case,
            "vs_error": scores.voxel_sum(error, case.voxel_mm3),
            "vs_error_inside": scores.voxel_sum(error[mask], case.voxel_mm3),
            "ssim": errormaps.similarity(flair, rebuilt),
        }
        return {"reconstruction": rebuilt}, row

    found = _stage(run, "error_maps", size, ("rec_unet",), one)
    return before.merge(found[["case", *OF_ERROR_MAPS]], on="case")


def _stage(run, chapter, size, kinds, one: Callable) -> pd.DataFrame:
    """Each case through `one(prepared, networks, run) -> (maps, row)`, unless its result is there."""
    folder = Path(run) / chapter
    if (folder / "cases.csv").exists():
        return pd.read_csv(folder / "cases.csv")
    table, rows = asked(run, size), []
    table = table[table["split"].ne("train") | ~table["network"].str.isdigit()]
    for name, part in table.groupby("network", sort=False):
        nets = networks(run, name, kinds)
        for case in _progress(part["case"], f"{chapter}, networks {name}", len(part)):
            place = folder / "maps" / f"{case}.npz"
            row = read_json(place.with_suffix(".json"))
            if row is None or not place.exists():
                maps, row = one(preprocess.load(Path(run) / "data" / "prepared" / f"{case}.npz"), nets, run)
                save_maps(place, **maps)
                write_json(row, place.with_suffix(".json"))
            rows.append(row)
    cases = table[FACTS].merge(pd.DataFrame(rows), on="case").assign(fold=0)
    write_table(cases, folder / "cases.csv")
    return cases


def mean(run, case: str) -> np.ndarray:
    """Mean lesion probability of a case (n, n, n)."""
    return load_maps(Path(run) / "uncertainty" / "maps" / f"{case}.npz")["mean"]


def load(run, case: str) -> tuple[preprocess.Prepared, dict]:
    """A prepared case, and those of its maps that are there: mean, entropy, mask, reconstruction, error."""
    prepared = preprocess.load(Path(run) / "data" / "prepared" / f"{case}.npz")
    maps = {}
    for chapter in ("uncertainty", "error_maps"):
        path = Path(run) / chapter / "maps" / f"{case}.npz"
        if path.exists():
            maps |= load_maps(path)
    if "mean" in maps:
        maps = regression.with_entropy(maps)
    if "reconstruction" in maps:
        maps["error"] = prepared.volume[..., 1] / 255 - maps["reconstruction"]
    return prepared, maps


def _progress(items, what, total=None):
    from tqdm import tqdm

    return tqdm(items, desc=what, total=total, file=sys.stdout, mininterval=5)
