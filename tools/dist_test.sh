#!/usr/bin/env bash
# Evaluate with several processes on one or more machines, on GPUs (nccl) or, where there are none, on CPUs (gloo).
#
#   tools/dist_test.sh CONFIG CHECKPOINT GPUS [arguments of tools/test.py]
#
# GPUS is the number of processes on this machine. For several machines run it on each, with NNODES, NODE_RANK (0 on
# the first), MASTER_ADDR (address of the first) and PORT in the environment. PYTHON names the interpreter; without it
# the checkout's .venv is used where there is one.
set -euo pipefail

if [ $# -lt 3 ]; then
    echo "usage: $0 CONFIG CHECKPOINT GPUS [arguments of tools/test.py]" >&2
    exit 2
fi
config=$1
checkpoint=$2
gpus=$3
shift 3

tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=launch.sh source-path=SCRIPTDIR
source "$tools/launch.sh"

exec "$python" -m mmaffnet.engine.launch \
    "${rendezvous[@]}" --nproc_per_node "$gpus" \
    "$tools/test.py" "$config" "$checkpoint" --launcher pytorch "$@"
