"""The reference run: results and trained networks that come with the package.

They are what `workflow/experiment.smk` made (`manifest.json` says how, on which cases and machine).
`WMHQC_REFERENCE` names the folder of another run, of which `wmhqc.release` wrote what is needed.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd

from wmhqc.regression import PAIRS

NAMES = ("mc_unet", "rec_unet", *(f"reg_net_{pair}" for pair in PAIRS))
#: A synthetic case whose lesion volume differs by more than this part from the run's came out otherwise here.
SAME_VOLUME = 1e-3


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
            "wmhqc.release.release wrote"
        )
    return path


def manifest() -> dict:
    """How the run was made: settings, versions, cohort, finished folds."""
    return json.loads((folder() / "manifest.json").read_text())


def cases(part: str | None = None, kind: str | None = None) -> pd.DataFrame:
    """One row for each case and fold in which it was judged.

    Parameters
    ----------
    part : {"test", "validation"}, optional
        Only the rows in which a case had this part. Each case is test in one fold and validation in one.
    kind : {"synthetic", "real"}, optional
        Only synthetic cases, or only patients.

    Returns
    -------
    DataFrame
        case, database, site, synthetic, split, fold, the scores of `wmhqc.catalogue`, and the truth.
    """
    table = pd.read_csv(folder() / "cases.csv")
    if part not in (None, "test", "validation"):
        raise ValueError(f"part must be 'test' or 'validation', not {part!r}")
    if kind not in (None, "synthetic", "real"):
        raise ValueError(f"kind must be 'synthetic' or 'real', not {kind!r}")
    if part is not None:
        table = table[table["split"] == part]
    if kind is not None:
        table = table[table["synthetic"].astype(bool) == (kind == "synthetic")]
    return table.reset_index(drop=True)


def table(name: str) -> pd.DataFrame:
    """Another table of the run: "cohort", "histories", "folds", "seen", "reliability", "prepared" or "stress"."""
    return pd.read_csv(folder() / f"{name}.csv")


def folds() -> list[int]:
    """The folds whose networks are shipped."""
    from wmhqc.training import WEIGHTS

    there = folder().glob(f"fold_*/mc_unet/{WEIGHTS}")
    return sorted(int(path.parents[1].name.removeprefix("fold_")) for path in there)


def network(name: str, fold: int = 0):
    """A trained network of one fold: "mc_unet", "rec_unet", "reg_net_<pair>".

    Its weights are read from HDF5 into a network that the code builds: nothing is unpickled.
    """
    from wmhqc import experiment  # and with it Keras, which the tables do not need

    return experiment.network(folder(), fold, name)


def networks(fold: int | None = None, names=NAMES) -> dict[str, list]:
    """Trained networks as `wmhqc.assess.assess` takes them.

    Parameters
    ----------
    fold : int, optional
        Those of one fold, for a case of the run's own cohort (`unseen`). By default those of all folds
        together, for a scan that none of them has seen.
    names : sequence of str
        Kinds of networks.

    Returns
    -------
    dict of str to list of keras.Model
    """
    chosen = folds() if fold is None else [fold]
    return {name: [network(name, one) for one in chosen] for name in names}


def unseen(cases) -> pd.Series:
    """The fold whose networks have not seen a case, by the lists of the run.

    A case of the cohort is known by its name, which for synthetic cases says what was drawn (with seed 0); never by
    equal numbers, which differ between processors.

    Parameters
    ----------
    cases : sequence of str

    Returns
    -------
    Series of Int64
        Case -> the fold that tests it, or else one that validates it; <NA> for a case that is not in the run,
        which no network has seen.

    Raises
    ------
    ValueError
        All networks that are shipped have learnt from a case.
    """
    roles = table("folds").set_index("case").reindex(list(cases))
    found = pd.Series(pd.NA, roles.index, dtype="Int64")
    for part in ("validation", "test"):
        for fold in folds():
            found[roles[f"fold_{fold}"] == part] = fold
    known = found.index[found.isna() & roles.notna().any(axis=1)]
    if len(known):
        raise ValueError(
            f"all networks of {folder()} have learnt from {len(known)} of the cases ({', '.join(known[:3])} ...), "
            "so none can judge them; leave them out, or train networks of your own (train=True)"
        )
    return found


def otherwise(cohort: pd.DataFrame) -> pd.DataFrame:
    """Synthetic cases that came out otherwise here than in the run, as last digits differ between processors.

    Parameters
    ----------
    cohort : DataFrame
        `case`, `synthetic` and `lesion_ml`.

    Returns
    -------
    DataFrame
        `case`, `lesion_ml` and `reference_ml` of those whose volume differs by more than `SAME_VOLUME`.
    """
    made = cohort[cohort["synthetic"].astype(bool)][["case", "lesion_ml"]]
    both = made.merge(table("cohort")[["case", "lesion_ml"]].rename(columns={"lesion_ml": "reference_ml"}), on="case")
    return both[~np.isclose(both["lesion_ml"], both["reference_ml"], rtol=SAME_VOLUME)].reset_index(drop=True)


def parts(fold: int = 0) -> dict:
    """Case -> "test", "validation" or "train" for the networks of a fold."""
    from wmhqc import experiment

    return experiment.parts(folder(), fold).to_dict()
