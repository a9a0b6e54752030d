import itertools
import multiprocessing
import os

import keras
import numpy as np
import pandas as pd
import pytest

from wmhqc import layers, losses, training


def cohort(n=105):
    sites = np.repeat(["a", "b", "c"], [n // 7, n // 3, n - n // 7 - n // 3])
    return pd.DataFrame({"case": [f"sub-{i:03d}" for i in range(n)], "site": sites})


def test_each_case_is_tested_once_and_validated_once():
    folds = training.folds(cohort()).set_index("case")
    assert (folds.eq("test").sum(axis=1) == 1).all() and (folds.eq("validation").sum(axis=1) == 1).all()
    for fold in range(5):
        validated = folds.index[folds[f"fold_{fold}"] == "validation"]
        assert set(validated) == set(folds.index[folds[f"fold_{(fold + 1) % 5}"] == "test"])
    assert training.split(cohort()).tolist() == folds["fold_0"].tolist()


@pytest.mark.parametrize("n", [12, 40, 105])
def test_every_part_has_cases_of_every_site(n):
    table = cohort(n).assign(split=training.split(cohort(n)))
    share = table["site"].value_counts(normalize=True)
    for _, part in table.groupby("split"):
        counts = part["site"].value_counts().reindex(share.index, fill_value=0)
        assert (abs(counts - share * len(part)) <= 2.5).all()


def sessions(patients=30, count=2):
    """Patients of two databases that number them alike, with `count` sessions each."""
    rows = [
        {"case": f"sub-{d}{i:02d}s{s}", "database": d, "site": f"site{i % 3}", "patient": f"{i:02d}"}
        for d in "ab"
        for i in range(patients // 2)
        for s in range(count)
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    "deal", [training.folds, lambda t: training.inner_folds(t, 3).to_frame("fold").assign(case=t["case"])]
)
def test_no_patient_is_on_two_sides(deal):
    table = sessions()
    for column, part in deal(table).drop(columns="case").items():
        assert part.groupby(training.patients(table)).nunique().max() == 1, column


def test_patients_of_two_databases_may_have_one_number():
    table = sessions(count=1)
    assert training.patients(table).nunique() == 30
    assert training.patients(cohort(4)).tolist() == cohort(4)["case"].tolist(), "unknown: each case is a patient"


def test_split_depends_on_seed_only():
    table = cohort()
    assert training.split(table, 1).equals(training.split(table, 1))
    assert not training.split(table, 1).equals(training.split(table, 2))


def test_a_small_cohort_of_many_sites_is_dealt_too():
    table = pd.DataFrame({"case": [f"sub-{i:02d}" for i in range(12)], "site": [f"site{i % 7}" for i in range(12)]})
    assert (training.folds(table).drop(columns="case") == "test").sum().between(2, 3).all()


def test_folds_need_patients():
    with pytest.raises(ValueError, match="got 2 patients"):
        training.folds(sessions(4).head(4))
    with pytest.raises(ValueError, match="at least 3 folds"):
        training.folds(cohort(40), 2)
    with pytest.raises(ValueError, match="inner folds"):
        training.inner_folds(cohort(40), 1)


SIZE = 16


CASES = {"sub-a": "1", "sub-b": "2"}


def draw(case, rng):
    volume = rng.uniform(0, 255, (SIZE, SIZE, SIZE, 2)).astype("float32")
    return volume, (volume[..., 1:] > 200).astype("float32")


def build():
    """A small network of the package's layers: TensorFlow takes 8 s for the graph of a training step of MC U-net."""
    inputs = keras.Input((SIZE, SIZE, SIZE, 2))
    x = layers.InstanceNorm()(keras.layers.Conv3D(4, 2, strides=2)(inputs))
    x = layers.DoublingConv(4)(layers.MonteCarloDropout(0.2)(x))
    x = layers.MonteCarloDropout(0.2)(x)
    return keras.Model(inputs, keras.layers.Conv3D(2, 1, activation="softmax")(x), name="small")


def run(folder, epochs=6, **options):
    return training.fit(
        build,
        options.pop("cases", CASES),
        draw,
        [draw("sub-v", np.random.default_rng(i)) for i in range(2)],
        folder,
        loss=losses.two_class_dice_loss,
        epochs=epochs,
        **{"steps": 2, "learning_rate": 0.01, "progress": False} | options,
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run(tmp_path_factory.mktemp("training") / "mc_unet")


def test_training_learns_and_keeps_the_best(whole, tmp_path):
    model, history = whole
    assert history["epoch"].tolist() == [1, 2, 3, 4, 5, 6]
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]


def test_the_validation_loss_is_the_mean_over_all_examples(tmp_path):
    """The target says how wrong the network, which always answers 0, is about each example."""

    def zero():
        inputs = keras.Input((1,))
        return keras.Model(inputs, keras.layers.Dense(1, kernel_initializer="zeros")(inputs))

    validation = [(np.ones(1, "float32"), np.array([t], "float32")) for t in (1, 2, 6)]
    _, history = training.fit(
        zero,
        ["sub-a"],
        lambda case, rng: (np.ones(1, "float32"), np.zeros(1, "float32")),
        validation,
        tmp_path / "zero",
        loss=keras.losses.MeanAbsoluteError(),
        epochs=2,
        steps=2,
        progress=False,
    )
    assert history["loss"].tolist() == [0, 0]
    assert history["val_loss"].tolist() == [3, 3]


@pytest.fixture
def scripted(monkeypatch):
    """Epochs with validation losses 0.5, 0.3, 0.4, 0.45; the weights of each are its loss."""
    losses_of_epochs = iter([0.5, 0.3, 0.4, 0.45])

    def one_epoch(model, *rest):
        value = next(losses_of_epochs)
        for variable in model.trainable_variables:
            variable.assign(np.full(variable.shape, value))
        return {"loss": value, "val_loss": value}

    monkeypatch.setattr(training, "_epoch", one_epoch)


@pytest.mark.parametrize("keep, kept", [("best", 0.3), ("last", 0.4)])
def test_the_weights_of_the_best_or_of_the_last_epoch_are_kept(scripted, tmp_path, keep, kept):
    model, history = run(tmp_path / "mc_unet", epochs=3, keep=keep)
    assert history["val_loss"].tolist() == [0.5, 0.3, 0.4]
    np.testing.assert_allclose(model.trainable_variables[0], kept)


def test_which_epoch_to_keep_is_best_or_last(tmp_path):
    with pytest.raises(ValueError, match="'best' or 'last', not 'first'"):
        run(tmp_path / "mc_unet", keep="first")


def test_training_stops_when_nothing_gets_better(scripted, tmp_path):
    _, history = run(tmp_path / "mc_unet", epochs=4, patience=1)
    assert len(history) == 3
    assert len(run(tmp_path / "mc_unet", epochs=4, patience=1)[1]) == 3, "and does not go on when called again"


def test_examples_drawn_ahead_are_those_of_their_numbers():
    batches = training._examples(draw, list(CASES), None, 2, seed=3, start=4)
    for first in (4, 6):
        cases, inputs, targets = next(batches)
        for i in range(2):
            rng = np.random.default_rng((3, first + i))
            assert cases[i] == rng.choice(list(CASES))
            expected = draw(cases[i], rng)
            np.testing.assert_array_equal(inputs[i], expected[0])
            np.testing.assert_array_equal(targets[i], expected[1])
    batches.close()


def test_an_error_in_a_drawn_example_reaches_the_training():
    def broken(case, rng):
        raise ValueError(f"no such case: {case}")

    with pytest.raises(ValueError, match="no such case: sub-a"):
        next(training._examples(broken, ["sub-a"], None, 1, 0, 0))


def test_a_finished_training_is_loaded(whole, tmp_path_factory):
    model, history = run(next(tmp_path_factory.getbasetemp().glob("training*")) / "mc_unet")
    assert_same(whole, (model, history))


def test_a_killed_training_ends_like_one_that_was_not(whole, tmp_path):
    """Killed before each of the moves that put a file in its place; each new start goes on from what is on disk."""
    folder = tmp_path / "mc_unet"
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["wmhqc.losses", "wmhqc.training"])
    for moves in (1, 3, 4, 6, 5, 8):  # an epoch makes four or five
        child = processes.Process(target=die_after, args=(moves, folder))
        child.start()
        child.join()
        assert child.exitcode == 9
    assert_same(whole, run(folder))


def die_after(moves, folder):
    """Train, and end as if killed when so many files were put in their place."""
    replace, count = os.replace, itertools.count(1)

    def last_move(source, target):
        if next(count) == moves:
            os._exit(9)
        replace(source, target)

    os.replace = last_move
    run(folder)


def test_lineage_says_what_was_drawn(whole, tmp_path):
    folder = tmp_path / "mc_unet"
    run(folder, epochs=1, weights=[0, 1])
    lineage = training.read_lineage(folder)
    assert lineage["cases"] == CASES and lineage["drawn"] == {"sub-b": 2}, "the case of weight 0 was never drawn"
    run(folder, epochs=2, weights=[0, 1])
    assert training.read_lineage(folder)["drawn"] == {"sub-b": 4}, "more epochs for a finished training go on"
    assert len(training.read_history(folder)) == 2


@pytest.fixture(scope="module")
def two_epochs(tmp_path_factory):
    """The folder of a finished training."""
    folder = tmp_path_factory.mktemp("two") / "mc_unet"
    run(folder, epochs=2)
    return folder


@pytest.mark.parametrize(
    "changed, said",
    [
        ({"cases": CASES | {"sub-c": "3"}}, "case sub-c"),
        ({"cases": CASES | {"sub-a": "corrected"}}, r"case sub-a \(its images\)"),
        ({"steps": 3}, "steps"),
        ({"epochs": 1}, r"epochs \(2 are done, 1 are asked for\)"),
    ],
)
def test_another_training_in_the_folder_is_refused(two_epochs, changed, said):
    folder = two_epochs
    before = (folder / training.WEIGHTS).read_bytes()
    with pytest.raises(training.OtherLineageError, match=said):
        run(folder, **{"epochs": 2} | changed)
    assert (folder / training.WEIGHTS).read_bytes() == before


def test_weights_that_were_taken_away_are_made_again(tmp_path):
    """As Snakemake does before it runs a job again."""
    folder = tmp_path / "mc_unet"
    first = run(folder, epochs=2)
    (folder / training.WEIGHTS).unlink()
    assert_same(first, run(folder, epochs=2))
    assert training.read_lineage(folder)["drawn"] and (folder / training.WEIGHTS).exists()


def assert_same(one, other):
    for a, b in zip(one[0].trainable_weights, other[0].trainable_weights, strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    columns = ["epoch", "loss", "val_loss"]
    pd.testing.assert_frame_equal(one[1][columns], other[1][columns])


def test_the_cosine_schedule_ends_near_zero():
    rate = training._rate(1e-3, "cosine", 100)
    assert float(rate(0)) == pytest.approx(1e-3)
    assert float(rate(100)) == pytest.approx(0, abs=1e-9)
    with pytest.raises(ValueError, match="schedule"):
        training._rate(1e-3, "linear", 100)


def test_a_loss_that_is_not_a_number_stops(tmp_path):
    def small():
        inputs = keras.Input((SIZE, SIZE, SIZE, 2))
        return keras.Model(inputs, keras.layers.Conv3D(2, 1, activation="softmax")(inputs))

    def broken(case, rng):
        volume, mask = draw(case, rng)
        return volume * np.nan, mask

    with pytest.raises(FloatingPointError, match="learning rate"):
        training.fit(
            small,
            CASES,
            broken,
            [draw("sub-v", np.random.default_rng(0))],
            tmp_path / "nan",
            loss=losses.dice_loss,
            epochs=1,
            steps=1,
            progress=False,
        )
