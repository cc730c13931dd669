"""Table 11: the print, every pair, counts made another way, and the sizes in which they are counted."""

import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from mmaffnet.analysis import paper, table11
from mmaffnet.analysis.counting import Complexity, count
from mmaffnet.analysis.models import HostMissing, build, input_size, read_config
from mmaffnet.analysis.paper_tables import make_tables
from mmaffnet.engine.errors import UserError

# (printed name, encoder, printed figure, side of the pictures), transcribed from the paper a second time
ROWS = [
    ('yolox', 'CSPDarknet of YOLOX-Tiny', 32.8, 416), ('yolox', 'AFFNet', 35.9, 416),
    ('yolox', 'AFFNet-T', None, 416), ('yolox', 'AFFNet-ET', None, 416),
    ('efficientdet', 'EfficientNet-B1', 40.2, 640), ('efficientdet', 'AFFNet', 41.6, 640),
    ('efficientdet', 'AFFNet-T', None, 640),
    ('van', 'VAN-B0', 38.5, 512), ('van', 'AFFNet', 43.2, 512), ('van', 'AFFNet-T', None, 512),
    ('moat', 'tiny-MOAT-0', 41.2, None), ('moat', 'AFFNet', 41.5, 512), ('moat', 'AFFNet-T', None, 512),
]
# Parameters and multiply-adds as the origins' authors print them: YOLOX's and EfficientDet's repositories, VAN's paper.
PUBLIC = {'yolox': (5.06e6, 0.005e6, 6.45e9 / 2), 'efficientdet': (6.6e6, 0.05e6, 6.10e9),
          'van': (8e6, 0.5e6, None)}


def require_hosts():
    for host in ('mmdet', 'mmseg', 'mmpretrain'):
        pytest.importorskip(host)


def products(model, side):
    """Products of the convolutions for one picture, summed while it runs through the model."""
    found = []

    def read(module, inputs, output):
        per_value = module.in_channels // module.groups * module.kernel_size[0] * module.kernel_size[1]
        found.append(output.numel() * per_value)

    hooks = [module.register_forward_hook(read) for module in model.modules() if isinstance(module, nn.Conv2d)]
    with torch.no_grad():
        model(torch.zeros(1, 3, side, side))
    for hook in hooks:
        hook.remove()
    return sum(found)


def test_the_printed_figures_are_those_of_the_paper():
    text = Path(__file__).resolve().parents[3] / 'shared' / 'paper' / 'affnet-iccv2023.txt'
    if not text.is_file():
        pytest.skip('the paper is not at hand')
    lines = [line.split('\t') for line in text.read_text().splitlines()]
    head = lines.index(next(line for line in lines if line[0] == 'Task Framework From'))
    names, origin, affnet = lines[head + 1:head + 4]
    assert [name.split()[0] for name in names[1:]] == [column.framework for column in paper.TABLE_11]
    assert origin == ['w. Origin Encoder', *(str(column.origin) for column in paper.TABLE_11)]
    assert affnet == ['w. AFFNet Encoder', *(str(column.affnet) for column in paper.TABLE_11)]
    metrics = {'Detection(mAP)': 'mAP', 'Segmentation(mIOU)': 'mIoU'}
    assert [metrics[lines[head][i]] for i in (1, 3)] == [paper.TABLE_11[i].metric for i in (0, 2)]


# All rows, counted


@pytest.fixture(scope='module')
def table():
    require_hosts()
    threads = torch.get_num_threads()
    torch.set_num_threads(min(threads, 2))
    yield make_tables(11)[0]
    torch.set_num_threads(threads)


@pytest.mark.slow
def test_every_row(table):
    rows = table.as_dict()['rows']
    assert [(row['framework_paper'], row['encoder'], row['score_paper'], row['resolution']) for row in rows] == ROWS
    assert all(row['score'] == 'not trained here' for row in rows if row['parameters'])
    readings = [row['encoder'] for row in rows if 'our reading' in row['notes'].get('score_paper', '')]
    assert readings == ['AFFNet'] * 4
    gains = [round(row['score_paper_to_origin'], 1) for row in rows if row['score_paper_to_origin'] is not None]
    assert gains == [3.1, 1.4, 4.7, 0.3]
    moat = next(row for row in rows if row['encoder'] == 'tiny-MOAT-0')
    assert moat['parameters'] is moat['multiply_adds'] is moat['score'] is None and 'paper only' in moat['source']


@pytest.mark.slow
def test_parameters_are_the_models(table, config_root):
    """Against a count of the model that the host builds from the config, without anything of ours."""
    origins = {}
    for row in table.as_dict()['rows']:
        if row['parameters'] is None:
            continue
        cfg = Config.fromfile(config_root.parent / row['source'])
        with DefaultScope.overwrite_default_scope(cfg.default_scope):
            model = MODELS.build(cfg.model)
        expected = sum(p.numel() for name, p in model.named_parameters() if not name.startswith('auxiliary_head.'))
        assert round(row['parameters'] * 1e6) == expected
        if not row['encoder'].startswith('AFFNet'):
            origins[row['framework_paper']] = expected
        elif row['framework_paper'] in origins:
            assert round(row['parameters_to_origin'] * 1e6) == expected - origins[row['framework_paper']]
        assert (row['fft'] > 0) == row['encoder'].startswith('AFFNet')


