"""What a chapter needs of those before it, with one call: read where it is there, made where it is missing.

    cases = stages.data("runs/cpu")             the cohort, every case prepared
    cases = stages.uncertainty("runs/cpu")      one row a case, from Monte Carlo passes
    cases = stages.error_maps("runs/cpu")       the same with the error map's numbers
    case, maps = stages.load(run, name)         a prepared case and its maps

Networks are those that the chapters trained in this folder (`wmhqc.book.own`), or else the reference run's: for a
case of its cohort those of the fold that tests it, for any other scan all of them together. So a chapter that is
opened alone, as in Colab, finds what it reads, and called again after a stop a stage goes on where it was. What is
not given is as it was when the stage was made; what is given otherwise is made anew.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from wmhqc import cohort, errormaps, preprocess, reference, regression, scores, training
from wmhqc.assess import assess
from wmhqc.experiment import merge, progress
from wmhqc.files import load_maps, read_json, save_maps, sha256, write_json, write_table

DATA = {"size": None, "cases": None, "seed": 0, "ms17": True}
PASSES = {"passes": 20, "seed": 0}
#: Training cases that are made beside those that the reference networks judge.
TRAINING_CASES = 20
FACTS = ["case", "database", "site", "synthetic", "split", "network"]
#: Columns that the error maps add to the row of a case.
OF_ERROR_MAPS = ["vs_error", "vs_error_inside", "ssim"]


def data(run, jobs: int | None = None, **changes) -> pd.DataFrame:
    """The cohort of a run: synthetic cases and the real patients that can be had, checked and prepared.

    Parameters
    ----------
    run : path
        The folder of results that the chapters share.
    jobs : int, optional
        Processes at once; by default one a processor.
    **changes
        What differs from `DATA`. `size`: edge of the cube, in voxels; by default the reference run's. `cases`: so
        many synthetic cases, or those of a list of names, split anew, to train networks of one's own; by default
        those that the first fold of the reference run tests or validates, and `TRAINING_CASES` of those that it
        learns from. `seed`: of the synthetic cohort. `ms17`: fetch the MS17 patients if that is possible.

    Returns
    -------
    DataFrame
        A cohort with facts (`wmhqc.cohort.add_facts`), `split`: train, validation, test or real, `made_from` and
        `prepared_ml`, the lesion volume in the cube.
    """
    folder = Path(run) / "data"
    before = read_json(folder / "settings.json")
    chosen = merge(before or DATA, changes)
    chosen["size"] = chosen["size"] or reference.manifest()["settings"]["size"]
    if chosen == before and (folder / "cohort.csv").exists():
        return cohort.read_csv(folder / "cohort.csv")
    if chosen["cases"] is None:
        _refuse_other_than_the_reference(chosen)
    table, note = _cohort(folder, chosen, jobs or os.cpu_count() or 1)
    if note:
        print(note)
    table, problems = cohort.check(table, on_bad="leave out")
    write_table(problems, folder / "problems.csv")
    table = cohort.add_facts(table).merge(prepare(table, folder, chosen["size"], jobs), on="case")
    cohort.write_csv(table, folder / "cohort.csv")
    write_json(chosen, folder / "settings.json")
    return table


def _refuse_other_than_the_reference(chosen) -> None:
    size = reference.manifest()["settings"]["size"]
    if chosen["size"] != size or chosen["seed"]:
        raise ValueError(
            f"the networks of the reference run read cubes of {size} voxels a side and know the cases of seed 0, not "
            f"size {chosen['size']} and seed {chosen['seed']}. For others give the chapters `cases`, a number, and "
            "train = True, from chapter 'The data' on"
        )


def _cohort(folder, chosen, jobs):
    from wmhqc.sources import available, synthetic

    names, part = chosen["cases"], pd.Series(reference.parts())
    if names is None:
        known = synthetic.members()["case"].map(part).set_axis(synthetic.members()["case"])
        teaching = known.index[known == "train"][:TRAINING_CASES]
        names = [case for case in known.index if known[case] in ("test", "validation") or case in teaching]
    table = synthetic.make_cohort(folder / "cohort", names, chosen["seed"], jobs, progress=False)
    own = chosen["cases"] is not None
    table["split"] = training.split(table, chosen["seed"]) if own else table["case"].map(part)
    real, note = available.real_patients(chosen["ms17"], progress=False)
    real = real[real["lesion"] != ""].assign(split="real")  # without a manual mask there is nothing to compare with
    return pd.concat([table, real], ignore_index=True), note


def prepare(table: pd.DataFrame, folder, size: int, jobs: int | None = None) -> pd.DataFrame:
    """Prepare every case of a table in `folder`/prepared, several at once; what is there and fits is kept.

    Returns
    -------
    DataFrame
        `case`, `made_from`, `voxel_mm3` and `prepared_ml`, the lesion volume in the cube.
    """
    from joblib import Parallel, delayed

    work = [
        delayed(preprocess.keep_and_describe)(row, str(Path(folder) / "prepared" / f"{row['case']}.npz"), size)
        for row in table.to_dict("records")
    ]
    done = Parallel(n_jobs=jobs or os.cpu_count() or 1, return_as="generator")(work)
    return pd.DataFrame(progress(done, "prepared cases", len(work)))


def asked(run) -> pd.DataFrame:
    """The cases of a run with the column `network`: which networks judge each without having seen it.

    A name of the folder's own networks where chapter "Training" trained them, else the fold of the reference run
    or "all".
    """
    table, own = data(run), Path(run) / "training" / "networks.csv"
    if own.exists():
        return table.merge(pd.read_csv(own, dtype=str), on="case")
    table = table[table["split"] != "train"].reset_index(drop=True)
    fold = reference.unseen(table["case"]).astype(object)
    return table.assign(network=["all" if pd.isna(one) else str(one) for one in fold])


def networks(run, name: str, kinds=("mc_unet",)) -> dict[str, list]:
    """Networks by the name in `asked`, as `wmhqc.assess.assess` takes them."""
    if name == "all" or name.isdigit():
        return reference.networks(None if name == "all" else int(name), kinds)
    return {kind: [_own(_place(run, name, kind))] for kind in kinds}


def _place(run, name, kind) -> Path:
    """The folder in which a chapter trained a network: `kind` for all cases, or for an MC U-net the one of `name`."""
    chapter = {"mc_unet": "training", "rec_unet": "error_maps"}.get(kind, "dice_regression")
    return Path(run) / chapter / (name if kind == "mc_unet" else kind)


def build(described: dict):
    """An untrained network: `build` names its function in `wmhqc.networks`, the rest is what that takes."""
    from wmhqc import networks as known

    return getattr(known, described["build"])(**{name: value for name, value in described.items() if name != "build"})


def _own(folder):
    described = read_json(folder / "network.json")
    if described is None or not (folder / training.WEIGHTS).exists():
        raise FileNotFoundError(
            f"{folder} holds no trained network; run the chapter '{folder.parent.name}' with train=True"
        )
    model = build(described)
    model.load_weights(folder / training.WEIGHTS)
    return model


def _weights(run, name, kind) -> list[Path]:
    if name == "all" or name.isdigit():
        folds = reference.folds() if name == "all" else [name]
        return [reference.folder() / f"fold_{fold}" / kind / training.WEIGHTS for fold in folds]
    return [_place(run, name, kind) / training.WEIGHTS]


def uncertainty(run, **changes) -> pd.DataFrame:
    """One row a case: scores of its Monte Carlo passes, and the truth. The maps lie in `run`/uncertainty/maps.

    Parameters
    ----------
    run : path
    **changes
        What differs from `PASSES`: the number of `passes`, the `seed` of the dropout.
    """
    chosen = _chosen(run, changes)

    def one(case, nets):
        maps, row = assess(case, nets, **chosen, other_samples=False)
        return {"mean": maps["mean"]}, row

    cases = _stage(run, "uncertainty", ("mc_unet",), chosen, one)
    write_json(chosen, Path(run) / "uncertainty" / "settings.json")
    return cases


def _chosen(run, changes=()):
    return merge(read_json(Path(run) / "uncertainty" / "settings.json", PASSES), dict(changes))


def error_maps(run) -> pd.DataFrame:
    """The rows of `uncertainty` with `OF_ERROR_MAPS`. The reconstructions lie in `run`/error_maps/maps."""
    before = uncertainty(run)

    def one(case, nets):
        flair, mask = case.volume[..., 1] / 255, mean(run, case.case) >= 0.5
        rebuilt = np.mean([errormaps.reconstruct(net, flair, mask) for net in nets["rec_unet"]], axis=0)
        error = flair - rebuilt
        vs, inside = (scores.voxel_sum(part, case.voxel_mm3) for part in (error, error[mask]))
        row = {
            "case": case.case,
            "vs_error": vs,
            "vs_error_inside": inside,
            "ssim": errormaps.similarity(flair, rebuilt),
        }
        return {"reconstruction": rebuilt}, row

    found = _stage(run, "error_maps", ("mc_unet", "rec_unet"), _chosen(run), one)
    cases = before.merge(found[["case", *OF_ERROR_MAPS]], on="case")
    write_table(cases, Path(run) / "error_maps" / "cases.csv")
    return cases


def _stage(run, chapter, kinds, chosen, one: Callable) -> pd.DataFrame:
    """Each case through `one(prepared, networks) -> (maps, row)`, unless its result is there, made from the same."""
    folder, table = Path(run) / chapter, asked(run)
    places = {case: folder / "maps" / f"{case}.npz" for case in table["case"]}
    for name, part in table.groupby("network", sort=False):
        weights = [sha256(path) for kind in kinds for path in _weights(run, name, kind) if path.exists()]
        keys = {row.case: _key(chosen, weights, row.made_from) for row in part.itertuples()}
        missing = [case for case, key in keys.items() if _found(places[case]).get("key") != key]
        nets = networks(run, name, kinds) if missing else {}
        for case in progress(missing, f"{chapter}, networks {name}", len(missing)):
            maps, row = one(prepared(run, case), nets)
            save_maps(places[case], **maps)
            write_json({"key": keys[case], "row": row}, places[case].with_suffix(".json"))
    rows = pd.DataFrame([_found(place)["row"] for place in places.values()])
    cases = table[FACTS].merge(rows, on="case").assign(fold=0)
    write_table(cases, folder / "cases.csv")
    return cases


def _key(*made_of) -> str:
    return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()


def _found(place) -> dict:
    return read_json(place.with_suffix(".json"), {}) if place.exists() else {}


def judged(cases: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Validation cases, test cases and real patients among the rows of a chapter or of `reference.cases()`.

    Validation and test cases are the synthetic ones where there are any; a real patient counts once, as the networks
    see him that test him.
    """
    real = ~cases["synthetic"].astype(bool)
    validation, test = (cases[~real & (cases["split"] == part)] for part in ("validation", "test"))
    return validation, test, cases[real & cases["split"].isin(["test", "real"])]


def mean(run, case: str) -> np.ndarray:
    """Mean lesion probability of a case (n, n, n)."""
    return load_maps(Path(run) / "uncertainty" / "maps" / f"{case}.npz")["mean"]


def prepared(run, case: str) -> preprocess.Prepared:
    """A prepared case of a run."""
    return preprocess.load(Path(run) / "data" / "prepared" / f"{case}.npz")


def load(run, case: str) -> tuple[preprocess.Prepared, dict]:
    """A prepared case, and those of its maps that are there: mean, entropy, mask, reconstruction, error."""
    found, maps = prepared(run, case), {}
    for chapter in ("uncertainty", "error_maps"):
        path = Path(run) / chapter / "maps" / f"{case}.npz"
        if path.exists():
            maps |= load_maps(path)
    if "mean" in maps:
        maps = regression.with_entropy(maps)
    if "reconstruction" in maps:
        maps["error"] = found.volume[..., 1] / 255 - maps["reconstruction"]
    return found, maps
