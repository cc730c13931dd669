"""Train once straight and once from each of several interruptions on, and compare logs and weights to the last bit.

The same number of threads and the same software on one machine are assumed: sums depend on the order of their terms.
On a GPU the same holds only with deterministic algorithms (``--deterministic``).
"""
import copy
import json
import re
import shutil
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

import torch
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from mmengine.registry import RUNNERS
from mmengine.runner import CheckpointLoader

from mmaffnet.engine.errors import UserError, say
from mmaffnet.engine.plain import from_plain

# What no two runs share, in log lines and in the message hub.
CLOCK = ('time', 'data_time', 'memory', 'eta')
FINAL = 'final.pth'
SCALARS = '*/vis_data/scalars.json'


@dataclass
class Comparison:
    """A resumed run against the undisturbed one.

    Args:
        point (str): Where the run was interrupted.
        lines (int): Log lines that follow that point in the undisturbed run.
        tensors (int): Tensors and other values of both final states.
        differing_lines (list[str]): The lines that differ, are missing or too many.
        differing_values (list[str]): Names of the values that differ.
    """

    point: str
    lines: int = 0
    tensors: int = 0
    differing_lines: list = field(default_factory=list)
    differing_values: list = field(default_factory=list)

    @property
    def equal(self):
        """bool: Whether nothing differs."""
        return not self.differing_lines and not self.differing_values


class SnapshotHook(Hook):
    """Save a checkpoint at each point where the run is to be interrupted, as if it were killed right after saving.

    Args:
        points (Sequence[str]): ``epoch:N`` or ``iter:N``, counted from 1. Where a validation follows, a second
            snapshot is taken behind it.
        folder (Path): Where snapshots go; the final state goes there too.
    """

    priority = 'LOWEST'

    def __init__(self, points, folder):
        self.points, self.folder = set(points), Path(folder)
        self.lines = {}  # of the log, written before each snapshot
        self._last = None

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        """Save after an iteration.

        Args:
            runner (Runner): The run.
            batch_idx (int): Unused.
            data_batch: Unused.
            outputs: Unused.
        """
        self._save(runner, f'iter:{runner.iter + 1}', dict(epoch=runner.epoch, iter=runner.iter + 1))

    def after_train_epoch(self, runner):
        """Save after an epoch.

        Args:
            runner (Runner): The run.
        """
        self._save(runner, f'epoch:{runner.epoch + 1}', dict(epoch=runner.epoch + 1, iter=runner.iter))

    def after_val_epoch(self, runner, metrics=None):
        """Save again behind the validation that followed a snapshot.

        Args:
            runner (Runner): The run.
            metrics (dict | None): Unused.
        """
        if self._last is not None and self._last[1]['iter'] == runner.iter:
            point, meta = self._last
            self.points.add(f'{point}+val')
            self._save(runner, f'{point}+val', dict(meta, epoch=runner.epoch))

    def after_train(self, runner):
        """Save the final state.

        Args:
            runner (Runner): The run.
        """
        runner.save_checkpoint(str(self.folder), FINAL, meta=dict(epoch=runner.epoch, iter=runner.iter))

    def _save(self, runner, point, meta):
        if point not in self.points or point in self.lines:
            return
        runner.save_checkpoint(str(self.folder), snapshot_name(point), meta=dict(meta))
        self.lines[point] = len(read_lines(runner.work_dir))
        self._last = None if point.endswith('+val') else (point, meta)


def snapshot_name(point):
    """str: File name of a snapshot."""
    return point.replace(':', '_').replace('+', '_') + '.pth'


def compare_resume(cfg, points=None):
    """Train straight, resume from every point, and compare.

    Args:
        cfg (Config): As :func:`mmaffnet.engine.train.prepare` makes it; left unchanged. Its ``work_dir`` receives
            ``straight/``, one folder for each resumed run, and ``snapshots/``.
        points (Sequence[str] | None): See :class:`SnapshotHook`. Default: the first epoch and the middle of the
            second; where iterations count, half of them.

    Returns:
        list[Comparison]: One for each snapshot.

    Raises:
        UserError: Where a point is malformed or the run never reaches it, or the folder has runs already.
    """
    root = Path(cfg.work_dir)
    if (root / 'straight').exists():
        raise UserError(f'{root} holds an earlier comparison: delete it, or give another --work-dir')
    _check(points or ())
    hook, straight = _run(cfg, root, 'straight', points)
    missed = set(points or ()) - set(hook.lines)
    if missed:
        raise UserError(f'--interrupt {" ".join(sorted(missed))}: the run never comes there; it has '
                        f'{straight["meta"]["epoch"]} epochs and {straight["meta"]["iter"]} iterations')
    lines = read_lines(root / 'straight')
    results = []
    for point, written in hook.lines.items():
        _, resumed = _run(cfg, root, snapshot_name(point).removesuffix('.pth'), (), snapshot_name(point))
        result = Comparison(point)
        compare_lines(lines[written:], read_lines(root / snapshot_name(point).removesuffix('.pth')), result)
        compare_values(straight, resumed, result)
        results.append(result)
    return results