@pytest.mark.slow
@pytest.mark.parametrize('name', list(PUBLIC))
def test_origins_are_those_of_their_authors(table, name):
    row = next(row for row in table.as_dict()['rows'] if row['framework_paper'] == name)
    parameters, tolerance, multiply_adds = PUBLIC[name]
    assert row['parameters'] * 1e6 == pytest.approx(parameters, abs=tolerance)
    if multiply_adds:
        assert row['multiply_adds'] * 1e9 == pytest.approx(multiply_adds, rel=0.01)
        cfg, scope = read_config(row['source'])
        model = build(cfg, scope)
        found = count(model, row['resolution'])
        assert found.by_operator['conv'] == products(model, row['resolution'])
        assert found.multiply_adds / 1e9 == row['multiply_adds']


@pytest.mark.slow
def test_what_the_pages_show_is_what_the_command_prints(table, config_root):
    rows = [line for line in table.markdown().splitlines() if line.startswith('|')]
    assert len(rows) == len(ROWS) + 2
    for page in ('docs/tables.md', 'README.md'):
        assert set(rows) <= set((config_root.parent / page).read_text().splitlines()), page


# Without counting


def test_without_hosts_the_print_stands(monkeypatch):
    def hosts_are_missing(name):
        raise HostMissing('detection needs mmdet')

    monkeypatch.setattr(table11, 'read_config', hosts_are_missing)
    monkeypatch.setitem(sys.modules, 'mmpretrain', None)
    table, = make_tables(11)
    rows = table.as_dict()['rows']
    assert [(row['framework_paper'], row['encoder'], row['score_paper']) for row in rows] == [row[:3] for row in ROWS]
    assert all(row['parameters'] is row['fft'] is row['resolution'] is None for row in rows)
    for row in rows:
        missing = {'VAN-B0': 'mmpretrain would count it', 'tiny-MOAT-0': 'no maintained package'}
        assert missing.get(row['encoder'], 'detection needs mmdet') in row['source']
    assert all(row['encoder'].startswith('AFFNet') for row in make_tables(11, with_peers=False)[0].as_dict()['rows'])


def test_differences_to_the_origin(monkeypatch):
    counts = {'origin': Complexity(5_000_000, 3 * 10**9, 0, {}), 'affnet': Complexity(7_500_000, 10**9, 10**7, {})}
    monkeypatch.setattr(table11, 'read_config', lambda name: (name, 'mmdet'))
    monkeypatch.setattr(table11, 'build', lambda name, scope: counts['affnet' if 'affnet' in name else 'origin'])
    monkeypatch.setattr(table11, 'count', lambda found, size, counter: found)
    monkeypatch.setattr(table11.peers, 'require', lambda library: None)
    table, = table11.table_11(size=32)
    first, second = table.as_dict()['rows'][:2]
    assert first['parameters'] == 5 and first['parameters_to_origin'] is first['multiply_adds_to_origin'] is None
    assert (second['parameters_to_origin'], second['multiply_adds_to_origin'], second['fft']) == (2.5, -2, 10)
    assert '32 x 32' in table.conventions and first['resolution'] == 32


@pytest.mark.parametrize(('steps', 'side'), [
    ([dict(type='Resize', scale=(416, 416), keep_ratio=True), dict(type='Pad', pad_to_square=True)], 416),
    ([dict(type='mmaffnet.Resize', scale=(2048, 512), keep_ratio=True)], 512),
    ([dict(type='Resize', scale=(1333, 800), keep_ratio=True), dict(type='Pad', size_divisor=128)], 896),
    ([dict(type='Resize', scale=(512, 512), keep_ratio=True), dict(type='Pad', size=(640, 640))], 640),
    ([dict(type='ResizeEdge', scale=288, edge='short'), dict(type='CenterCrop', crop_size=256)], 256),
    ([dict(type='Resize', scale=(320, 320), keep_ratio=False)], 320)])
def test_size_of_evaluation(steps, side):
    cfg = Config(dict(test_dataloader=dict(dataset=dict(pipeline=steps)),
                      train_dataloader=dict(dataset=dict(pipeline=[dict(type='RandomCrop', crop_size=(224, 224))]))))
    assert input_size(cfg) == side and input_size(cfg, 'train') == 224


@pytest.mark.parametrize('steps', [[dict(type='Resize', scale=(640, 320))], [dict(type='LoadImageFromFile')]])
def test_no_size_of_evaluation(steps):
    cfg = Config(dict(test_dataloader=dict(dataset=dict(pipeline=steps))))
    with pytest.raises(UserError, match='the test pipeline .* no square input size'):
        input_size(cfg)
