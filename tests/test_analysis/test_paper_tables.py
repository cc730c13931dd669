"""The paper's tables: every row there, the integers, no difference without a reason, and output that can be read."""

import argparse
import io
import json
import re
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from mmaffnet.analysis import paper, peers, table2, table3
from mmaffnet.analysis.counting import Complexity
from mmaffnet.analysis.models import HostMissing, count_config, input_size, read_config
from mmaffnet.analysis.paper_tables import make_tables, run
from mmaffnet.analysis.recipe import read_recipe
from mmaffnet.analysis.table import render
from mmaffnet.analysis.table9 import UNEXPLAINED
from mmaffnet.engine.errors import UserError

INTEGERS = {'AFFNet-ET': 1_436_264, 'AFFNet-T': 2_654_232, 'AFFNet': 5_568_696}
SSDLITE = {'AFFNet-ET': 1_999_226, 'AFFNet-T': 3_014_074, 'AFFNet': 5_692_506}
DEEPLABV3 = {('AFFNet-ET', 'VOC'): 2_180_373, ('AFFNet-T', 'VOC'): 3_497_797, ('AFFNet', 'VOC'): 7_010_405,
             ('AFFNet-ET', 'ADE20K'): 2_213_526, ('AFFNet-T', 'ADE20K'): 3_530_950, ('AFFNet', 'ADE20K'): 7_043_558}


def as_json(tables):
    text = io.StringIO()
    render(tables, 'json', text)
    return json.loads(text.getvalue())


# The print


def test_the_printed_rows_are_those_of_the_paper():
    """Against the paper's own text, where it is at hand."""
    text = Path(__file__).resolve().parents[3] / 'shared' / 'paper' / 'affnet-iccv2023.txt'
    if not text.is_file():
        pytest.skip('the paper is not at hand')
    lines = [[re.sub(r' \[\d+\]$', '', cell) for cell in line.rstrip('\n').split('\t')] for line in
             text.read_text().splitlines() if '\t' in line]

    def cell(value):
        return '-' if value is None else str(value)

    for row in paper.TABLE_2:
        assert [row.model, cell(row.publication), f'{row.resolution} ²', str(row.parameters), str(row.flops),
                str(row.top1)] in lines
    for row in paper.TABLE_3:
        assert [row.model, *map(cell, row[1:])] in lines
    for number, (_, rows) in paper.ABLATIONS.items():
        for row in rows:
            name = f'${row.row}$'.replace('×', r'\times ') if number == 6 else row.row
            assert [*(name.split(', ') if number == 7 else [name]), *map(str, row[1:])] in lines, row
    assert ['Properties', *paper.TABLE_1_OPERATORS] in lines
    assert all([item, *marks] in lines for item, marks in paper.TABLE_1.items())
    printed = {line[0]: line[1:] for line in lines if line[0] in paper.TABLE_9}
    for item, values in paper.TABLE_9.items():
        for value, given in zip(values, printed[item], strict=True):
            given = re.sub(r'^(\d+) ?[kK]$', r'\g<1>000', given).removesuffix(' ²')
            assert value == (given if isinstance(value, str) else float(given))


def test_rows_of_the_print():
    assert len(paper.TABLE_2) == 31 and len(paper.TABLE_3) == 13 and len(paper.TABLE_8) == 9
    assert len(paper.TABLE_9) == 21 and all(len(row) == 6 for row in paper.TABLE_9.values())
    models = {row.model for row in paper.TABLE_2}
    assert set(peers.TABLE_2) | set(peers.OTHERS) <= models - set(paper.AFFNET)
    # what neither library has
    assert models - set(peers.TABLE_2) - set(paper.AFFNET) == {
        'MFormer-52', 'Mformer', 'GFNet-Ti', 'EfficientViT', 'EdgeViT-XS'}
    assert {*peers.TABLE_3_CONFIGS, *peers.TABLE_3_TIMM, *paper.AFFNET} == {row.model for row in paper.TABLE_3}


# Table 2


