"""Table 11: frameworks with their own encoder and with AFFNet, both counted here."""

from dataclasses import dataclass

from . import paper, peers
from .counting import Complexity, count, default_counter, describe_counter
from .models import HostMissing, build, input_size, read_config
from .table import Column, Noted, Table
from .table_cells import GIGA, MEGA, NOT_TRAINED, difference, scaled

COLUMNS = (
    Column('framework_paper', 'Framework, paper'),
    Column('framework', 'here'),
    Column('encoder', 'Encoder'),
    Column('resolution', 'Res.'),
    Column('parameters', 'Param. (M), counted', 3),
    Column('parameters_to_origin', 'to origin', 3, signed=True),
    Column('multiply_adds', 'Mult-adds (G), counted', 3),
    Column('multiply_adds_to_origin', 'to origin', 3, signed=True),
    Column('fft', 'FFT (M op.)', 1),
    Column('metric', 'Metric'),
    Column('score_paper', 'paper (%)', 1),
    Column('score_paper_to_origin', 'to origin', 1, signed=True),
    Column('score', 'ours'),
    Column('source', 'Counted on'),
)
CONVENTIONS = (
    'Paper: as printed; it prints neither parameters nor multiply-adds here, so that no count differs from a print. '
    'Counted: {counter}, one square picture of {size}; multiply-adds as for Table 2 (C1) up to the maps of the head, '
    'FFT in real operations by itself; neither an auxiliary head nor what training alone needs. to origin: minus the '
    'row of the framework\'s own encoder.')
READING = ('our reading: which size of AFFNet was trained is not printed; the figures of the detectors, 35.9 and 41.6, '
           'suggest base')
ENCODERS = {'base': 'AFFNet', 't': 'AFFNet-T', 'et': 'AFFNet-ET'}


@dataclass(frozen=True)
class Framework:
    """What stands behind a column of Table 11: our reading, since the print gives a name and a figure.

    Args:
        name (str): The detector or segmentor that is built here.
        encoder (str): Its own encoder.
        origin (str, optional): Config with that encoder, None where nobody in reach offers it.
        config (str): Configs with AFFNet, ``{}`` standing for the arch.
        archs (tuple[str, ...]): Sizes of AFFNet, that of the printed row first.
        evidence (str): What the framework's own authors print, by which the row was recognised.
        needs (str): The library that the own encoder comes from, where it is not the host. Defaults to ''.
        missing (str): Why ``origin`` is None. Defaults to ''.
    """

    name: str
    encoder: str
    origin: str | None
    config: str
    archs: tuple[str, ...]
    evidence: str
    needs: str = ''
    missing: str = ''


FRAMEWORKS = {
    'yolox': Framework(
        'YOLOX', 'CSPDarknet of YOLOX-Tiny', 'yolox/yolox-tiny_8xb8-300e_coco', 'yolox/yolox_affnet-{}_8xb8-300e_coco',
        ('base', 't', 'et'),
        'YOLOX\'s own repository prints 32.8 for YOLOX-Tiny at 416, with 5.06 M parameters and 6.45 G operations, two '
        'for each multiply-add'),
    'efficientdet': Framework(
        'EfficientDet-D1', 'EfficientNet-B1', 'efficientdet/efficientdet-d1_efficientnet-b1_8xb16-300e_coco',
        'efficientdet/efficientdet-d1_affnet-{}_8xb16-300e_coco', ('base', 't'),
        'EfficientDet\'s own repository prints 40.2 for D1 on the validation part, with 6.6 M parameters and 6.10 G '
        'multiply-adds'),
    'van': Framework(
        'Semantic FPN', 'VAN-B0', 'semantic_fpn/semantic-fpn_van-b0_8xb4-40k_ade20k-512x512',
        'semantic_fpn/semantic-fpn_affnet-{}_8xb4-40k_ade20k-512x512', ('base', 't'),
        'VAN\'s own repository prints 38.5 for VAN-Tiny, later called B0, with Semantic FPN after 40k iterations',
        needs='mmpretrain'),
    'moat': Framework(
        'DeepLabV3+', 'tiny-MOAT-0', None, 'deeplabv3plus/deeplabv3plus_affnet-{}_8xb2-120e_ade20k-512x512',
        ('base', 't'), 'taken for the smallest of MOAT\'s models; its authors\' own table was not at hand',
        missing='no maintained package in reach has MOAT: neither timm nor mmpretrain, mmdet or mmseg'),
}


def table_11(with_peers: bool = True, counter: str | None = None, size: int | None = None) -> list[Table]:
    """Table 11, by column of the print the row of the framework's own encoder and those of AFFNet.

    Args:
        with_peers (bool): Also the rows of the other encoders. Defaults to True; they are counted all the same.
        counter (str, optional): See :func:`mmaffnet.analysis.counting.count`.
        size (int, optional): Side of the pictures whose multiply-adds are counted. Defaults to the sizes in which the
            configs are evaluated.

    Returns:
        list[Table]: One table.
    """
    counter = counter or default_counter()
    shown = f'{size} x {size}' if size else 'the size of evaluation (Res.)'
    table = Table('Table 11: other frameworks with AFFNet as their encoder', COLUMNS,
                  CONVENTIONS.format(counter=describe_counter(counter), size=shown))
    for printed in paper.TABLE_11:
        framework = FRAMEWORKS[printed.framework]
        origin = _origin(framework, counter, size)
        if with_peers:
            _add(table, printed, framework, framework.encoder, origin, None,
                 Noted(printed.origin, framework.evidence), None)
        for number, arch in enumerate(framework.archs):
            score = (Noted(printed.affnet, READING), difference(printed.affnet, printed.origin))
            _add(table, printed, framework, ENCODERS[arch], _count(framework.config.format(arch), counter, size),
                 origin.found, *(score if number == 0 else (None, None)))
    return [table]


@dataclass(frozen=True)
class _Counted:
    """What was counted on a config, or why it was not."""

    source: str
    found: Complexity | None = None
    size: int | None = None


def _origin(framework: Framework, counter: str, size: int | None) -> _Counted:
    if framework.origin is None:
        return _Counted(f'paper only: {framework.missing}')
    try:
        if framework.needs:
            peers.require(framework.needs)
    except peers.NotOffered as error:
        return _Counted(f'paper only: {error}')
    return _count(framework.origin, counter, size)


def _count(name: str, counter: str, size: int | None) -> _Counted:
    try:
        cfg, scope = read_config(name)
    except HostMissing as error:
        return _Counted(str(error))
    size = size or input_size(cfg)
    return _Counted(f'configs/{name}.py', count(build(cfg, scope), size, counter), size)


def _add(table, printed, framework, encoder, counted, origin, score, gain):
    found = counted.found
    parameters, multiply_adds = (scaled(found and getattr(found, key), unit) for key, unit in (
        ('parameters', MEGA), ('multiply_adds', GIGA)))
    table.add(printed.framework, framework.name, encoder, counted.size, parameters,
              difference(parameters, scaled(origin and origin.parameters, MEGA)), multiply_adds,
              difference(multiply_adds, scaled(origin and origin.multiply_adds, GIGA)),
              scaled(found and found.fft, MEGA), f'{printed.metric}, {printed.data}', score, gain,
              NOT_TRAINED if found else None, counted.source)
