#!/usr/bin/env bash
# Train on a Slurm cluster.
#
#   [GPUS=8] [GPUS_PER_NODE=8] [CPUS_PER_TASK=5] [SRUN_ARGS=...] \
#       tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [arguments of tools/train.py]
#
# One task for each GPU. PYTHON names the interpreter; without it the checkout's .venv is used where there is one.
#
# With REQUEUE=1 it submits a batch job instead (sbatch; options of it in SBATCH_ARGS), which trains with --resume:
# GRACE seconds (120) before its time limit, and where the job is preempted, the training is asked to end (SIGTERM),
# saves where it is, and the job queues itself again until the training is through. Only exit code 143 ("asked to end,
# and saved") queues again; scancel ends it for good. The output goes to WORK_DIR/slurm-JOBID.out.
set -euo pipefail

if [ $# -lt 4 ]; then
    echo "usage: $0 PARTITION JOB_NAME CONFIG WORK_DIR [arguments of tools/train.py]" >&2
    exit 2
fi
partition=$1
job=$2
config=$3
work_dir=$4
shift 4

gpus=${GPUS:-8}
gpus_per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
read -r -a srun_args <<< "${SRUN_ARGS:-}"
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=launch.sh source-path=SCRIPTDIR
source "$tools/launch.sh"

resources=(--partition="$partition" --job-name="$job" --gres="gpu:$gpus_per_node"
           --ntasks="$gpus" --ntasks-per-node="$gpus_per_node" --cpus-per-task="${CPUS_PER_TASK:-5}")
command=("$python" -u "$tools/train.py" "$config" --work-dir "$work_dir" --launcher slurm "$@")

if [ "${REQUEUE:-0}" != 1 ]; then
    exec srun "${resources[@]}" --kill-on-bad-exit=1 ${srun_args[@]+"${srun_args[@]}"} "${command[@]}"
fi

if [ -z "${MMAFFNET_IN_BATCH:-}" ]; then
    mkdir -p "$work_dir"
    read -r -a sbatch_args <<< "${SBATCH_ARGS:-}"
    export MMAFFNET_IN_BATCH=1 REQUEUE PYTHON="$python"
    # The job runs this very file: Slurm would copy a script away from launch.sh. --signal goes to the tasks alone.
    exec sbatch "${resources[@]}" --requeue --open-mode=append --output="$work_dir/slurm-%j.out" \
        --signal="TERM@${GRACE:-120}" --export=ALL ${sbatch_args[@]+"${sbatch_args[@]}"} \
        --wrap "exec $(printf '%q ' bash "$tools/slurm_train.sh" "$partition" "$job" "$config" "$work_dir" "$@")"
fi

# scancel signals this shell too, the end of the time limit does not. bash runs the trap once srun has ended.
cancelled=0
trap 'cancelled=1' TERM
code=0
srun --kill-on-bad-exit=1 ${srun_args[@]+"${srun_args[@]}"} "${command[@]}" --resume || code=$?
if [ "$code" = 143 ] && [ "$cancelled" = 0 ]; then
    echo "saved before the job's end: job $SLURM_JOB_ID queues again" >&2
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
