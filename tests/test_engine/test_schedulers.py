"""The learning rates of Table 9 in closed form, and which parameters the recipes decay."""
import argparse
import math

import pytest
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import CosineAnnealingLR, LinearLR, build_optim_wrapper
from mmengine.registry import DefaultScope
from torch import nn

from mmaffnet.engine.config import add_common_arguments, import_host
from mmaffnet.engine.schedulers import WarmupCosineLR, scale_fixed_rates
from mmaffnet.engine.train import add_train_arguments, prepare
from mmaffnet.registry import PARAM_SCHEDULERS, RUNNERS

# 1,281,167 pictures in batches of 1024, the last and smaller one dropped
IMAGENET_EPOCH = 1281167 // 1024
# learning rate, its minimum, weight decay: the table of the paper
RATES = {'et': (0.009, 0.0009, 0.008), 't': (0.0049, 0.00049, 0.02), 'base': (0.002, 0.0002, 0.05)}
SEGMENTATION = {'ade20k': ('deeplabv3_affnet-et_8xb2-120e_ade20k-512x512', 120, 20210 // 16),
                'voc': ('deeplabv3_affnet-et_8xb16-50e_voc12aug-coco-512x512', 50, 900)}


def imagenet(config_root, arch):
    return Config.fromfile(config_root / 'imagenet' / f'affnet-{arch}_8xb128-300e_in1k-256px.py')


def optimiser(lr=0.1):
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)


def build(cfg, optim, epoch_length):
    """The scheduler of a config as the runner builds it; it names no end, which is then the last epoch."""
    return PARAM_SCHEDULERS.build(dict(cfg.param_scheduler, end=cfg.train_cfg.max_epochs),
                                  default_args=dict(optimizer=optim, epoch_length=epoch_length))


def rates(scheduler, optim, wanted):
    """The optimiser's rate at some iterations: stepped through up to the 21,000th, then in leaps."""
    found = {}
    for iteration in sorted(wanted):
        if iteration > 21000:
            scheduler.last_step = iteration - 1
        while scheduler.last_step < iteration:
            optim.step()
            scheduler.step()
        found[iteration] = optim.param_groups[0]['lr']
    return found


