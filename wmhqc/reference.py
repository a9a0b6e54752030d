"""The reference run: results and trained networks that come with the package.

They are what `workflow/experiment.smk` made on the synthetic cohort (`manifest.json` says how).
`WMHQC_REFERENCE` names the folder of another run, of which `release` wrote what is needed.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from wmhqc.files import replacing

FILES = (
    "cases.csv", "cohort.csv", "folds.csv", "histories.csv", "manifest.json", "reliability.csv", "scans.csv", "seen.csv",
    "settings.json", "stress.csv",
)  # fmt: skip
#: Fold whose networks are shipped.
FOLD = 0


def folder() -> Path:
    """Where the reference run lies.

    Raises
    ------
    FileNotFoundError
        `WMHQC_REFERENCE` names a folder that holds no released run.
    """
    path = Path(os.environ.get("WMHQC_REFERENCE") or Path(__file__).with_name("data") / "reference")
    if not (path / "manifest.json").is_file():
        raise FileNotFoundError(
            f"{path} holds no reference run (manifest.json is missing); unset WMHQC_REFERENCE, or name a folder that "
            "wmhqc.reference.release wrote"
        )
    return path


def manifest() -> dict:
    """How the run was made: settings, versions, cohort, finished folds."""
    return json.loads((folder() / "manifest.json").read_text())


def cases(part: str | None = None) -> pd.DataFrame:
    """One row for each case and fold in which it was judged.

    Parameters
    ----------
    part : {"test", "validation"}, optional
        Only the rows in which a case had this part. Each case is test in at most one fold.

    Returns
    -------
    DataFrame
        case, database, site, split, fold, the scores of `wmhqc.catalogue`, and the truth.
    """
    table = pd.read_csv(folder() / "cases.csv")
    if part is None:
        return table
    if part not in ("test", "validation"):
        raise ValueError(f"part must be 'test' or 'validation', not {part!r}")
    return table[table["split"] == part].reset_index(drop=True)


def table(name: str) -> pd.DataFrame:
    """Another table of the run: "cohort", "histories", "folds", "seen", "reliability", "scans" or "stress"."""
    return pd.read_csv(folder() / f"{name}.csv")


def network(name: str, member: str = "main"):
    """A trained network of the shipped fold: mc_unet (of a member), rec_unet, reg_net_<pair>.

    Its weights are read from HDF5 into a network that the code builds: nothing is unpickled.
    """
    from wmhqc import experiment

    return experiment.network(folder(), FOLD, f"{name}-{member}" if name == "mc_unet" else name)


def members(cohort: pd.DataFrame) -> pd.Series:
    """Which of the shipped networks segments each case of a cohort without having seen it.

    Parameters
    ----------
    cohort : DataFrame
        `case`, `synthetic` and `lesion_ml`.

    Returns
    -------
    Series of str
        "mc_unet", or for a case that taught it the inner network that did without, "inner0" or "inner1".

    Raises
    ------
    ValueError
        A synthetic case is not the one of the reference run, so nobody knows whether it was seen.
    """
    made = cohort[cohort["synthetic"].astype(bool)].set_index("case")["lesion_ml"]
    known = table("cohort").set_index("case")["lesion_ml"].reindex(made.index)
    other = made.index[~np.isclose(made, known, rtol=1e-4)]
    if len(other):
        raise ValueError(
            f"{len(other)} synthetic cases are not those of the reference run ({', '.join(other[:3])} ...): make the "
            "cohort with cases=105 and seed=0 in chapter 'The data', or set train=True"
        )
    column = table("folds").set_index("case")[f"fold_{FOLD}"]
    return cohort["case"].map(column.where(column.str.startswith("inner"))).fillna("mc_unet")


def lend(into, *names: str) -> None:
    """Copy trained networks to where the chapters look for those that they trained themselves.

    Parameters
    ----------
    into : path
        Folder that gets `<name>/best.weights.h5`.
    names : str
        "mc_unet", "inner0", "inner1", "rec_unet", "reg_net_image" ...
    """
    from wmhqc import training

    for name in names:
        stored = {"mc_unet": "mc_unet-main", "inner0": "mc_unet-inner0", "inner1": "mc_unet-inner1"}.get(name, name)
        with replacing(Path(into) / name / training.BEST) as partial:
            shutil.copyfile(folder() / f"fold_{FOLD}" / stored / training.BEST, partial)


def with_all_folds(judged: pd.DataFrame | None = None) -> pd.DataFrame:
    """A table of cases whose synthetic ones are replaced by the reference run's, of all its folds.

    The real patients stay; they were judged by the networks of one fold. Without a table there are none.
    """
    table = cases().assign(synthetic=True)
    if judged is None:
        return table
    return pd.concat([table, judged[~judged["synthetic"].astype(bool)]], ignore_index=True)


def parts() -> dict:
    """Case -> "test", "validation" or "train" for the networks that are shipped."""
    column = table("folds").set_index("case")[f"fold_{FOLD}"]
    return column.where(~column.str.startswith("inner"), "train").to_dict()


def release(run, out) -> None:
    """Copy of a finished run what the package ships: tables, manifest, networks of one fold, slices of its cases."""
    from wmhqc import experiment, slices, training

    run, out = Path(run), Path(out)
    out.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copyfile(run / name, out / name)
    for weights in sorted((run / f"fold_{FOLD}").glob(f"*/{training.BEST}")):
        target = out / weights.relative_to(run)
        target.parent.mkdir(parents=True, exist_ok=True)
        # saved anew: the training's file also holds the state of the optimiser, twice the weights
        experiment.network(run, FOLD, weights.parent.name).save_weights(target)
        shutil.copyfile(weights.with_name("seen.json"), target.with_name("seen.json"))
    slices.save(*slices.of_run(run), out / slices.NAME)