@pytest.fixture(scope='module')
def affnet_table():
    pytest.importorskip('mmpretrain')
    return make_tables(2, with_peers=False)[0]


def test_what_the_docs_show_is_what_the_command_prints(affnet_table, config_root):
    page = (config_root.parent / 'docs' / 'tables.md').read_text().splitlines()
    printed = [line for line in affnet_table.markdown().splitlines() if line.startswith('| AFFNet')]
    assert len(printed) == 3 and set(printed) <= set(page)
    recipes, = make_tables(9)
    assert set(recipes.markdown().splitlines()) <= set(page)
    for row in paper.TABLE_2:
        assert any(line.startswith(f'| {row.model} | {row.resolution} |') for line in page)


def test_affnet_rows_of_table_2(affnet_table):
    affnet_rows = as_json([affnet_table])[0]
    rows = {row['model']: row for row in affnet_rows['rows']}
    assert list(rows) == list(paper.AFFNET)
    for name, parameters in INTEGERS.items():
        row = rows[name]
        assert row['parameters'] * 1e6 == pytest.approx(parameters, abs=0.5)
        assert abs(row['parameters_difference']) < 0.1 and abs(row['multiply_adds_difference']) < 0.05
        assert row['top1'] == 'not trained here' and row['fft'] > 0
    assert [round(row['multiply_adds'], 3) for row in rows.values()] == [0.375, 0.818, 1.494]
    assert [row['top1_paper'] for row in rows.values()] == [73.0, 77.0, 79.8]
    assert 'FFT' in affnet_rows['conventions'] and 'C1' in affnet_rows['conventions']


def test_all_rows_stand_in_table_2(monkeypatch):
    def hosts_are_missing(*args):
        raise HostMissing('classification needs mmpretrain')

    monkeypatch.setattr(table2, 'count_config', hosts_are_missing)
    monkeypatch.setitem(sys.modules, 'timm', None)
    monkeypatch.setitem(sys.modules, 'mmpretrain', None)
    rows = as_json(make_tables(2))[0]['rows']
    assert [row['model'] for row in rows] == [row.model for row in paper.TABLE_2]
    for row, printed in zip(rows, paper.TABLE_2, strict=True):
        assert (row['parameters_paper'], row['multiply_adds_paper'], row['top1_paper']) == printed[3:]
        assert row['parameters'] is row['multiply_adds'] is row['fft'] is None
        expected = 'mmpretrain' if row['model'] in (*paper.AFFNET, 'ShuffleNetV2', 'T2T-ViT') else 'timm'
        assert expected in row['source'] or 'neither' in row['source']


@pytest.mark.parametrize('model', [name for name, sources in peers.TABLE_2.items()
                                   if any(source.library == 'mmpretrain' for source in sources)])
def test_mmpretrains_peers(model):
    pytest.importorskip('mmpretrain')
    sources = tuple(source for source in peers.TABLE_2[model] if source.library == 'mmpretrain')
    _compare(model, *peers.build_first(sources))


@pytest.mark.parametrize('model', [name for name, sources in peers.TABLE_2.items() if sources[0].library == 'timm'])
def test_timms_peers(model):
    pytest.importorskip('timm')
    _compare(model, *peers.build_first(peers.TABLE_2[model][:1]))


def _compare(model, built, source):
    printed = next(row for row in paper.TABLE_2 if row.model == model)
    parameters = sum(p.numel() for p in built.parameters()) / 1e6
    # the print is cut off or rounded; whatever is further away says why
    assert abs(parameters - printed.parameters) < 0.1 or source.note


def test_a_version_without_a_model_is_named():
    pytest.importorskip('mmpretrain')
    with pytest.raises(peers.NotOffered, match='mmpretrain .* has no nothing-of-the-kind'):
        peers.Source('mmpretrain', 'nothing-of-the-kind').build()
    with pytest.raises(peers.NotOffered, match='neither timm nor mmpretrain'):
        peers.build_first(())


# Table 3


