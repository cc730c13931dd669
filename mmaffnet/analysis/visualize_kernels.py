"""What ``tools/analysis_tools/visualize_kernels.py`` does: pictures in, one figure and a few lines of numbers out."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from mmaffnet.engine.config import add_option_argument
from mmaffnet.engine.errors import UserError
from mmaffnet.models.plain import MODEL_NAMES

from .kernel_figure import DPI, Row, Seen, comparison_figure, kernel_figure
from .kernels import EquivalentKernel, NoKernel, equivalent_kernel, kernel_difference, pick, strongest_channels
from .logs import checked_ending, save_figure
from .mixer_inputs import Net, short_name
from .table_ablations import CONFIGS, config_of

FRESH = 'none'
SHOWN, COMPARED = 4, 3   # channels in a figure where nothing is asked for
# What --compare draws without configs: all operators of Tables 4 and 5.
OPERATORS = [config_of(4, name) for name in CONFIGS[4][:3]] + [config_of(5, name) for name in CONFIGS[5][1:]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``visualize_kernels.py``."""
    parser.add_argument('images', nargs='+', metavar='IMAGE', help='one picture, or two whose kernels are compared')
    parser.add_argument('--config', nargs='+', default=[], metavar='CONFIG',
                        help=f'config of a host, path or shipped name; or {", ".join(MODEL_NAMES)}: the plain model, '
                             'which takes released checkpoints too; several with --compare')
    parser.add_argument('--checkpoint', nargs='+', default=[], metavar='FILE',
                        help=f"weights, one file for each config, '{FRESH}' for fresh ones (default: fresh, as the "
                             'figure says)')
    parser.add_argument('--layer', default='layer_3.1',
                        help='block: layer_4.2 or layer_4.1.blocks.2.token_mixer (default: layer_3.1)')
    parser.add_argument('--channels', nargs='+', type=int, metavar='N', help='numbers of the channels to draw')
    parser.add_argument('--strongest', type=int, metavar='N',
                        help='how many channels to draw: those whose filtered maps have the largest energy '
                             f'(default: {SHOWN}, with --compare {COMPARED})')
    parser.add_argument('--size', nargs='+', type=int, metavar='PIXELS',
                        help="side, or height and width, that pictures are resized to (default: the config's test "
                             'pipeline; plain models 256)')
    parser.add_argument('--compare', action='store_true',
                        help='kernels of several mixers; without --config all operators of Tables 4 and 5')
    parser.add_argument('--out', default='kernels.png', help='picture to write (default: kernels.png)')
    parser.add_argument('--device', help='cpu, cuda, cuda:1, … (default: what this machine has)')
    add_option_argument(parser)


def run(args: argparse.Namespace) -> None:
    """Draw and print as the arguments say.

    Args:
        args (argparse.Namespace): See :func:`add_arguments`.

    Raises:
        UserError: Something that the user gave is missing or wrong, or the mixer has no kernel.
    """
    checked_ending(args.out)
    if len(args.images) > 2:
        raise UserError(f'IMAGE: one picture or two, got {len(args.images)}')
    if args.channels and args.strongest:
        raise UserError('--channels names the channels, --strongest chooses them: give one of both')
    if args.strongest is not None and args.strongest < 1:
        raise UserError(f'--strongest must be 1 or more, got {args.strongest}')
    configs = args.config or (OPERATORS if args.compare else [])
    if not configs or (len(configs) > 1 and not args.compare):
        raise UserError(f'--config: one config, or several with --compare; got {len(configs)}')
    checkpoints = args.checkpoint or [FRESH] * len(configs)
    if len(checkpoints) != len(configs):
        raise UserError(f"--checkpoint: one for each config ('{FRESH}' for fresh weights), got {len(checkpoints)} for "
                        f'{len(configs)} configs')
    pairs = [(config, None if file == FRESH else file) for config, file in zip(configs, checkpoints, strict=True)]
    figure = _compare(args, pairs) if args.compare else _show(args, *pairs[0])
    print(f'written: {save_figure(figure, args.out, DPI)}')


