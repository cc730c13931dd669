"""The table and the plot of an ablation study, made from its kept runs."""
import os
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmaffnet.engine.errors import UserError

from . import paper
from .logs import new_figure, save_figure
from .paired import CONFIDENCE, Residual, compare_order, differences, interval, residual, spread
from .table import Column, Noted, Table
from .table_ablations import CONFIGS
from .table_cells import MEGA, difference, one_or_all

# A row of one of the paper's tables of ablations, whatever the arch and the recipe.
ROW = re.compile(r'table(\d+)_affnet-(?:et|t|base)-([^_]+)')

ONE_SIZE = 1.01   # configs of up to 1 % more parameters than the smallest of a group belong to it


@dataclass(frozen=True)
class Measured:
    """What a config reached.

    Args:
        config (str): Its name.
        parameters (int): Trainable ones.
        epochs (tuple[int, ...]): Of each run.
        values (dict[int, float]): Seed → the metric after the last epoch.
    """

    config: str
    parameters: int
    epochs: tuple[int, ...]
    values: dict[int, float]


class Seeds(tuple):
    """Values of one config in the order of its seeds."""

    def __str__(self) -> str:
        return ', '.join(f'{value:.2f}' for value in self)


def short_names(configs: Sequence[str]) -> dict[str, str]:
    """Names without the parts at their end, of those between underscores, that all have in common.

    Args:
        configs (Sequence[str]): Names of configs.

    Returns:
        dict[str, str]: Config → short name, of one part at least.
    """
    parts = [config.split('_') for config in configs]
    common = 0
    if len(parts) > 1:
        while common < min(map(len, parts)) - 1 and len({tuple(p[-common - 1:]) for p in parts}) == 1:
            common += 1
    return {config: '_'.join(p[:len(p) - common]) for config, p in zip(configs, parts, strict=True)}


def printed_top1(config: str) -> float | None:
    """The ImageNet accuracy that the paper prints for the ablation that a config's name tells, if it is one."""
    match = ROW.match(config)
    if not match or match[2] not in CONFIGS.get(int(match[1]), ()):
        return None
    number = int(match[1])
    return paper.ABLATIONS[number][1][CONFIGS[number].index(match[2])].top1


def study_table(rows: Sequence[Measured], key: str, baseline: str) -> Table:
    """Compare configs with one of them.

    Args:
        rows (Sequence[Measured]): At least one.
        key (str): The metric, for the headings.
        baseline (str): Name of the config that the others are compared with.

    Returns:
        Table: Best first.

    Raises:
        UserError: The baseline is none of the configs; scipy is missing.
    """
    by_name = {row.config: row for row in rows}
    if baseline not in by_name:
        raise UserError(f'no run of {baseline} has been kept, with which the others are to be compared; there are: '
                        f'{", ".join(by_name)}')
    names, base, seeds = short_names(list(by_name)), by_name[baseline], {s for row in rows for s in row.values}
    pooled = residual([row.values for row in rows])
    percent = f'{CONFIDENCE:.0%} interval'
    with_paper = any(printed_top1(name) is not None for name in by_name if name != baseline)
    columns = [Column('row', 'row'), Column('parameters', 'Param. (M)', 3), Column('epochs', 'epochs'),
               Column('value', key), Column('by_seed', 'by seed'), Column('difference', 'difference', 2, signed=True),
               Column('interval', percent), Column('pooled_interval', f'{percent}, pooled')]
    columns += [Column('paper_difference', "paper's difference", 1, signed=True)] if with_paper else []
    table = Table(f'{key}, and the difference to {names[baseline]} of the same seed', columns,
                  _conventions(rows, pooled, baseline, with_paper))
    for row in sorted(rows, key=lambda row: -statistics.mean(row.values.values())):
        values = [row.values[seed] for seed in sorted(row.values)]
        pairs = [] if row is base else differences(row.values, base.values)
        mean = statistics.mean(pairs) if pairs else None
        missing = ', '.join(map(str, sorted(seeds - row.values.keys())))
        cells = [names[row.config], row.parameters / MEGA, one_or_all(row.epochs),
                 Noted(spread(values), f'no run of seed {missing}' if missing else ''), Seeds(values), mean,
                 interval(pairs), pooled.interval(mean, len(pairs)) if pooled and pairs else None]
        claimed = None if row is base else difference(printed_top1(row.config), printed_top1(baseline))
        table.add(*cells, *([claimed] if with_paper else []))
    return table


