"""docs/operators.md: its worked example runs as it stands there, and its figures are those of the code."""

import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from PIL import Image

from mmaffnet import AFFNet

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / 'docs' / 'operators.md').read_text()
BLOCKS = re.findall(r'```python\n(.*?)```', PAGE, re.DOTALL)
FILES = {re.match(r'# (\S+\.py)\n', block).group(1): block for block in BLOCKS if re.match(r'# \S+\.py\n', block)}
QUICK = ['train_dataloader.num_workers=0', 'train_dataloader.persistent_workers=False', 'train_dataloader.batch_size=5',
         'train_cfg.max_epochs=1']


@pytest.fixture
def checkout(tmp_path):
    """A checkout with the example's two files and a handful of pictures for the config's data set."""
    (tmp_path / 'configs').symlink_to(ROOT / 'configs')
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    classes = Config.fromfile(ROOT / 'configs' / '_base_' / 'datasets' / 'cifar10_64px.py').class_names
    for number, name in enumerate(classes):
        folder = tmp_path / 'data' / 'cifar10' / 'train' / name
        folder.mkdir(parents=True)
        Image.new('RGB', (32, 32), (20 * number, 200 - 20 * number, 90)).save(folder / '1.png')
    return tmp_path


def test_the_example_trains(checkout, run_tool):
    pytest.importorskip('mmpretrain')
    assert set(FILES) == {'power_gate.py', 'power_gate_cifar10.py'}
    command = re.search(r'PYTHONPATH=(\S+) python tools/(train\.py) (power_gate\S+)', PAGE)
    done = run_tool([command.group(2), command.group(3), '--no-validate', '--cfg-options', *QUICK], cwd=checkout,
                    env=dict(PYTHONPATH=f'{command.group(1)}:{ROOT}'))
    assert done.returncode == 0, done.stderr
    state = torch.load(checkout / 'work_dirs' / 'power_gate_cifar10' / 'epoch_1.pth', weights_only=False)['state_dict']
    mixers = {key: value for key, value in state.items() if '.token_mixer.' in key}
    assert len(mixers) == 2 * 9 and not any('w1' in key for key in mixers)
    assert all(value.abs().max() > 0 for value in mixers.values())   # they start at zero


def test_the_example_is_measured_as_it_says(checkout, monkeypatch, capsys):
    from mmaffnet.registry import TOKEN_MIXERS
    monkeypatch.syspath_prepend(str(checkout))
    block, = (block for block in BLOCKS if 'measure(' in block)
    try:
        exec(compile(block, 'operators.md', 'exec'), {})
        printed = capsys.readouterr().out.split('\n')[:-1]
        said = re.findall(r"print\('(\S+)', .*# (\w+)", block)
        assert printed == [f'{name} {answer}' for name, answer in said] and len(said) == 3
    finally:
        TOKEN_MIXERS.module_dict.pop('PowerGate', None)


def test_the_snippets_build():
    for block in BLOCKS:
        if block.startswith('model ='):
            for line in block.strip().splitlines():
                namespace = {}
                exec(line, namespace)
                assert AFFNet('et', **namespace['model']['backbone'])


@pytest.mark.parametrize('row', re.findall(r'^\| `(\w+)` \|.*?\| ([\d,]+) \| \**(\d+\.\d)\** \(', PAGE, re.MULTILINE))
def test_counts(row):
    """Also within 0.1 M of the print, but GFN."""
    name, said, printed = row
    with torch.device('meta'):
        net = AFFNet('base', token_mixer=dict(type=name), img_size=256, out_indices=5)
    total = sum(p.numel() for p in net.parameters()) + 961_000   # the classifier
    assert f'{total:,}' == said
    assert (abs(total / 1e6 - float(printed)) < 0.1) is (name != 'GFN')


def numbers_of(spread: str) -> list[float]:
    return [float(number) for number in spread.split('–')]


def test_the_figures_of_table_1():
    """The measured table on the page is the command's, in its own spelling."""
    from mmaffnet.analysis.table1 import table_1
    cells, further, reach = table_1()
    rows = dict(re.findall(r'^\| (FFC|AFNO|GFNet|FNO|DFF|AFF) \| (.*) \|$', PAGE, re.MULTILINE))
    assert len(rows) == 6
    for row in cells.rows:
        name, _, adaptive, _, size, _, channel, *numbers = row
        got = rows['AFF' if name == 'Ours' else name].split(' | ')
        assert got[5:] == [adaptive, size, channel]
        for said, found in zip(got[:5], numbers, strict=True):
            if said.startswith('≤'):   # rounding differs between machines
                assert float(said[2:]) < 1e-14 and float(found.removeprefix('<= ')) < 1e-13
            elif '–' in said:
                assert numbers_of(said) == pytest.approx(numbers_of(found), abs=0.02)
            else:
                assert said == found
    shift = next(row[2] for row in reach.rows if row[0] == 'Ours')
    said = re.search(r'differ by ([\d.]+) to ([\d.]+) of their norm', PAGE).groups()
    assert numbers_of('–'.join(said)) == pytest.approx(numbers_of(shift), abs=0.02)
