"""Train the runs of a study side by side, each in a process of its own, and stop them in order."""
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import mmaffnet
from mmaffnet.engine.errors import Terminated, say

from .study_run import StudyRun

POLL = 0.2   # seconds between two looks at the processes


@dataclass
class Outcome:
    """What became of the runs.

    Args:
        finished (list[StudyRun]): Trained to their end; their records are kept.
        failed (dict[str, str]): Name → why.
        stopped (list[StudyRun]): Asked to end, and ended so; what they had saved by then is there.
        left (list[StudyRun]): Not started, since the study was asked to end.
    """

    finished: list[StudyRun] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    stopped: list[StudyRun] = field(default_factory=list)
    left: list[StudyRun] = field(default_factory=list)


def trainer() -> list[str]:
    """list[str]: The command that takes the arguments of ``tools/train.py``."""
    return [sys.executable, '-P', '-u', '-m', 'mmaffnet.analysis.study_child', str(os.getpid())]


def make_slots(jobs: int | None, runs: int) -> list[dict[str, str]]:
    """What each of the processes that run at a time has for itself.

    Args:
        jobs (int | None): Processes at a time; None: one for each GPU, or one on the cores where there is no GPU.
        runs (int): There are no more than these.

    Returns:
        list[dict[str, str]]: Environment variables of each: its share of the cores, and its GPU, which processes share
        where they are more than the GPUs.
    """
    gpus, cores = _gpus(), len(os.sched_getaffinity(0))
    jobs = max(1, min(jobs or len(gpus) or 1, runs))
    slots = [{'OMP_NUM_THREADS': str(max(1, cores // jobs))} for _ in range(jobs)]
    for number, slot in enumerate(slots):
        if gpus:
            slot['CUDA_VISIBLE_DEVICES'] = gpus[number % len(gpus)]
    return slots


def train_all(runs: Sequence[StudyRun], slots: Sequence[dict[str, str]], command: Sequence[str] | None = None,
              told: Callable[[StudyRun, Outcome], None] = lambda run, outcome: None) -> Outcome:
    """Train runs to their end, several at a time; what has been kept is not trained again.

    One that fails is noted, and the others go on. On SIGTERM and SIGINT the running ones are asked to end, which they
    do when they have saved, or at once where they have nothing to save yet. A second signal ends them at once if it
    comes :data:`mmaffnet.engine.stop_request.ECHO_SECONDS` or more after the first; before, they take it for its echo.
    A run that another process trains, on this machine or another that shares the folder, is waited for.

    Args:
        runs (Sequence[StudyRun]): In order.
        slots (Sequence[dict[str, str]]): See :func:`make_slots`.
        command (Sequence[str] | None): See :func:`trainer`.
        told (Callable): Called with each run that has been kept.

    Returns:
        Outcome: What became of them.
    """
    queue = _Queue(runs, slots, list(command or trainer()), told)
    with _signals() as signals:
        passed_on = 0
        while queue.active or (queue.waiting and not signals):
            if not signals:
                queue.start()
            queue.collect(asked=bool(signals))
            if passed_on < len(signals):
                passed_on = len(signals)
                for process in queue.active:
                    process.popen.terminate()
            if queue.active or queue.waiting:
                time.sleep(POLL)
    queue.outcome.left = list(queue.waiting)
    return queue.outcome


@dataclass
class _Process:
    run: StudyRun
    slot: dict[str, str]
    descriptor: int
    popen: subprocess.Popen


class _Queue:
    """Runs that wait, run, and have ended."""

    def __init__(self, runs: Sequence[StudyRun], slots: Sequence[dict[str, str]], command: list[str],
                 told: Callable[[StudyRun, Outcome], None]) -> None:
        self.waiting, self.free, self.active = deque(run for run in runs if not run.is_kept), list(slots), []
        self.command, self.told, self.outcome = command, told, Outcome()
        self._elsewhere = set()

    def start(self) -> None:
        """Start as many as there are free slots; those that another process has go to the end."""
        for _ in range(len(self.waiting)):
            if not self.free:
                return
            run = self.waiting.popleft()
            descriptor = run.take()
            if descriptor is None:
                if run not in self._elsewhere:
                    say(f'{run.name}: another process trains it; waiting')
                self._elsewhere.add(run)
                self.waiting.append(run)
            # That process may have come to the end; or an earlier study was killed before it had kept the record.
            elif run.is_kept or (run.output.is_file() and run.keep() is None):
                os.close(descriptor)
                self._finish(run)
            else:
                slot = self.free.pop(0)
                self.active.append(_Process(run, slot, descriptor, self._popen(run, slot, descriptor)))

    def collect(self, asked: bool) -> None:
        """Note how processes ended.

        Args:
            asked (bool): Whether they had been asked to.
        """
        for process in [process for process in self.active if process.popen.poll() is not None]:
            self.active.remove(process)
            self.free.append(process.slot)
            run, code = process.run, process.popen.returncode
            reason = run.keep() if code == 0 else f'{_how(code)}: {run.last_line()}'
            if reason is None:
                self._finish(run)
            elif asked and code in (Terminated.exit_code, -signal.SIGTERM):
                self.outcome.stopped.append(run)
            else:
                self.outcome.failed[run.name] = reason
                say(f'failed: {run.name} ({reason}); all that it printed: {run.output}')
            os.close(process.descriptor)

    def _finish(self, run: StudyRun) -> None:
        self.outcome.finished.append(run)
        self.told(run, self.outcome)

    def _popen(self, run: StudyRun, slot: dict[str, str], descriptor: int) -> subprocess.Popen:
        """Start a process; it holds the run's lock as long as it lives, this one's end or not."""
        places = [str(Path(mmaffnet.__file__).resolve().parents[1]), os.environ.get('PYTHONPATH', '')]
        with run.output.open('ab') as output:
            # A session of its own: Ctrl-C in the terminal is for the study, which asks its runs to end and save.
            return subprocess.Popen(
                [*self.command, *run.arguments()], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                start_new_session=True, pass_fds=(descriptor, ),
                env={**os.environ, **slot, 'PYTHONPATH': os.pathsep.join(filter(None, places))})


def _how(code: int) -> str:
    if code >= 0:
        return f'exit code {code}'
    return f'killed by {signal.Signals(-code).name}'


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Note SIGTERM and SIGINT in a list, instead of ending."""
    received = []
    before = {number: signal.signal(number, lambda got, frame: received.append(got))
              for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _gpus() -> list[str]:
    """Names of the GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` takes them."""
    import torch
    if not torch.cuda.is_available():
        return []
    named = os.environ.get('CUDA_VISIBLE_DEVICES')
    return named.split(',') if named else [str(number) for number in range(torch.cuda.device_count())]
