"""Two processes on CPUs through tools/dist_train.sh, as a user starts them."""
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.slow

TOOLS = Path(__file__).resolve().parents[2] / 'tools'

# Hooks of the test, imported by the config: BatchNorm in eval mode, and each rank's own state at the end.
HOOKS = '''
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class NormsInEvalMode(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        for module in runner.model.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.eval()


@HOOKS.register_module()
class SaveEachRank(Hook):
    priority = 'LOWEST'

    def after_train(self, runner):
        state = dict(model=runner.model.module.state_dict(), norms=[
            type(m).__name__ for m in runner.model.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)])
        for hook in runner.hooks:
            if hasattr(hook, 'ema_model'):
                state['ema'] = hook.ema_model.state_dict()
        torch.save(state, f'{runner.work_dir}/rank{get_rank()}.pth')
'''


@pytest.fixture
def launch(tmp_path):
    """Run tools/train.py in this many processes ('dist 1': one, started as several are)."""
    (tmp_path / 'hooks_of_the_test.py').write_text(HOOKS)
    env = dict(os.environ, PYTHON=sys.executable, OMP_NUM_THREADS='1', PYTHONPATH=f'{tmp_path}:{TOOLS.parent}')
    env.pop('PORT', None)

    def run(config, processes, work_dir, *options):
        command = [sys.executable, TOOLS / 'train.py', config] if processes == 1 else [
            TOOLS / 'dist_train.sh', config, str(processes).removeprefix('dist ')]
        done = subprocess.run([*command, '--work-dir', work_dir, '--seed', '3', *options], cwd=tmp_path, env=env,
                              text=True, capture_output=True, timeout=600)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done

    return run


def save_with_real_statistics(path, images):
    """Save an initial model whose BatchNorms hold the statistics of some photographs."""
    import mmcv
    from mmengine.model import revert_sync_batchnorm
    from mmengine.registry import MODELS

    from mmaffnet.engine.config import import_host, load_config
    cfg = load_config('ssdlite_affnet-et_8xb16-200e_coco')
    import_host(cfg)
    model = revert_sync_batchnorm(MODELS.build(cfg.model))
    model.init_weights()
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0
    with torch.no_grad():
        batch = [mmcv.imresize(mmcv.imread(image, channel_order='rgb'), (96, 96)) for image in images]
        model.train()(torch.stack([torch.from_numpy(i).permute(2, 0, 1) / 255 for i in batch]), mode='tensor')
    torch.save(model.state_dict(), path)


def test_two_processes_train_as_one_does(launch, tmp_path, data_root, small_config):
    """BatchNorm in eval mode, no augmentation, 10 steps of total batch 8 on 16 photographs.

    SGD, since Adam divides the scale of the gradient away (a loss averaged in a wrong way would pass), and blows up the
    rounding of gradients that are nearly zero. It starts from statistics of real maps: with the initial ones all
    scores are equal but for rounding, and rounding chooses the hardest negatives.
    """
    extra = """custom_imports = dict(imports=['mmaffnet', 'hooks_of_the_test'], allow_failed_imports=False)
custom_hooks = [dict(type='NormsInEvalMode')]
optim_wrapper = dict(optimizer=dict(_delete_=True, type='SGD', lr=2e-5, momentum=0.9))
train_dataloader = dict(batch_size={batch}, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
                        persistent_workers=False, dataset=dict(pipeline=train_pipeline, indices=16))
"""
    states = {}
    for processes, batch in ((1, 8), (2, 4)):
        config = small_config(data_root / 'coco', f'of_{processes}', epochs=5, extra=extra.format(batch=batch))
        if processes == 1:
            save_with_real_statistics(tmp_path / 'start.pth', sorted((data_root / 'coco' / 'train2017').iterdir())[:16])
        launch(config, processes, tmp_path / f'run_{processes}', '--no-validate', '--cfg-options',
               f'load_from={tmp_path}/start.pth')
        states[processes] = torch.load(tmp_path / f'run_{processes}' / 'epoch_5.pth', weights_only=False)
    assert states[1]['meta']['iter'] == states[2]['meta']['iter'] == 10
    one, two = states[1]['state_dict'], states[2]['state_dict']
    worst = {key: (one[key].double() - two[key].double()).abs().max().item() for key in one}
    assert max(worst.values()) < 1e-5, sorted(worst.items(), key=lambda item: -item[1])[:5]
    start = torch.load(tmp_path / 'start.pth', weights_only=False)
    assert max((one[key] - start[key]).abs().max() for key in one if key.endswith('conv.weight')) > 1e-3  # it learnt