@pytest.fixture
def parameters_only(monkeypatch):
    """Tables without the time that forward passes at 512 x 512 take."""
    monkeypatch.setattr(table3, 'count', lambda model, size, counter: Complexity(
        table3.count_parameters(model), 10**9 * size, 10**6, {}))


def test_table_3(parameters_only):
    for host in ('mmdet', 'mmseg'):
        pytest.importorskip(host)
    detection, segmentation = as_json(make_tables(3, with_peers=False))
    assert {row['model']: round(row['parameters'] * 1e6) for row in detection['rows']} == SSDLITE
    assert {(row['model'], row['data']): round(row['parameters'] * 1e6) for row in segmentation['rows']} == DEEPLABV3
    assert all(abs(row['parameters_difference']) < 0.1 for row in detection['rows'])
    # et and t fit the print, base does not, and the line below says so
    misfits = {row['model'] for row in segmentation['rows'] if abs(row['parameters_difference']) > 0.1}
    assert misfits == {'AFFNet'} and '7.01' in segmentation['conventions']
    assert 'auxiliary head' in segmentation['conventions']
    assert {row['multiply_adds'] for row in detection['rows']} == {320}
    assert {row['multiply_adds'] for row in segmentation['rows']} == {512}
    assert {row['score'] for row in detection['rows'] + segmentation['rows']} == {'not trained here'}


def test_all_rows_stand_in_table_3(monkeypatch):
    def nothing(*args):
        raise peers.NotOffered('timm would count it and cannot be imported here')

    def hosts_are_missing(*args):
        raise HostMissing('needs a host')

    monkeypatch.setattr(peers, 'require', nothing)
    monkeypatch.setattr(table3, 'read_config', hosts_are_missing)
    detection, segmentation = as_json(make_tables(3))
    assert [row['model'] for row in detection['rows']] == [row.model for row in paper.TABLE_3]
    assert len(segmentation['rows']) == 13 + 8   # VOC of all, ADE20K where the print has no dash
    printed = {row.model: row for row in paper.TABLE_3}
    for row in detection['rows'] + segmentation['rows']:
        column = dict(COCO='coco', ADE20K='ade20k', VOC='voc')[row['data']]
        assert row['score_paper'] == getattr(printed[row['model']], column)
        assert row['parameters'] is None and ('host' in row['source'] or 'paper only' in row['source'])


@pytest.mark.parametrize('model', ['ResNet-50', 'MNetv2'])
def test_comparisons_of_mmpretrain(model, config_root):
    """The configs' own docstrings give the integers, counted by whoever wrote them."""
    for host in ('mmdet', 'mmpretrain'):
        pytest.importorskip(host)
    name = f'comparisons/{table3.SSDLITE.format(peers.TABLE_3_CONFIGS[model])}'
    said = re.search(r'([\d,]+) parameters', (config_root / f'{name}.py').read_text()).group(1)
    parameters, multiply_adds, fft, source = table3._row(model, 'ssdlite', table3.SSDLITE, None, None)
    assert f'{parameters:,}' == said and multiply_adds is fft is None and source == f'configs/{name}.py'


# Tables 8 and 9


def test_table_8(monkeypatch):
    pytest.importorskip('mmpretrain')
    table, = as_json(make_tables(8))
    layers, totals = table['rows'][:-2], table['rows'][-2:]
    assert [row['channels_paper'] for row in layers] == [row['channels'] for row in layers]
    differing = [(row['module'], key) for row in layers for key in ('resolution', 'downsample', 'blocks', 'channels')
                 if row[key] != row[f'{key}_paper']]
    # the print's first rows are shifted by one, and its stem has four MBConvs in two rows
    assert differing == [('conv_1', 'resolution'), ('conv_1', 'downsample'), ('layer_1', 'downsample'),
                         ('layer_2', 'blocks')]
    assert all(key in row['notes'] for row in layers for module, key in differing if module == row['module'])
    assert [row['resolution'] for row in layers] == [128, 128, 64, 32, 32, 16, 16, 8, 8]
    assert totals[0]['channels'] == '1.436, 2.654, 5.569' and totals[1]['channels'] == '0.375, 0.818, 1.494'


