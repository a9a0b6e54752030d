"""The paper's experiment over any cohort, the part that learns: folds by patient, three kinds of network.

Each stage is a function of the folder of the run; it reads what the stages before it wrote and
goes on where it was if it was killed. `workflow/experiment.smk` runs them, side by side where
they do not depend on each other; what the networks find is in `wmhqc.evaluation`:

    run/settings.json, cohort.csv, folds.csv     `start`
    run/prepared/<case>.npz, prepared.csv        `start`
    run/fold_0/mc_unet/                          `train_segmenter`: MC U-net
    run/fold_0/rec_unet/                         `train_inpainter`: Rec U-net
    run/fold_0/maps/<case>.npz, maps.csv         `evaluation.infer`: maps and scores of test and validation cases
    run/fold_0/reg_net_image/                    `train_dice_regressor`: also uncertainty, error, mask
    run/fold_0/cases.csv, reliability.csv        `evaluation.predict`
    run/fold_0/stress.csv                        `evaluation.stress`: scans spoilt on purpose
    run/cases.csv, stress.csv, manifest.json     `evaluation.gather`

No network meets a case in an evaluation that it has seen in training. Reg-net must learn from maps and Dice values
as new cases have them: it learns from the *out-of-fold* maps of its training cases, each made by the MC U-net and the
Rec U-net of the fold that tests this case, as in stacking. So all networks of a kind are equally long trained. One
thing follows that a reader should know: those maps come from networks of other folds, which have seen the test cases
of this one; Reg-net itself has not.

Each training folder carries its lineage: the cases that it really drew, with the fingerprints of their images
(`training.fit`). A changed scan, mask, setting or cohort is trained anew or refused, never silently reused.

    python -m wmhqc.run_stage STAGE RUN [FOLD [PAIR]]
"""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from wmhqc import cohort, preprocess, training
from wmhqc.features import scan_features
from wmhqc.files import load_maps, read_json, write_json, write_table

#: What each network's settings may hold beside epochs and steps (`training.fit`), and what is meant without them.
FIT = {"learning_rate": 0.001, "schedule": "constant", "batch": 1, "patience": None, "keep": "last"}
SETTINGS = {
    "size": 64,
    "passes": 20,
    "folds": 5,
    "seed": 0,
    "real_share": 0.4,  # share of the training examples from real patients, where the cohort has synthetic ones too
    "augmentation": "train_augment",
    "initializer": "he_normal",
    "slopes": "channel",
    "precision": "float32",  # or "mixed_bfloat16", for GPUs that have it
    "start_from": None,  # folder of a run whose U-nets are to be fine-tuned on this cohort
    "mc_unet": {"epochs": 26, "steps": 120, "learning_rate": 0.003, "schedule": "cosine"},
    "rec_unet": {"epochs": 8, "steps": 100, "learning_rate": 0.003, "schedule": "cosine"},
    "reg_net": {"epochs": 4, "steps": 40, "batch": 2, "schedule": "cosine"},
}


def settings(run) -> dict:
    """The settings of a run, as `start` wrote them."""
    found = read_json(Path(run) / "settings.json")
    if found is None:
        raise FileNotFoundError(f"{Path(run) / 'settings.json'} does not exist; `start` the run first")
    return SETTINGS | found  # a setting that is newer than the run has its default


def start(run, table: pd.DataFrame, changes: dict | None = None, folds: pd.DataFrame | None = None) -> None:
    """Check the cohort, deal it into folds and prepare every case.

    Called again with a corrected scan or mask, it prepares that case anew.

    Parameters
    ----------
    run : path
        Folder of the run; made if absent.
    table : DataFrame
        A cohort (`wmhqc.cohort`) with manual masks.
    changes : dict, optional
        What differs from `SETTINGS`.
    folds : DataFrame, optional
        Folds made before (`training.folds`), to repeat a run with the same split.

    Raises
    ------
    wmhqc.cohort.CohortError, ValueError
        A scan cannot be used; a setting is unknown; the run was started with other settings, cases or folds; the
        networks to `start_from` are of another size, or may have learnt from cases of this cohort.
    """
    run, chosen = Path(run), merge(SETTINGS, changes or {})
    if (run / "settings.json").exists() and settings(run) != chosen:
        raise ValueError(f"{run} was started with other settings ({run}/settings.json); choose another folder")
    table, _ = cohort.check(table)
    folds = training.folds(table, chosen["folds"], chosen["seed"]) if folds is None else folds
    if chosen["start_from"]:
        _refuse_unfit_start(chosen, table)
    unknown = set(table["case"]) ^ set(folds["case"])
    if unknown:
        raise ValueError(f"cohort and folds differ in the cases {', '.join(sorted(unknown)[:5])}")
    _refuse_other_folds(run, folds)
    run.mkdir(parents=True, exist_ok=True)
    write_json(chosen, run / "settings.json")  # first: what follows is made with them
    cohort.write_csv(table, run / "cohort.csv")
    write_table(folds, run / "folds.csv")
    rows = []
    for row in progress(table.to_dict("records"), "prepare"):
        case = preprocess.keep_prepared(row, run / "prepared" / f"{row['case']}.npz", chosen["size"])
        rows.append({"case": row["case"], "made_from": case.made_from, **scan_features(case)})
    write_table(pd.DataFrame(rows), run / "prepared.csv")


