# The whole experiment: folds x networks, for any cohort table; see wmhqc/experiment.py and evaluation.py.
#
#   snakemake -s workflow/experiment.smk --cores 2 --config run=runs/reference
#   snakemake --profile workflow/slurm -s workflow/experiment.smk --config run=... cohort=my.csv
#
# Further settings:
#
#   cohort=FILE.csv      a cohort table (wmhqc.cohort); without it the synthetic cohort is made
#   cases=105            how many synthetic cases
#   real=true            with the synthetic cohort: also the real patients that can be had
#   settings=FILE.yml    what differs from wmhqc.experiment.SETTINGS
#   release=FOLDER       copy there what the package ships
#
# A job that was killed goes on from its last epoch or case when it is run again. A corrected scan or mask is
# prepared anew, and what was trained on it or found from it is made again; other cases or folds are refused.

from pathlib import Path

import pandas as pd
import yaml

from wmhqc import experiment, regression

if "run" not in config:
    raise WorkflowError("give the folder of the run: --config run=runs/reference")
RUN = Path(config["run"]).resolve()
CHANGES = yaml.safe_load(Path(config["settings"]).read_text()) if "settings" in config else {}
if CHANGES.get("start_from") == "reference":
    from wmhqc import reference

    CHANGES["start_from"] = str(reference.folder())
FOLDS = list(range((experiment.SETTINGS | CHANGES)["folds"]))
OUT = f"{RUN}/fold_{{fold}}"
# oneDNN: TensorFlow leaves it off on AMD processors, where a training step then takes 2 to 6 times as long
ONE = "TF_ENABLE_ONEDNN_OPTS=1 OMP_NUM_THREADS={threads} TF_NUM_INTRAOP_THREADS={threads} python -m wmhqc.run_stage"


def scans(wildcards):
    """The files of a cohort table: a corrected one is prepared again."""
    from wmhqc import cohort

    if "cohort" not in config:
        return []
    table = cohort.read_csv(config["cohort"])
    return [config["cohort"], *(path for column in cohort.PATHS for path in table[column].dropna() if path)]


localrules:
    gather,


rule gather:
    input:
        expand(f"{OUT}/cases.csv", fold=FOLDS),
        f"{RUN}/fold_{FOLDS[0]}/stress.csv",
    output:
        RUN / "manifest.json",
    run:
        from wmhqc import evaluation

        evaluation.gather(RUN)
        if "release" in config:
            from wmhqc.release import release

            release(RUN, config["release"])


rule start:
    input:
        scans,
    output:
        RUN / "prepared.csv",
    threads: 2
    run:
        from wmhqc import cohort
        from wmhqc.sources import available, synthetic

        if "cohort" in config:
            table = cohort.read_csv(config["cohort"])
        else:
            table = synthetic.make_cohort(RUN / "cohort", int(config.get("cases", 105)), jobs=threads, progress=False)
            if config.get("real"):
                patients = available.real_patients()[0]
                table = pd.concat([table, patients[patients["lesion"] != ""]], ignore_index=True)
        experiment.start(RUN, table, CHANGES)


rule train_segmenter:
    input:
        RUN / "prepared.csv",
    output:
        f"{OUT}/mc_unet/model.weights.h5",
    shell:
        ONE + " train_segmenter {RUN:q} {wildcards.fold}"


rule train_inpainter:
    input:
        RUN / "prepared.csv",
    output:
        f"{OUT}/rec_unet/model.weights.h5",
    shell:
        ONE + " train_inpainter {RUN:q} {wildcards.fold}"


# a case's ensemble has a network of another fold
rule infer:
    input:
        expand(f"{OUT}/mc_unet/model.weights.h5", fold=FOLDS),
        f"{OUT}/rec_unet/model.weights.h5",
    output:
        f"{OUT}/maps.csv",
    shell:
        ONE + " infer {RUN:q} {wildcards.fold}"


# Reg-net learns from the maps that other folds made of its training cases
rule train_dice_regressor:
    input:
        expand(f"{OUT}/maps.csv", fold=FOLDS),
    output:
        f"{OUT}/reg_net_{{pair}}/model.weights.h5",
    shell:
        ONE + " train_dice_regressor {RUN:q} {wildcards.fold} {wildcards.pair}"


rule predict:
    input:
        f"{OUT}/maps.csv",
        expand(f"{OUT}/reg_net_{{pair}}/model.weights.h5", pair=regression.PAIRS, allow_missing=True),
    output:
        f"{OUT}/cases.csv",
        f"{OUT}/reliability.csv",
    shell:
        ONE + " predict {RUN:q} {wildcards.fold}"


rule stress:
    input:
        f"{OUT}/cases.csv",
    output:
        f"{OUT}/stress.csv",
    shell:
        ONE + " stress {RUN:q} {wildcards.fold}"
