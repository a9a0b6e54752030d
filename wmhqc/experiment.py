"""The paper's experiment over any cohort: five folds, three kinds of network, one table of results.

Each stage is a function of the folder of the run; it reads what the stages before it wrote and
goes on where it was if it was killed. `workflow/experiment.smk` runs them, side by side where
they do not depend on each other:

    run/settings.json, cohort.csv, folds.csv    `start`
    run/prepared/<case>.npz, scans.csv          `start`
    run/fold_0/mc_unet-main/                    `segment`: MC U-net; also -inner0, -inner1
    run/fold_0/rec_unet/                        `reconstruct`
    run/fold_0/maps/<case>.npz, maps.csv        `judge`: maps and scores of every case
    run/fold_0/reg_net_image/                   `regress`: also uncertainty, error, bounded
    run/fold_0/cases.csv                        `predict`
    run/fold_0/stress.csv                       `stress`: scans spoilt on purpose
    run/cases.csv, stress.csv, manifest.json    `gather`

No network judges a case that it has seen. A fold's test and validation cases are judged by
networks trained on its training cases, `main`; a training case by the inner network that was
trained without it, since Reg-net must learn from Dice values as new cases have them. Each
training folder says in `seen.json` which cases taught it and which chose its epoch: none by default, as
the last epoch is kept, so that the validation cases are as new to the networks as test cases are.

    python -m wmhqc.experiment STAGE RUN [FOLD [MEMBER or PAIR]]
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import json
import platform
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from wmhqc import cohort, preprocess, training
from wmhqc.features import scan_features
from wmhqc.files import replacing, sha256

#: The inputs of Reg-net: the paper's three, and one that takes a mask of any origin.
PAIRS = ("image", "uncertainty", "error", "bounded")
#: Networks of a fold that a test case may be shown to: none of them has seen it.
MEMBERS = ("main", "inner0", "inner1")

#: What each network's settings may hold beside epochs and steps (`training.fit`), and what is meant without them.
FIT = {"learning_rate": 0.001, "schedule": "constant", "batch": 1, "patience": None, "keep": "last"}
#: Artefacts of the stress test (`augment.ARTEFACTS`) and their severities.
STRESS = ("motion", "ghosting", "bias_field", "spike", "gaussian_noise", "low_resolution")
SEVERITIES = (0.2, 0.4, 0.6, 0.8, 1.0)
SETTINGS = {
    "size": 64,
    "passes": 20,
    "inner_passes": 5,  # for the maps of training cases, which only teach Reg-net
    "folds": 5,
    "seed": 0,
    "augmentation": "train_augment",
    "initializer": "he_normal",
    "slopes": "channel",
    "precision": "float32",  # or "mixed_bfloat16", for GPUs that have it
    "start_from": None,  # "reference", or the folder of a run whose U-nets are to be fine-tuned on this cohort
    "mc_unet": {"epochs": 12, "steps": 40, "learning_rate": 0.003, "schedule": "cosine"},
    "inner": {"epochs": 7, "steps": 40, "learning_rate": 0.003, "schedule": "cosine"},
    "rec_unet": {"epochs": 7, "steps": 30, "learning_rate": 0.003, "schedule": "cosine"},
    "reg_net": {"epochs": 8, "steps": 25, "batch": 2, "schedule": "cosine"},
}


def settings(run) -> dict:
    """The settings of a run, as `start` wrote them."""
    path = Path(run) / "settings.json"
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; `start` the run first")
    return SETTINGS | json.loads(path.read_text())  # a setting that is newer than the run has its default


def start(run, table: pd.DataFrame, changes: dict | None = None, folds: pd.DataFrame | None = None) -> None:
    """Check the cohort, deal it into folds and prepare every case.

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
        A scan cannot be used; a setting is unknown; the run was started with other settings; the networks to
        `start_from` are of another size, or may have learnt from cases of this cohort.
    """
    run, chosen = Path(run), _merge(SETTINGS, changes or {})
    if (run / "settings.json").exists() and settings(run) != chosen:
        raise ValueError(f"{run} was started with other settings ({run}/settings.json); choose another folder")
    table, _ = cohort.check(table)
    folds = training.folds(table, chosen["folds"], len(MEMBERS) - 1, chosen["seed"]) if folds is None else folds
    if chosen["start_from"]:
        _refuse_unfit_start(chosen, table)
    unknown = set(table["case"]) ^ set(folds["case"])
    if unknown:
        raise ValueError(f"cohort and folds differ in the cases {', '.join(sorted(unknown)[:5])}")
    run.mkdir(parents=True, exist_ok=True)
    cohort.write_csv(table, run / "cohort.csv")
    _write_table(folds, run / "folds.csv")
    looks = []
    for row in _progress(table.to_dict("records"), "prepare"):
        path = run / "prepared" / f"{row['case']}.npz"
        if not path.exists():
            preprocess.save(preprocess.prepare_row(row, chosen["size"]), path)
        looks.append({"case": row["case"], **scan_features(preprocess.load(path))})
    _write_table(pd.DataFrame(looks), run / "scans.csv")
    _write_json(chosen, run / "settings.json")


def parts(run, fold: int) -> pd.Series:
    """Case -> "test", "validation" or the inner fold that holds it out, "inner0" ..."""
    column = f"fold_{fold}"
    table = pd.read_csv(Path(run) / "folds.csv")
    if column not in table:
        raise ValueError(f"there is no fold {fold}; folds.csv has {', '.join(table.columns[1:])}")
    return table.set_index("case")[column]


def teachers(run, fold: int, member: str = "main") -> list[str]:
    """The cases that train a network of a fold: all its training cases, or those outside an inner fold."""
    part = parts(run, fold)
    return part.index[part.str.startswith("inner") & (part != member)].tolist()


# ---------------------------------------------------------------- networks


def segment(run, fold: int, member: str = "main"):
    """Train MC U-net on the training cases of a fold, or on those outside one inner fold."""
    from wmhqc import augment, losses, networks

    chosen = settings(run)
    change = getattr(augment, chosen["augmentation"])
    return _train(
        run, fold, f"mc_unet-{member}", teachers(run, fold, member),
        lambda: _begin(chosen, networks.mc_unet, "mc_unet-main"),
        lambda case, rng: training.segmentation_example(_load(run, case), change, rng),
        lambda case: [training.segmentation_example(_load(run, case))],
        losses.two_class_dice_loss, chosen["mc_unet" if member == "main" else "inner"],
    )  # fmt: skip


def reconstruct(run, fold: int):
    """Train Rec U-net on the training cases of a fold."""
    from wmhqc import losses, networks

    chosen = settings(run)
    return _train(
        run, fold, "rec_unet", teachers(run, fold),
        lambda: _begin(chosen, networks.rec_unet, "rec_unet"),
        lambda case, rng: training.reconstruction_example(_load(run, case), _move, rng),
        lambda case: [training.reconstruction_example(_load(run, case))],
        losses.ssim_loss, chosen["rec_unet"],
    )  # fmt: skip


def regress(run, fold: int, pair: str):
    """Train Reg-net on one pair of maps of a fold's training cases, made by networks that had not seen them.

    `bounded` differs from the paper's three: it reads a mask and FLAIR, so it can judge a mask
    of any origin; half of its examples are masks spoilt on purpose (`regression.degrade`); its
    output is bound to [0, 1].
    """
    from wmhqc import augment, losses, networks, regression

    chosen, dice = settings(run), _table(run, fold, "maps.csv").set_index("case")["lesion_dice"]
    bounded = pair == "bounded"

    def example(case, rng=None):
        if bounded:
            maps, true = _mask_example(run, fold, case, rng)
        else:
            maps, true = _pair(run, fold, case, pair), dice[case]
        change = None if rng is None else _recolour if bounded else _move
        return training.regression_example(maps, true, change, rng)

    def _recolour(maps, mask, rng):
        flair, mask = augment.train_augment(maps[..., 1:] * 255, (maps[..., 0] > 0).astype(np.uint8), rng)
        return np.stack([mask, flair[..., 0] / 255], axis=-1), None

    def validation(case):
        if not bounded:
            return [example(case)]
        spoilt = _mask_example(run, fold, case, np.random.default_rng(sum(case.encode())), spoilt=True)
        return [example(case), training.regression_example(*spoilt)]

    return _train(
        run, fold, f"reg_net_{pair}", teachers(run, fold),
        lambda: networks.reg_net(chosen["size"], "sigmoid" if bounded else "linear"),
        example, validation, losses.huber(), chosen["reg_net"],
    )  # fmt: skip


def _train(run, fold, name, cases, build, example, validation, loss, options):
    folder = _fold(run, fold) / name
    part = parts(run, fold)
    judges = part.index[part == "validation"].tolist()
    folder.mkdir(parents=True, exist_ok=True)
    chooses = options["keep"] == "best" or options["patience"] is not None
    _write_json({"trained_on": cases, "chosen_on": judges if chooses else []}, folder / "seen.json")
    with _precision(settings(run)):
        return training.fit(
            build,
            lambda rng: example(rng.choice(cases), rng),
            [pair for case in judges for pair in validation(case)],
            folder,
            loss=loss,
            seed=settings(run)["seed"],
            **options,
        )


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
        model.load_weights(_source(chosen) / "fold_0" / name / training.BEST)
    return model


def _source(chosen) -> Path:
    from wmhqc import reference

    return reference.folder() if chosen["start_from"] == "reference" else Path(chosen["start_from"])


def _refuse_unfit_start(chosen, table) -> None:
    source = _source(chosen)
    before = settings(source)
    for name in ("size", "slopes"):
        if before[name] != chosen[name]:
            raise ValueError(f"start_from: the networks of {source} have {name} {before[name]}, this run has {chosen[name]}")
    # its inner networks and folds are not followed here: any case of that run may have been a teacher
    known = set(table["case"]) & set(pd.read_csv(source / "cohort.csv")["case"])
    if known:
        raise ValueError(f"start_from: {len(known)} cases are those of {source} ({', '.join(sorted(known)[:3])} ...); "
                         "networks that may have learnt from them cannot be tested on them")  # fmt: skip


def network(run, fold: int, name: str):
    """A trained network of a run, e.g. "mc_unet-inner0"."""
    from wmhqc import networks

    chosen = settings(run)
    kind = name.split("-")[0]
    with _precision(chosen):
        if kind.startswith("reg_net"):
            model = networks.reg_net(chosen["size"], "sigmoid" if kind.endswith("bounded") else "linear")
        else:
            model = getattr(networks, kind)(chosen["size"], slopes=chosen["slopes"])
    weights = _fold(run, fold) / name / training.BEST
    if not weights.exists():
        raise FileNotFoundError(f"{weights} does not exist; train {name} of fold {fold} first")
    model.load_weights(weights)
    return model


# ---------------------------------------------------------------- maps, scores, predictions


def judge(run, fold: int) -> None:
    """Maps and scores of every case, each by networks that have not seen it."""
    from wmhqc import errormaps, scores, uncertainty
    from wmhqc.book import runs

    chosen, part = settings(run), parts(run, fold)
    mc = {member: network(run, fold, f"mc_unet-{member}") for member in MEMBERS}
    rec = network(run, fold, "rec_unet")
    rows = []
    for case, role in _progress(part.items(), f"fold {fold}, maps", len(part)):
        known = _fold(run, fold) / "maps" / f"{case}.json"
        if not known.exists():
            prepared, teaches = _load(run, case), role.startswith("inner")
            passes = chosen["inner_passes" if teaches else "passes"]
            found = uncertainty.monte_carlo(mc[role if teaches else "main"], prepared.volume, passes)
            flair = prepared.volume[..., 1] / 255
            rebuilt = errormaps.reconstruct(rec, flair, found.mask)
            row = scores.row(prepared, found, flair - rebuilt)
            row["ssim"] = errormaps.similarity(flair, rebuilt)
            if not teaches:
                tta = uncertainty.summarise(uncertainty.test_time(mc["main"], prepared.volume))
                several = uncertainty.summarise(uncertainty.ensemble(list(mc.values()), prepared.volume))
                row |= scores.of_samples("tta", tta, prepared.voxel_mm3)
                row |= scores.of_samples("ensemble", several, prepared.voxel_mm3)
            runs.save_maps(known.with_suffix(".npz"), mean=found.mean, error=flair - rebuilt)
            _write_json({**row, "network": role if teaches else "main"}, known)
        rows.append(json.loads(known.read_text()))
    table = pd.read_csv(Path(run) / "cohort.csv")[["case", "database", "site"]]
    split = part.where(~part.str.startswith("inner"), "train").rename("split").reset_index()
    _write_table(table.merge(split).merge(pd.DataFrame(rows)).assign(fold=fold), _fold(run, fold) / "maps.csv")


def predict(run, fold: int) -> None:
    """Add what is learnt from the training or validation cases: predicted Dice, VS residual, scaled expected Dice."""
    from wmhqc import regression, scores
    from wmhqc.book import runs

    table, part = _table(run, fold, "maps.csv"), parts(run, fold)
    asked = table["split"] != "train"
    table["vs_residual"] = scores.vs_residual(table, ~asked)

    def mean(case):
        return runs.load_maps(_fold(run, fold) / "maps" / f"{case}.npz")["mean"]

    voxels = []
    for case in part.index[part == "validation"]:
        prepared = _load(run, case)
        inside = prepared.brain > 0
        voxels.append((mean(case)[inside], prepared.lesion[inside] > 0))
    p, lesion = (np.concatenate(values) for values in zip(*voxels))
    temperature = scores.fit_temperature(p, lesion)
    diagrams = {1.0: scores.reliability(p, lesion), temperature: scores.reliability(scores.scale(p, temperature), lesion)}
    _write_table(
        pd.concat(d.assign(fold=fold, temperature=t) for t, d in diagrams.items()), _fold(run, fold) / "reliability.csv"
    )
    nets = {pair: network(run, fold, f"reg_net_{pair}") for pair in PAIRS}
    rows = []
    for case in table.loc[asked, "case"]:
        prepared, p = _load(run, case), mean(case)
        row = {"case": case, "expected_dice_scaled": scores.expected_dice(p[prepared.brain > 0], temperature)}
        for pair, net in nets.items():
            maps = _mask_example(run, fold, case)[0] if pair == "bounded" else _pair(run, fold, case, pair)
            row[f"predicted_dice_{pair}"] = regression.predict_dice(net, maps)
        rows.append(row)
    table = table[asked].merge(pd.DataFrame(rows))
    table["temperature"] = temperature
    _write_table(table, _fold(run, fold) / "cases.csv")


def stress(run, fold: int = 0, cases: int = 6) -> None:
    """Spoil test cases by artefacts of growing severity, and judge each: does trust fall as the Dice does?

    Writes the fold's `stress.csv`, one row for each case, artefact and severity (0: the scan as it is), with all
    scores that need no other samples. T1 and FLAIR are spoilt, the manual mask stays.
    """
    from wmhqc import augment, errormaps, regression, scores, uncertainty

    chosen, part = settings(run), parts(run, fold)
    mc, rec = network(run, fold, "mc_unet-main"), network(run, fold, "rec_unet")
    nets = {pair: network(run, fold, f"reg_net_{pair}") for pair in PAIRS}
    loads = _table(run, fold, "maps.csv").set_index("case")["true_ml"]
    test = loads[part.index[part == "test"]].sort_values().index
    # spread over the lesion loads
    test = [test[round(i)] for i in np.linspace(0, len(test) - 1, min(cases, len(test)))]
    rows = []
    for case in _progress(test, "stress"):
        known = _fold(run, fold) / "stress" / f"{case}.json"
        if not known.exists():
            clean, found = _load(run, case), []
            for artefact, severity in [("none", 0.0), *((a, s) for a in STRESS for s in SEVERITIES)]:
                spoilt = dataclasses.replace(clean)
                if severity:
                    rng = np.random.default_rng([chosen["seed"], *case.encode(), *artefact.encode()])
                    spoilt.volume = augment.ARTEFACTS[artefact](clean.volume, severity, rng)
                maps = uncertainty.monte_carlo(mc, spoilt.volume, chosen["passes"])
                flair = spoilt.volume[..., 1]
                error = errormaps.error_map(rec, flair / 255, maps.mask)
                row = {"artefact": artefact, "severity": severity, **scores.row(spoilt, maps, error)}
                for pair, net in nets.items():
                    pairs = {"flair": flair, "uncertainty": maps.entropy, "error": error}
                    given = regression.pair(pair, maps.mean, **pairs) if pair != "bounded" else regression.mask_pair(maps.mask, flair)
                    row[f"predicted_dice_{pair}"] = regression.predict_dice(net, given)
                found.append(row)
            _write_json(found, known)
        rows += json.loads(known.read_text())
    _write_table(pd.DataFrame(rows).assign(fold=fold), _fold(run, fold) / "stress.csv")


def gather(run) -> None:
    """Put the folds that are finished together, with a manifest of how they were made."""
    run = Path(run)
    done = sorted(int(path.parent.name.removeprefix("fold_")) for path in run.glob("fold_*/cases.csv"))
    if not done:
        raise FileNotFoundError(f"{run} has no finished fold (fold_*/cases.csv)")
    for name in ("cases.csv", "reliability.csv", "stress.csv"):
        tables = [pd.read_csv(path) for fold in done if (path := _fold(run, fold) / name).exists()]
        if tables:
            _write_table(pd.concat(tables), run / name)
    histories, seen = [], []
    for fold in done:
        for path in sorted(_fold(run, fold).glob("*/history.csv")):
            histories.append(training.read_history(path.parent).assign(fold=fold, network=path.parent.name))
            for use, cases in json.loads((path.parent / "seen.json").read_text()).items():
                seen += [{"fold": fold, "network": path.parent.name, "use": use, "case": case} for case in cases]
    _write_table(pd.concat(histories), run / "histories.csv")
    _write_table(pd.DataFrame(seen), run / "seen.csv")
    table = pd.read_csv(run / "cohort.csv")
    manifest = {
        "settings": settings(run),
        "cases": len(table),
        "synthetic": bool(table["synthetic"].all()),
        "cohort_sha256": sha256(run / "scans.csv"),
        "folds": done,
        "training_minutes": round(float(pd.concat(histories)["seconds"].sum()) / 60, 1),
        "versions": {
            name: importlib.metadata.version(name) for name in ("wmhqc", "keras", "tensorflow", "numpy", "scipy")
        }
        | {"python": platform.python_version()},
        "created": time.strftime("%Y-%m-%d"),
    }
    _write_json(manifest, run / "manifest.json")


# ---------------------------------------------------------------- helpers


def _merge(default: dict, changes: dict) -> dict:
    unknown = sorted(set(changes) - set(default))
    if unknown:
        raise ValueError(f"unknown settings {', '.join(unknown)}; there are {', '.join(default)}")
    return {
        name: _merge(FIT | value, changes.get(name, {}))
        if isinstance(value, dict) else changes.get(name, value)
        for name, value in default.items()
    }  # fmt: skip


def _fold(run, fold: int) -> Path:
    return Path(run) / f"fold_{fold}"


def _table(run, fold: int, name: str) -> pd.DataFrame:
    return pd.read_csv(_fold(run, fold) / name)


def _load(run, case: str) -> preprocess.Prepared:
    return preprocess.load(Path(run) / "prepared" / f"{case}.npz")


def _move(volume, mask, rng):
    from wmhqc import augment

    return augment.affine(*augment.flip(volume, mask, rng), rng)


def _pair(run, fold, case, name):
    from wmhqc import regression, uncertainty
    from wmhqc.book import runs

    maps = runs.load_maps(_fold(run, fold) / "maps" / f"{case}.npz")
    flair = _load(run, case).volume[..., 1]
    return regression.pair(
        name, maps["mean"], flair=flair, uncertainty=uncertainty.entropy(maps["mean"]), error=maps["error"]
    )


def _mask_example(run, fold, case, rng=None, spoilt=None):
    """A mask with its FLAIR, and its Dice: the network's own, or with `rng` half the time a spoilt one."""
    from wmhqc import metrics, regression
    from wmhqc.book import runs

    prepared = _load(run, case)
    mask = runs.load_maps(_fold(run, fold) / "maps" / f"{case}.npz")["mean"] >= 0.5
    if rng is not None and (rng.random() < 0.5 if spoilt is None else spoilt):
        mask = regression.degrade(prepared.lesion > 0 if rng.random() < 0.5 else mask, rng)
    return regression.mask_pair(mask, prepared.volume[..., 1]), metrics.lesion_dice(mask, prepared.lesion > 0)


def _write_json(content, path) -> None:
    with replacing(path) as partial:
        partial.write_text(json.dumps(content, indent=1))


def _write_table(table, path) -> None:
    with replacing(path) as partial:
        table.to_csv(partial, index=False)


def _progress(items, what, total=None):
    import sys

    from tqdm import tqdm

    return tqdm(items, desc=what, total=total, file=sys.stdout, mininterval=5)


def main(arguments=None) -> None:
    stages = {f.__name__: f for f in (segment, reconstruct, judge, regress, predict, stress, gather)}
    parser = argparse.ArgumentParser(prog="python -m wmhqc.experiment", description="One stage of the experiment.")
    parser.add_argument("stage", choices=stages)
    parser.add_argument("run")
    parser.add_argument("fold", nargs="?", type=int)
    parser.add_argument("which", nargs="?", help="member of segment (main, inner0, inner1), pair of regress")
    given = parser.parse_args(arguments)
    stages[given.stage](*(value for value in (given.run, given.fold, given.which) if value is not None))


if __name__ == "__main__":
    main()
