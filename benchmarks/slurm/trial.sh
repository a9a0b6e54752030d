#!/usr/bin/env bash
# The five-fold experiment and `wmhqc qc` through SLURM, small: a job is killed, the same command goes on, and what the
# profile asks for is what the jobs get.
#
#   benchmarks/slurm/one_node.sh && benchmarks/slurm/trial.sh FOLDER     in the environment of the package, with
#   pip install snakemake-executor-plugin-slurm
#
# The status is asked of squeue, as a SLURM of one node keeps no accounts. A quarter of an hour on two cores.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=$(realpath -m "$1")
mkdir -p "$out"
cat >"$out/tiny.yml" <<'YML'
size: 32
passes: 2
folds: 3
mc_unet: {epochs: 2, steps: 2}
rec_unet: {epochs: 1, steps: 2}
reg_net: {epochs: 1, steps: 2, batch: 1}
YML
ask=(--latency-wait 10 --slurm-status-command squeue --slurm-init-seconds-before-status-checks 5 --quiet host)
study=(snakemake --profile workflow/slurm -s workflow/experiment.smk "${ask[@]}"
    --config run="$out/run" cases=6 settings="$out/tiny.yml")

killer() { # the first training that runs
    until job=$(squeue -h -t running -o "%i %k" | grep train_segmenter | head -1 | cut -d' ' -f1) && [ -n "$job" ]; do sleep 1; done
    scontrol show job "$job" >"$out/asked_for.txt"
    scancel --signal=KILL --full "$job"
    echo "killed job $job"
}
killer &
if "${study[@]}" >"$out/first.log" 2>&1; then echo "the first call did not notice that a job was killed" && exit 1; fi
wait
grep -E "Partition|TRES|TimeLimit" "$out/asked_for.txt"
"${study[@]}" >"$out/second.log" 2>&1
echo "experiment: $(wc -l <"$out/run/cases.csv") lines in cases.csv after going on"

snakemake -s workflow/qc.smk --executor slurm --jobs 4 --default-resources slurm_partition=cpu "${ask[@]}" \
    --config source="$(ls -d "$out"/run/cohort)" out="$out/qc" batch=3 options="--passes 2" >"$out/qc.log" 2>&1
echo "qc: $(wc -l <"$out/qc/group.tsv") lines in group.tsv"
