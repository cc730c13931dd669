"""The end of a process group: torch's threads must have let go of Python's objects before Python ends."""
import atexit
import contextlib

import torch

_state = dict(registered=False, broken=False)


@contextlib.contextmanager
def left_in_order():
    """Close the process group when this process ends, unless the run inside raised.

    Without it gloo's threads may still hold a collective's tensors when Python ends, and abort the process (seen once
    in about ten runs of two ranks). After an error other ranks may never join a collective that is under way: closing
    would wait for them.

    Yields:
        None
    """
    if not _state['registered']:
        _state['registered'] = True
        atexit.register(_leave)
    try:
        yield
    except BaseException:
        _state['broken'] = True
        raise


def _leave():
    distributed = torch.distributed
    if not _state['broken'] and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
