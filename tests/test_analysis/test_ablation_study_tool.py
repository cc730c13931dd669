"""The tool with its real trainer: killed with kill -9 in the middle of a small study, and started again."""
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmaffnet.analysis.results import read_runs

ROOT = Path(__file__).resolve().parents[2]


def wait_for(path, text, seconds=300):
    """Wait until a file holds a text."""
    end = time.monotonic() + seconds
    while not (Path(path).exists() and text in Path(path).read_text()):
        assert time.monotonic() < end, f'{path} never held {text!r}'
        time.sleep(0.02)


def pictures(folder):
    """A data set of two classes that differ in brightness."""
    import numpy as np
    from PIL import Image
    rng = np.random.default_rng(0)
    for part, count in (('train', 12), ('test', 4)):
        for label, name in enumerate(('cat', 'dog')):
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                noise = rng.integers(0, 120, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(noise + np.uint8(120 * label)).save(folder / part / name / f'{number}.png')


SMALL = """
_base_ = '{base}'
data_root = '{root}'
classes = ('cat', 'dog')
train_dataloader = dict(batch_size=8, num_workers=0, persistent_workers=False)
val_dataloader = dict(batch_size=4, num_workers=0, persistent_workers=False)
test_dataloader = val_dataloader
param_scheduler = dict(warmup_iters=2)
default_hooks = dict(logger=dict(interval=1))
data_preprocessor = dict(num_classes=2)
model = dict(head=dict(num_classes=2))
"""


@pytest.mark.slow
def test_the_tool_killed_and_started_again(tmp_path, monkeypatch, config_root):
    pytest.importorskip('mmpretrain')
    monkeypatch.chdir(tmp_path)
    pictures(tmp_path / 'data')
    for row in ('table4_affnet-et-aff', 'table5_affnet-et-gfn'):
        base = config_root / 'ablations' / 'cifar10' / f'{row}_1xb64-18e_cifar10.py'
        (tmp_path / f'{row}_small.py').write_text(SMALL.format(base=base, root=tmp_path / 'data'))
    command = [sys.executable, str(ROOT / 'tools' / 'ablation_study.py'), 'table4_affnet-et-aff_small.py',
               'table5_affnet-et-gfn_small.py', '--seeds', '0', '--epochs', '6', '--work-dir', 'w']
    env = {**os.environ, 'PYTHONPATH': str(ROOT), 'CUDA_VISIBLE_DEVICES': ''}
    first = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    folder = Path('w/table4_affnet-et-aff_small-seed0')
    wait_for(folder / 'output.log', 'Epoch(train) [2]')
    first.kill()
    first.wait()
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    output = (folder / 'output.log').read_text()
    assert 'stopped: SIGTERM ended the run; ' in output and output.count('--resume: going on from ') == 1
    runs = read_runs('w/results')
    assert [record['step'] for record in runs['table4_affnet-et-aff_small'][0][1] if 'iter' not in record] == [
        1, 2, 3, 4, 5, 6]
    # 865,034 and 827,978 with ten classes; each class less has a row of 576 and a bias
    assert {name: found[0][0].parameters for name, found in runs.items()} == {
        'table4_affnet-et-aff_small': 865034 - 8 * 577, 'table5_affnet-et-gfn_small': 827978 - 8 * 577}
    assert 'table5_affnet-et-gfn' in Path('w/results/study.md').read_text() and Path('w/results/study.png').is_file()
