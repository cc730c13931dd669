"""The examples of docs/plain_pytorch.md and docs/released_weights.md run as they stand there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]


def blocks(page, language):
    return re.findall(rf'```{language}\n(.*?)```', (ROOT / 'docs' / page).read_text(), re.DOTALL)


def test_plain_pytorch(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    examples = [block for block in blocks('plain_pytorch.md', 'python') if 'timm' not in block]
    assert len(examples) == 3
    names = {}
    for block in examples:
        exec(block, names)
    assert names['logits'].shape == (2, 1000) and names['features'].shape == (2, 768, 8, 8)
    assert names['pooled'].shape == (2, 768)
    said = capsys.readouterr().out
    assert '[48, 96, 160, 192]\n[4, 8, 16, 32]\n' in said and 'the model 10: a fresh classifier' in said
    assert [m.shape[1] for m in names['maps']] == [48, 96, 160, 192]


def test_timm(tmp_path, monkeypatch, capsys):
    pytest.importorskip('timm')
    monkeypatch.chdir(tmp_path)
    from mmaffnet import create_model
    torch.save(dict(state_dict=create_model('affnet_t').state_dict()), 'mine.pth')
    examples = [block for block in blocks('plain_pytorch.md', 'python') if 'timm' in block]
    assert len(examples) == 2
    names = {}
    for block in examples:
        exec(block, names)
    assert "['affnet_base', 'affnet_et', 'affnet_t']" in capsys.readouterr().out
    assert names['model'].num_classes == 10 and names['backbone'].feature_info.channels() == [96, 160, 192]
    assert names['pooled'](torch.rand(1, 3, 64, 64)).shape == (1, 768) and names['transform'].transforms[0].size == 288


@pytest.fixture
def released_file(tmp_path, monkeypatch, reference, reference_weights):
    monkeypatch.chdir(tmp_path)
    torch.save(dict(model_state_dict=reference_weights.state_dict(reference('cls_t.pt')['spec'])),
               'checkpoint_ema_best.pt')


def test_released_weights_from_python(released_file):
    snippet, code = blocks('released_weights.md', 'python')
    names = {}
    exec(code, names)
    assert len(names['state_dict']) == 416
    from mmengine.config import Config
    shipped = Config.fromfile(ROOT / 'configs' / 'imagenet' / 'affnet-t_release_3rdparty_in1k-256px.py').model.backbone
    said = Config.fromstring(snippet, '.py').model.backbone
    assert said == {key: shipped[key] for key in said} and len(said) == 4


@pytest.mark.slow
def test_finding_norm_and_activation(released_file, tmp_path, data_root):
    pytest.importorskip('mmpretrain')
    if not (data_root / 'imagenet_samples').is_dir():
        pytest.skip('no imagenet_samples')
    (tmp_path / 'tools').symlink_to(ROOT / 'tools')
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data' / 'imagenet').symlink_to(data_root / 'imagenet_samples')
    (tmp_path / 'python').write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (tmp_path / 'python').chmod(0o755)
    script, = blocks('released_weights.md', 'bash')
    # one pair of the four, and fewer pictures: what takes the time is starting the programs
    script = script.replace('gn channel', 'channel').replace('silu relu', 'relu').replace(
        'indices=500', 'indices=8 test_dataloader.num_workers=0 test_dataloader.persistent_workers=False')
    done = subprocess.run(['bash', '-e', '-c', script], text=True, capture_output=True, cwd=tmp_path, env={
        **os.environ, 'PATH': f'{tmp_path}:{os.environ["PATH"]}', 'PYTHONPATH': str(ROOT)})
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert 'accuracy/top1' in done.stdout + done.stderr
    assert "type='mmaffnet.ChannelNorm'" in (tmp_path / 'affnet-t-channel-relu.py').read_text()
