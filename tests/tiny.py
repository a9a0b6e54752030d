"""The experiment at the smallest size, for tests: one fold of three, all stages, in seconds."""

from wmhqc import experiment
from wmhqc.sources import synthetic

SETTINGS = {
    "size": 16, "passes": 3, "inner_passes": 2, "folds": 3,
    "mc_unet": {"epochs": 2, "steps": 2}, "inner": {"epochs": 1, "steps": 2},
    "rec_unet": {"epochs": 1, "steps": 2}, "reg_net": {"epochs": 1, "steps": 2},
}  # fmt: skip


def cohort(folder, voxel=(4, 4, 4)):
    return synthetic.make_cohort(folder, 12, jobs=2, progress=False, voxel=voxel)


def run(folder, cases):
    experiment.start(folder, cases, SETTINGS)
    for member in experiment.MEMBERS:
        experiment.main(["segment", str(folder), "0", member])
    experiment.reconstruct(folder, 0)
    experiment.judge(folder, 0)
    for pair in experiment.PAIRS:
        experiment.regress(folder, 0, pair)
    experiment.predict(folder, 0)
    experiment.stress(folder, 0, cases=2)
    experiment.gather(folder)
    return folder
