"""Keep what trainings leave behind, small enough to be committed, and make tables and curves of it over their seeds.

A kept run is a folder ``CONFIG-seedN`` with ``scalars.json`` (mmengine's records as they are) and ``run.json`` (config,
seed, epochs, parameters, minutes); a study adds ``options.json`` (the changes of the config). No path, name or address
of the machine is in it.
"""
import json
import re
import statistics
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from mmaffnet.engine.atomic import write_atomically
from mmaffnet.engine.errors import UserError

from .logs import available_keys, curve, plot_curves, read_scalars
from .models import build, read_config
from .study_table import Measured, study_table

STAMP = re.compile(r'^(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) - ')
# A place of a page that takes a table: which folder's runs, which quantity, and the config to compare the others with.
MARK = re.compile(r'(<!-- results: (?P<folder>\S+) (?P<key>\S+)(?: vs (?P<baseline>\S+))? -->\n).*?(<!-- end -->)',
                  re.DOTALL)
# The picture of a study beside its runs, which its place on a page shows.
PLOT = 'study.png'
# The changes of the config that a study's run was begun with, in its work directory and where it is kept.
OPTIONS = 'options.json'
NO_RUN = 'No run has been made yet.\n'


@dataclass
class Run:
    """A kept run.

    Args:
        config (str): Name of the config, without folder and ending.
        seed (int): Of the run.
        epochs (int): As the config says; all of them were trained.
        parameters (int): Trainable parameters of the model, an auxiliary head's included.
        minutes (float): From the first to the last line of the log, evaluations included.
    """

    config: str
    seed: int
    epochs: int
    parameters: int
    minutes: float

    @property
    def name(self) -> str:
        """str: Folder of the run."""
        return f'{self.config}-seed{self.seed}'


def keep(work_dir: str | Path, out: str | Path, options: Sequence[str] | None = None) -> Path:
    """Keep a finished run.

    Args:
        work_dir (str | Path): Work directory of ``tools/train.py --seed N``.
        out (str | Path): Folder of kept runs.
        options (Sequence[str], optional): ``KEY=VALUE`` changes of the config, to be kept too. Defaults to None: they
            are not known.

    Returns:
        Path: The run's folder in it; an earlier run of this config and seed there is replaced.

    Raises:
        UserError: Where there is no such run, it has no seed, or it did not come to its last epoch.
    """
    work_dir = Path(work_dir)
    records = read_scalars(work_dir)
    configs = sorted(work_dir.glob('*.py'))
    if len(configs) != 1:
        raise UserError(f'{work_dir} holds {len(configs)} configs, and one is needed: give a work directory that one '
                        'config was trained in')
    cfg, host = read_config(configs[0])
    seed, epochs = (cfg.get('randomness') or {}).get('seed'), cfg.train_cfg.get('max_epochs')
    if seed is None or epochs is None:
        raise UserError(f'{configs[0]} has no seed, or does not count epochs: train with --seed N and max_epochs')
    done = max((record['step'] for record in records if 'iter' not in record), default=0)
    if done != epochs:
        raise UserError(f'{work_dir} was evaluated up to epoch {done} of {epochs}: resume it first (--resume)')
    parameters = sum(p.numel() for p in build(cfg, host).parameters() if p.requires_grad)
    run = Run(configs[0].stem, seed, epochs, parameters, round(minutes(work_dir), 2))
    folder = Path(out) / run.name
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / 'scalars.json', ''.join(json.dumps(record) + '\n' for record in records))
    if options is None:
        (folder / OPTIONS).unlink(missing_ok=True)   # an earlier run's
    else:
        write_atomically(folder / OPTIONS, json.dumps(list(options)) + '\n')
    write_atomically(folder / 'run.json', json.dumps(asdict(run), indent=2) + '\n')  # last: with it the run counts
    return folder


def minutes(work_dir: str | Path) -> float:
    """How long a run took: from the first to the last line of its log, summed over its starts.

    Args:
        work_dir (str | Path): A work directory.

    Returns:
        float: Minutes.

    Raises:
        UserError: Where there is no log.
    """
    total = 0.
    logs = sorted(Path(work_dir).glob('*/*.log'))
    for log in logs:
        stamps = [match[1] for line in log.read_text(errors='replace').splitlines() if (match := STAMP.match(line))]
        times = [datetime.strptime(stamp, '%Y/%m/%d %H:%M:%S') for stamp in stamps]
        total += (times[-1] - times[0]).total_seconds() / 60 if times else 0
    if not logs:
        raise UserError(f'no log in {work_dir} (looked for */*.log)')
    return total


def read_runs(folder: str | Path) -> dict[str, list[tuple[Run, list[dict]]]]:
    """Read kept runs.

    Args:
        folder (str | Path): As given to :func:`keep`.

    Returns:
        dict[str, list[tuple[Run, list[dict]]]]: Config → its runs by seed, each with its records.
    """
    found = {}
    for file in sorted(Path(folder).glob('*/run.json')):
        run = Run(**json.loads(file.read_text()))
        found.setdefault(run.config, []).append((run, read_scalars(file.parent)))
    for runs in found.values():
        runs.sort(key=lambda pair: pair[0].seed)
    return found


