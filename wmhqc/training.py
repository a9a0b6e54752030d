"""Splits, folds, and a training loop that can be killed at any moment and goes on.

A training folder holds `history.csv` (one row an epoch), `best.weights.h5` (lowest validation
loss so far, or the last epoch's) and, until training is over, one `epoch-NNNN.keras` to go on from.
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from tqdm import tqdm

from wmhqc.errormaps import blank

BEST = "best.weights.h5"
SPLIT = {"train": 68, "validation": 16, "test": 21}  # the paper's 105 cases

Draw = Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray]]


def split(table: pd.DataFrame, seed: int = 0) -> pd.Series:
    """Assign each case to train, validation or test in the paper's ratio 68 : 16 : 21.

    It is the first of the five `folds`. Stratified by site, so that each part has cases of every
    scanner; the paper's validation sets came from two databases only.

    Parameters
    ----------
    table : DataFrame
        A cohort with columns `case` and `site`, at least 5 cases.

    Returns
    -------
    Series of str
        Same index as `table`.
    """
    if len(table) < 5:
        raise ValueError(f"at least 5 cases are needed for a split, got {len(table)}")
    return folds(table, inner=1, seed=seed)["fold_0"].replace("inner0", "train")


def inner_folds(table: pd.DataFrame, folds: int = 2, seed: int = 0) -> pd.Series:
    """Number each training case with the inner fold that holds it out, 0 to `folds` - 1.

    Reg-net must learn from predictions on cases that the segmenting network has not seen;
    each inner fold is predicted by a network trained on the other inner folds.
    """
    if not 2 <= folds <= len(table):
        raise ValueError(f"folds must be between 2 and the {len(table)} cases, not {folds}")
    order = _by_site(table, seed)
    return pd.Series(np.arange(len(order)) % folds, index=order).reindex(table.index)


def folds(table: pd.DataFrame, count: int = 5, inner: int = 2, seed: int = 0) -> pd.DataFrame:
    """Deal the cases into `count` folds; each fold is the test set once.

    Stratified by site.  Of what is not test, validation takes 16 in 84, as in the paper, and
    the rest is dealt into inner folds (see `inner_folds`).

    Parameters
    ----------
    table : DataFrame
        A cohort with columns `case` and `site`.
    count, inner : int
        Folds, at least 2, and inner folds of each.

    Returns
    -------
    DataFrame
        `case` and one column a fold, `fold_0` ...: "test", "validation", or the inner fold
        that holds this training case out, "inner0" ...
    """
    if count < 2 or len(table) < 5 * inner:
        raise ValueError(
            f"{count} folds with {inner} inner folds need at least 2 folds and {5 * inner} cases, "
            f"got {len(table)}"
        )
    order = _by_site(table, seed)
    result = table[["case"]].copy()
    for fold in range(count):
        part = pd.Series("test", index=order)
        rest = order[np.arange(len(order)) % count != fold]
        share = SPLIT["validation"] / (SPLIT["train"] + SPLIT["validation"])
        # Out of the next fold's test cases, so that no case is validation twice: a threshold with a
        # promise counts cases, and needs many.
        following = order[np.arange(len(order)) % count == (fold + 1) % count]
        wanted = min(len(following), max(1, round(share * len(rest))))
        validation = following[_every(len(following), wanted)]
        training = rest.difference(validation, sort=False)
        part[validation] = "validation"
        part[training] = [f"inner{i % inner}" for i in range(len(training))]
        result[f"fold_{fold}"] = part
    return result


def _by_site(table, seed):
    """Index of the cases sorted by site, in random order within each site."""
    shuffled = table.iloc[np.random.default_rng(seed).permutation(len(table))]
    return shuffled["site"].fillna("").sort_values(kind="stable").index


def _every(n, chosen):
    """`chosen` positions spread evenly over 0 to n - 1."""
    return ((np.arange(chosen) + 0.5) * n / chosen).astype(int)


def fit(
    build: Callable[[], keras.Model],
    draw: Draw,
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
    progress: bool = True,
) -> tuple[keras.Model, pd.DataFrame]:
    """Train with Adam, keep the weights of the best or of the last epoch, and load them at the end.

    Parameters
    ----------
    build : callable
        Makes the network, after the random seed is set, so that its first weights are the
        same for the same seed.
    draw : callable
        `rng -> (input, target)`: one random, augmented training example.
    validation : list of (input, target)
        Fixed examples, without augmentation.
    folder : path
        Made if absent.  If it holds an unfinished training, that goes on; a finished one is
        loaded.
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

    Returns
    -------
    keras.Model, DataFrame
        The network with the weights that were kept; its history: epoch, loss, val_loss, seconds.
    """
    if keep not in ("best", "last"):
        raise ValueError(f"keep must be 'best' or 'last', not {keep!r}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    history = read_history(folder)
    done = len(history)
    keras.utils.set_random_seed(seed)
    model = build()
    if done < epochs and not _waited(history, patience):
        if done:
            trained = keras.models.load_model(_checkpoint(folder, done))
        else:
            trained = model
            rate = _rate(learning_rate, schedule, epochs * steps)
            trained.compile(keras.optimizers.Adam(rate), loss, jit_compile=jit())
        examples = _examples(draw, batch, seed, start=done * steps * batch)
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
            row = {"epoch": epoch, **_epoch(trained, examples, steps, validation)}
            row["seconds"] = time.perf_counter() - begun
            history = _keep(trained, folder, history, row, last=epoch == epochs, always=keep == "last")
            bar.set_postfix({"validation loss": f"{history['val_loss'].min():.4f}"})
            if _waited(history, patience):
                _checkpoint(folder, epoch).unlink(missing_ok=True)
                break
    model.load_weights(folder / BEST)
    return model, read_history(folder)


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
    """Input and target of Rec U-net: FLAIR in [0, 1] with its manual lesions blanked, and whole.

    Arguments as in `segmentation_example`; both arrays are (n, n, n, 1).
    """
    flair, lesion = case.volume[..., 1:], case.lesion
    if augment is not None:
        flair, lesion = augment(flair, lesion, rng)
    flair = (flair / 255).astype(np.float32)
    return blank(flair[..., 0], lesion)[..., None], flair


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


def _examples(draw, batch, seed, start):
    """Yield batches for ever; example i depends on (seed, i) alone, so that a training
    which was stopped and started again sees the same examples.

    The next batch is drawn in a thread while the network learns from this one.
    """

    def make(first):
        examples = [draw(np.random.default_rng((seed, i))) for i in range(first, first + batch)]
        inputs, targets = zip(*examples, strict=True)
        return np.stack(inputs), np.stack(targets)

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


def _epoch(model, examples, steps, validation):
    """One epoch: mean loss of the training steps, and of the validation examples.

    A plain loop and not `model.fit`, whose input pipeline takes from the training step the
    cores that it runs on: on 2 cores at 64^3 the loop takes about half the time a step.
    """
    means = {}
    for name, on_batch, batches in (
        ("loss", model.train_on_batch, itertools.islice(examples, steps)),
        ("val_loss", model.test_on_batch, ((x[None], y[None]) for x, y in validation)),
    ):
        values = []
        for inputs, targets in batches:
            model.reset_metrics()  # so that what a batch returns is its own loss
            values.append(float(np.asarray(on_batch(inputs, targets))))
        means[name] = float(np.mean(values))
    if not np.isfinite(means["loss"]):
        raise FloatingPointError(
            f"{model.name}: the loss is {means['loss']}; lower the learning rate or check the inputs"
        )
    return means


def _keep(model, folder, history, row, last, always):
    """Write what is needed to go on after this epoch, in an order that any kill survives.

    The history names the epoch to go on from, so it is written when all else is on disk, and
    the checkpoint before it is removed only then.
    """
    if not last:
        _replace(_checkpoint(folder, row["epoch"]), model.save)
    if always or not len(history) or row["val_loss"] < history["val_loss"].min():
        _replace(folder / BEST, model.save_weights)
    history = pd.DataFrame([*history.to_dict("records"), row])
    _replace(folder / "history.csv", lambda path: history.to_csv(path, index=False))
    _checkpoint(folder, row["epoch"] - 1).unlink(missing_ok=True)
    return history


def _replace(path, write):
    """Let `write` make a file under a temporary name with the same ending, then move it."""
    partial = path.with_name(f"partial-{path.name}")
    write(partial)
    os.replace(partial, path)
