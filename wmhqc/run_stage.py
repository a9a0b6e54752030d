"""The stages of the experiment by name, as `workflow/experiment.smk` calls them.

python -m wmhqc.run_stage STAGE RUN [FOLD [PAIR]]
"""

from __future__ import annotations

import argparse

from wmhqc import evaluation, experiment
from wmhqc.regression import PAIRS

STAGES = {
    stage.__name__: stage
    for stage in (
        experiment.train_segmenter,
        experiment.train_inpainter,
        experiment.train_dice_regressor,
        evaluation.infer,
        evaluation.predict,
        evaluation.stress,
        evaluation.gather,
    )
}


def main(arguments=None) -> None:
    parser = argparse.ArgumentParser(prog="python -m wmhqc.run_stage", description="One stage of the experiment.")
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("run")
    parser.add_argument("fold", nargs="?", type=int)
    parser.add_argument("pair", nargs="?", choices=PAIRS, help="for train_dice_regressor")
    given = parser.parse_args(arguments)
    STAGES[given.stage](*(value for value in (given.run, given.fold, given.pair) if value is not None))


if __name__ == "__main__":
    main()