def test_all_ranks_hold_equal_weights_after_training_as_configured(launch, tmp_path, data_root, config_root):
    """SyncBN, mixed precision, augmentation, EMA and nccl stand in the config; a CPU takes what it can."""
    config = tmp_path / 'as_configured.py'
    config.write_text(f"""_base_ = '{config_root}/ssdlite/ssdlite_affnet-et_8xb16-200e_coco.py'
data_root = '{data_root}/coco'
custom_imports = dict(imports=['mmaffnet', 'hooks_of_the_test'], allow_failed_imports=False)
custom_hooks = [dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=0.0005, update_buffers=True,
                     priority=49), dict(type='SaveEachRank')]
train_dataloader = dict(batch_size=2, num_workers=1, dataset=dict(indices=12))
""")
    done = launch(config, 2, tmp_path / 'run', '--no-validate', '--cfg-options', 'train_cfg.max_epochs=1')
    assert done.stdout.count('pretrained = None: training starts from scratch') == 1
    ranks = [torch.load(tmp_path / 'run' / f'rank{rank}.pth', weights_only=False) for rank in (0, 1)]
    assert set(ranks[0]['norms']) == {'_BatchNormXd'}  # what mmengine turns SyncBN into
    for part in ('model', 'ema'):
        for key, value in ranks[0][part].items():
            assert torch.equal(value, ranks[1][part][key]), f'{part} {key}'


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='torch sees no CUDA device')
@pytest.mark.parametrize('processes', [1, 2])
def test_gpus_keep_sync_bn_and_mixed_precision(launch, tmp_path, data_root, config_root, processes):
    if torch.cuda.device_count() < processes:
        pytest.skip(f'{processes} CUDA devices needed')
    config = tmp_path / 'on_gpus.py'
    config.write_text(f"""_base_ = '{config_root}/ssdlite/ssdlite_affnet-et_8xb16-200e_coco.py'
data_root = '{data_root}/coco'
custom_imports = dict(imports=['mmaffnet', 'hooks_of_the_test'], allow_failed_imports=False)
custom_hooks = [dict(type='SaveEachRank')]
train_dataloader = dict(batch_size=4, dataset=dict(indices=16))
""")
    done = launch(config, f'dist {processes}', tmp_path / 'run', '--no-validate', '--cfg-options',
                  'train_cfg.max_epochs=1')
    assert 'no GPU' not in done.stdout
    ranks = [torch.load(tmp_path / 'run' / f'rank{rank}.pth', map_location='cpu') for rank in range(processes)]
    assert set(ranks[0]['norms']) == {'SyncBatchNorm'}
    for key, value in ranks[0]['model'].items():
        assert value.isfinite().all() and torch.equal(value, ranks[-1]['model'][key]), key


def test_both_ranks_stop_and_one_speaks_where_data_are_missing(tmp_path, config_root):
    done = subprocess.run([TOOLS / 'dist_train.sh', config_root / 'ssdlite_affnet_coco.py', '2'], cwd=tmp_path,
                          env=dict(os.environ, PYTHON=sys.executable), text=True, capture_output=True, timeout=300)
    assert done.returncode != 0
    assert done.stderr.count('error: data root data/coco/') == 1
