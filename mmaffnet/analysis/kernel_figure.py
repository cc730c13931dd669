"""Figures of what :mod:`mmaffnet.analysis.kernels` finds: spectrum, mask, kernel, and the kernels of several mixers.

Magnitudes are in viridis, signed numbers in red and blue: both are legible without colour vision. A kernel is drawn
over its largest magnitude, on a scale that is linear up to a tenth of it and logarithmic beyond, since most kernels are
a few large numbers about the centre and many small ones all over the map.
"""

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from .kernels import EquivalentKernel, centred, full_plane, kernel_difference
from .logs import new_figure

MAGNITUDES, SIGNED = 'viridis', 'RdBu_r'
LINEAR_SHARE = 0.1
DECADES = 3      # of spectra and masks that are drawn, below their largest number
PANEL = 1.7      # inches; pictures are PICTURE high, a row without kernels NOTE; GAP lies between two pictures
PICTURE, NOTE, GAP = 2.2, 0.5, 0.25
LETTERS = 13     # an inch, of the text in a row without kernels
LINE = 26        # letters, of the words beside a row
DPI = 110
COLUMNS = (('spectrum', 'log₁₀ |Z|', 'cycles per map'), ('mask', 'log₁₀ |M|', 'cycles per map'),
           ('kernel', 'k / max |k|', 'tokens'))


@dataclass
class Seen:
    """A picture, and the filter that a mixer makes of it.

    Args:
        name (str): Of the picture.
        picture (numpy.ndarray): RGB, (H, W, 3).
        found (EquivalentKernel): Of this one picture, and of the channels to be drawn.
    """

    name: str
    picture: np.ndarray
    found: EquivalentKernel


@dataclass
class Row:
    """A line of the comparison: a mixer and what it makes of each picture, or why it has no kernel.

    Args:
        name (str): Of the mixer: 'AFNO'.
        source (str): Where it is from, the name of a config or checkpoint.
        seen (Sequence[Seen]): One for each picture; empty where it has no kernel.
        note (str): Why, or what else is to be said.
    """

    name: str
    source: str = ''
    seen: Sequence[Seen] = ()
    note: str = ''


def kernel_figure(seen: Sequence[Seen], title: str):
    """One row for each channel; for each picture three columns: spectrum, mask, kernel.

    Spectra and masks have one scale, kernels one for each channel, whatever the picture.

    Args:
        seen (Sequence[Seen]): One picture or several, with the same channels and sizes of map.
        title (str): Stands above.

    Returns:
        matplotlib.figure.Figure: To be saved.
    """
    channels, size = seen[0].found.channels, seen[0].found.kernel.shape[-2:]
    planes = [_planes(each.found) for each in seen]
    ranges = [_range([plane[i] for plane in planes]) for i in (0, 1)]
    scales = [max(plane[2][row].abs().max().item() for plane in planes) for row in range(len(channels))]
    tall = PANEL * min(max(size[0] / size[1], 0.9), 2)   # as the maps are, but with room for the words beside them
    figure, grid = _figure(title, [tall] * len(channels), 3, len(seen))
    for number, each in enumerate(seen):
        left = 4 * number
        _draw_picture(figure.add_subplot(grid[0, left:left + 3]), each)
        for column, (name, bar, unit) in enumerate(COLUMNS):
            panels = []
            for row in range(len(channels)):
                axes, plane = figure.add_subplot(grid[1 + row, left + column]), planes[number][column][row]
                if column == 2:
                    image = _draw_kernel(axes, plane, scales[row])
                else:
                    low, high = ranges[column]
                    image = _draw_plane(axes, plane, vmin=low, vmax=high, cmap=MAGNITUDES)
                panels.append(axes)
            panels[0].set_title(name, fontsize=10)
            _show_ticks(panels[-1], unit)
            _draw_bar(figure, image, panels, bar)
            if number == column == 0:
                for row, axes in enumerate(panels):
                    axes.set_ylabel(_channel_label(seen, row, scales[row]), fontsize=8)
    return figure


def comparison_figure(rows: Sequence[Row], title: str):
    """One row for each mixer, with its kernels for each picture.

    Every kernel has a scale of its own, common to all pictures, whose largest magnitude stands above it.

    Args:
        rows (Sequence[Row]): The mixers; at least one of them with kernels.
        title (str): Stands above.

    Returns:
        matplotlib.figure.Figure: To be saved.
    """
    drawn = [row for row in rows if row.seen]
    pictures, channels = drawn[0].seen, max(len(row.seen[0].found.channels) for row in drawn)
    figure, grid = _figure(title, [PANEL if row.seen else NOTE for row in rows], channels, len(pictures))
    for number, each in enumerate(pictures):
        left = (channels + 1) * number
        _draw_picture(figure.add_subplot(grid[0, left:left + channels]), each)
    panels, image = [], None
    for line, row in enumerate(rows, start=1):
        if not row.seen:
            _write(figure.add_subplot(grid[line, :]), row, sum(grid.get_width_ratios()))
            continue
        kernels = [_planes(each.found)[2] for each in row.seen]
        for number, each in enumerate(row.seen):
            for column, channel in enumerate(each.found.channels):
                axes = figure.add_subplot(grid[line, (channels + 1) * number + column])
                scale = max(kernel[column].abs().max().item() for kernel in kernels)
                image = _draw_kernel(axes, kernels[number][column], scale)
                name = 'all channels' if each.found.shared else f'channel {channel}'
                axes.set_title(f'{name}, max |k| {scale:.2g}', fontsize=8, pad=2)
                panels.append(axes)
                if number == column == 0:
                    note = textwrap.fill(row.note, LINE)
                    axes.set_ylabel('\n'.join(filter(None, (row.name, _wrapped(row.source), note))), fontsize=8)
    _draw_bar(figure, image, panels, COLUMNS[2][1], shrink=0.4)
    return figure


