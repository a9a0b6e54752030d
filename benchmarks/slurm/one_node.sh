#!/usr/bin/env bash
# A SLURM of one node on this machine, to try workflow/slurm on (trial.sh). As root, in a container that may be thrown away:
# it writes /etc/slurm. Needs Debian's slurm-wlm and munge.
#
#   benchmarks/slurm/one_node.sh        start; then sinfo, squeue and sbatch know it
#   benchmarks/slurm/one_node.sh stop
#
# Two partitions, as the profile asks for: cpu, and gpu with one pretended GPU. Finished jobs: /var/lib/one-node/jobs.txt
set -euo pipefail
folder=/var/lib/one-node
if [ "${1:-}" = stop ]; then
    for name in slurmd slurmctld; do kill "$(cat "$folder/$name.pid")" 2>/dev/null || true; done
    exit
fi
mkdir -p "$folder/state" "$folder/spool" /run/munge /etc/slurm
host=$(hostname -s)
cores=$(getconf _NPROCESSORS_ONLN)
memory=$(($(getconf _PHYS_PAGES) / 1024 * $(getconf PAGESIZE) / 1024 - 500))
[ -e /etc/munge/munge.key ] || mungekey --create
chown -R munge: /etc/munge /run/munge
pgrep -x munged >/dev/null || su -s /bin/sh munge -c munged
cat >/etc/slurm/slurm.conf <<CONF
ClusterName=one
SlurmctldHost=$host
SlurmUser=root
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
MinJobAge=600
JobCompType=jobcomp/filetxt
JobCompLoc=$folder/jobs.txt
ReturnToService=2
NodeName=$host CPUs=$cores RealMemory=$memory Gres=gpu:1
PartitionName=cpu Nodes=$host Default=YES MaxTime=INFINITE
PartitionName=gpu Nodes=$host MaxTime=INFINITE
CONF
echo "NodeName=$host Name=gpu File=/dev/null" >/etc/slurm/gres.conf
slurmctld -c
slurmd
for _ in $(seq 30); do
    sinfo -h -t idle | grep -q . && break
    sleep 1
done
sinfo