def compare_lines(expected, got, result):
    """Compare log lines, but for times and memory.

    Args:
        expected (list[dict]): Of the undisturbed run, behind the interruption.
        got (list[dict]): Of the resumed run.
        result (Comparison): Changed in place.
    """
    expected, got = ([_without_clock(line) for line in lines] for lines in (expected, got))
    result.lines = len(expected)
    for index in range(max(len(expected), len(got))):
        pair = [lines[index] if index < len(lines) else 'no line' for lines in (expected, got)]
        if pair[0] != pair[1]:
            result.differing_lines.append(f'{pair[1]} instead of {pair[0]}')


def compare_values(expected, got, result):
    """Compare the final states: weights, averaged weights, optimiser, schedulers, scaler, message hub.

    Args:
        expected (dict): The checkpoint at the end of the undisturbed run.
        got (dict): That of the resumed run.
        result (Comparison): Changed in place.
    """
    expected, got = (dict(_leaves(state)) for state in (expected, got))
    result.tensors = len(expected)
    result.differing_values += sorted(expected.keys() ^ got.keys())
    result.differing_values += [name for name in expected if name in got and not _same(expected[name], got[name])]


def read_lines(work_dir):
    """Read the log of a run.

    Args:
        work_dir (str | Path): Work directory of one start.

    Returns:
        list[dict]: Lines of its ``vis_data/scalars.json``.
    """
    return [json.loads(line) for file in sorted(Path(work_dir).glob(SCALARS))
            for line in file.read_text().splitlines()]


def table(results):
    """str: The results as lines of a table, with what differs below it."""
    rows = [('interrupted after', 'log lines', 'differing', 'values', 'differing')]
    rows += [(r.point, r.lines, len(r.differing_lines), r.tensors, len(r.differing_values)) for r in results]
    widths = [max(len(str(row[i])) for row in rows) for i in range(len(rows[0]))]
    lines = ['  '.join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
             for row in rows]
    for result in results:
        for text in (*result.differing_lines[:3], *result.differing_values[:3]):
            lines.append(f'{result.point}: {text}')
    return '\n'.join(lines)


def _run(cfg, root, name, points=None, snapshot=None):
    """Train in root/run, as an interrupted run goes on in its folder, and move that to its own name."""
    cfg = copy.deepcopy(cfg)
    cfg.work_dir = str(root / 'run')
    # mmengine's names are equal within a second, and runs of one name share their state.
    cfg.experiment_name = f'{name}_{time.monotonic_ns()}'
    if snapshot:
        cfg.resume, cfg.load_from = True, str(root / 'snapshots' / snapshot)
    shutil.rmtree(cfg.work_dir, ignore_errors=True)
    say(f'training: {name}')
    runner = RUNNERS.build(cfg)
    if points is None:
        points = _default_points(runner)
    hook = SnapshotHook(points, root / 'snapshots' if snapshot is None else Path(cfg.work_dir))
    runner.register_hook(hook)
    runner.train()
    final = from_plain(CheckpointLoader.load_checkpoint(str(hook.folder / FINAL), map_location='cpu'))
    Path(cfg.work_dir).rename(root / name)
    return hook, final


def _default_points(runner):
    length = len(runner.train_loop.dataloader)
    if runner.max_epochs > 1:
        return ['epoch:1', f'iter:{length + max(length // 2, 1)}']
    return [f'iter:{max(runner.max_iters // 2, 1)}']


def _check(points):
    for point in points:
        if not re.fullmatch(r'(epoch|iter):[1-9]\d*', point):
            raise UserError(f'--interrupt {point}: must be epoch:N or iter:N, counted from 1')


def _without_clock(line):
    # As text: NaN equals itself then.
    return json.dumps({key: value for key, value in line.items() if key.split('/')[-1] not in CLOCK}, sort_keys=True)


def _leaves(value, name=''):
    """Names and values in a checkpoint that two runs should share."""
    if isinstance(value, HistoryBuffer):
        value = dict(zip(('values', 'counts'), value.data, strict=True))
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list | tuple | deque):
        items = enumerate(value)
    else:
        return [(name, value)]
    hidden = {'': ('meta', ), '.message_hub': ('runtime_info', 'resumed_keys')}.get(name, ())
    return [leaf for key, item in items if key not in hidden and str(key).split('/')[-1] not in CLOCK
            for leaf in _leaves(item, f'{name}.{key}')]


def _same(one, other):
    if isinstance(one, torch.Tensor) or hasattr(one, 'dtype'):
        one, other = torch.as_tensor(one), torch.as_tensor(other)
        # As bytes: NaN equals itself, and 0 is not -0.
        return one.dtype == other.dtype and one.shape == other.shape and torch.equal(
            *(tensor.reshape(-1).contiguous().view(torch.uint8) for tensor in (one, other)))
    return one == other or (one != one and other != other)