def _figure(title: str, heights: Sequence[float], columns: int, pictures: int):
    """A figure, and its grid: a row for the pictures, then rows of ``heights`` inches.

    Each picture has ``columns`` columns, and between two pictures there is an empty one.
    """
    widths = (([PANEL] * columns + [GAP]) * pictures)[:-1]
    figure = new_figure((max(sum(widths), 5) + 0.7, PICTURE + sum(heights) + 1.6))
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03, hspace=0.02, wspace=0.02)
    figure.suptitle(title, fontsize=10)
    grid = figure.add_gridspec(1 + len(heights), len(widths), height_ratios=[PICTURE, *heights], width_ratios=widths)
    return figure, grid


def _planes(found: EquivalentKernel) -> tuple[Tensor, Tensor, Tensor]:
    """log10 |Z|, log10 |M| and k of each channel, (N, H, W), their origin in the middle."""
    width = found.kernel.shape[-1]
    spectrum, mask = (full_plane(half[0], width).abs().clamp_min(1e-12) for half in (found.spectrum, found.mask))
    return centred(spectrum.log10()), centred(mask.log10()), centred(found.kernel[0])


def _range(planes: Sequence[Tensor]) -> tuple[float, float]:
    """Of logarithms: down from the largest by DECADES at most."""
    high = max(plane.max().item() for plane in planes)
    low = max(high - DECADES, min(plane.min().item() for plane in planes))
    return min(low, high - 0.1), high   # Identity's mask is 1 everywhere


def _draw_picture(axes, seen: Seen) -> None:
    axes.imshow(seen.picture)
    axes.set_title(seen.name, fontsize=9)
    axes.set_axis_off()


def _draw_plane(axes, plane: Tensor, **options):
    h, w = plane.shape
    # Pixel centres at whole numbers, 0 in the middle.
    extent = (-(w // 2) - 0.5, w - w // 2 - 0.5, h - h // 2 - 0.5, -(h // 2) - 0.5)
    axes.set_xticks([])
    axes.set_yticks([])
    return axes.imshow(plane.double().cpu().numpy(), extent=extent, interpolation='nearest', **options)


def _draw_kernel(axes, kernel: Tensor, scale: float):
    from matplotlib.colors import SymLogNorm
    return _draw_plane(axes, kernel / (scale or 1.), cmap=SIGNED, norm=SymLogNorm(LINEAR_SHARE, vmin=-1, vmax=1))


def _show_ticks(axes, unit: str) -> None:
    low, high = (round(side) for side in np.add(axes.get_xlim(), (0.5, -0.5)))
    axes.set_xticks(sorted({low, 0, high}))
    axes.tick_params(labelsize=7, length=2)
    axes.set_xlabel(unit, fontsize=8)


def _draw_bar(figure, image, panels: Sequence, label: str, shrink: float = 0.9) -> None:
    bar = figure.colorbar(image, ax=list(panels), location='bottom', shrink=shrink, aspect=18, pad=0.02)
    bar.set_label(label, fontsize=9)
    bar.ax.tick_params(labelsize=7)
    if image.get_cmap().name == SIGNED:
        bar.set_ticks([-1, -0.1, 0, 0.1, 1], labels=['−1', '−0.1', '0', '0.1', '1'])
        bar.ax.minorticks_off()
    else:
        bar.ax.locator_params(nbins=4)


def _channel_label(seen: Sequence[Seen], row: int, scale: float) -> str:
    lines = [f'channel {seen[0].found.channels[row]}', f'max |k| = {scale:.2g}']
    if len(seen) == 2:
        first, second = (each.found.kernel[0, row] for each in seen)
        lines.append(f'kernels differ by {kernel_difference(first, second):.2f}')
    return '\n'.join(lines)


def _write(axes, row: Row, inches: float) -> None:
    """In the place of kernels the reason why there are none."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_facecolor('0.94')
    for side in axes.spines.values():
        side.set_visible(False)
    text = f'{row.name} ({row.source}): no kernel of each channel. {row.note[:1].upper()}{row.note[1:]}.'
    axes.text(0.5, 0.5, textwrap.fill(text, round(inches * LETTERS)), ha='center', va='center', fontsize=8,
              transform=axes.transAxes)


def _wrapped(name: str) -> str:
    """A file's name in lines of LINE letters, broken behind its hyphens, underscores and slashes."""
    lines = ['']
    for part in re.findall(r'[^-_/]*[-_/]|[^-_/]+$', name):
        if lines[-1] and len(lines[-1] + part) > LINE:
            lines.append('')
        lines[-1] += part
    return '\n'.join(lines)
