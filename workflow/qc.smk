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
# that was killed is run again and takes up its batch where it was; called again after scans have come or
# changed, or with other options, only the batches that this concerns are run, and of these the scans.

import hashlib
import math
import os
import shlex
from pathlib import Path

from wmhqc.screen import cli
from wmhqc.screen.discover import discover
from wmhqc.screen.inputs import INPUTS

if "source" not in config or "out" not in config:
    raise WorkflowError("give the scans and a folder for the results: --config source=FOLDER out=DIR")
SOURCE, OUT = config["source"], Path(config["out"]).resolve()
if set("{}") & set(str(OUT)):
    raise WorkflowError(f"{OUT}: Snakemake takes what stands in braces for a wildcard; choose another folder (out=DIR)")
OPTIONS = shlex.split(config.get("options", ""))
GIVEN = cli.parser().parse_args(["qc", SOURCE, "--out", str(OUT), *OPTIONS])
TEMPLATES = {name: getattr(GIVEN, name) for name in INPUTS if getattr(GIVEN, name)}
TABLE = discover(SOURCE, TEMPLATES).sort_values("case")
SIZE = int(config.get("batch", 20))
# A case's batch depends on its name, not on the other cases, until their number has doubled.
BITS = max(0, math.ceil(math.log2(len(TABLE) / SIZE)))


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


BATCHES = {}
for row in TABLE.to_dict("records"):
    files = [row[name] for name in INPUTS if row.get(name) and os.path.exists(row[name])]
    files += [GIVEN.calibration] if GIVEN.calibration else []
    state = [row["case"], *([path, os.stat(path).st_size, os.stat(path).st_mtime_ns] for path in files)]
    number = int(digest(row["case"])[:8], 16) >> (32 - BITS)
    BATCHES.setdefault(f"{BITS}-{number}", []).append((row["case"], str(state)))
DONE = f"{OUT}/.batches/{{batch}}.done"


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
        cases=lambda wildcards: [case for case, _ in BATCHES[wildcards.batch]],
        state=lambda wildcards: digest(str(BATCHES[wildcards.batch])),  # the scans' files, for Snakemake to compare
        options=lambda wildcards: shlex.join(OPTIONS),  # a function, since it may hold {case}
    threads: 1
    resources:
        mem_mb=3000,
        runtime=lambda wildcards: 10 + 2 * len(BATCHES[wildcards.batch]),
    shell:
        "OMP_NUM_THREADS={threads} TF_NUM_INTRAOP_THREADS={threads} "
        "wmhqc qc {SOURCE:q} --out {OUT:q} --skip-bad --cases {params.cases:q} {params.options} || test $? -eq 3"  # 3: some could not be judged