def _net(args: argparse.Namespace, config: str, checkpoint: str | None) -> Net:
    if args.size is not None and (len(args.size) > 2 or min(args.size) < 1):
        raise UserError(f'--size: one side, or height and width, 1 or more; got {args.size}')
    size = (args.size * 2)[:2] if args.size else None
    return Net(config, checkpoint, size, args.device, args.cfg_options)


def _show(args: argparse.Namespace, config: str, checkpoint: str | None):
    """The figure of one mixer."""
    net = _net(args, config, checkpoint)
    name = net.find(args.layer)
    mixer = type(net.mixers[name]).__name__
    try:
        seen, everything = _look(args, net, SHOWN)
    except NoKernel as error:
        raise UserError(f'{mixer} at {name} of {net.name} has no kernel of each channel: {error}') from error
    h, w = everything[0].kernel.shape[-2:]
    print(f'{mixer} at {name}: {len(everything[0].channels)} channels, maps of {h} x {w}')
    if len(everything) == 2:
        shown = kernel_difference(*(each.found.kernel[0] for each in seen)).tolist()
        for channel, difference in zip(seen[0].found.channels, shown, strict=True):
            print(f'channel {channel:4d}: kernels differ by {difference:.3f} of their norm')
        print(_over_all(everything))
    title = f'{mixer} at {short_name(name)}, maps of {h} × {w}\n{net.name}, {net.weights}'
    return kernel_figure(seen, title)


def _compare(args: argparse.Namespace, pairs: Sequence[tuple[str, str | None]]):
    """The figure of several mixers."""
    rows = []
    for config, checkpoint in pairs:
        net = _net(args, config, checkpoint)   # one at a time: FNO's is large
        row = Row(type(net.mixers[net.find(args.layer)]).__name__, net.name)
        rows.append(row)
        if any(file for _, file in pairs):
            row.source += ', not trained' if checkpoint is None else f', {"/".join(Path(checkpoint).parts[-2:])}'
        try:
            row.seen, everything = _look(args, net, COMPARED)
        except NoKernel as error:
            print(f'{row.name} ({row.source}): no kernel of each channel: {error}')
            row.note = str(error)
            continue
        if everything[0].shared:
            row.seen = [replace(each, found=pick(each.found, each.found.channels[:1])) for each in row.seen]
        if len(everything) == 2:
            print(f'{row.name} ({row.source}): {_over_all(everything)}')
            row.note = f'all channels: kernels differ by {_differences(everything).median():.2f} (median)'
    if not any(row.seen for row in rows):
        raise UserError('none of these mixers has a kernel of each channel. ' + '; '.join(
            f'{row.name}: {row.note}' for row in rows))
    fresh = not any(file for _, file in pairs)
    return comparison_figure(rows, f'kernels at {args.layer}' + (f', {net.weights}' if fresh else ''))


def _look(args: argparse.Namespace, net: Net, count: int) -> tuple[list[Seen], list[EquivalentKernel]]:
    """Each picture with the channels to draw, and all channels of each."""
    mixer = net.mixers[net.find(args.layer)]
    pictures, everything = [], []
    for image in args.images:
        picture, x = net.look(image, args.layer)
        pictures.append((Path(image).name, picture))
        everything.append(equivalent_kernel(mixer, x))
    sizes = [tuple(found.kernel.shape[-2:]) for found in everything]
    if len(set(sizes)) > 1:
        raise UserError(f'the maps of both pictures must have one size to be compared, got {sizes[0]} and {sizes[1]}: '
                        'give --size')
    channels = args.channels or strongest_channels(everything[0], args.strongest or count)
    unknown = [channel for channel in channels if channel not in everything[0].channels]
    if unknown:
        raise UserError(f'--channels {" ".join(map(str, unknown))}: {net.name} has the channels 0 to '
                        f'{len(everything[0].channels) - 1} at {args.layer}')
    seen = [Seen(*picture, pick(found, channels)) for picture, found in zip(pictures, everything, strict=True)]
    return seen, everything


def _differences(everything: Sequence[EquivalentKernel]) -> torch.Tensor:
    return kernel_difference(*(found.kernel[0] for found in everything))


def _over_all(everything: Sequence[EquivalentKernel]) -> str:
    found = _differences(everything)
    return (f'all {len(found)} channels: kernels differ by {found.median():.3f} of their norm in the median '
            f'({found.min():.3f} to {found.max():.3f})')
