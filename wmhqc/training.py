"""Folds by patient, and a training loop that can be killed at any moment and goes on.

A training folder holds `lineage.json` (what it learns from, and which cases it really drew), `history.csv`
(one row an epoch), a checkpoint to go on from, and, when training is over, `model.weights.h5`.
"""

from __future__ import annotations

import itertools
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from tqdm import tqdm

from wmhqc.errormaps import blank
from wmhqc.files import read_json, write_json
from wmhqc.layers import seed_dropout

WEIGHTS = "model.weights.h5"
#: Settings of `fit` that may change for a training that goes on.
_MAY_GROW = ("epochs",)

Example = Callable[[str, np.random.Generator], tuple[np.ndarray, np.ndarray]]


def split(table: pd.DataFrame, seed: int = 0) -> pd.Series:
    """Assign each case to train, validation or test: the first of the five `folds`.

    Parameters
    ----------
    table : DataFrame
        A cohort, see `folds`.

    Returns
    -------
    Series of str
        Same index as `table`.
    """
    return folds(table, seed=seed)["fold_0"]


def folds(table: pd.DataFrame, count: int = 5, seed: int = 0) -> pd.DataFrame:
    """Deal the cases into `count` folds by patient; each fold is the test set once and validation once.

    All sessions of a patient stay together (`patients`), and each fold has cases of every site as far as
    that goes. The validation cases of a fold are the test cases of the next one, so that each case is
    judged by two networks that have not seen it. The paper dealt 68 : 16 : 21 at random; here it is 63 : 21 : 21.

    Parameters
    ----------
    table : DataFrame
        A cohort with columns `case` and `site`; `database` and `patient` where known.
    count : int
        Folds, at least 3.

    Returns
    -------
    DataFrame
        `case` and one column a fold, `fold_0` ...: "test", "validation" or "train".

    Raises
    ------
    ValueError
        Fewer than three folds, or fewer patients than folds.
    """
    patient = patients(table)
    if count < 3:
        raise ValueError(f"expected at least 3 folds (training, validation and test), got {count}")
    if patient.nunique() < count:
        raise ValueError(f"{count} folds need as many patients, got {patient.nunique()} patients")
    dealt = _deal(table, count, seed)
    result = table[["case"]].copy()
    for fold in range(count):
        part = np.full(len(table), "train", dtype=object)
        part[dealt == (fold + 1) % count] = "validation"
        part[dealt == fold] = "test"
        result[f"fold_{fold}"] = part
    return result


def inner_folds(table: pd.DataFrame, count: int = 2, seed: int = 0) -> pd.Series:
    """Number each training case with the inner fold that holds it out, 0 to `count` - 1; patients stay together.

    Reg-net must learn from predictions on cases that the segmenting network has not seen;
    each inner fold is predicted by a network trained on the other inner folds.
    """
    if not 2 <= count <= patients(table).nunique():
        raise ValueError(f"inner folds must be between 2 and the {patients(table).nunique()} patients, not {count}")
    return pd.Series(_deal(table, count, seed), index=table.index)


def patients(table: pd.DataFrame) -> pd.Series:
    """One name a patient: database, site and patient, or the case where the patient is not known."""
    known = table.reindex(columns=["database", "site", "patient"]).astype(object)
    known = known.where(known.notna(), "").astype(str)
    return (known["database"] + "/" + known["site"] + "/" + known["patient"]).where(
        known["patient"] != "", table["case"]
    )


def _deal(table, count, seed):
    """Number of the fold of each case, 0 to `count` - 1."""
    import warnings

    from sklearn.model_selection import StratifiedGroupKFold

    dealer = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    dealt = np.empty(len(table), int)
    site, patient = table["site"].fillna("").astype(str), patients(table)
    if site.value_counts().max() < count:  # too few of each to be spread over the folds
        site = pd.Series("", site.index)
    with warnings.catch_warnings():  # a site may have fewer cases than there are folds
        warnings.simplefilter("ignore", UserWarning)
        for fold, (_, test) in enumerate(dealer.split(table, site, patient)):
            dealt[test] = fold
    return dealt


