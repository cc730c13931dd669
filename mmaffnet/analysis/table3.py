"""Table 3: detection and segmentation, every row of it, counted here wherever somebody offers the backbone."""

import copy

from . import paper, peers
from .counting import count, count_parameters, default_counter, describe_counter
from .models import HostMissing, build, input_size, read_config
from .table import Column, Table
from .table_cells import GIGA, MEGA, NOT_TRAINED, difference, scaled

SSDLITE = 'ssdlite_{}_8xb16-200e_coco'
DEEPLABV3 = {'ADE20K': 'deeplabv3_{}_8xb2-120e_ade20k-512x512', 'VOC': 'deeplabv3_{}_8xb16-50e_voc12aug-coco-512x512'}

HEAD = (
    Column('model', 'Model'),
    Column('data', 'Data'),
    Column('parameters_paper', 'Param. (M), paper', 1),
    Column('parameters', 'counted', 3),
    Column('parameters_difference', 'diff.', 3, signed=True),
    Column('multiply_adds', 'Mult-adds (G), counted', 3),
    Column('fft', 'FFT (M op.)', 1),
)
TAIL = (Column('score', 'ours'), Column('source', 'Counted on'))
DETECTION = (*HEAD, Column('score_paper', 'mAP (%), paper', 1), *TAIL)
SEGMENTATION = (*HEAD, Column('score_paper', 'mIoU (%), paper', 1), *TAIL)
COUNTED = (
    'Paper: as printed; it prints no multiply-adds here. Counted: {counter}, one picture of {size}; multiply-adds as '
    'for Table 2 (C1) up to the maps of the head, FFT in real operations by itself; of the other models parameters '
    'only. ')
DETECTOR = (
    'SSDLite whole, with the projections 512, 256, 256, 256, 256, 256, which give the printed column for AFFNet. Other '
    'models carry the same neck and head here; what the print gives them is not said (what was found stands in the '
    'files of configs/comparisons).')
SEGMENTOR = (
    'DeepLabV3 with 256 ASPP channels, without the auxiliary head, which serves in training only: et and t fit the '
    'print, base has 7.01 M (VOC, 21 classes) for the printed 6.9, and no setting tried gives all three. Other models '
    'carry the same head here; what the print gives them is not said (what was found stands in the files of '
    'configs/comparisons).')


def table_3(with_peers: bool = True, counter: str | None = None, size: int | None = None) -> list[Table]:
    """Table 3, in two parts.

    Args:
        with_peers (bool): Also the rows that are no AFFNet. Defaults to True.
        counter (str, optional): See :func:`mmaffnet.analysis.counting.count`.
        size (int, optional): Side of the pictures whose multiply-adds are counted. Defaults to the configs' own.

    Returns:
        list[Table]: Detection, segmentation.
    """
    counter = counter or default_counter()

    def conventions(which: str, usual: int) -> str:
        side = size or usual
        return COUNTED.format(counter=describe_counter(counter), size=f'{side} x {side}') + which

    detection = Table('Table 3: detection on COCO, SSDLite', DETECTION, conventions(DETECTOR, 320))
    segmentation = Table('Table 3: segmentation, DeepLabV3', SEGMENTATION, conventions(SEGMENTOR, 512))
    for row in paper.TABLE_3:
        if row.model not in paper.AFFNET and not with_peers:
            continue
        _add(detection, row, 'COCO', row.detector, row.coco, *_row(row.model, 'ssdlite', SSDLITE, counter, size))
        for data, score in (('ADE20K', row.ade20k), ('VOC', row.voc)):
            if score is not None:   # the print has a dash
                _add(segmentation, row, data, row.segmentor, score,
                     *_row(row.model, 'deeplabv3', DEEPLABV3[data], counter, size))
    return [detection, segmentation]


def _row(model, folder, pattern, counter, size):
    """Parameters, multiply-adds and FFT operations of a row, and what they were counted on."""
    try:
        if model in paper.AFFNET:
            name = f'{folder}/{pattern.format("affnet-" + paper.AFFNET[model])}'
            cfg, scope = read_config(name)
            found = count(build(cfg, scope), size or input_size(cfg), counter)
            return found.parameters, found.multiply_adds, found.fft, f'configs/{name}.py'
        if model in peers.TABLE_3_CONFIGS:
            name = f'comparisons/{pattern.format(peers.TABLE_3_CONFIGS[model])}'
            return _comparison(name), None, None, f'configs/{name}.py'
        name = peers.TABLE_3_TIMM[model]
        parameters = _on_our_head(name, f'{folder}/{pattern.format("affnet-base")}')
        return parameters, None, None, f'{peers.label("timm")}: {name}, on our head'
    except HostMissing as error:
        return None, None, None, str(error)
    except peers.NotOffered as error:
        return None, None, None, f'paper only: {error}'


def _comparison(name: str) -> int:
    """Parameters of one of the configs under configs/comparisons, whose backbones are mmpretrain's or timm's."""
    peers.require('mmpretrain')
    cfg, scope = read_config(name)
    if cfg.model.backbone.type.endswith('TIMMBackbone'):
        peers.require('timm')
    return count_parameters(build(cfg, scope))


def _on_our_head(name: str, config: str) -> int:
    """Parameters of a config's model with another backbone: its own are exchanged for those of timm's model."""
    backbone, widths = peers.timm_features(name)
    cfg, scope = read_config(config)
    cfg = copy.deepcopy(cfg)
    if scope == 'mmdet':
        maps = (*widths[-2:], *cfg.model.neck.out_channels[2:])
        cfg.model.neck.update(in_channels=maps[:2], out_channels=maps)
        cfg.model.bbox_head.in_channels = maps
    else:
        cfg.model.decode_head.in_channels = widths[-1]
    model = build(cfg, scope)
    return count_parameters(model) - count_parameters(model.backbone) + count_parameters(backbone)


def _add(table, row, data, printed, score, parameters, multiply_adds, fft, source):
    parameters = scaled(parameters, MEGA)
    table.add(row.model, data, printed, parameters, difference(parameters, printed), scaled(multiply_adds, GIGA),
              scaled(fft, MEGA), score, NOT_TRAINED if row.model in paper.AFFNET else None, source)
