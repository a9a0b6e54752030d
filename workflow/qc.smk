# `wmhqc qc` for many scans: batches of cases as separate jobs, on one machine or on a cluster.
#
#   snakemake -s workflow/qc.smk --cores 8 --config source=/data/bids out=/data/bids/derivatives/wmhqc
#   snakemake -s workflow/qc.smk --executor slurm --jobs 100 --config source=... out=... batch=20
#
# (--executor slurm needs the package snakemake-executor-plugin-slurm.)  Further settings:
#
#   batch=20    cases a job, since each job starts TensorFlow and loads the networks
#   options="--resample --risk 0.05"    what else `wmhqc qc` is to do, for example
#   '--brainmask {folder}/{case}_brainmask.nii.gz'
#
# Scans that cannot be judged are listed in group.tsv with the reason, and the others go on.  A job
# that was killed is run again and takes up its batch where it was.

import hashlib
import shlex
from pathlib import Path

from wmhqc import qc

if "source" not in config or "out" not in config:
    raise WorkflowError("give the scans and a folder for the results: --config source=FOLDER out=DIR")
SOURCE, OUT = config["source"], Path(config["out"]).resolve()
CASES = sorted(qc.find(SOURCE)["case"])
SIZE = int(config.get("batch", 20))
BATCHES = [CASES[i : i + SIZE] for i in range(0, len(CASES), SIZE)]
# named after their cases, so that scans that come later make batches of their own
BATCHES = {hashlib.sha256(" ".join(batch).encode()).hexdigest()[:12]: batch for batch in BATCHES}
DONE = f"{OUT}/.batches/{{batch}}.done"
OPTIONS = shlex.join(shlex.split(config.get("options", "")))


localrules:
    group,


rule group:
    input:
        expand(DONE, batch=BATCHES),
    output:
        OUT / "group.tsv",
        OUT / "group.html",
    shell:
        "wmhqc group {OUT:q}"


rule batch:
    output:
        touch(DONE),
    params:
        cases=lambda wildcards: BATCHES[wildcards.batch],
    threads: 1
    resources:
        mem_mb=3000,
        runtime=lambda wildcards: 10 + 2 * SIZE,
    shell:
        "OMP_NUM_THREADS={threads} TF_NUM_INTRAOP_THREADS={threads} "
        "wmhqc qc {SOURCE:q} --out {OUT:q} --skip-bad --cases {params.cases:q} {OPTIONS} || test $? -eq 1"
