"""A contact sheet of predictions: each picture above what a model finds in it (the paper's Fig. 3 and 4)."""

import argparse
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mmcv
import numpy as np

from mmaffnet.engine.config import add_option_argument
from mmaffnet.engine.errors import UserError
from mmaffnet.engine.predict import Predictor, find_images
from mmaffnet.engine.predictions import as_json, draw, read_rgb
from mmaffnet.pictures import BadPicture

from .logs import checked_ending, new_figure, save_figure

# Pixels: a line of text, what lies between pictures, and in the legend a letter and a patch of colour with its gaps.
LINE, GAP, LETTER, MARK = 21, 5, 8, 50
DPI = 100


@dataclass
class Predicted:
    """A picture and what a model found in it.

    Args:
        name (str): Of the picture.
        picture (numpy.ndarray): RGB, (H, W, 3).
        drawn (numpy.ndarray): The same with the prediction, as the host draws it.
        found (dict): The prediction as plain data, see :func:`mmaffnet.engine.predictions.as_json`.
    """

    name: str
    picture: np.ndarray
    drawn: np.ndarray
    found: dict


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``prediction_sheet.py``."""
    parser.add_argument('images', nargs='+', metavar='FOLDER|IMAGE', help='pictures; folders are searched to the end')
    parser.add_argument('--config', required=True, help='config file, or the name of a shipped one')
    parser.add_argument('--checkpoint', required=True, help='checkpoint file; its classes are used')
    parser.add_argument('--out', default='sheet.png', help='picture to write (default: sheet.png)')
    parser.add_argument('--max', type=int, default=12, metavar='N',
                        help='how many pictures; of more, N are taken at equal steps (default: 12)')
    parser.add_argument('--columns', type=int, default=4, help='pictures side by side (default: 4)')
    parser.add_argument('--width', type=int, default=480, metavar='PIXELS', help='of a picture (default: 480)')
    parser.add_argument('--score-thr', type=float, default=0.3, help='boxes below are not drawn (default: 0.3)')
    parser.add_argument('--device', help='cpu, cuda, cuda:1, … (default: what this machine has)')
    add_option_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Predict and draw as the arguments say.

    Args:
        args (argparse.Namespace): See :func:`add_arguments`.

    Returns:
        int: 0, or 1 where a picture could not be read (it is named, the others are drawn).

    Raises:
        UserError: Something that the user gave is missing or wrong.
    """
    checked_ending(args.out)
    for name in ('max', 'columns', 'width'):
        if getattr(args, name) < 1:
            raise UserError(f'--{name} must be 1 or more, got {getattr(args, name)}')
    images = spread(find_images(args.images), args.max)
    predictor = Predictor(args.config, args.checkpoint, args.device, args.cfg_options)
    items, broken = [], 0
    for image in images:
        try:
            items.append(predict(predictor, image, args.score_thr))
        except BadPicture as error:
            print(f'left out: {error}', flush=True)
            broken += 1
    if not items:
        raise UserError('none of the pictures can be read: there is nothing to draw')
    colors = class_colors(predictor, items) if predictor.host == 'mmseg' else {}
    figure = sheet_figure(items, colors, args.columns, args.width)
    print(f'written: {save_figure(figure, args.out, DPI)} ({len(items)} pictures)')
    return 1 if broken else 0


def spread(images: Sequence[Path], count: int) -> list[Path]:
    """At most ``count`` of the pictures, at equal steps from the first to the last."""
    if len(images) <= count:
        return list(images)
    return [images[round(i)] for i in np.linspace(0, len(images) - 1, count)]


def predict(predictor: Predictor, image: Path, score_thr: float) -> Predicted:
    """Predict on a picture, and have the host's visualizer draw it.

    Args:
        predictor (Predictor): Model, pipeline and visualizer.
        image (Path): The file.
        score_thr (float): Boxes below are not drawn.

    Returns:
        Predicted: All of it.

    Raises:
        BadPicture: The file cannot be read.
    """
    sample = predictor(image)
    with tempfile.TemporaryDirectory() as folder:   # the hosts' visualizers hand out no pixels, mmseg's none at all
        out = Path(folder) / 'drawn.png'
        draw(predictor.visualizer, predictor.host, image, sample, out, score_thr, names=False)
        drawn = mmcv.imread(str(out), channel_order='rgb')
    return Predicted(image.name, read_rgb(image), drawn, as_json(predictor.host, sample, predictor.classes))


def class_colors(predictor: Predictor, items: Sequence[Predicted]) -> dict[str, tuple[float, ...]]:
    """Colours of the classes that occur in the predictions, RGB from 0 to 1, the one with most pixels first."""
    pixels: dict[int, int] = {}
    for segment in (segment for item in items for segment in item.found['segments']):
        pixels[segment['label']] = pixels.get(segment['label'], 0) + segment['pixels']
    palette = predictor.visualizer.dataset_meta['palette']
    return {predictor.classes[label]: tuple(value / 255 for value in palette[label])
            for label in sorted(pixels, key=pixels.get, reverse=True)}


def sheet_figure(items: Sequence[Predicted], colors: dict[str, tuple[float, ...]], columns: int = 4,
                 width: int = 480):
    """Lay the pictures out, each above its prediction; upright ones stand together, behind the others.

    Args:
        items (Sequence[Predicted]): The pictures.
        colors (dict[str, tuple]): The legend: names and colours; empty for none.
        columns (int): Pictures side by side. Defaults to 4.
        width (int): Of a picture in pixels. Defaults to 480.

    Returns:
        matplotlib.figure.Figure: To be saved with 100 dots per inch.
    """
    from matplotlib.patches import Patch

    columns = min(columns, len(items))
    items = sorted(items, key=lambda item: item.picture.shape[0] > item.picture.shape[1])
    groups = [items[i:i + columns] for i in range(0, len(items), columns)]
    heights = [width * max(item.picture.shape[0] / item.picture.shape[1] for item in group) for group in groups]
    per_line = max(1, min(len(colors), columns * width // (MARK + LETTER * max(map(len, colors), default=0))))
    legend = LINE * math.ceil(len(colors) / per_line) + GAP if colors else 0
    wide = LINE + columns * (width + GAP)
    tall = sum(2 * height + LINE + 3 * GAP for height in heights) + legend
    figure = new_figure((wide / DPI, tall / DPI), layout=None)
    top = tall
    for group, height in zip(groups, heights, strict=True):
        for column, item in enumerate(group):
            for part, (label, pixels) in enumerate((('picture', item.picture), ('prediction', item.drawn))):
                bottom = top - LINE - height - part * (height + GAP)
                axes = figure.add_axes((((LINE + column * (width + GAP)) / wide), bottom / tall, width / wide,
                                        height / tall), anchor='N' if part else 'S')   # a pair keeps together
                axes.imshow(pixels)
                axes.set_xticks([])
                axes.set_yticks([])
                for side in axes.spines.values():
                    side.set_visible(False)
                if part == 0:
                    axes.set_title(item.name, fontsize=8, pad=2)
                if column == 0:
                    axes.set_ylabel(label, fontsize=9, labelpad=3)
        top -= 2 * height + LINE + 3 * GAP
    if colors:
        handles = [Patch(facecolor=color, edgecolor='0.3', label=name) for name, color in colors.items()]
        per_line = math.ceil(len(colors) / math.ceil(len(colors) / per_line))   # lines of one length
        figure.legend(handles=handles, loc='lower center', ncols=per_line, frameon=False, fontsize=9, borderaxespad=0.2)
    return figure
