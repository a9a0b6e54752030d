"""The experiment at the smallest size, for tests: all stages, two folds of three trained, in seconds."""

from wmhqc import evaluation, experiment
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


def cohort(folder, voxel=(4, 4, 4)):
    return synthetic.make_cohort(folder, 12, jobs=2, progress=False, voxel=voxel)


def run(folder, cases):
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
    return folder
