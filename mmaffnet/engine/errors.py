"""How a run ends where it cannot go on: one sentence, an exit code of its own, no traceback."""
import functools
import os
import signal
import socket
import sys

# Set by mmaffnet.engine.launch for its ranks: what they record is printed there, once, so that they need not speak.
LAUNCHED = 'MMAFFNET_LAUNCHED'
# torchrun, Slurm, Open MPI
RANK_NAMES = ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK')
LOCAL_RANK_NAMES = ('LOCAL_RANK', 'SLURM_LOCALID', 'OMPI_COMM_WORLD_LOCAL_RANK')


class Stop(Exception):
    """The end of a run, told in one sentence.

    Args:
        message (str): The sentence, without a full stop at the end if it closes with a command or a path.
    """

    exit_code = 1
    prefix = 'error'

    def __init__(self, message):
        # A data loader's worker hands its errors over as text, traceback first and the sentence in the last line.
        if 'Traceback (most recent call last)' in message:
            message = message.strip().splitlines()[-1].partition(': ')[2]
        super().__init__(message)

    def line(self):
        """str: The sentence as it is printed."""
        return f'{self.prefix}: {self}'


class UserError(Stop):
    """A mistake in what the user gave (file, config, option).

    The sentence says what is wrong, where it was looked for, what is allowed, and what to do.
    """

    exit_code = 2


class LossNotFinite(Stop):
    """A loss became infinite or not a number; the sentence gives iteration, learning rate and the batch's files."""

    exit_code = 3


class Terminated(Stop):
    """The run was asked to end (SIGTERM) and has saved where it was."""

    exit_code = 143  # 128 + SIGTERM: what Kubernetes' PyTorchJob takes for "start it again"
    prefix = 'stopped'


class RankLost(Stop):
    """This rank cannot go on since another one ended, or it hung; the run can be started again with ``--resume``."""

    exit_code = 134  # 128 + SIGABRT, with which NCCL's own watchdog ends a rank: PyTorchJob starts it again


def rank():
    """int: This process's number among all, also before ``torch.distributed`` is initialised; 0 where it is alone."""
    return int(next((os.environ[name] for name in RANK_NAMES if name in os.environ), 0))


def is_main_process():
    """bool: Whether this process is rank 0, also before ``torch.distributed`` is initialised."""
    return rank() == 0


def say(message):
    """Print one line on standard output, on rank 0 only.

    Args:
        message (str): The line.
    """
    if is_main_process():
        print(message, flush=True)


def cli(main):
    """Wrap the ``main`` of a tool so that a ``Stop`` becomes one line on standard error and its exit code.

    Started by torchrun, every error is also written into the file that torchrun reads (its ``@record``). Started by
    :mod:`mmaffnet.engine.launch`, nothing is printed here: the launcher prints the first error of all ranks.

    Args:
        main (Callable): Takes a list of arguments or None (then ``sys.argv``), returns an exit code or None.

    Returns:
        Callable: The same, raising ``SystemExit`` where the exit code is not 0.
    """

    @functools.wraps(main)
    def wrapped(argv=None):
        try:
            code = _recorded(main)(argv)
        except Stop as error:
            _tell(error)
            code = error.exit_code
        except KeyboardInterrupt:
            if not os.environ.get(LAUNCHED):
                raise
            code = 128 + signal.SIGINT
        except Exception:  # recorded
            if not os.environ.get(LAUNCHED):
                raise
            code = 1
        if code:
            raise SystemExit(code)

    return wrapped


def _recorded(main):
    """Let torchrun know of errors; a rank's complaint that another one has gone becomes a ``RankLost``."""
    if 'TORCHELASTIC_ERROR_FILE' not in os.environ:
        return main
    from torch.distributed.elastic.multiprocessing.errors import record

    from .rank_errors import RankErrorHandler, lost_rank

    def run(argv):
        try:
            return main(argv)
        except Exception as error:
            lost = lost_rank(error)
            if lost is None:
                raise
            raise lost from error

    return record(run, error_handler=RankErrorHandler())


def _tell(error):
    """Print a ``Stop``: once where all ranks meet it, and with rank and host where it may be this rank's alone.

    That the run was asked to end is told by rank 0 even under our launcher, which cannot read what ranks recorded when
    it is itself the one that was asked.
    """
    if os.environ.get(LAUNCHED) and not isinstance(error, Terminated):
        return
    if is_main_process():
        print(error.line(), file=sys.stderr, flush=True)
    elif 'TORCHELASTIC_ERROR_FILE' not in os.environ and _may_be_alone():  # else torchrun's report shows it
        print(f'rank {rank()} on {socket.gethostname()}: {error.line()}', file=sys.stderr, flush=True)


def _may_be_alone():
    """bool: Whether rank 0 may not have met this error: ours is another machine, or the training has begun."""
    distributed = sys.modules.get('torch.distributed')
    begun = distributed is not None and distributed.is_available() and distributed.is_initialized()
    local = next((os.environ[name] for name in LOCAL_RANK_NAMES if name in os.environ), '1')
    return begun or int(local) == 0
