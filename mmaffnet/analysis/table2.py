"""Table 2: classification, every row of it, counted here wherever somebody offers the model."""

from . import paper, peers
from .counting import count, default_counter, describe_counter
from .models import HostMissing, count_config
from .table import Column, Noted, Table
from .table_cells import GIGA, MEGA, NOT_TRAINED, difference, scaled

COLUMNS = (
    Column('model', 'Model'),
    Column('resolution', 'Res.'),
    Column('parameters_paper', 'Param. (M), paper', 1),
    Column('parameters', 'counted', 3),
    Column('parameters_difference', 'diff.', 3, signed=True),
    Column('multiply_adds_paper', 'Mult-adds (G), paper', 1),
    Column('multiply_adds', 'counted', 3),
    Column('multiply_adds_difference', 'diff.', 3, signed=True),
    Column('fft', 'FFT (M op.)', 1),
    Column('top1_paper', 'Top-1 (%), paper', 1),
    Column('top1', 'ours'),
    Column('source', 'Counted on'),
)
CONVENTIONS = (
    'Paper: as printed (it calls multiply-adds FLOPs). Counted: {counter}, one picture at the printed resolution; '
    'multiply-adds as it counts them (convention C1: products of convolutions, linear layers and matrices, 2 for each '
    'element of a batch norm, 5 of a layer norm; a complex product is four real ones; activations are free). FFT: '
    'real operations, additions too, 5/2 · N · log2 N for each channel of N numbers and direction; in no other column. '
    'diff.: counted minus printed; the print has one decimal, now cut off, now rounded.')


def config_of(arch: str) -> str:
    """The config of an AFFNet row."""
    return f'imagenet/affnet-{arch}_8xb128-300e_in1k-256px'


def table_2(with_peers: bool = True, counter: str | None = None) -> list[Table]:
    """Table 2.

    Args:
        with_peers (bool): Also the rows that are no AFFNet. Defaults to True.
        counter (str, optional): See :func:`mmaffnet.analysis.counting.count`.

    Returns:
        list[Table]: One table.
    """
    counter = counter or default_counter()
    table = Table('Table 2: ImageNet-1k classification', COLUMNS,
                  CONVENTIONS.format(counter=describe_counter(counter)))
    for row in paper.TABLE_2:
        if row.model in paper.AFFNET:
            _add(table, row, *_ours(row, counter), top1=NOT_TRAINED)
        elif with_peers:
            _add(table, row, *_peer(row, counter))
    return [table]


def _ours(row, counter):
    name = config_of(paper.AFFNET[row.model])
    try:
        return count_config(name, row.resolution, counter), f'configs/{name}.py'
    except HostMissing as error:
        return None, str(error)


def _peer(row, counter):
    try:
        model, source = peers.build_first(peers.TABLE_2.get(row.model, ()))
    except peers.NotOffered as error:
        return None, f'paper only: {peers.OTHERS.get(row.model, error)}'
    return count(model, row.resolution, counter), Noted(str(source), source.note)


def _add(table, row, found, source, top1=None):
    parameters = scaled(found and found.parameters, MEGA)
    multiply_adds = scaled(found and found.multiply_adds, GIGA)
    table.add(row.model, row.resolution, row.parameters, parameters, difference(parameters, row.parameters), row.flops,
              multiply_adds, difference(multiply_adds, row.flops), scaled(found and found.fft, MEGA), row.top1, top1,
              source)