def table(folder: str | Path, key: str) -> str:
    """What the last epoch of each config reached, over its seeds, as a Markdown table.

    Nothing is selected by the metric: it is the last epoch's value and not the best one's.

    Args:
        folder (str | Path): Kept runs.
        key (str): A metric, such as ``'accuracy/top1'``.

    Returns:
        str: Best first; mean and standard deviation (of a sample, n - 1) where there are several seeds. The minutes
        are those of the fastest seed: what other work on the machine did to the others is none of the model's.

    Raises:
        UserError: Where a run has no such metric.
    """
    runs_of = read_runs(folder)
    if not runs_of:
        return NO_RUN
    rows = []
    for config, runs in runs_of.items():
        values = [_last(records, key, run) for run, records in runs]
        spread = f' ± {statistics.stdev(values):.2f}' if len(values) > 1 else ''
        mean, took = statistics.mean(values), min(run.minutes for run, _ in runs)
        rows.append((mean, [
            f'`{config}`', f'{runs[0][0].parameters:,}', str(runs[0][0].epochs), f'{mean:.2f}{spread}',
            ', '.join(f'{value:.2f}' for value in values), f'{took:.1f}']))
    rows.sort(key=lambda row: -row[0])
    head = ['config', 'parameters', 'epochs', key, 'by seed', 'minutes']
    lines = [head, ['---'] * len(head), *(cells for _, cells in rows)]
    return ''.join(f'| {" | ".join(cells)} |\n' for cells in lines)


def measured(folder: str | Path, key: str, configs: Collection[str] | None = None) -> list[Measured]:
    """What each config of kept runs reached after the last epoch.

    Args:
        folder (str | Path): Kept runs.
        key (str): A metric.
        configs (Collection[str], optional): Names of those that count. Defaults to None: all.

    Returns:
        list[Measured]: Sorted by config.

    Raises:
        UserError: Where a run of them has no such metric.
    """
    return [
        Measured(config, runs[0][0].parameters, tuple(run.epochs for run, _ in runs),
                 {run.seed: _last(records, key, run) for run, records in runs})
        for config, runs in read_runs(folder).items() if configs is None or config in configs]


def update_page(page: str | Path) -> list[str]:
    """Put the tables into a page, between ``<!-- results: FOLDER KEY -->`` and ``<!-- end -->``.

    ``<!-- results: FOLDER KEY vs CONFIG -->`` compares the others with that config instead, and shows the study's
    picture where FOLDER has one. All runs that are kept in FOLDER count, also those of configs that the last study
    there did not name: its own table, ``study.md``, has only those that it named.

    Args:
        page (str | Path): A Markdown file; folders are relative to it.

    Returns:
        list[str]: The folders whose tables it has.

    Raises:
        UserError: Where the page has no such place; a run has no such metric; the config to compare with has no run.
    """
    page, folders = Path(page), page_folders(page)
    page.write_text(MARK.sub(lambda m: f'{m[1]}{_content(page.parent, **m.groupdict())}{m[5]}', page.read_text()))
    return folders


def page_folders(page: str | Path) -> list[str]:
    """The folders whose tables a page has a place for, at least one.

    Args:
        page (str | Path): See :func:`update_page`.

    Returns:
        list[str]: As the page names them.

    Raises:
        UserError: Where there is no page, or it has no such place.
    """
    if not Path(page).is_file():
        raise UserError(f'page {page} does not exist (looked for {Path(page).absolute()})')
    folders = [match['folder'] for match in MARK.finditer(Path(page).read_text())]
    if not folders:
        raise UserError(f'{page} has no place for a table: <!-- results: FOLDER KEY --> and <!-- end -->')
    return folders


def _content(parent: Path, folder: str, key: str, baseline: str | None) -> str:
    if baseline is None:
        return table(parent / folder, key)
    rows = measured(parent / folder, key)
    if not rows:
        return NO_RUN
    shown = study_table(rows, key, baseline).markdown() + '\n'
    if (parent / folder / PLOT).is_file():
        shown += f'\n![{key} against parameters]({folder}/{PLOT})\n'
    return shown


def draw(folder: str | Path, keys: list[str], out: str | Path) -> Path:
    """Draw one line for each config: the mean of its seeds.

    Args:
        folder (str | Path): Kept runs.
        keys (list[str]): Quantities.
        out (str | Path): The picture.

    Returns:
        Path: The picture.

    Raises:
        UserError: Where there is no run, or none has a quantity.
    """
    runs_of = read_runs(folder)
    if not runs_of:
        raise UserError(f'{folder} holds no kept run: tools/analysis_tools/results.py keep WORK_DIR --out {folder}')
    means = {config: mean_records([records for _, records in runs], keys) for config, runs in runs_of.items()}
    return plot_curves(means, keys, out)


def mean_records(runs: list[list[dict]], keys: list[str]) -> list[dict]:
    """Average the records of several runs that stand at the same step.

    Args:
        runs (list[list[dict]]): Records of each run.
        keys (list[str]): Quantities to average.

    Returns:
        list[dict]: Records of the steps that all runs have, one quantity each.
    """
    means = []
    for key in keys:
        curves = [dict(zip(*curve(records, key)[:2], strict=True)) for records in runs]
        in_epochs = any(curve(records, key)[2] == 'epoch' for records in runs)
        for step in sorted(set.intersection(*map(set, curves))):
            position = dict(step=step) if in_epochs else dict(step=step, iter=step, epoch=0)
            means.append({key: statistics.mean(values[step] for values in curves), **position})
    return means


def _last(records: list[dict], key: str, run: Run) -> float:
    _, values, _ = curve(records, key)
    if not values:
        raise UserError(f'{run.name} has no {key!r}; there are: {", ".join(available_keys(records))}')
    return values[-1]