def _refuse_other_folds(run, folds):
    """A run that has begun keeps its cases and folds: its networks were trained on them."""
    path = run / "folds.csv"
    if not path.exists():
        return
    before = pd.read_csv(path, dtype=str).set_index("case")
    now = folds.astype(str).set_index("case")
    other = sorted(set(before.index) ^ set(now.index)) or [
        c for c in now.index if tuple(before.loc[c]) != tuple(now.loc[c])
    ]
    if other:
        raise ValueError(
            f"{run} was started with other cases or folds (they differ in {len(other)}: {', '.join(other[:5])}); its "
            "networks would be tested on cases that they know. Choose another folder, or remove this one"
        )


def parts(run, fold: int) -> pd.Series:
    """Case -> "test", "validation" or "train"."""
    table = pd.read_csv(Path(run) / "folds.csv").set_index("case")
    if f"fold_{fold}" not in table:
        raise ValueError(f"there is no fold {fold}; folds.csv has {', '.join(table.columns)}")
    return table[f"fold_{fold}"]


def train_cases(run, fold: int) -> list[str]:
    """The cases that train the networks of a fold."""
    part = parts(run, fold)
    return part.index[part == "train"].tolist()


def test_fold(run) -> pd.Series:
    """Case -> the fold that tests it, whose networks have not seen it."""
    table = pd.read_csv(Path(run) / "folds.csv").set_index("case")
    return pd.Series(table.eq("test").to_numpy().argmax(1), table.index)


# ---------------------------------------------------------------- training


def train_segmenter(run, fold: int):
    """Train MC U-net on the training cases of a fold."""
    from wmhqc import augment, losses, networks

    change = getattr(augment, settings(run)["augmentation"])
    return _train_unet(run, fold, networks.mc_unet, training.segmentation_example, change, losses.two_class_dice_loss)


def train_inpainter(run, fold: int):
    """Train Rec U-net on the training cases of a fold."""
    from wmhqc import augment, losses, networks

    example = training.reconstruction_example
    return _train_unet(run, fold, networks.rec_unet, example, augment.move, losses.inpainting_loss)


def _train_unet(run, fold, build, example, change, loss):
    """Train a U-net on examples of single cases, which `change` augments; the validation examples stay as they are."""
    chosen, name = settings(run), build.__name__
    return _train(
        run,
        fold,
        name,
        lambda: _begin(chosen, build, name),
        lambda case, rng: example(load_case(run, case), change, rng),
        lambda case: [example(load_case(run, case))],
        loss,
        chosen[name],
    )


def train_dice_regressor(run, fold: int, pair: str):
    """Train Reg-net on one pair of out-of-fold maps of a fold's training cases.

    `mask` differs from the paper's three: it reads a mask and FLAIR, so it can judge a mask
    of any origin; half of its examples are masks spoilt on purpose (`regression.degrade`); its
    output is bound to [0, 1].
    """
    from wmhqc import augment, losses, metrics, networks, regression

    chosen, fold_of = settings(run), test_fold(run)

    def maps(case):
        """Maps of a case by networks that have not seen it, its FLAIR and its manual mask."""
        prepared = load_case(run, case)
        found = load_maps(fold_folder(run, fold_of[case]) / "maps" / f"{case}.npz")
        return regression.with_entropy(found), prepared.volume[..., 1], prepared.lesion > 0

    def example(case, rng=None, spoilt=None):
        found, flair, lesion = maps(case)
        if pair == "mask" and rng is not None and (rng.random() < 0.5 if spoilt is None else spoilt):
            source = lesion if rng.random() < 0.5 else found["mask"]
            found = found | {"mask": regression.degrade(source, rng)}
        true = metrics.lesion_dice(found["mask"], lesion)
        change = None if rng is None or spoilt else _recolour if pair == "mask" else augment.move
        return training.regression_example(regression.pair_of(pair, found, flair), true, change, rng)

    def _recolour(pair_of_maps, _, rng):
        mask = (pair_of_maps[..., 0] > 0).astype(np.uint8)
        flair, mask = augment.train_augment(pair_of_maps[..., 1:] * 255, mask, rng)
        return np.stack([mask, flair[..., 0] / 255], axis=-1), None

    def validation(case):
        rows = [example(case)]
        if pair == "mask":
            rows.append(example(case, np.random.default_rng(sum(case.encode())), spoilt=True))
        return rows

    return _train(
        run,
        fold,
        f"reg_net_{pair}",
        lambda: networks.reg_net(chosen["size"], "sigmoid" if pair == "mask" else "linear"),
        example,
        validation,
        losses.huber(),
        chosen["reg_net"],
    )


