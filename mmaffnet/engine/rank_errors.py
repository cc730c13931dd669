"""How one of several ranks leaves word of its error: a file that torchrun names and reads, with torchrun's own format.

torchrun's ``@record`` writes only exceptions, with the time in whole seconds: two ranks that fail within one second are
then reported in the order of their numbers. Here the file also holds the exact time and, for a ``Stop``, its one line.
"""
import json
import re
import time
import traceback

from torch.distributed.elastic.multiprocessing.errors import ErrorHandler

from .errors import RankLost, Stop, rank

# What gloo, NCCL and the store say in a rank whose partner has gone.
_LOST = re.compile(r'(gloo|NCCL|TCPStore).*(closed by peer|reset by peer|remote process exited|Broken pipe|'
                   r'failed to connect|Connection refused)', re.DOTALL)


class RankErrorHandler(ErrorHandler):
    """torchrun's handler (for its ``record``), which lacks exact times and errors without a traceback."""

    def record_exception(self, e):
        """Write the exception into the file that torchrun named; without torchrun do nothing.

        Args:
            e (BaseException): The error.
        """
        if isinstance(e, Stop):
            self.record_line(e.line(), e.line())
        else:
            self.record_line(f'{type(e).__name__}: {e}', traceback.format_exc(), bug=True)

    def record_line(self, line, detail, bug=False):
        """Write one line and its detail.

        Args:
            line (str): What happened.
            detail (str): What torchrun's report shows as the traceback.
            bug (bool): Whether the detail is needed to understand the line.
        """
        path = self._get_error_file_path()
        if path is None:
            return
        now = time.time()
        extra = dict(py_callstack=detail, timestamp=str(int(now)), exact_time=now, bug=bug)
        self._write_error_file(path, json.dumps(dict(message=dict(message=line, extraInfo=extra))))


def lost_rank(error):
    """Recognise an error that only says that another rank has gone.

    Args:
        error (Exception): What a collective raised.

    Returns:
        RankLost | None: The same in one sentence, or None where the error is this rank's own.
    """
    text = str(error)
    if not isinstance(error, RuntimeError) or not _LOST.search(text):
        return None
    return RankLost(f'rank {rank()} lost contact with another one, whose error is the first ({_short(text)})')


def _short(text, length=150):
    text = ' '.join(text.split())
    return text if len(text) <= length else f'{text[:length]}…'
