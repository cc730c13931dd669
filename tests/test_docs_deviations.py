"""Every line of Python in docs/deviations.md changes a config, and its model and optimiser still build."""

import re
from pathlib import Path

import pytest
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope

from mmaffnet.analysis.models import build, read_config

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / 'docs' / 'deviations.md').read_text()
BASES = {
    'Backbone': 'imagenet/affnet-et_8xb128-300e_in1k-256px.py',
    'ImageNet': 'imagenet/affnet-base_8xb128-300e_in1k-256px.py',
    'COCO': 'ssdlite/ssdlite_affnet-et_8xb16-200e_coco.py',
    'ADE20K and VOC': 'deeplabv3/deeplabv3_affnet-et_8xb2-120e_ade20k-512x512.py',
    'Other frameworks': {  # by the beginning of a row
        'YOLOX': 'yolox/yolox_affnet-et_8xb8-300e_coco.py',
        'EfficientDet': 'efficientdet/efficientdet-d1_affnet-t_8xb16-300e_coco.py',
        'Semantic FPN': 'semantic_fpn/semantic-fpn_affnet-t_8xb4-40k_ade20k-512x512.py',
        'DeepLabV3+': 'deeplabv3plus/deeplabv3plus_affnet-t_8xb2-120e_ade20k-512x512.py'},
}
LINES = [(section, row[2:].split(':')[0], line)
         for section, text in re.findall(r'^## (.*?)\n(.*?)(?=^## |\Z)', PAGE, re.DOTALL | re.MULTILINE)
         for row in text.splitlines()
         for line in re.findall(r'`((?:model|optim_wrapper|custom_hooks|val_evaluator) = [^`]+)`', row)]


@pytest.mark.parametrize('section, item, line', LINES, ids=[line[:70] for *_, line in LINES])
def test_line(section, item, line, tmp_path):
    path = BASES[section]
    path = ROOT / 'configs' / (path if isinstance(path, str) else path[item])
    base, _ = read_config(path)
    pytest.importorskip(base.default_scope)
    (tmp_path / 'mine.py').write_text(f"_base_ = '{path}'\n{line}\n")
    cfg, scope = read_config(tmp_path / 'mine.py')
    assert cfg.to_dict() != base.to_dict()
    model = build(cfg, scope)
    with DefaultScope.overwrite_default_scope(scope):
        build_optim_wrapper(model, dict(cfg.optim_wrapper, type='OptimWrapper'))


def test_lines_are_found():
    assert {section for section, *_ in LINES} == set(BASES) and len(LINES) > 15
    assert {item for section, item, _ in LINES if section == 'Other frameworks'} == set(BASES['Other frameworks'])


def test_every_row_has_the_columns_of_its_table():
    for table in re.findall(r'(?:^\|.*\n)+', PAGE, re.MULTILINE):
        assert len({len(row.split('|')) for row in table.splitlines()}) == 1