def _train(run, fold, name, build, example, validation, loss, options):
    """Train on the training cases of a fold; what was made of other cases and was taken away is made anew."""
    folder, chosen, part = fold_folder(run, fold) / name, settings(run), parts(run, fold)
    made_from = pd.read_csv(Path(run) / "prepared.csv").set_index("case")["made_from"]
    cases = {case: made_from[case] for case in train_cases(run, fold)}

    def fit():
        return training.fit(
            build,
            cases,
            example,
            [pair for case in part.index[part == "validation"] for pair in validation(case)],
            folder,
            loss=loss,
            seed=1000 * chosen["seed"] + fold,
            weights=_weights(run, cases),
            **options,
        )

    with _precision(chosen):
        try:
            return fit()
        except training.OtherLineageError:
            if (folder / training.WEIGHTS).exists():
                raise
            shutil.rmtree(folder)  # unfinished, and never to be finished as it was begun
            return fit()


def _weights(run, cases):
    table = pd.read_csv(Path(run) / "cohort.csv").set_index("case").loc[list(cases)]
    return draw_weights(table, settings(run)["real_share"])


def draw_weights(table: pd.DataFrame, real_share: float) -> np.ndarray | None:
    """How often each training case is drawn: real patients together `real_share` of the time; None: all alike."""
    real = ~table["synthetic"].astype(bool).to_numpy()
    if real.all() or not real.any():
        return None
    return np.where(real, real_share / real.sum(), (1 - real_share) / (~real).sum())


@contextmanager
def _precision(chosen):
    """Networks that are built meanwhile compute in the run's precision."""
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(chosen["precision"])
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _begin(chosen, build, name):
    """A new U-net, or one with the weights of the run to start from."""
    model = build(chosen["size"], slopes=chosen["slopes"], initializer=chosen["initializer"])
    if chosen["start_from"]:
        model.load_weights(Path(chosen["start_from"]) / "fold_0" / name / training.WEIGHTS)
    return model


def _refuse_unfit_start(chosen, table) -> None:
    source = Path(chosen["start_from"])
    before = settings(source)
    for name in ("size", "slopes"):
        if before[name] != chosen[name]:
            raise ValueError(
                f"start_from: the networks of {source} have {name} {before[name]}, this run has {chosen[name]}"
            )
    # folds are not followed here: any case of that run may have been a training case
    known = set(table["case"]) & set(pd.read_csv(source / "cohort.csv")["case"])
    if known:
        raise ValueError(
            f"start_from: {len(known)} cases are those of {source} ({', '.join(sorted(known)[:3])} ...); "
            "networks that may have learnt from them cannot be tested on them"
        )


def network(run, fold: int, name: str):
    """A trained network of a run: "mc_unet", "rec_unet", "reg_net_image" ..."""
    from wmhqc import networks

    chosen = settings(run)
    with _precision(chosen):
        if name.startswith("reg_net"):
            model = networks.reg_net(chosen["size"], "sigmoid" if name.endswith("mask") else "linear")
        else:
            model = getattr(networks, name)(chosen["size"], slopes=chosen["slopes"])
    weights = fold_folder(run, fold) / name / training.WEIGHTS
    if not weights.exists():
        raise FileNotFoundError(f"{weights} does not exist; train {name} of fold {fold} first")
    model.load_weights(weights)
    return model


# ---------------------------------------------------------------- helpers


def merge(default: dict, changes: dict) -> dict:
    """Settings with some of them changed; an unknown name is refused (ValueError)."""
    unknown = sorted(set(changes) - set(default))
    if unknown:
        raise ValueError(f"unknown settings {', '.join(unknown)}; there are {', '.join(default)}")
    return {
        name: merge(FIT | value, changes.get(name, {})) if isinstance(value, dict) else changes.get(name, value)
        for name, value in default.items()
    }


def fold_folder(run, fold: int) -> Path:
    return Path(run) / f"fold_{fold}"


def load_case(run, case: str) -> preprocess.Prepared:
    return preprocess.load(Path(run) / "prepared" / f"{case}.npz")


def progress(items, what, total=None):
    import sys

    from tqdm import tqdm

    return tqdm(items, desc=what, total=total, file=sys.stdout, mininterval=5, disable=total == 0)
