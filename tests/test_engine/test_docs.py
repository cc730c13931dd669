"""What docs/own_data.md tells users to type works as it stands there."""
import re
import shlex
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmaffnet.engine.cli import train_main

PAGE = (Path(__file__).resolve().parents[2] / 'docs' / 'own_data.md').read_text()
QUICK = ['train_dataloader.num_workers=0', 'train_dataloader.persistent_workers=False', 'train_dataloader.batch_size=4',
         'train_cfg.max_epochs=1', 'custom_hooks=[]']


@pytest.fixture
def checkout(tmp_path, monkeypatch, config_root, own_set):
    """A working directory with configs/ and data/bolts/ as on the page."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'configs').symlink_to(config_root)
    (tmp_path / 'data').mkdir()
    own_set(('bolt', 'nut', 'washer')).rename(tmp_path / 'data' / 'bolts')
    return tmp_path


def trained_on(work_dir):
    checkpoint = torch.load(work_dir / 'epoch_1.pth', weights_only=False)
    rows = len(checkpoint['state_dict']['bbox_head.pred_convs.0.pointwise_conv.conv.weight'])
    return tuple(checkpoint['meta']['dataset_meta']['classes']), rows


def test_the_config_of_five_lines(checkout):
    text = re.search(r'```python\n(_base_.*?)```', PAGE, re.DOTALL).group(1)
    assert len(text.splitlines()) == 5
    (checkout / 'bolts.py').write_text(text)
    assert Config.fromfile('bolts.py').train_cfg.max_epochs == 50
    train_main(['bolts.py', '--no-validate', '--cfg-options', *QUICK])
    assert trained_on(checkout / 'work_dirs' / 'bolts') == (('bolt', 'nut', 'washer'), 6 * (3 + 1 + 4))


def test_the_command_without_a_file(checkout):
    command = re.search(r'python tools/train.py (ssdlite_affnet-et\S* --cfg-options .*?)```', PAGE, re.DOTALL).group(1)
    arguments = shlex.split(command.replace('\\\n', ' '))
    train_main([*arguments, *QUICK, '--no-validate', '--work-dir', 'run'])
    assert trained_on(checkout / 'run') == (('bolt', 'nut', 'washer'), 6 * (3 + 1 + 4))
