"""Read the numbers that mmengine writes during a run (``vis_data/scalars.json``) and draw them as curves."""
import json
import math
from pathlib import Path

from mmaffnet.engine.errors import UserError

# Keys that say where a record belongs, not what was measured.
POSITION_KEYS = ('step', 'iter', 'epoch')


def read_scalars(path):
    """Read the logged numbers of one run.

    A training record has the key ``iter``; a validation record has none, and its ``step`` counts epochs where
    the run counts in epochs. A work directory may hold several pieces of one run (each resume writes into a folder
    of its own): a later piece replaces what an earlier one logged from that step on.

    Args:
        path (str | Path): A ``scalars.json``, the folder of one start (``work_dirs/name/20260101_120000``), or a
            work directory.

    Returns:
        list[dict]: The records in the order in which they were made.

    Raises:
        UserError: Where there is no such file, or a line in it is no JSON.
    """
    pieces = [_read_piece(file) for file in _scalar_files(Path(path))]
    records = pieces[0]
    for piece in pieces[1:]:
        records = _superseded(records, piece) + piece
    if not records:
        raise UserError(f'{path} holds no record yet: train for at least one logging interval '
                        '(default_hooks.logger.interval) first')
    return records


def curve(records, key):
    """Take one quantity out of the records.

    Args:
        records (list[dict]): As returned by :func:`read_scalars`.
        key (str): Its name, such as ``'loss'`` or ``'coco/bbox_mAP_50'``.

    Returns:
        tuple[list[int], list[float], str]: Positions, values, and what the positions count: ``'iteration'`` or
        ``'epoch'``.
    """
    found = [r for r in records if isinstance(r.get(key), int | float)]
    counts_epochs = any('epoch' in r for r in records)
    in_epochs = counts_epochs and not any('iter' in r for r in found)
    return [r['step'] for r in found], [float(r[key]) for r in found], 'epoch' if in_epochs else 'iteration'


def available_keys(records):
    """list[str]: Names of all quantities in the records, in the order of their first appearance."""
    names = dict.fromkeys(key for record in records for key, value in record.items() if isinstance(value, int | float))
    return [name for name in names if name not in POSITION_KEYS]


def default_keys(records):
    """list[str]: What is drawn where nothing is asked for: all losses, the learning rate, and the main metrics."""
    keys = available_keys(records)
    training = {key for record in records if 'iter' in record for key in record}
    losses = [key for key in keys if key in training and 'loss' in key]
    metrics = [key for key in keys if key not in training and not key.endswith(('time', '_s', '_m', '_l', '_75'))]
    return losses + [key for key in keys if key == 'lr'] + metrics


def plot_curves(runs, keys, out):
    """Draw one panel for each quantity, one line in it for each run, and write the picture.

    Args:
        runs (dict[str, list[dict]]): Name of each run, and its records as returned by :func:`read_scalars`.
        keys (list[str] | None): Quantities to draw; None: :func:`default_keys` of all runs.
        out (str | Path): The picture's file name; its ending says the format (``.png``, ``.svg``, ``.pdf``).

    Returns:
        Path: The file that was written.

    Raises:
        UserError: Where no run has a quantity that was asked for.
    """
    everything = [record for records in runs.values() for record in records]
    keys = list(keys or default_keys(everything))
    columns = min(3, math.ceil(math.sqrt(len(keys))))
    rows = math.ceil(len(keys) / columns)
    figure = new_figure((4.6 * columns, 3.2 * rows))
    for number, key in enumerate(keys, start=1):
        _draw_panel(figure.add_subplot(rows, columns, number), runs, key)
    return save_figure(figure, out)


def new_figure(size, layout='constrained'):
    """Make an empty picture.

    Args:
        size (tuple[float, float]): Width and height in inches.
        layout (str | None): matplotlib's; None: everything is placed by hand. Defaults to 'constrained'.

    Returns:
        matplotlib.figure.Figure: Without pyplot, which would choose a backend and keep global state.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    figure = Figure(figsize=size, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure, out, dpi=120):
    """Write a picture, and make its folder.

    All words stand as they are: in the name of a file, a config or a class ``$`` begins no mathematics.

    Args:
        figure (matplotlib.figure.Figure): See :func:`new_figure`.
        out (str | Path): The file name; its ending says the format (``.png``, ``.svg``, ``.pdf`` …).
        dpi (int): Dots per inch. Defaults to 120.

    Returns:
        Path: The file that was written.

    Raises:
        UserError: The ending is none that can be drawn.
    """
    from matplotlib.text import Text
    out = checked_ending(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    for text in figure.findobj(Text):
        text.set_parse_math(False)
    figure.savefig(out, dpi=dpi)
    return out


def checked_ending(out):
    """The file of a picture, before anything is computed for it.

    Args:
        out (str | Path): See :func:`save_figure`.

    Returns:
        Path: The same.

    Raises:
        UserError: The ending is none that can be drawn.
    """
    from matplotlib.backend_bases import FigureCanvasBase
    out, known = Path(out), FigureCanvasBase.get_supported_filetypes()
    if out.suffix.lower().lstrip('.') not in known:
        raise UserError(f'--out {out}: must end in one of {", ".join(f".{ending}" for ending in sorted(known))}')
    return out


def _draw_panel(axes, runs, key):
    units = set()
    for name, records in runs.items():
        positions, values, unit = curve(records, key)
        if positions:
            units.add(unit)
            # A metric has few points, which a line alone would hide (a single one has no line at all).
            axes.plot(positions, values, label=name, linewidth=1.3, marker='o' if len(values) <= 30 else None,
                      markersize=3)
    if not units:
        names = available_keys([record for records in runs.values() for record in records])
        raise UserError(f'no run has {key!r}; there are: {", ".join(names)}')
    axes.set_title(key, fontsize=10)
    axes.set_xlabel(' / '.join(sorted(units)))
    axes.grid(alpha=0.3)
    if len(runs) > 1:
        axes.legend(fontsize=8)


def _scalar_files(path):
    if path.is_file():
        return [path]
    for pattern in ('scalars.json', 'vis_data/scalars.json', '*/vis_data/scalars.json'):
        files = sorted(path.glob(pattern))  # folders are named by date and time: sorted is in order of time
        if files:
            return files
    raise UserError(f'no scalars.json at {path} (looked for the file itself, in vis_data/ and in */vis_data/): '
                    'give a work directory of tools/train.py')


def _read_piece(file):
    records = []
    lines = file.read_text().splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number == len(lines):  # a run that was killed while it wrote leaves half a line
                break
            raise UserError(f'{file}, line {number} is no JSON ({error})') from error
    return records


def _superseded(older, newer):
    """Records of an older piece that lie before the first one of the same kind in a newer piece."""
    first = {is_training: min((r['step'] for r in newer if ('iter' in r) == is_training), default=math.inf)
             for is_training in (True, False)}
    return [r for r in older if r['step'] < first['iter' in r]]
