"""How a run ends where it cannot go on: one sentence, an exit code of its own, no traceback."""
import functools
import os
import sys


class Stop(Exception):
    """The end of a run, told in one sentence.

    Args:
        message (str): The sentence, without a full stop at the end if it closes with a command or a path.
    """

    exit_code = 1
    prefix = 'error'


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


def is_main_process():
    """bool: Whether this process is rank 0, also before ``torch.distributed`` is initialised."""
    ranks = (os.environ.get(name) for name in ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK'))
    return int(next((rank for rank in ranks if rank is not None), 0)) == 0


def say(message):
    """Print one line on standard output, on rank 0 only.

    Args:
        message (str): The line.
    """
    if is_main_process():
        print(message, flush=True)


def cli(main):
    """Wrap the ``main`` of a tool so that a ``Stop`` becomes one line on standard error and its exit code.

    With several ranks only rank 0 prints: all ranks see the same mistake.

    Args:
        main (Callable): Takes a list of arguments or None (then ``sys.argv``), returns an exit code or None.

    Returns:
        Callable: The same, raising ``SystemExit`` where the exit code is not 0.
    """

    @functools.wraps(main)
    def wrapped(argv=None):
        try:
            code = main(argv)
        except Stop as error:
            if is_main_process():
                print(f'{error.prefix}: {error}', file=sys.stderr, flush=True)
            code = error.exit_code
        if code:
            raise SystemExit(code)

    return wrapped