def test_table_9_has_no_unexplained_difference():
    table, = as_json(make_tables(9))
    assert len(table['cells']) == 21 * 6
    assert {(cell['item'], cell['column']) for cell in table['cells'] if not cell['equal']} == {
        ('Weight Initialization', 'COCO'), ('Weight Initialization', 'ADE20k'),
        ('Weight Initialization', 'PASCAL VOC'), ('Random Horizontal Flip', 'COCO')}
    assert all(cell['equal'] or cell['note'] for cell in table['cells'])
    assert UNEXPLAINED not in table['notes']
    assert 'hold the same values' in table['conventions']
    for row in table['rows']:
        assert row['item'] in paper.TABLE_9


@pytest.mark.parametrize(('item', 'key', 'value'), [
    ('Base LR', 'optim_wrapper.optimizer.lr', 0.1), ('Minimal LR', 'param_scheduler.eta_min', 0.1),
    ('Warm-up Iterations', 'param_scheduler.warmup_iters', 7), ('Number of Epochs', 'train_cfg.max_epochs', 7),
    ('Batch Size', 'train_dataloader.batch_size', 7), ('Weight Decay', 'optim_wrapper.optimizer.weight_decay', 0.7),
    ('Label Smoothing', 'model.head.loss.label_smooth_val', 0), ('EMA', 'custom_hooks', []),
    ('CutMix', 'model.train_cfg.augments', []), ('Optimizer', 'optim_wrapper.optimizer.type', 'SGD'),
    ('RandAug', 'train_dataloader.dataset.pipeline', [dict(type='RandomResizedCrop', scale=256)]),
    ('Resolution', 'train_dataloader.dataset.pipeline', [dict(type='RandomResizedCrop', scale=224)])])
def test_a_changed_config_is_seen(config_root, item, key, value):
    cfg = Config.fromfile(config_root / 'imagenet' / 'affnet-base_8xb128-300e_in1k-256px.py')
    before = read_recipe(cfg)
    cfg.merge_from_dict({key: value})
    after = read_recipe(cfg)
    assert before[item] != after[item] and after[item] in (value, 8 * 7, 224, paper.NO)


def test_a_difference_without_a_reason_is_shown(monkeypatch):
    monkeypatch.setitem(paper.TABLE_9, 'Base LR', (0.1, ) * 6)
    table, = make_tables(9)
    assert UNEXPLAINED in table.notes and '0.1 / 0.009' in table.markdown()


# Mistakes and the tool


def test_a_config_without_a_size_or_a_host(tmp_path):
    cfg = Config(dict(train_dataloader=dict(dataset=dict(pipeline=[dict(type='Resize', scale=(640, 320))]))))
    with pytest.raises(UserError, match='the train pipeline .* no square input size'):
        input_size(cfg, 'train')
    path = tmp_path / 'c.py'
    path.write_text("default_scope = 'mmnothing'\n")
    with pytest.raises(UserError, match='mmnothing'):
        read_config(path)


def test_a_missing_host_is_told_from_a_mistake(monkeypatch):
    monkeypatch.setitem(sys.modules, 'mmpretrain.utils', None)
    with pytest.raises(HostMissing, match='mmpretrain'):
        count_config('affnet-et_8xb128-300e_in1k-256px')


def test_tool(run_tool, tmp_path):
    done = run_tool(['analysis_tools/paper_tables.py', '--table', '9', '--format', 'json'], cwd=tmp_path,
                    env=dict(PYTHONPATH=str(Path(__file__).resolve().parents[2])))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]['title'].startswith('Table 9')


def test_a_table_that_is_not_counted():
    with pytest.raises(UserError, match='1, 2, 3, .* 11, 12, 13, 14'):
        make_tables(10)


def test_a_folder_that_is_missing_is_found_before_the_counting(tmp_path):
    with pytest.raises(UserError, match='does not exist'):
        run(argparse.Namespace(table=2, format='json', out=str(tmp_path / 'no' / 'where.json'), no_peers=True))