class OtherLineageError(ValueError):
    """A training folder was made from other cases or with other settings."""


def fit(
    build: Callable[[], keras.Model],
    cases: Mapping[str, str] | Sequence[str],
    example: Example,
    validation: list[tuple[np.ndarray, np.ndarray]],
    folder: str | Path,
    *,
    loss,
    epochs: int,
    steps: int = 10,
    batch: int = 1,
    learning_rate: float = 1e-3,
    schedule: str = "constant",
    patience: int | None = None,
    keep: str = "best",
    seed: int = 0,
    weights: Sequence[float] | None = None,
    progress: bool = True,
) -> tuple[keras.Model, pd.DataFrame]:
    """Train with Adam, keep the weights of the best or of the last epoch, and load them at the end.

    Parameters
    ----------
    build : callable
        Makes the network, after the random seed is set, so that its first weights are the
        same for the same seed.
    cases : mapping or sequence
        The training cases; a mapping gives each its fingerprint (`preprocess.Prepared.made_from`).
    example : callable
        `(case, rng) -> (input, target)`: one random, augmented training example.
    validation : list of (input, target)
        Fixed examples, without augmentation.
    folder : path
        Made if absent.  If it holds an unfinished training, that goes on; a finished one is
        loaded, or goes on if `epochs` has grown.
    loss : callable or keras loss
        See `losses`.
    epochs, steps, batch : int
        The paper: MC U-net 300, 10, 1; Rec U-net 1700, 34, 2; Reg-net 60, 34, 2.
    learning_rate : float
    schedule : {"constant", "cosine"}
        The paper's constant rate, or half a cosine down to zero.
    patience : int, optional
        Stop after so many epochs without a lower validation loss.
    keep : {"best", "last"}
        Keep the weights of the epoch with the lowest validation loss, as in the paper, or of the last
        one. Then the validation cases choose nothing and can serve to calibrate.
    weights : sequence of float, optional
        How often each case is drawn, relative to the others; by default all alike.

    Returns
    -------
    keras.Model, DataFrame
        The network with the weights that were kept; its history: epoch, loss, val_loss, seconds.

    Raises
    ------
    OtherLineageError
        The folder holds a training on other cases or with other settings.
    """
    if keep not in ("best", "last"):
        raise ValueError(f"keep must be 'best' or 'last', not {keep!r}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    chance = None if weights is None else np.asarray(weights, float) / np.sum(weights)
    plan = _plan(
        cases,
        {
            "epochs": epochs,
            "steps": steps,
            "batch": batch,
            "learning_rate": learning_rate,
            "schedule": schedule,
            "patience": patience,
            "keep": keep,
            "seed": seed,
            "weights": None if chance is None else chance.tolist(),
        },
    )
    lineage = _continue(folder, plan)
    history = read_history(folder)
    done = len(history)
    keras.utils.set_random_seed(seed)
    model = build()
    if done < epochs and not (_waited(history, patience) and (folder / WEIGHTS).exists()):
        if done:
            trained = keras.models.load_model(_checkpoint(folder, done))
        else:
            trained = model
            rate = _rate(learning_rate, schedule, epochs * steps)
            trained.compile(keras.optimizers.Adam(rate), loss, jit_compile=jit())
        names, drawn = list(cases), Counter(lineage["drawn"])
        examples = _examples(example, names, chance, batch, seed, start=done * steps * batch)
        bar = tqdm(
            range(done + 1, epochs + 1),
            initial=done,
            total=epochs,
            desc=folder.name,
            unit="epoch",
            disable=not progress,
            file=sys.stdout,
            mininterval=2,
        )
        for epoch in bar:
            begun = time.perf_counter()
            seed_dropout(trained, seed, epoch)  # Keras does not keep the state of these generators with a model
            row = {"epoch": epoch, **_epoch(trained, examples, steps, validation, drawn)}
            row["seconds"] = time.perf_counter() - begun
            best = keep == "last" or not done or row["val_loss"] < history["val_loss"].min()
            over = epoch == epochs or _waited(pd.DataFrame([*history.to_dict("records"), row]), patience)
            history = _keep(trained, folder, history, row, plan | {"drawn": dict(drawn)}, best, over)
            done = epoch
            bar.set_postfix({"validation loss": f"{history['val_loss'].min():.4f}"})
            if over:
                break
    model.load_weights(folder / WEIGHTS)
    return model, read_history(folder)


def read_lineage(folder: str | Path) -> dict:
    """What a training folder learns from: `cases` (name to fingerprint), `settings`, and how often each was `drawn`."""
    return read_json(Path(folder) / "lineage.json", {})


def _plan(cases, settings):
    fingerprints = dict(cases) if isinstance(cases, Mapping) else dict.fromkeys(cases, "")
    return {"settings": settings, "cases": fingerprints}


def _continue(folder, plan):
    """The lineage that is there, if it is of this plan; nothing is there yet, or was taken away: a new one."""
    found = read_lineage(folder)
    begun = len(read_history(folder))
    if not found or not begun:
        return plan | {"drawn": {}}
    fixed = {name: value for name, value in plan["settings"].items() if name not in _MAY_GROW}
    differs = [name for name, value in fixed.items() if found["settings"].get(name) != value]
    differs += [f"case {name}" for name in sorted(set(plan["cases"]) ^ set(found["cases"]))]
    differs += [f"case {n} (its images)" for n, v in plan["cases"].items() if found["cases"].get(n, v) != v]
    if plan["settings"]["epochs"] < begun:
        differs.append(f"epochs ({begun} are done, {plan['settings']['epochs']} are asked for)")
    if differs:
        raise OtherLineageError(
            f"{folder} holds a training that differs in {', '.join(differs[:5])}{' ...' if len(differs) > 5 else ''}; "
            "choose another folder, or remove this one to train anew"
        )
    finished = begun >= found["settings"]["epochs"] or not _checkpoint(folder, begun).exists()
    if finished and not (folder / WEIGHTS).exists():  # taken away, as Snakemake does to have it made again
        (folder / "history.csv").unlink()
        return plan | {"drawn": {}}
    return found


def segmentation_example(case, augment=None, rng=None):
    """Input and target of MC U-net: T1 and FLAIR, and the manual mask.

    Parameters
    ----------
    case : wmhqc.preprocess.Prepared
    augment : callable, optional
        `(volume, mask, rng) -> (volume, mask)`, see `augment`.

    Returns
    -------
    float32 arrays (n, n, n, 2) and (n, n, n, 1)
    """
    volume, lesion = case.volume, case.lesion
    if augment is not None:
        volume, lesion = augment(volume, lesion, rng)
    return volume, lesion[..., None].astype(np.float32)


def reconstruction_example(case, augment=None, rng=None):
    """Input and target of Rec U-net, for `losses.inpainting_loss`.

    Arguments as in `segmentation_example`.

    Returns
    -------
    float32 arrays (n, n, n, 1) and (n, n, n, 2)
        FLAIR in [0, 1] with its manual lesions blanked; FLAIR whole, and where it was blanked (0 or 1).
    """
    flair, lesion = case.volume[..., 1:], case.lesion
    if augment is not None:
        flair, lesion = augment(flair, lesion, rng)
    flair, hole = (flair / 255).astype(np.float32), (lesion[..., None] > 0).astype(np.float32)
    return blank(flair[..., 0], lesion)[..., None], np.concatenate([flair, hole], axis=-1)


def regression_example(pair, dice, augment=None, rng=None):
    """Input and target of Reg-net: a pair of maps (n, n, n, 2) and the Dice that they had."""
    if augment is not None:
        pair, _ = augment(pair, None, rng)
    return pair.astype(np.float32), np.array([dice], np.float32)


def read_history(folder: str | Path) -> pd.DataFrame:
    """The epochs that a training folder holds; empty if it holds none."""
    path = Path(folder) / "history.csv"
    if not path.exists():
        return pd.DataFrame(columns=["epoch", "loss", "val_loss", "seconds"])
    return pd.read_csv(path)


def jit():
    """Keras' `jit_compile`: never XLA under TensorFlow on a CPU, where it is 10 times slower."""
    if keras.backend.backend() == "tensorflow" and not keras.distribution.list_devices("gpu"):
        return False
    return "auto"


def _examples(example, cases, chance, batch, seed, start):
    """Yield (cases, inputs, targets) for ever; example i depends on (seed, i) alone, so that a training
    which was stopped and started again sees the same examples.

    The next batch is drawn in a thread while the network learns from this one.
    """

    def make(first):
        rngs = [np.random.default_rng((seed, i)) for i in range(first, first + batch)]
        drawn = [str(rng.choice(cases, p=chance)) for rng in rngs]
        inputs, targets = zip(*(example(case, rng) for case, rng in zip(drawn, rngs, strict=True)), strict=True)
        return drawn, np.stack(inputs), np.stack(targets)

    with ThreadPoolExecutor(1) as drawer:
        ready = drawer.submit(make, start)
        for first in itertools.count(start + batch, batch):
            now, ready = ready.result(), drawer.submit(make, first)
            yield now


def _rate(learning_rate, schedule, steps):
    if schedule == "constant":
        return learning_rate
    if schedule == "cosine":
        return keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    raise ValueError(f"schedule must be 'constant' or 'cosine', not {schedule!r}")


def _waited(history, patience):
    """Whether the best epoch is `patience` or more epochs ago."""
    if patience is None or not len(history):
        return False
    return len(history) - 1 - history["val_loss"].argmin() >= patience


def _checkpoint(folder, epoch):
    return folder / f"epoch-{epoch:04d}.keras"


def _epoch(model, examples, steps, validation, drawn):
    """One epoch: mean loss of the training steps, and of the validation examples; counts what was `drawn`.

    A plain loop and not `model.fit`, whose input pipeline takes from the training step the
    cores that it runs on: on 2 cores at 64^3 the loop takes about half the time a step.
    """
    means = {}
    for name, on_batch, batches in (
        ("loss", model.train_on_batch, itertools.islice(examples, steps)),
        ("val_loss", model.test_on_batch, (([], x[None], y[None]) for x, y in validation)),
    ):
        values = []
        for cases, inputs, targets in batches:
            model.reset_metrics()  # so that what a batch returns is its own loss
            values.append(float(np.asarray(on_batch(inputs, targets))))
            drawn.update(cases)
        means[name] = float(np.mean(values)) if values else np.nan
    if not np.isfinite(means["loss"]):
        raise FloatingPointError(
            f"{model.name}: the loss is {means['loss']}; lower the learning rate or check the inputs"
        )
    return means


def _keep(model, folder, history, row, lineage, best, over):
    """Write what is needed to go on after this epoch, in an order that any kill survives.

    The history names the epoch to go on from, so it is written when all else is on disk, and
    the checkpoint before it is removed only then. The last checkpoint stays: more epochs may follow.
    """
    _replace(_checkpoint(folder, row["epoch"]), model.save)
    if best:
        _replace(folder / f"best-{WEIGHTS}", model.save_weights)
    if over:
        _replace(folder / WEIGHTS, lambda path: shutil.copyfile(folder / f"best-{WEIGHTS}", path))
    write_json(lineage, folder / "lineage.json")
    history = pd.DataFrame([*history.to_dict("records"), row])
    _replace(folder / "history.csv", lambda path: history.to_csv(path, index=False))
    _checkpoint(folder, row["epoch"] - 1).unlink(missing_ok=True)
    return history


def _replace(path, write):
    """Let `write` make a file under a temporary name with the same ending, then move it."""
    partial = path.with_name(f"partial-{path.name}")
    write(partial)
    os.replace(partial, path)