def closed_form(iteration, lr, least, warmup, first, epoch_length, epochs):
    """As in the recipe's text: warm-up by iteration, cosine by epoch."""
    if iteration < warmup:
        return first + iteration * (lr - first) / warmup
    return least + 0.5 * (lr - least) * (1 + math.cos(math.pi * (iteration // epoch_length) / epochs))


@pytest.mark.parametrize('arch', RATES)
def test_imagenet(config_root, arch):
    lr, least, decay = RATES[arch]
    cfg = imagenet(config_root, arch)
    assert (cfg.optim_wrapper.optimizer.lr, cfg.optim_wrapper.optimizer.weight_decay) == (lr, decay)
    optim = optimiser(lr)
    scheduler = build(cfg, optim, IMAGENET_EPOCH)
    # start, half of the warm-up, its end, the first cosine within epoch 15, the next epoch, the middle, the last one
    wanted = (0, 10000, 19999, 20000, 20016, 187650, 375299)
    for iteration, rate in rates(scheduler, optim, wanted).items():
        assert rate == pytest.approx(closed_form(iteration, lr, least, 20000, 1e-6, 1251, 300), rel=1e-9), iteration


@pytest.mark.parametrize('name', SEGMENTATION)
def test_segmentation(config_root, name):
    config, epochs, length = SEGMENTATION[name]
    cfg = Config.fromfile(config_root / 'deeplabv3' / f'{config}.py')
    assert cfg.train_cfg.max_epochs == epochs
    optim = optimiser(cfg.optim_wrapper.optimizer.lr)
    scheduler = build(cfg, optim, length)
    wanted = (0, 250, 499, 500, length * epochs // 2, length * epochs - 1)
    for iteration, rate in rates(scheduler, optim, wanted).items():
        expected = closed_form(iteration, 5e-4, 1e-6, 500, 5e-5, length, epochs)
        assert rate == pytest.approx(expected, rel=1e-9), iteration


def test_two_chained_schedulers_miss_the_peak():
    """Why there is a scheduler of ours: mmengine's cosine shrinks the rate while the warm-up still raises it."""
    lr, least = RATES['et'][:2]
    optim = optimiser(lr)
    warmup = LinearLR(optim, start_factor=1e-6 / lr, begin=0, end=20001, by_epoch=False)
    cosine = CosineAnnealingLR(optim, T_max=300, eta_min=least, begin=0, end=300, by_epoch=True)
    for iteration in range(1, 20000):
        optim.step()
        warmup.step()
        if iteration % IMAGENET_EPOCH == 0:
            cosine.step()
    # the warm-up's last iteration, where the recipe's rate is highest
    peak = closed_form(19999, lr, least, 20000, 1e-6, IMAGENET_EPOCH, 300)
    assert 1 - optim.param_groups[0]['lr'] / peak == pytest.approx(0.005, abs=1e-4)


def test_groups_keep_their_own_peaks_and_no_warmup_is_allowed():
    optim = torch.optim.SGD([dict(params=[nn.Parameter(torch.zeros(1))], lr=0.1),
                             dict(params=[nn.Parameter(torch.zeros(1))], lr=0.01)], lr=1.)
    WarmupCosineLR(optim, warmup_iters=0, warmup_lr=0., eta_min=0., epoch_length=10, end=100)
    assert [group['lr'] for group in optim.param_groups] == [0.1, 0.01]


@pytest.mark.parametrize('wrong', [dict(by_epoch=True), dict(epoch_length=None), dict(end=int(1e9))])
def test_without_the_length_of_an_epoch(wrong):
    with pytest.raises(ValueError, match='by_epoch=True together with convert_to_iter_based=True, and an end'):
        right = dict(warmup_iters=5, warmup_lr=0., eta_min=0., epoch_length=3, end=9)
        WarmupCosineLR(optimiser(), **{**right, **wrong})


def test_resumed_by_its_state():
    def make():
        optim = optimiser()
        return optim, WarmupCosineLR(optim, warmup_iters=5, warmup_lr=1e-3, eta_min=1e-2, epoch_length=3, end=18)

    def go(optim, scheduler, steps):
        seen = []
        for _ in range(steps):
            optim.step()
            scheduler.step()
            seen.append(optim.param_groups[0]['lr'])
        return seen

    straight = go(*make(), 17)
    for stop in (2, 5, 7):  # within the warm-up, at its end, within an epoch of the cosine
        optim, scheduler = make()
        go(optim, scheduler, stop)
        state = scheduler.state_dict(), optim.state_dict()
        optim, scheduler = make()
        scheduler.load_state_dict(state[0])
        optim.load_state_dict(state[1])
        assert go(optim, scheduler, 17 - stop) == straight[stop:]


# Which parameters decay


def kinds_by_module(model):
    """Names of parameters without decay, told by what their module is: norms, and biases of any shape."""
    spared = set()
    for name, module in model.named_modules():
        norm = isinstance(module, nn.modules.batchnorm._BatchNorm | nn.GroupNorm | nn.LayerNorm)
        for part, _ in module.named_parameters(recurse=False):
            if norm or part in ('bias', 'b1', 'b2'):
                spared.add(f'{name}.{part}')
    return spared


CONFIGS = [*(f'imagenet/affnet-{arch}_8xb128-300e_in1k-256px.py' for arch in RATES),
           'imagenet/affnet-et_release_3rdparty_in1k-256px.py',
           *(f'deeplabv3/{config}.py' for config, *_ in SEGMENTATION.values()),
           'yolox/yolox_affnet-et_8xb8-300e_coco.py']


@pytest.mark.parametrize('path', CONFIGS)
def test_decay_spares_norms_and_biases(config_root, path):
    cfg = Config.fromfile(config_root / path)
    pytest.importorskip(cfg.default_scope)
    import_host(cfg)
    from mmengine.registry import MODELS
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = revert_sync_batchnorm(MODELS.build(cfg.model))
    wrapper = build_optim_wrapper(model, dict(cfg.optim_wrapper, type='OptimWrapper'))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = wrapper.optimizer.param_groups
    decays = {names[id(parameter)]: group['weight_decay'] for group in groups for parameter in group['params']}
    assert len(decays) == sum(len(group['params']) for group in groups) == len(names)
    spared = kinds_by_module(model)
    assert {name for name, decay in decays.items() if decay == 0} == spared
    assert {decay for name, decay in decays.items() if name not in spared} == {cfg.optim_wrapper.optimizer.weight_decay}
    # the mixer's parameters, one by one: nine blocks, two weights and two biases each
    mixer = {part: [decay for name, decay in decays.items() if name.endswith(f'token_mixer.{part}')]
             for part in ('w1', 'w2', 'b1', 'b2')}
    assert [len(found) for found in mixer.values()] == [9] * 4
    assert not any(mixer['b1'] + mixer['b2']) and all(mixer['w1'] + mixer['w2'])
    assert all(group['lr'] == cfg.optim_wrapper.optimizer.lr for group in groups)


# --auto-scale-lr


def test_auto_scale_lr_scales_the_whole_schedule(config_root, tmp_path):
    pytest.importorskip('mmpretrain')
    config = tmp_path / 'small.py'
    config.write_text(f"""
_base_ = '{config_root}/imagenet/affnet-et_8xb128-300e_in1k-256px.py'
data_root = '{tmp_path}'
train_dataloader = dict(batch_size=64, num_workers=0, persistent_workers=False)
""")
    (tmp_path / 'meta').mkdir()
    (tmp_path / 'train').mkdir()
    (tmp_path / 'train' / 'a.jpg').write_bytes(b'')
    (tmp_path / 'meta' / 'train.txt').write_text('a.jpg 0\n' * 192)
    parser = argparse.ArgumentParser()
    add_train_arguments(parser)
    add_common_arguments(parser)
    cfg = prepare(parser.parse_args([str(config), '--auto-scale-lr', '--no-validate', '--work-dir', str(tmp_path)]))
    runner = RUNNERS.build(cfg)
    # what Runner.train does before the first iteration
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.scale_lr(runner.optim_wrapper, runner.auto_scale_lr)
    scheduler, = runner.build_param_scheduler(runner.param_schedulers)
    ratio = 64 / 1024
    assert scheduler.epoch_length == 3
    for iteration in (0, 10000, 20000):
        scheduler.last_step = iteration
        # 300 epochs of three iterations end within the warm-up
        expected = closed_form(iteration, 0.009, 0.0009, 20000, 1e-6, 3, 300) * ratio
        assert scheduler._get_value() == pytest.approx([expected] * len(scheduler.base_values), rel=1e-9)
    assert scheduler.eta_min < min(scheduler.base_values)


def test_rates_are_scaled_wherever_schedulers_stand():
    given = [dict(type='LinearLR', start_factor=0.1), dict(type='CosineAnnealingLR', eta_min=0.2),
             dict(type='CosineAnnealingLR', eta_min=None, eta_min_ratio=0.1)]
    scaled = scale_fixed_rates(given, 0.5)
    assert scaled == [given[0], dict(type='CosineAnnealingLR', eta_min=0.1), given[2]] and given[1]['eta_min'] == 0.2
    assert scale_fixed_rates(dict(a=given), 0.5) == dict(a=scaled)
    assert scale_fixed_rates(None, 0.5) is None
