# The whole experiment: folds x networks, for any cohort table; see wmhqc/experiment.py.
#
#   snakemake -s workflow/experiment.smk --cores 2 --config run=runs/reference
#   snakemake --profile workflow/slurm -s workflow/experiment.smk --config run=... cohort=my.csv
#
# Further settings:
#
#   cohort=FILE.csv      a cohort table (wmhqc.cohort); without it the synthetic cohort is made
#   cases=105            how many synthetic cases
#   settings=FILE.yml    what differs from wmhqc.experiment.SETTINGS
#   folds=0,1            only these folds
#   release=FOLDER       copy there what the package ships
#
# A job that was killed goes on from its last epoch or case when it is run again.

import json
from pathlib import Path

import yaml

from wmhqc import experiment

if "run" not in config:
    raise WorkflowError("give the folder of the run: --config run=runs/reference")
RUN = Path(config["run"]).resolve()
CHANGES = yaml.safe_load(Path(config["settings"]).read_text()) if "settings" in config else {}
COUNT = (experiment.SETTINGS | CHANGES)["folds"]
FOLDS = [int(fold) for fold in str(config.get("folds", "")).split(",") if fold] or list(range(COUNT))
OUT = f"{RUN}/fold_{{fold}}"
# oneDNN: TensorFlow leaves it off on AMD processors, where a training step then takes 2 to 6 times as long
ONE = "TF_ENABLE_ONEDNN_OPTS=1 OMP_NUM_THREADS={threads} TF_NUM_INTRAOP_THREADS={threads} python -m wmhqc.experiment"


localrules:
    gather,


rule gather:
    input:
        expand(f"{OUT}/cases.csv", fold=FOLDS),
        f"{RUN}/fold_{FOLDS[0]}/stress.csv",
    output:
        RUN / "manifest.json",
    run:
        experiment.gather(RUN)
        if "release" in config:
            from wmhqc import reference

            reference.release(RUN, config["release"])


rule start:
    input:
        config.get("cohort", []),
    output:
        RUN / "settings.json",
    threads: 2
    run:
        from wmhqc import cohort
        from wmhqc.sources import synthetic

        if "cohort" in config:
            table = cohort.read_csv(config["cohort"])
        else:
            table = synthetic.make_cohort(RUN / "cohort", int(config.get("cases", 105)), jobs=threads, progress=False)
        experiment.start(RUN, table, CHANGES)


rule segment:
    input:
        RUN / "settings.json",
    output:
        touch(f"{OUT}/mc_unet-{{member}}.done"),
    shell:
        ONE + " segment {RUN:q} {wildcards.fold} {wildcards.member}"


rule reconstruct:
    input:
        RUN / "settings.json",
    output:
        touch(f"{OUT}/rec_unet.done"),
    shell:
        ONE + " reconstruct {RUN:q} {wildcards.fold}"


rule judge:
    input:
        expand(f"{OUT}/mc_unet-{{member}}.done", member=experiment.MEMBERS, allow_missing=True),
        f"{OUT}/rec_unet.done",
    output:
        f"{OUT}/maps.csv",
    shell:
        ONE + " judge {RUN:q} {wildcards.fold}"


rule regress:
    input:
        f"{OUT}/maps.csv",
    output:
        touch(f"{OUT}/reg_net_{{pair}}.done"),
    shell:
        ONE + " regress {RUN:q} {wildcards.fold} {wildcards.pair}"


rule predict:
    input:
        f"{OUT}/maps.csv",
        expand(f"{OUT}/reg_net_{{pair}}.done", pair=experiment.PAIRS, allow_missing=True),
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
