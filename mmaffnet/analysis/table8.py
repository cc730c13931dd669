"""Table 8: sizes, blocks and channels, read from the built models while a picture of 256 x 256 runs through them."""

import torch
from mmengine.registry import MODELS
from torch import nn

from mmaffnet.engine.config import load_config
from mmaffnet.models.layers import AFFStage, MBConv

from . import paper
from .counting import default_counter, describe_counter
from .models import HostMissing, count_config
from .table import Column, Noted, Table
from .table2 import config_of
from .table_cells import GIGA, MEGA, one_or_all

SIZE = 256
# Modules of AFFNet in the order of the table's rows.
MODULES = ('conv_1', 'layer_1', 'layer_2', 'layer_3.0', 'layer_3.1', 'layer_4.0', 'layer_4.1', 'layer_5.0', 'layer_5.1')
COLUMNS = (
    Column('layer', 'Layer, paper'),
    Column('module', 'module'),
    Column('resolution_paper', 'Res., paper'),
    Column('resolution', 'ours'),
    Column('downsample_paper', 'Down, paper'),
    Column('downsample', 'ours'),
    Column('blocks_paper', 'Blocks, paper'),
    Column('blocks', 'ours'),
    Column('channels_paper', 'Channels ET, T, base, paper'),
    Column('channels', 'ours'),
)
CONVENTIONS = (
    'Ours: the shapes that leave each module of the built models as a picture of 256 x 256 runs through, and the '
    'blocks in it. Parameters and multiply-adds with the classifier of 1000 classes, by {counter} in the convention '
    'of Table 2 (C1, FFT not among them).')
FIRST_ROW = ('the print gives the picture\'s own size; the first convolution, of 16 channels, halves it to 128, '
             'and the MBConv of the next row keeps that')
UNEXPLAINED = 'differs from the print, and no reason is on record'
FOUR = 'the print counts the MBConv of the row above as well: four in the stem'
NOTES = {
    ('conv_1', 'resolution'): FIRST_ROW, ('conv_1', 'downsample'): FIRST_ROW, ('layer_1', 'downsample'): FIRST_ROW,
    ('layer_2', 'blocks'): FOUR,
}


def read_layers(backbone: nn.Module, size: int = SIZE) -> dict[str, tuple[int, int | None, int, int]]:
    """What leaves each module of :data:`MODULES`.

    Args:
        backbone (nn.Module): An :class:`mmaffnet.AFFNet`.
        size (int): Side of the picture. Defaults to 256.

    Returns:
        dict[str, tuple[int, int | None, int, int]]: By module: side of the map, times it is smaller than what came in
        (None: not), blocks in it, channels.
    """
    found = {}

    def reader(name):
        def read(module, inputs, output):
            ratio = inputs[0].shape[-1] // output.shape[-1]
            found[name] = output.shape[-1], ratio if ratio > 1 else None, _blocks(module), output.shape[1]
        return read

    hooks = [backbone.get_submodule(name).register_forward_hook(reader(name)) for name in MODULES]
    try:
        with torch.no_grad():
            backbone.eval()(torch.zeros(1, 3, size, size))
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _blocks(module: nn.Module) -> int:
    if isinstance(module, AFFStage):
        return len(module.blocks)
    return sum(isinstance(child, MBConv) for child in module.modules()) or 1   # or the convolution


def table_8(counter: str | None = None) -> list[Table]:
    """Table 8.

    Args:
        counter (str, optional): See :func:`mmaffnet.analysis.counting.count`.

    Returns:
        list[Table]: One table.
    """
    counter = counter or default_counter()
    table = Table('Table 8: model configurations', COLUMNS, CONVENTIONS.format(counter=describe_counter(counter)))
    archs = list(paper.AFFNET.values())
    read = [read_layers(MODELS.build(load_config(config_of(arch)).model.backbone)) for arch in archs]
    for row, module in zip(paper.TABLE_8, MODULES, strict=True):
        layers = [layers[module] for layers in read]
        size, ratio, blocks = (one_or_all(layer[i] for layer in layers) for i in range(3))
        ours = dict(resolution=size, downsample=ratio, blocks=blocks, channels=tuple(layer[3] for layer in layers))
        cells = []
        for key, value in ours.items():
            printed = getattr(row, key)
            note = '' if value == printed else NOTES.get((module, key), UNEXPLAINED)
            cells += [_text(printed), Noted(_text(value), note)]
        table.add(row.layer, module, *cells)
    try:
        counts = [count_config(config_of(arch), SIZE, counter) for arch in archs]
        parameters = ', '.join(f'{found.parameters / MEGA:.3f}' for found in counts)
        multiply_adds = ', '.join(f'{found.multiply_adds / GIGA:.3f}' for found in counts)
    except HostMissing as error:
        parameters = multiply_adds = str(error)
    blank = (None, ) * 7
    table.add('Parameters (M)', *blank, _text(paper.TABLE_8_PARAMETERS), parameters)
    table.add('Mult-adds (G)', *blank, _text(paper.TABLE_8_FLOPS), multiply_adds)
    return [table]


def _text(value):
    return ', '.join(map(str, value)) if isinstance(value, tuple) else value
