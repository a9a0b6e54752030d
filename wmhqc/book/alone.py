"""A chapter opened alone, as in Colab: what the chapters before it make, from the reference networks.

In a folder that holds the results of those chapters nothing is done. Where they are missing, the
synthetic cohort of the reference run is made and prepared again, beside the real patients that can be
had, and its shipped networks, which have not seen the cases they judge, make the maps. Training is
left out; all else is what the chapters' cells "All cases" do.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pandas as pd

from wmhqc import cohort, preprocess, reference
from wmhqc.book import runs
from wmhqc.files import replacing

#: Chapter -> the file that it writes last.
DONE = {
    "data": "cohort.csv",
    "training": "networks.csv",
    "uncertainty": "cases.csv",
    "error_maps": "cases.csv",
}
#: Chapter -> the chapters whose results it reads.
BEFORE = {
    "training": ["data"],
    "uncertainty": ["data", "training"],
    "error_maps": ["data", "training", "uncertainty"],
    "dice_regression": ["data", "training", "uncertainty", "error_maps"],
}


def catch_up(run: str | Path, chapter: str, size: int) -> None:
    """Make the results of earlier chapters that `chapter` reads, where they are missing.

    Called again after a stop, it goes on: with the scans that are not there yet, then with the first
    chapter that is not complete.

    Parameters
    ----------
    run : path
        The folder of results that the chapters share.
    chapter : str
        "training", "uncertainty", "error_maps" or "dice_regression".
    size : int
        Edge of the cube that the chapter works with, in voxels.

    Raises
    ------
    ValueError
        Something is missing and the reference networks cannot make it: they have another size, or may
        know the cases that are there.
    """
    missing = [name for name in BEFORE[chapter] if not (Path(run) / name / DONE[name]).exists()]
    if not missing:
        return
    titles = ", ".join(f"'{runs.TITLES[name]}'" for name in missing)
    chosen = reference.manifest()["settings"]
    if size != chosen["size"]:
        raise ValueError(
            f"{run} has no results of {titles}. Run them first, from the same folder ({Path.cwd()}); the reference "
            f"networks could take their place for size={chosen['size']} only, not for size={size}"
        )
    print(f"{run} has no results of {titles}: the reference run's networks make them now, which takes some minutes.")
    for name in missing:
        STAGES[name](Path(run), chosen)


def _data(run: Path, chosen: dict) -> None:
    from joblib import Parallel, delayed

    from wmhqc.sources import available, synthetic

    folder, jobs = run / "data", os.cpu_count() or 1
    table = synthetic.make_cohort(folder / "cohort", len(reference.table("cohort")), chosen["seed"], jobs)
    table["split"] = table["case"].map(reference.parts())
    real, note = available.real_patients()
    print(note)
    real = real[real["lesion"] != ""].assign(split="real")
    everyone, _ = cohort.check(pd.concat([table, real], ignore_index=True), on_bad="leave out")
    everyone = cohort.add_facts(everyone)
    work = [delayed(_prepare)(row, folder, chosen["size"]) for row in everyone.to_dict("records")]
    for _ in _progress(Parallel(n_jobs=jobs, return_as="generator")(work), "prepared cases", len(work)):
        pass
    cohort.write_csv(everyone, folder / "cohort.csv")


def _prepare(row: dict, folder: Path, size: int) -> None:
    path = folder / "prepared" / f"{row['case']}.npz"
    if not path.exists():
        preprocess.save(preprocess.prepare_row(row, size), path)


def _training(run: Path, chosen: dict) -> None:
    table = cohort.read_csv(run / "data" / "cohort.csv")
    table["network"] = reference.members(table)
    reference.lend(run / "training", *table["network"].unique())
    with replacing(run / "training" / DONE["training"]) as partial:
        table[["case", "network"]].to_csv(partial, index=False)


def _uncertainty(run: Path, chosen: dict) -> None:
    from wmhqc import scores, uncertainty

    table = cohort.read_csv(run / "data" / "cohort.csv").merge(pd.read_csv(run / "training" / DONE["training"]), on="case")
    members = {"mc_unet": "main"}
    nets = {name: reference.network("mc_unet", members.get(name, name)) for name in table["network"].unique()}
    rows = []
    for row in _progress(table.to_dict("records"), "uncertainty maps"):
        case = preprocess.load(run / "data" / "prepared" / f"{row['case']}.npz")
        mc = uncertainty.monte_carlo(nets[row["network"]], case.volume, chosen["passes"], chosen["seed"] + len(rows))
        runs.save_maps(run / "uncertainty" / "maps" / f"{case.case}.npz", mean=mc.mean)
        rows.append(scores.row(case, mc))
    facts = ["case", "database", "site", "synthetic", "split", "network"]
    runs.write_cases(table[facts].merge(pd.DataFrame(rows)).assign(fold=reference.FOLD), run, "uncertainty")


def _error_maps(run: Path, chosen: dict) -> None:
    from wmhqc import errormaps, scores

    reference.members(cohort.read_csv(run / "data" / "cohort.csv"))  # refuses a cohort that the network may know
    rec, asked, rows = reference.network("rec_unet"), runs.read_cases(run, "uncertainty"), []
    for name in _progress(asked["case"], "error maps"):
        case = preprocess.load(run / "data" / "prepared" / f"{name}.npz")
        flair = case.volume[..., 1] / 255
        mask = runs.load_maps(run / "uncertainty" / "maps" / f"{name}.npz")["mean"] >= 0.5
        rebuilt = errormaps.reconstruct(rec, flair, mask)
        runs.save_maps(run / "error_maps" / "maps" / f"{name}.npz", reconstruction=rebuilt)
        summed = scores.voxel_sum(flair - rebuilt, case.voxel_mm3)
        rows.append({"case": name, "vs_error": summed, "ssim": errormaps.similarity(flair, rebuilt)})
    runs.write_cases(asked.merge(pd.DataFrame(rows)), run, "error_maps")


STAGES = {"data": _data, "training": _training, "uncertainty": _uncertainty, "error_maps": _error_maps}


def _progress(items, what, total=None):
    from tqdm import tqdm

    return tqdm(items, desc=what, total=total, file=sys.stdout, mininterval=5)
