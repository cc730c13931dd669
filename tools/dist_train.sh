#!/usr/bin/env bash
# Train with several processes on one or more machines, on GPUs (nccl) or, where there are none, on CPUs (gloo).
#
#   tools/dist_train.sh CONFIG GPUS [arguments of tools/train.py]
#
# GPUS is the number of processes on this machine. For several machines run it on each, with NNODES, NODE_RANK (0 on
# the first), MASTER_ADDR (address of the first) and PORT in the environment. PYTHON names the interpreter; without it
# the checkout's .venv is used where there is one.
set -euo pipefail

if [ $# -lt 2 ]; then
    echo "usage: $0 CONFIG GPUS [arguments of tools/train.py]" >&2
    exit 2
fi
config=$1
gpus=$2
shift 2

tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=launch.sh source-path=SCRIPTDIR
source "$tools/launch.sh"

exec "$python" -m mmaffnet.engine.launch \
    "${rendezvous[@]}" --nproc_per_node "$gpus" \
    "$tools/train.py" "$config" --launcher pytorch "$@"
