"""Kill trainings (SIGKILL) at every step of saving and at random moments, and look whether anything was lost.

Each training is a fork of this process, which has everything imported: a kill with its check takes a fraction of a
second. One checkpoint is kept and the best one, so that every save deletes what a careless order would need.
"""
import os
import random
import select
import shutil
import signal
import struct
import time
import traceback
from pathlib import Path
from typing import NamedTuple

import torch
from mmengine.hooks import Hook
from mmengine.registry import RUNNERS

from mmaffnet.engine.atomic import SUFFIX
from mmaffnet.engine.checkpoint_hook import POINTER
from mmaffnet.engine.resume_file import find_resume, inspect
from mmaffnet.registry import DATASETS, HOOKS, LOOPS, METRICS, MODELS
from mmaffnet.registry import RUNNERS as OURS

from .kill_at import KillAt
from .toy_training import toy_config

VAL_INTERVAL = 2
LONGEST = 0.4  # seconds that a training lives: about a dozen saves
AT_START = 0.2  # share of kills while a training is built, resumed and cleans up


class Kill(NamedTuple):
    """One kill and what was found after it."""

    step: str
    announced: int
    usable: int
    temporaries: int
    temporary_bytes: int
    problems: tuple


class Announce(Hook):
    """Write to a pipe what is certain: the iteration that is saved, and what stands in the folder at the start."""

    priority = 'LOWEST'

    def __init__(self, pipe):
        self.pipe = pipe

    def before_train(self, runner):
        """Announce where the run goes on, and how many temporaries are left."""
        self._write(runner.iter, len(temporaries(runner.work_dir)))

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        """Announce that the checkpoint of this iteration is saved."""
        self._write(runner.iter + 1, 0)

    def _write(self, *numbers):
        os.write(self.pipe, struct.pack('ii', *numbers))


def kill_at_every_step(folder):
    """Kill a training at each step of saving a checkpoint, its pointer and a new best one, and resume it each time.

    Args:
        folder (str | Path): To work in; emptied.

    Yields:
        Kill: For each step. Among its problems: a resumed run that does not end with the weights of the undisturbed.
    """
    folder = Path(folder)
    base, run = folder / 'base', folder / 'run'
    shutil.rmtree(folder, ignore_errors=True)
    # The best score before was at iteration 8; at 12 it is better: the new file comes and the former goes.
    first, last = 11, 12
    _train(run, last=first)  # where it is killed later: pointer and best checkpoint are named by their full paths
    shutil.copytree(run, base)
    moments = _count(run, last)
    wanted = _weights(find_resume(run))
    for number, moment in enumerate(moments):
        shutil.rmtree(run)
        shutil.copytree(base, run)
        announced = _train(run, last, kill_at=number) or [(first, 0)]
        kill = check(run, moment, announced[-1][0])
        problems = list(kill.problems)
        announced = _train(run, last)
        if announced[0] != (kill.usable, 0):
            problems.append(f'resumed at iteration {announced[0][0]} with {announced[0][1]} temporaries left')
        files = sorted(path.name for path in run.glob('*.pth'))
        if files != [f'best_toy_score_iter_{last}.pth', f'iter_{last}.pth'] or temporaries(run):
            problems.append(f'ended with {files}')
        if any(not torch.equal(value, wanted[key]) for key, value in _weights(find_resume(run)).items()):
            problems.append('ended with other weights than the undisturbed run')
        yield kill._replace(problems=tuple(problems))


def kill_at_random(folder, kills, seed=0):
    """Kill a training at random moments and resume it, over and over.

    Args:
        folder (str | Path): To work in; emptied.
        kills (int): How many.
        seed (int): Of the moments; what a moment hits depends on the machine.

    Yields:
        Kill: For each.
    """
    shutil.rmtree(folder, ignore_errors=True)
    moments, saved, expected = random.Random(seed), 0, None
    for _ in range(kills):
        delay, at_start = moments.uniform(0, LONGEST), moments.random() < AT_START
        announced = _train(folder, last=10 ** 6, kill_after=delay, from_start=at_start)
        problems = []
        if announced and expected is not None and announced[0] != (expected, 0):
            problems.append(f'resumed at iteration {announced[0][0]} with {announced[0][1]} temporaries left')
        saved = max([saved, *(iteration for iteration, _ in announced)])
        kill = check(folder, f'{delay:.3f} s after {"its start" if at_start else "the first iteration"}', saved)
        expected = kill.usable
        yield kill._replace(problems=(*kill.problems, *problems))


