"""torchrun with a short end: the first error on top, and its exit code.

``python -m mmaffnet.engine.launch`` takes torchrun's arguments and is torchrun, which lacks:

- one report: each rank's traceback, torchrun's own log lines, its table and its own traceback come in any order;
- the order of errors within one second, and which of them only says that another rank has gone;
- the failed rank's exit code (torchrun ends with 1 whatever it was).

``tools/dist_train.sh`` and ``tools/dist_test.sh`` start it.
"""
import logging
import os
import signal
import socket
import sys
from datetime import datetime

from torch.distributed import run as torchrun
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from .errors import LAUNCHED, RankLost, Terminated

# They say in lines of torch's log what the report says: that ranks failed and are ended.
_LOGGERS = ('torch.distributed.elastic.multiprocessing.api', 'torch.distributed.elastic.agent.server.api')


def main(argv=None):
    """Run a script in several processes.

    Args:
        argv (list[str] | None): torchrun's arguments, the script and its own; None takes the command line's.

    Returns:
        int: 0; the exit code of the rank that failed first; 128 + n where it was killed by signal n, or where this
        process got it and passed it on (torchrun gives the ranks 30 s to end).
    """
    args = torchrun.parse_args(argv)
    os.environ[LAUNCHED] = '1'
    if args.nproc_per_node != '1':
        os.environ.setdefault('OMP_NUM_THREADS', '1')  # torchrun sets the same and says so in six lines
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        torchrun.run(args)
    except ChildFailedError as error:
        failures = in_order(error.failures)
        if exit_code(failures[0][1]) != Terminated.exit_code:  # rank 0 has told it
            lines = report(failures, several_hosts=args.nnodes not in ('1', '1:1'))
            print(*lines, sep='\n', file=sys.stderr, flush=True)
        return exit_code(failures[0][1])
    except SignalException as error:
        return 128 + error.sigval
    return 0


def in_order(failures):
    """Sort failures: first what a rank did itself, then what it met since another had gone, then what we ended.

    Args:
        failures (dict[int, ProcessFailure]): By global rank, from torchrun.

    Returns:
        list[tuple[int, ProcessFailure]]: Rank and failure, the first to happen first within each kind.
    """
    def key(item):
        code = exit_code(item[1])
        kind = {RankLost.exit_code: 1, Terminated.exit_code: 2}.get(code, 0)
        return kind, _extra(item[1]).get('exact_time', item[1].timestamp)

    return sorted(failures.items(), key=key)


def exit_code(failure):
    """int: A rank's exit code as a shell would give it: 128 + n where signal n killed it."""
    return 128 - failure.exitcode if failure.exitcode < 0 else failure.exitcode


def report(failures, several_hosts=False):
    """Tell why a run ended.

    Args:
        failures (list[tuple[int, ProcessFailure]]): See :func:`in_order`.
        several_hosts (bool): Whether to name this machine, where each prints a report of its own.

    Returns:
        list[str]: One line where the user can mend it, else who failed, when and why, and what became of the others.
    """
    (rank, first), others = failures[0], failures[1:]
    host = f' on {socket.gethostname()}' if several_hosts else ''
    extra = _extra(first)
    if extra and not extra['bug'] and exit_code(first) != RankLost.exit_code:
        return [first.message['message'] + (f' [rank {rank}{host}]' if several_hosts else '')]
    when = datetime.fromtimestamp(extra.get('exact_time', first.timestamp)).isoformat(' ', 'seconds')
    lines = [f'error: rank {rank}{host} (pid {first.pid}) {_how(first)} at {when}']
    if extra:
        lines.append(extra['py_callstack'].rstrip())
    return lines + [f'then: rank {other} (pid {failure.pid}) {_one_line(failure)}' for other, failure in others]


def _extra(failure):
    """dict: What the rank wrote beside torchrun's message; empty where it wrote nothing, as when it was killed."""
    extra = failure.message.get('extraInfo', {}) if isinstance(failure.message, dict) else {}
    return extra if 'exact_time' in extra else {}


def _how(failure):
    if failure.exitcode >= 0:
        return f'ended with exit code {failure.exitcode}'
    name = signal.Signals(-failure.exitcode).name
    return f'was killed by {name}' + (', as the kernel does where memory is short' if name == 'SIGKILL' else '')


def _one_line(failure):
    return failure.message['message'].splitlines()[0] if _extra(failure) else _how(failure)


if __name__ == '__main__':
    sys.exit(main())
