"""The experiment at the smallest size, for tests: all stages, two folds of three trained, in seconds."""

import contextlib

import tensorflow as tf

from wmhqc import evaluation, experiment, training
from wmhqc.regression import PAIRS
from wmhqc.sources import synthetic

SETTINGS = {
    "size": 16,
    "passes": 3,
    "folds": 3,
    "mc_unet": {"epochs": 2, "steps": 2},
    "rec_unet": {"epochs": 1, "steps": 2},
    "reg_net": {"epochs": 1, "steps": 2},
}


@contextlib.contextmanager
def without_graph():
    """Train step by step: for a few steps, making TensorFlow's graph takes three times as long as they do without it.

    Graphs are tested in test_training.py, at the networks' real size in the smoke book.
    """
    fit = training.fit

    def stepwise(*arguments, **options):
        tf.config.run_functions_eagerly(True)
        try:
            return fit(*arguments, **options)
        finally:
            tf.config.run_functions_eagerly(False)

    training.fit = stepwise
    try:
        yield
    finally:
        training.fit = fit


def cohort(folder, seed=0, voxel=(4, 4, 4)):
    """Twelve synthetic cases; in this process, since another would read the atlas anew."""
    return synthetic.make_cohort(folder, 12, seed, jobs=1, progress=False, voxel=voxel)


def run(folder, cases):
    with without_graph():
        _run(folder, cases)
    return folder


def _run(folder, cases):
    experiment.start(folder, cases, SETTINGS)
    for fold in range(SETTINGS["folds"]):
        experiment.train_segmenter(folder, fold)
        experiment.train_inpainter(folder, fold)
    for fold in range(SETTINGS["folds"]):
        evaluation.infer(folder, fold)
    for pair in PAIRS:
        experiment.train_dice_regressor(folder, 0, pair)
    evaluation.predict(folder, 0)
    evaluation.stress(folder, 0, cases=2)
    evaluation.gather(folder)