def check(folder, step, announced):
    """Look at what a killed training left.

    Args:
        folder (str | Path): Its work directory.
        step (str): Where it was killed, for the report.
        announced (int): Iterations after which it had said that a checkpoint is saved; 0 for none.

    Returns:
        Kill: With problems in words; none where nothing was lost.
    """
    folder = Path(folder)
    left = temporaries(folder)
    size = sum(path.stat().st_size for path in left)
    files = [inspect(path) for path in sorted(folder.glob('*.pth'))]
    problems = [f'{saved.path.name} {saved.damage}' for saved in files if saved.damage]
    if not (folder / POINTER).exists():
        problems += [f'{announced} iterations lost: no pointer'] * bool(announced)
        return Kill(step, announced, 0, len(left), size, tuple(problems))
    saved = inspect(Path((folder / POINTER).read_text()))
    if saved.damage or saved.iteration < announced:
        problems.append(f'the pointer leads to iteration {saved.iteration} {saved.damage or ""}, '
                        f'announced: {announced}')
    else:
        hub = torch.load(saved.path, weights_only=True)['message_hub']['runtime_info']
        if 'best_ckpt' in hub and inspect(Path(hub['best_ckpt'])).damage:
            problems.append(f'best checkpoint lost: {hub["best_ckpt"]}')
    return Kill(step, announced, saved.iteration, len(left), size, tuple(problems))


def temporaries(folder):
    """list[Path]: Files that a writer has not finished."""
    return sorted(Path(folder).glob(f'.*{SUFFIX}'))


def _train(folder, last, kill_at=None, kill_after=None, from_start=True):
    """Train in a fork until ``last``, or until it kills itself or is killed; what it announced.

    ``kill_after`` counts seconds from the fork, or with ``from_start=False`` from the first announcement, which comes
    right before the first iteration.
    """
    config = _config(folder, last)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        _run_child(config, write, KillAt(folder, kill_at) if kill_at is not None else None)
    os.close(write)
    if not from_start:
        select.select([read], [], [])
    announced = _listen(read, None if kill_after is None else time.monotonic() + kill_after)
    if kill_after is not None:
        os.kill(child, signal.SIGKILL)
        announced += _listen(read, None)
    os.close(read)
    status = os.waitpid(child, 0)[1]
    if os.waitstatus_to_exitcode(status) not in (0, -signal.SIGKILL):
        raise RuntimeError(f'the training itself failed:\n{(Path(folder).parent / "output.txt").read_text()}')
    return announced


def _count(folder, last):
    """The names of all moments of a training that is not killed."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        counter = KillAt(folder)
        _run_child(_config(folder, last), os.open(os.devnull, os.O_WRONLY), counter,
                   lambda: os.write(write, '\n'.join(counter.moments).encode()))
    os.close(write)
    with os.fdopen(read) as stream:
        text = stream.read()
    os.waitpid(child, 0)
    return text.splitlines()


def _run_child(config, pipe, double, at_end=lambda: None):
    """The fork: train, and leave without any of the parent's clean-up."""
    code = 1
    try:
        output = os.open(Path(config.work_dir).parent / 'output.txt', os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        runner = RUNNERS.build(config)
        runner.register_hook(Announce(pipe))
        if double is not None:
            double.install()
        runner.train()
        at_end()
        code = 0
    except BaseException:  # this process is to end here whatever happened; the parent prints the file
        traceback.print_exc()
    finally:
        os._exit(code)


def _listen(read, deadline):
    """Pairs from the pipe until the deadline, or without one until its other end is closed."""
    data = b''
    while True:
        wait = None if deadline is None else max(0, deadline - time.monotonic())
        if not select.select([read], [], [], wait)[0]:
            break
        part = os.read(read, 1 << 16)
        if not part:
            if deadline is not None:
                time.sleep(max(0, deadline - time.monotonic()))
            break
        data += part
    return list(struct.iter_unpack('ii', data))


def _config(folder, last):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    newest = find_resume(folder)
    hooks = dict(logger=dict(type='LoggerHook', interval=10 ** 6),
                 checkpoint=dict(type='CheckpointHook', interval=1, by_epoch=False, max_keep_ckpts=1,
                                 save_best='toy/score', rule='greater'))
    return toy_config(folder, default_hooks=hooks, resume=bool(newest), load_from=newest,
                      visualizer=dict(type='Visualizer'),
                      train_cfg=dict(by_epoch=False, max_iters=last, val_interval=VAL_INTERVAL))


def _weights(path):
    return torch.load(path, weights_only=True)['state_dict']


def prepare():
    """Import everything that a training imports, once and without starting a thread, before forks are made."""
    torch.set_num_threads(1)
    for registry in (DATASETS, HOOKS, LOOPS, METRICS, MODELS, OURS):
        registry.import_from_location()
