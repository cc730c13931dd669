"""What docs/frameworks.md says of AFFNet's maps is so, its example trains, and its commands fit the shipped configs."""

import argparse
import json
import re
import shlex
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import TRANSFORMS, DefaultScope

from mmaffnet import AFFNet
from mmaffnet.engine.cli import train_main
from mmaffnet.engine.config import add_common_arguments
from mmaffnet.engine.train import add_train_arguments, prepare

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / 'docs' / 'frameworks.md').read_text()
PYTHON = re.findall(r'```python\n(.*?)```', PAGE, re.DOTALL)
COMMANDS = [command for block in re.findall(r'```bash\n(.*?)```', PAGE, re.DOTALL)
            for command in block.replace('\\\n', ' ').splitlines()]
TRAININGS = [command for command in COMMANDS if command.startswith('python tools/train.py')]


def test_widths_and_strides():
    rows = re.findall(r'^\| `\(([\d, ]+)\)`' + r' \| ([\d, ]+)' * 4 + r' \|$', PAGE, re.MULTILINE)
    assert len(rows) == 4
    for row in rows:
        indices, strides, *widths = [[int(number) for number in cell.split(',') if number.strip()] for cell in row]
        for arch, said in zip(('et', 't', 'base'), widths, strict=True):
            with torch.no_grad():
                maps = AFFNet(arch=arch, out_indices=indices).eval()(torch.rand(1, 3, 64, 96))
            assert [m.shape[1] for m in maps] == said
            assert [tuple(m.shape[2:]) for m in maps] == [(64 // stride, 96 // stride) for stride in strides]


def test_what_the_page_names_is_there():
    for path in re.findall(r'`((?:configs|tests|tools)/[^`*{ ]+)', PAGE):
        assert (ROOT / path).exists(), path
    for command in COMMANDS:
        for path in re.findall(r'(?:configs|tools|tests)/\S+', command):
            assert (ROOT / path).exists(), path
    for link in re.findall(r'\]\((\w+\.md)\)', PAGE):
        assert (ROOT / 'docs' / link).is_file(), link


@pytest.fixture
def checkout(tmp_path, monkeypatch, data_root):
    """A working directory with data/ as on the page."""
    monkeypatch.chdir(tmp_path)
    for name in ('configs', 'tools'):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data' / 'coco').symlink_to(data_root / 'coco')
    (tmp_path / 'data' / 'ade').symlink_to(data_root / 'ade20k')
    exec(next(block for block in PYTHON if 'json.dumps' in block), {})
    for name, base in (('eight_yolox', 'configs/yolox'), ('six_semantic_fpn', 'configs/semantic_fpn'),
                       ('six_deeplabv3plus', 'configs/deeplabv3plus')):
        (tmp_path / f'{name}.py').write_text(next(block for block in PYTHON if base in block))
    return tmp_path


def test_eight_photographs(checkout, eight_photographs):
    expected = eight_photographs(checkout / 'expected')
    for part in ('train2017', 'val2017'):
        assert json.loads(Path(f'data/eight/annotations/instances_{part}.json').read_text()) == expected
    assert all(Path('data/eight/val2017', image['file_name']).is_file() for image in expected['images'])


@pytest.mark.parametrize('command', TRAININGS, ids=[Path(shlex.split(command)[2]).stem for command in TRAININGS])
def test_options_fit(checkout, command):
    """All that is checked before a model is built, and each option is found where the run reads it."""
    pytest.importorskip(Config.fromfile(shlex.split(command)[2]).default_scope)
    parser = argparse.ArgumentParser()
    add_train_arguments(parser)
    add_common_arguments(parser)
    args = parser.parse_args(shlex.split(command)[2:])
    cfg = prepare(args)
    for key, value in (args.cfg_options or {}).items():
        node = cfg
        for part in key.split('.'):
            node = node[int(part)] if part.isdigit() else node[part]
        assert node == value or tuple(node) == tuple(value), key
        assert not re.search(r'pipeline\.\d+\.\w+$', key) or key.rsplit('.', 1)[1] in _steps(args.config, key), key
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        for loader in (cfg.train_dataloader, cfg.val_dataloader):
            for step in loader.dataset.pipeline:
                TRANSFORMS.build(step)


def _steps(config, key):
    """Keys that the shipped config gives to the step of a pipeline that an option changes."""
    node = Config.fromfile(config)
    for part in key.split('.')[:-1]:
        node = node[int(part)] if part.isdigit() else node[part]
    return node


def test_the_commands_are_of_each_framework():
    configs = {re.sub(r'_(?:d1|affnet|8xb).*', '', Path(shlex.split(command)[2]).stem) for command in TRAININGS}
    assert configs == {'eight_yolox', 'efficientdet-d1', 'six_semantic_fpn', 'six_deeplabv3plus'}


@pytest.mark.slow
def test_five_lines_train_a_detector_of_the_host(checkout):
    mmdet = pytest.importorskip('mmdet')
    text = next(block for block in PYTHON if 'HOST' in block)
    assert len(text.splitlines()) == 5
    (checkout / 'mine.py').write_text(text.replace('HOST', f'{mmdet.__path__[0]}/.mim/configs'))
    train_main(['mine.py', '--no-validate', '--work-dir', 'run', '--cfg-options', 'data_root=data/eight/',
                'train_cfg.max_epochs=1', 'train_dataloader.num_workers=0', 'train_dataloader.persistent_workers=False',
                'train_dataloader.dataset.pipeline.2.scale=(192,128)'])
    saved = torch.load(checkout / 'run' / 'epoch_1.pth', weights_only=True)
    weight = saved['state_dict']['neck.lateral_convs.0.conv.weight']
    assert weight.shape == (256, 96, 1, 1)   # start_level=1 leaves the map of stride 4 out
    assert any(name.startswith('backbone.layer_5') for name in saved['state_dict'])
