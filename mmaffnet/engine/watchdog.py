"""End a distributed run in which a rank hangs: without it the others wait in a collective for half an hour or for ever.

mmengine has no such thing; ``init_process_group(timeout=…)`` would bound collectives only, the longest as the shortest.
"""
import faulthandler
import multiprocessing
import os
import socket
import sys
import threading
import time
import traceback
from typing import NamedTuple

import torch
from mmengine.hooks import Hook

from mmaffnet.registry import HOOKS

from .errors import LAUNCHED, RankLost, rank


class Beat(NamedTuple):
    """What the main thread is at, since when, and how long it may be."""

    phase: str
    key: tuple | None
    since: float
    limit: float

    @property
    def fetching(self):
        """bool: Whether the next batch is fetched, in which ranks do not wait for each other."""
        return self.key is not None and self.key[1] != 'step'


@HOOKS.register_module()
class WatchdogHook(Hook):
    """Watch this rank from a thread: where it stays too long at one thing, say where, and end the process.

    torchrun or srun then ends the other ranks. A rank that hangs while it fetches data or in code of its own speaks at
    the limit; one that may only be waiting for the others (in a collective; on a GPU anywhere in an iteration)
    ``grace`` seconds later, so that the one to blame is first.

    Registered by the runner in distributed runs; the config's top-level ``watchdog = dict(limit=…)`` changes it.

    Args:
        limit (float): Seconds that waiting for a batch or an iteration may take at least; 0 turns the watchdog off.
        factor (float): The limit grows to this multiple of the longest one so far.
        first (float): Limit in seconds for the first batch and the first iteration of a run (workers start, cuDNN
            tries its algorithms).
        other (float): Limit in seconds for everything else: loading, saving, and computing metrics, for which the
            other ranks wait.
        grace (float): See above.
    """

    priority = 'LOWEST'  # what other hooks do after an iteration belongs to it

    def __init__(self, limit=40, factor=10, first=600, other=1800, grace=10):
        self.limit, self.factor, self.first, self.other, self.grace = limit, factor, first, other, grace
        self._longest = {}
        self._beat = None
        self._place = ''
        self._stop = threading.Event()

    def before_run(self, runner):
        """Start watching.

        Args:
            runner (Runner): The run.
        """
        if self.limit > 0:
            self._next('at the start', self.other)
            threading.Thread(target=self._watch, name='watchdog', daemon=True).start()

    def after_run(self, runner):
        """Stop watching.

        Args:
            runner (Runner): The run.
        """
        self._stop.set()
        self._beat = None
        faulthandler.cancel_dump_traceback_later()

    def _before_epoch(self, runner, mode='train'):
        self._place = f'{mode} epoch {runner.epoch + 1}' if mode == 'train' else mode
        if _length(runner, mode) == 0:  # this rank has no picture, and waits for those that have
            self._next(f'at the end of {self._place}', self.other)
        else:
            self._next(f'before batch 1 of {self._place}', self._limit(mode, 'start'), (mode, 'start'))

    def _before_iter(self, runner, batch_idx, data_batch=None, mode='train'):
        key = (mode, 'step')
        self._next(f'in batch {batch_idx + 1} of {self._place}', self._limit(*key), key)

    def _after_iter(self, runner, batch_idx, data_batch=None, outputs=None, mode='train'):
        last = runner.max_iters - 1 == runner.iter if mode == 'train' else False
        if last or batch_idx + 1 == _length(runner, mode):
            self._next(f'at the end of {self._place}', self.other)
        else:
            self._next(f'before batch {batch_idx + 2} of {self._place}', self._limit(mode, 'data'), (mode, 'data'))

    def _after_epoch(self, runner, mode='train'):
        self._next(f'after {self._place}', self.other)

    def _limit(self, mode, kind):
        longest = self._longest.get((mode, kind))
        if longest is None and kind != 'data':  # the first of the run
            return max(self.first, self.limit)
        return max(self.limit, self.factor * (longest or 0))

    def _next(self, phase, limit, key=None):
        """Note that the main thread came to the next thing, and how long the last one of this kind took."""
        if self.limit <= 0:
            return
        now = time.monotonic()
        if self._beat is not None and self._beat.key is not None:
            before = self._beat
            self._longest[before.key] = max(self._longest.get(before.key, 0), now - before.since)
        self._beat = Beat(phase, key, now, limit)
        # The thread below needs Python's lock, which a hanging extension may hold; faulthandler's does not.
        faulthandler.dump_traceback_later(limit + 2 * self.grace, exit=True, file=sys.__stderr__)

    def _watch(self):
        """The thread: count the seconds of each beat, and act where they exceed its limit."""
        pause = min(1, self.limit / 10)
        seen, spent, last = None, 0., time.monotonic()
        while not self._stop.wait(pause):
            beat, now = self._beat, time.monotonic()
            # A process that was suspended (SIGSTOP, scontrol suspend) wakes up late; that time is not the run's.
            spent = 0. if beat is not seen else spent + min(now - last, 2 * pause)
            seen, last = beat, now
            if beat and spent > beat.limit + self.grace * _may_wait_for_others(beat):
                self._end(beat, spent)

    def _end(self, beat, spent):
        """Report and leave at once: the main thread cannot be asked to."""
        from .rank_errors import RankErrorHandler  # not in builds of torch without torch.distributed
        lost = RankLost(f'rank {rank()} on {socket.gethostname()} hangs {beat.phase}: {spent:.0f} s, allowed are '
                        f'{beat.limit:.0f} s (watchdog of the config)')
        text = f'{lost}\n{stacks()}'
        RankErrorHandler().record_line(lost.line(), text)
        if not os.environ.get(LAUNCHED):
            print(f'{lost.prefix}: {text}', file=sys.stderr, flush=True)
        for worker in multiprocessing.active_children():  # a data loader's worker that hangs would stay behind
            worker.kill()
        os._exit(lost.exit_code)


def stacks():
    """str: What the Python threads of this process are at, the main thread first; the calling one is left out."""
    frames = sys._current_frames()
    threads = [t for t in threading.enumerate() if t is not threading.current_thread() and t.ident in frames]
    threads.sort(key=lambda thread: thread is not threading.main_thread())
    return '\n'.join(f'thread {thread.name}:\n' + ''.join(traceback.format_stack(frames[thread.ident])).rstrip()
                     for thread in threads)


def _may_wait_for_others(beat):
    """bool: Whether the main thread stands where it would also stand if another rank hung."""
    if beat.fetching:
        return False
    if torch.cuda.is_available():  # kernels run later, and a collective is met by whoever asks for a number
        return True
    frame = sys._current_frames().get(threading.main_thread().ident)
    return frame is not None and any(part in frame.f_code.co_filename for part in (
        'torch/distributed/', 'torch/autograd/', 'torch/nn/parallel/'))


def _length(runner, mode):
    """int | None: Number of batches of a loop on this rank, where it is known."""
    loader = getattr(runner, f'{mode}_dataloader')
    try:
        return len(loader)
    except TypeError:  # an iterable data set
        return None
