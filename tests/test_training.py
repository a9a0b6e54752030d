import multiprocessing

import keras
import numpy as np
import pandas as pd
import pytest

from wmhqc import losses, networks, training


def cohort(n=105):
    sites = np.repeat(["a", "b", "c"], [n // 7, n // 3, n - n // 7 - n // 3])
    return pd.DataFrame({"case": [f"sub-{i:03d}" for i in range(n)], "site": sites})


def test_split_of_105_is_the_papers():
    assert training.split(cohort()).value_counts().to_dict() == training.SPLIT


@pytest.mark.parametrize("n", [5, 12, 40, 105])
def test_split_is_stratified_by_site(n):
    table = cohort(n).assign(split=training.split(cohort(n)))
    assert set(table["split"]) == set(training.SPLIT)
    share = table["site"].value_counts(normalize=True)
    for _, part in table.groupby("split"):
        counts = part["site"].value_counts().reindex(share.index, fill_value=0)
        assert (abs(counts - share * len(part)) <= 1.5).all()


def test_split_depends_on_seed_only():
    table = cohort()
    assert training.split(table, 1).equals(training.split(table, 1))
    assert not training.split(table, 1).equals(training.split(table, 2))


def test_split_needs_five_cases():
    with pytest.raises(ValueError, match="at least 5"):
        training.split(cohort(4))


def test_inner_folds_hold_out_every_case_once():
    folds = training.inner_folds(cohort(40), 3)
    assert folds.value_counts().to_dict() == {0: 14, 1: 13, 2: 13}
    with pytest.raises(ValueError, match="folds"):
        training.inner_folds(cohort(40), 1)


SIZE = 16


def draw(rng):
    volume = rng.uniform(0, 255, (SIZE, SIZE, SIZE, 2)).astype("float32")
    return volume, (volume[..., 1:] > 200).astype("float32")


def build():
    return networks.mc_unet(SIZE)


def run(folder, epochs=6, **options):
    return training.fit(
        build,
        draw,
        [draw(np.random.default_rng(i)) for i in range(2)],
        folder,
        loss=losses.two_class_dice_loss,
        epochs=epochs,
        steps=2,
        progress=False,
        **options,
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
        lambda rng: (np.ones(1, "float32"), np.zeros(1, "float32")),
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
    assert len(history) == 3 and not list((tmp_path / "mc_unet").glob("*.keras"))
    assert len(run(tmp_path / "mc_unet", epochs=4, patience=1)[1]) == 3, "and does not go on when called again"


def test_examples_drawn_ahead_are_those_of_their_numbers():
    batches = training._examples(draw, 2, seed=3, start=4)
    for first in (4, 6):
        inputs, targets = next(batches)
        for i in range(2):
            expected = draw(np.random.default_rng((3, first + i)))
            np.testing.assert_array_equal(inputs[i], expected[0])
            np.testing.assert_array_equal(targets[i], expected[1])
    batches.close()


def test_an_error_in_a_drawn_example_reaches_the_training():
    def broken(rng):
        raise ValueError("no such case")

    with pytest.raises(ValueError, match="no such case"):
        next(training._examples(broken, 1, 0, 0))


def test_a_finished_training_is_loaded(whole, tmp_path_factory):
    model, history = run(next(tmp_path_factory.getbasetemp().glob("training*")) / "mc_unet")
    assert_same(whole, (model, history))


def test_a_killed_training_ends_like_one_that_was_not(whole, tmp_path):
    """SIGKILL at ten moments; each new start goes on from what is on disk."""
    folder = tmp_path / "mc_unet"
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["wmhqc.networks", "wmhqc.losses", "wmhqc.training"])
    pauses = np.random.default_rng(0).uniform(0, 3, 10)
    for pause in pauses:
        child = processes.Process(target=run, args=(folder,))
        child.start()
        child.join(pause)
        child.kill()
        child.join()
    assert_same(whole, run(folder))


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

    def broken(rng):
        volume, mask = draw(rng)
        return volume * np.nan, mask

    with pytest.raises(FloatingPointError, match="learning rate"):
        training.fit(
            small,
            broken,
            [draw(np.random.default_rng(0))],
            tmp_path / "nan",
            loss=losses.dice_loss,
            epochs=1,
            steps=1,
            progress=False,
        )
