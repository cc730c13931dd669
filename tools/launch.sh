# shellcheck shell=bash disable=SC2034
# Sourced by the launchers beside it, for which it sets "python", "PYTHONPATH", and for torchrun "rendezvous".
#
# PYTHON names the interpreter; without it the checkout's .venv is used where there is one. For several machines NNODES,
# NODE_RANK (0 on the first), MASTER_ADDR (address of the first) and PORT stand in the environment.
python=${PYTHON:-$tools/../.venv/bin/python}
if [ -z "${PYTHON:-}" ] && [ ! -x "$python" ]; then python=python; fi
export PYTHONPATH="$tools/..${PYTHONPATH:+:$PYTHONPATH}"

if [ "${NNODES:-1}" = 1 ] && [ -z "${PORT:-}" ]; then
    rendezvous=(--standalone)  # takes a free port, so that two runs on one machine do not meet
else
    rendezvous=(--nnodes "${NNODES:-1}" --node_rank "${NODE_RANK:-0}"
                --master_addr "${MASTER_ADDR:-127.0.0.1}" --master_port "${PORT:-29500}")
fi
