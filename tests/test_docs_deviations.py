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
}
LINES = [(section, line) for section, text in re.findall(r'^## (.*?)\n(.*?)(?=^## |\Z)', PAGE, re.DOTALL | re.MULTILINE)
         for line in re.findall(r'`((?:model|optim_wrapper|custom_hooks|val_evaluator) = [^`]+)`', text)]


@pytest.mark.parametrize('section, line', LINES, ids=[line[:70] for _, line in LINES])
def test_line(section, line, tmp_path):
    base, _ = read_config(ROOT / 'configs' / BASES[section])
    pytest.importorskip(base.default_scope)
    (tmp_path / 'mine.py').write_text(f"_base_ = '{ROOT / 'configs' / BASES[section]}'\n{line}\n")
    cfg, scope = read_config(tmp_path / 'mine.py')
    assert cfg.to_dict() != base.to_dict()
    model = build(cfg, scope)
    with DefaultScope.overwrite_default_scope(scope):
        build_optim_wrapper(model, dict(cfg.optim_wrapper, type='OptimWrapper'))


def test_lines_are_found():
    assert {section for section, _ in LINES} == set(BASES) and len(LINES) > 15


def test_every_row_has_the_columns_of_its_table():
    for table in re.findall(r'(?:^\|.*\n)+', PAGE, re.MULTILINE):
        assert len({len(row.split('|')) for row in table.splitlines()}) == 1
