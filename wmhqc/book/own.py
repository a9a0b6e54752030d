"""Networks of one's own, trained in a chapter on the training cases of its cohort (`stages.data`).

    own.segmenter(run, "mc_unet", epochs=6, steps=40)   chapter "Training"
    own.out_of_fold(run, 2, epochs=6, steps=40)         the same for Reg-net's examples, with train = True
    own.inpainter(run, epochs=5, steps=28)              chapter "Error maps", with train = True
    own.dice_regressors(run, epochs=5, steps=28)        chapter "Predicting Dice", with train = True

A training that was stopped goes on; one of other cases or settings is begun anew.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd

from wmhqc import augment, losses, metrics, regression, training
from wmhqc.book import stages
from wmhqc.files import read_json, write_json, write_table

#: The paper's three pairs of maps.
PAIRS = ("image", "uncertainty", "error")


def part(table: pd.DataFrame, *splits: str) -> dict[str, str]:
    """The cases of some splits, with the fingerprints of their images."""
    chosen = table[table["split"].isin(splits)]
    return dict(zip(chosen["case"], chosen["made_from"], strict=True))


def segmenter(
    run,
    name: str = "mc_unet",
    leave_out: tuple[str, ...] = (),
    *,
    augmentation: str = "train_augment",
    slopes: str = "channel",
    initializer: str = "he_normal",
    **options,
):
    """Train an MC U-net on the training cases, less those left out.

    Parameters
    ----------
    run : path
    name : str
        Of its folder in `run`/training.
    leave_out : sequence of str
        Training cases that it must not see.
    augmentation, slopes, initializer : str
        See `wmhqc.augment` and `wmhqc.networks.mc_unet`.
    **options
        `epochs`, `steps` and others of `wmhqc.training.fit`.

    Returns
    -------
    keras.Model, DataFrame
        The network and its history.
    """
    table, change = stages.data(run), getattr(augment, augmentation)
    cases = {case: made for case, made in part(table, "train").items() if case not in set(leave_out)}
    return _fit(
        Path(run) / "training" / name,
        {"build": "mc_unet", "size": _size(run), "slopes": slopes, "initializer": initializer},
        cases,
        lambda case, rng: training.segmentation_example(stages.prepared(run, case), change, rng),
        [training.segmentation_example(stages.prepared(run, case)) for case in part(table, "validation")],
        loss=losses.two_class_dice_loss,
        **options,
    )


def out_of_fold(run, inner: int = 2, seed: int = 0, **options) -> dict[str, pd.DataFrame]:
    """Train one more MC U-net for each inner fold of the training cases, and note which network judges which case.

    Reg-net must learn from predictions on cases that the segmenting network has not seen. All other cases are judged
    by "mc_unet" (`segmenter`). Returns the histories by name.
    """
    table = stages.data(run)
    known = table[table["split"] == "train"]
    fold = "inner" + training.inner_folds(known, inner, seed).astype(str)
    histories = {
        name: segmenter(run, name, tuple(known.loc[fold == name, "case"]), seed=seed, **options)[1]
        for name in sorted(fold.unique())
    }
    judged_by = fold.reindex(table.index).fillna("mc_unet")
    write_table(table[["case"]].assign(network=judged_by), Path(run) / "training" / "networks.csv")
    return histories


def inpainter(run, *, slopes: str = "channel", **options):
    """Train a Rec U-net on the training cases; arguments and result as in `segmenter`."""
    table = stages.data(run)
    return _fit(
        Path(run) / "error_maps" / "rec_unet",
        {"build": "rec_unet", "size": _size(run), "slopes": slopes},
        part(table, "train"),
        lambda case, rng: training.reconstruction_example(stages.prepared(run, case), augment.move, rng),
        [training.reconstruction_example(stages.prepared(run, case)) for case in part(table, "validation")],
        loss=losses.inpainting_loss,
        **options,
    )


def dice_regressors(run, **options) -> tuple[pd.DataFrame, dict]:
    """Train a Reg-net for each of the paper's pairs, and predict the Dice of every case.

    Returns
    -------
    DataFrame, dict of str to DataFrame
        The rows of `stages.error_maps` with `predicted_dice_<pair>`; the histories.
    """
    cases, table = stages.error_maps(run), stages.data(run)
    rows, histories = {case: {} for case in cases["case"]}, {}
    for name in PAIRS:

        def example(case, rng=None, name=name):
            prepared, maps = stages.load(run, case)
            pair = regression.pair_of(name, maps, prepared.volume[..., 1])
            true = metrics.lesion_dice(maps["mask"], prepared.lesion > 0)
            return training.regression_example(pair, true, None if rng is None else augment.move, rng)

        net, histories[name] = _fit(
            Path(run) / "dice_regression" / f"reg_net_{name}",
            {"build": "reg_net", "size": _size(run)},
            part(table, "train"),
            example,
            [example(case) for case in part(table, "validation")],
            loss=losses.huber(),
            **options,
        )
        for case in rows:
            rows[case][f"predicted_dice_{name}"] = regression.predict_dice(net, example(case)[0])
    cases = cases.merge(pd.DataFrame(rows).T.rename_axis("case").reset_index(), on="case")
    write_table(cases, Path(run) / "dice_regression" / "cases.csv")
    return cases, histories


def _fit(folder, described, cases, example, validation, **options):
    """`training.fit` in a folder that says how to build its network again (`stages.networks`).

    A network of other cases or settings stays there until the new one is finished; that one grows beside it.
    """

    def fit(place):
        if read_json(place / "network.json", described) != described:
            raise training.OtherLineageError(f"{place} holds another network")
        write_json(described, place / "network.json")
        return training.fit(lambda: stages.build(described), cases, example, validation, place, **options)

    try:
        return fit(folder)
    except training.OtherLineageError:
        beside = folder.with_name(f"{folder.name}.new")
    try:
        found = fit(beside)
    except training.OtherLineageError:
        shutil.rmtree(beside)
        found = fit(beside)
    shutil.rmtree(folder)
    beside.rename(folder)
    return found


def _size(run) -> int:
    return read_json(Path(run) / "data" / "settings.json")["size"]
