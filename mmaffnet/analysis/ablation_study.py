"""``tools/ablation_study.py``: train configs for several seeds, and compare what they reach."""
import argparse
import contextlib
import os
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from mmaffnet.engine.atomic import write_atomically
from mmaffnet.engine.errors import Terminated, UserError, say

from .logs import available_keys, curve, read_scalars
from .paired import student
from .results import PLOT, measured, page_folders, update_page
from .study_queue import Outcome, make_slots, train_all
from .study_run import StudyRun, check_sets, find_baseline, plan
from .study_table import study_plot, study_table
from .table import render

TASK = 'SLURM_ARRAY_TASK_ID'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments.

    Args:
        parser (argparse.ArgumentParser): Changed in place.
    """
    add = parser.add_argument
    add('configs', nargs='+', metavar='CONFIG', help='configs, or folders of them')
    add('--seeds', nargs='+', type=int, default=[0, 1, 2], metavar='N', help='(default: 0 1 2)')
    add('--epochs', type=int, metavar='N', help='of every run; schedules that name no end follow (default: as each '
        'config says)')
    add('--baseline', metavar='CONFIG', help='the one that the others are compared with, or how its name begins '
        '(default: the first)')
    add('--metric', default='accuracy/top1', metavar='KEY', help='(default: accuracy/top1)')
    add('--work-dir', default='work_dirs/ablation_study', metavar='DIR', help='a folder in it for each run (default: '
        'work_dirs/ablation_study)')
    add('--out', metavar='DIR', help='where the records of finished runs are kept, small enough to be committed, and '
        'table and plot are written (default: results in the work directory)')
    add('--page', metavar='FILE', help='a Markdown page whose tables are renewed (as results.py page does)')
    add('--jobs', type=int, metavar='N', help='runs at a time, which share the cores (default: one for each GPU; 1 '
        'without a GPU)')
    add('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='changes of every config, as of train.py')
    one = parser.add_mutually_exclusive_group()
    one.add_argument('--task-index', type=int, metavar='N', help=f'train the n-th run only, from 0 on (default: ${TASK}'
                     ', in a job array of Slurm)')
    one.add_argument('--array-size', action='store_true', help='print the number of runs, and do nothing')
    one.add_argument('--report-only', action='store_true', help='train nothing; write table and plot of what is kept')


def run(args: argparse.Namespace, command: Sequence[str] | None = None) -> int:
    """Do what the arguments ask for.

    Args:
        args (argparse.Namespace): See :func:`add_arguments`.
        command (Sequence[str] | None): Of a training; see :func:`mmaffnet.analysis.study_queue.trainer`.

    Returns:
        int: 1 where a run failed, else 0.

    Raises:
        UserError: Something that was given is missing or wrong: found before the training, but for the metric.
        Terminated: The study was asked to end.
    """
    out = Path(args.out or Path(args.work_dir) / 'results')
    if args.jobs is not None and args.jobs < 1:
        raise UserError(f'--jobs must be 1 or more, got {args.jobs}')
    if args.page:
        page_folders(args.page)
    runs = plan(args.configs, args.seeds, args.epochs, args.cfg_options, args.work_dir, out)
    baseline = find_baseline(args.baseline, list(dict.fromkeys(run.config for run in runs)))
    if args.array_size:
        print(len(runs))
        return 0
    if args.report_only:
        report(runs, out, args.metric, baseline, args.page)
        return 0
    task = task_index(args.task_index, len(runs))
    if task is not None:   # no report: the tasks of an array end in any order, and each would write over the others'
        return finish(train([runs[task]], args.jobs, args.metric, command), [runs[task]])
    student(1)   # says now if scipy is missing, which the report needs
    outcome = train(runs, args.jobs, args.metric, command)
    if any(run.is_kept and run.config.stem == baseline for run in runs):
        try:
            report(runs, out, args.metric, baseline, args.page)
        except Exception as error:   # what became of the runs is told all the same, and its exit code goes first
            if not (outcome.failed or outcome.stopped or outcome.left):
                finish(outcome, runs)
                raise
            say(f'no report: {error}')
    return finish(outcome, runs)


def task_index(given: int | None, size: int) -> int | None:
    """Which run this process is for.

    Args:
        given (int | None): ``--task-index``; None: what Slurm says.
        size (int): Number of runs.

    Returns:
        int | None: From 0 on; None: all of them.

    Raises:
        UserError: There is no such run.
    """
    text = os.environ.get(TASK) if given is None else given
    if text is None:
        return None
    if not 0 <= int(text) < size:
        raise UserError(f'{"--task-index" if given is not None else TASK} is {text}, but the runs are numbered 0 to '
                        f'{size - 1}: sbatch --array=0-{size - 1}')
    return int(text)


def train(runs: Sequence[StudyRun], jobs: int | None, metric: str, command: Sequence[str] | None = None) -> Outcome:
    """Train what has not been kept, and tell of each run as it ends.

    Args:
        runs (Sequence[StudyRun]): See :func:`mmaffnet.analysis.study_run.plan`.
        jobs (int | None): See :func:`mmaffnet.analysis.study_queue.make_slots`.
        metric (str): To be told.
        command (Sequence[str] | None): See :func:`run`.

    Returns:
        Outcome: What became of the runs.

    Raises:
        UserError: Data of a run that is to be begun is missing or has other classes; nothing has been trained.
    """
    left = [run for run in runs if not run.is_kept]
    if not left:
        say(f'all {len(runs)} runs are kept: nothing is trained')
        return Outcome()
    with _quiet():
        check_sets(left)
    slots = make_slots(jobs, len(left))
    say(f'{len(left)} of {len(runs)} runs are to be trained, {len(slots)} at a time, with '
        f'{slots[0]["OMP_NUM_THREADS"]} core(s) each' + (' and a GPU' if 'CUDA_VISIBLE_DEVICES' in slots[0] else ''))
    with _quiet():
        return train_all(left, slots, command, _teller(len(left), metric))


def report(runs: Sequence[StudyRun], out: Path, metric: str, baseline: str, page: str | None = None) -> None:
    """Write ``study.md``, ``study.json`` and ``study.png`` beside the kept runs, and print the table.

    Args:
        runs (Sequence[StudyRun]): Whose configs count; what else is kept there does not, but on the page.
        out (Path): Folder of kept runs.
        metric (str): The quantity.
        baseline (str): Name of the config that the others are compared with.
        page (str | None): See :func:`mmaffnet.analysis.results.update_page`.

    Raises:
        UserError: Nothing is kept yet, or not of the baseline; a run has no such metric.
    """
    rows = measured(out, metric, {run.config.stem for run in runs})
    if not rows:
        raise UserError(f'{out} holds no finished run of these configs yet')
    table = study_table(rows, metric, baseline)
    table.print()
    write_atomically(out / 'study.md', table.markdown() + '\n')
    with (out / 'study.json').open('w', encoding='utf-8') as file:
        render([table], 'json', file)
    study_plot(rows, metric, out / PLOT)
    say(f'written: study.md, study.json and {PLOT} in {out}')
    if page:
        update_page(page)
        say(f'written: {page}')


def finish(outcome: Outcome, runs: Sequence[StudyRun]) -> int:
    """Tell how the study ended.

    Args:
        outcome (Outcome): See :func:`train`.
        runs (Sequence[StudyRun]): All that were asked for.

    Returns:
        int: 1 where a run failed, else 0.

    Raises:
        Terminated: The study was asked to end before it was through.
    """
    kept = f'{sum(run.is_kept for run in runs)} of {len(runs)} runs are kept'
    for name, reason in outcome.failed.items():
        say(f'failed: {name} ({reason})')
    if outcome.stopped or outcome.left:
        names = ', '.join(run.name for run in outcome.stopped) or 'none'
        raise Terminated(f'{kept}; asked to end: {names}; the same command goes on')
    say(kept + ('; the same command tries the failed ones again' if outcome.failed else ''))
    return int(bool(outcome.failed))


def _teller(number: int, metric: str) -> Callable[[StudyRun, Outcome], None]:
    """A function that tells of a finished run, and when all will be."""
    start = time.monotonic()

    def tell(run: StudyRun, outcome: Outcome) -> None:
        records = read_scalars(run.out / run.name)
        values = curve(records, metric)[1]
        reached = f'{metric} {values[-1]:.2f}' if values else (
            f'which has no {metric!r} for the report; there are: {", ".join(available_keys(records))}')
        done = len(outcome.finished) + len(outcome.failed)
        left = (time.monotonic() - start) / 60 * (number - done) / done
        say(f'[{done}/{number}] kept: {run.name}, {reached}' + (f'; about {left:.0f} min to go' if left else ''))

    return tell


@contextlib.contextmanager
def _quiet():
    """Hosts are imported, to check data and count parameters; they warn of torch's future, which is not the study's."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        yield