def _conventions(rows: Sequence[Measured], pooled: Residual | None, baseline: str, with_paper: bool) -> str:
    """What the numbers mean, and how far they go."""
    said = ['After the last epoch; mean ± standard deviation over the seeds. '
            "Difference: mean over the seeds; its interval by Student's t from the row's own differences."]
    others = [row for row in rows if row.config != baseline]
    if pooled:
        base = next(row.values for row in rows if row.config == baseline)
        apart = 0
        for row in others:
            pairs = differences(row.values, base)
            apart += bool(pairs) and pooled.interval(statistics.mean(pairs), len(pairs)).excludes_zero
        said.append(
            f'Pooled: from the spread of all rows, {pooled.deviation:.2f}, once the effects of row and seed are taken '
            f'off ({pooled.degrees} degrees of freedom; takes all rows to scatter alike). By it {apart} of '
            f'{len(others)} rows differ from {short_names([row.config for row in rows])[baseline]}; as each interval '
            f'stands by itself, {(1 - CONFIDENCE) * len(others):.1f} would by chance if none did.')
    else:
        said.append('Nothing is said of chance by the spread of all rows: that takes two seeds that all of them have.')
    if with_paper:
        printed = {row.config: top1 for row in rows if (top1 := printed_top1(row.config)) is not None}
        order = compare_order(printed, {row.config: row.values for row in rows}, pooled)
        beyond = (1 - CONFIDENCE) / 2 * order.pairs
        said.append("The paper's are of ImageNet top-1 at the width of base; of "
                    f'{order.pairs} pairs of rows that it puts in an order, {order.reversed} came out the other way '
                    + (f'round, {order.beyond} of them beyond the pooled interval. By chance half of them would be '
                       f'reversed, and {beyond:.1f} beyond it.' if pooled else
                       'round. By chance half of them would be reversed.'))
    return ' '.join(said)


def study_plot(rows: Sequence[Measured], key: str, out: str | os.PathLike) -> Path:
    """Draw the metric of configs in order of their size: mean and standard deviation of each, and its seeds as dots.

    Each config has a place of its own, in the order of the parameters and, among equal ones, of the names: neither a
    distance nor an order within a size says anything. Bands keep those of one size together.

    Args:
        rows (Sequence[Measured]): At least one.
        key (str): The metric, for the axis.
        out (str | os.PathLike): The picture's file name; its ending says the format.

    Returns:
        Path: The file that was written.

    Raises:
        UserError: The ending is none that can be drawn.
    """
    names = short_names([row.config for row in rows])
    groups = by_size(rows)
    ordered = [row for group in groups for row in group]
    figure = new_figure((max(5, 1.6 + 0.55 * len(ordered)), 5.6))
    axes = figure.add_subplot()
    sizes = axes.secondary_xaxis('top')
    for place, row in enumerate(ordered):
        mean, deviation = spread(list(row.values.values()))
        axes.scatter([place + 0.2] * len(row.values), list(row.values.values()), s=12, color='C1', linewidths=0)
        axes.errorbar(place, mean, yerr=deviation, fmt='o', color='C0', markersize=6, capsize=4)
    ticks, first = [], 0
    for number, group in enumerate(groups):
        axes.axvspan(first - 0.5, first + len(group) - 0.5, color='0.94' if number % 2 else '1', zorder=0, linewidth=0)
        ticks.append(first + (len(group) - 1) / 2)
        first += len(group)
    axes.set_xlim(-0.5, len(ordered) - 0.5)
    axes.set_xticks(range(len(ordered)), [names[row.config] for row in ordered], rotation=40, ha='right', fontsize=8,
                    rotation_mode='anchor')
    axes.set_ylabel(key)
    axes.grid(axis='y', alpha=0.3)
    axes.set_axisbelow(True)
    sizes.set_xticks(ticks, [f'{statistics.mean(row.parameters for row in group) / MEGA:.2f}' for group in groups])
    sizes.set_xlabel('trainable parameters (millions; each config has a place of its own)')
    return save_figure(figure, out)


def by_size(rows: Sequence[Measured]) -> list[list[Measured]]:
    """Configs in the order of their parameters, then of their names, those of nearly one size together.

    Args:
        rows (Sequence[Measured]): Configs.

    Returns:
        list[list[Measured]]: Groups; in each no config has more than 1 % more parameters than the first.
    """
    groups = []
    for row in sorted(rows, key=lambda row: (row.parameters, row.config)):
        if groups and row.parameters <= ONE_SIZE * groups[-1][0].parameters:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups
