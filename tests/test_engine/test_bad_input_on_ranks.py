"""Two processes on CPUs: bad pictures of either are reported once, and a loss that one of them lost ends both."""
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / 'tools'
THREE = ('bolt', 'nut', 'washer')
LOSE = """
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class LoseTheLossOnRank1(Hook):
    priority = 'VERY_HIGH'

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.epoch == 1 and get_rank() == 1:
            outputs['loss_cls'] = float('nan')
"""


@pytest.mark.slow
def test_ranks_report_together(own_set, small_config, tmp_path):
    root = own_set(THREE, num=12)
    for part in ('train2017', 'val2017'):
        for i in (3, 8):
            (root / part / f'{i}.png').write_bytes(b'')
    (tmp_path / 'lose.py').write_text(LOSE)
    config = small_config(root, epochs=2, batch=3, extra=f"""classes = {THREE}
max_bad_share = 0.2
custom_imports = dict(imports=['mmaffnet', 'lose'], allow_failed_imports=False)
custom_hooks = [dict(type='LoseTheLossOnRank1')]
train_cfg = dict(val_interval=1)""")
    done = subprocess.run(
        [TOOLS / 'dist_train.sh', config, '2', '--work-dir', tmp_path / 'run', '--seed', '3'], cwd=tmp_path,
        env=dict(os.environ, PYTHON=sys.executable, OMP_NUM_THREADS='1', PYTHONPATH=f'{tmp_path}:{TOOLS.parent}'),
        text=True, capture_output=True, timeout=300)
    said = done.stdout + done.stderr
    assert done.returncode == 3, said[-3000:]
    for i in (3, 8):  # one of them may lie on either rank
        assert said.count(f'picture {root}/train2017/{i}.png is left out of training: the file is empty') == 1
    assert said.count('2 of 12 pictures could not be read and count as nothing found') == 1
    listed, = (tmp_path / 'run').glob('*/unreadable_pictures.json')
    assert set(json.loads(listed.read_text())) == {f'{root}/val2017/{i}.png' for i in (3, 8)}
    assert said.count('the loss is not finite after iteration 3 (epoch 2) on rank 1 (loss ') == 1
    assert 'loss_cls nan' in said and f'the last good checkpoint is {tmp_path}/run/epoch_1.pth' in said
    assert not (tmp_path / 'run' / 'epoch_2.pth').exists()
