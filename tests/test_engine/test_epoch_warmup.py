"""The learning rate of EfficientDet's recipe in closed form, also for runs and data sets that are short."""
import math

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import CosineAnnealingLR, LinearLR
from torch import nn

from mmaffnet.engine.schedulers import EpochWarmupCosineLR
from mmaffnet.registry import PARAM_SCHEDULERS

CONFIG = 'efficientdet/efficientdet-d1_affnet-t_8xb16-300e_coco.py'
COCO_EPOCH = 117266 // 128  # pictures with annotations, in batches of 128


def optimiser(*rates):
    return torch.optim.SGD([dict(params=[nn.Parameter(torch.zeros(1))], lr=lr) for lr in rates], lr=1.)


def build(cfg, optim, epoch_length):
    """The scheduler of a config as the runner builds it; it names no end, which is then the last epoch."""
    return PARAM_SCHEDULERS.build(dict(cfg.param_scheduler, end=cfg.train_cfg.max_epochs),
                                  default_args=dict(optimizer=optim, epoch_length=epoch_length))


def rates(scheduler, optim, iterations):
    """The optimiser's rate at some iterations; what lies between them is leapt over."""
    found = []
    for iteration in iterations:
        if iteration > 0:
            scheduler.last_step, scheduler._global_step = iteration - 1, iteration - 1
            optim.step()
            scheduler.step()
        found.append(optim.param_groups[0]['lr'])
    return found


@pytest.mark.parametrize(('options', 'high', 'epochs'), [
    ({}, 0.16, 300), ({'train_cfg.max_epochs': 12, 'optim_wrapper.optimizer.lr': 0.02}, 0.02, 12)])
def test_recipe(config_root, options, high, epochs):
    cfg = Config.fromfile(config_root / CONFIG)
    cfg.merge_from_dict(options)
    optim = optimiser(cfg.optim_wrapper.optimizer.lr)
    scheduler = build(cfg, optim, COCO_EPOCH)
    total = COCO_EPOCH * epochs
    # the warm-up's start, middle, last iteration; its end; the next; an epoch's end and start; the middle; the last
    wanted = [0, 458, 915, 916, 917, 1831, 1832, total // 2, total - 1]
    for iteration, rate in zip(wanted, rates(scheduler, optim, wanted), strict=True):
        if iteration < 916:
            expected = 0.1 * high + 0.9 * high * iteration / 916
        else:
            expected = 0.01 * high + 0.99 * high * (1 + math.cos(math.pi * (iteration - 916) / (total - 916))) / 2
        assert rate == pytest.approx(expected, rel=1e-9), iteration


def test_printed_rates(config_root):
    optim = optimiser(0.16)
    scheduler = build(Config.fromfile(config_root / CONFIG), optim, COCO_EPOCH)
    assert COCO_EPOCH == 916
    assert rates(scheduler, optim, [0, 916, 300 * 916 - 1]) == pytest.approx([0.016, 0.16, 0.0016], rel=1e-6)


def test_shares_hold_for_each_group_and_no_warmup_is_allowed():
    optim = optimiser(0.1, 0.01)
    scheduler = EpochWarmupCosineLR(optim, warmup_ratio=0.5, epoch_length=4, end=12)
    assert [group['lr'] for group in optim.param_groups] == [0.05, 0.005]
    scheduler.last_step = 8  # half of the cosine
    assert scheduler._get_value() == pytest.approx([0.05, 0.005])
    EpochWarmupCosineLR(optim := optimiser(0.1), warmup_epochs=0, epoch_length=4, end=12)
    assert optim.param_groups[0]['lr'] == 0.1


def steps(scheduler, optim, number):
    seen = [optim.param_groups[0]['lr']]
    for _ in range(number - 1):
        optim.step()
        scheduler.step()
        seen.append(optim.param_groups[0]['lr'])
    return seen


def test_epochs_of_one_batch_and_runs_of_one_epoch(capsys):
    optim = optimiser(1.)
    seen = steps(EpochWarmupCosineLR(optim, epoch_length=1, end=5), optim, 5)
    assert seen == pytest.approx([0.1, 1., 0.5 + 0.5**1.5, 0.5, 0.5 - 0.5**1.5])
    assert capsys.readouterr().out == ''
    optim = optimiser(1.)
    assert steps(EpochWarmupCosineLR(optim, epoch_length=3, end=3), optim, 3) == pytest.approx([0.1, 0.4, 0.7])
    assert '1 epochs of warm-up are all of this run or more' in capsys.readouterr().out
    optim = optimiser(1.)
    assert steps(EpochWarmupCosineLR(optim, warmup_epochs=0.5, epoch_length=4, end=4), optim, 4) == pytest.approx(
        [0.1, 0.55, 1., 0.5])


def test_why_mmengines_two_do_not_serve():
    optim = optimiser(1.)
    linear = LinearLR(optim, start_factor=0.1, begin=0, end=1, by_epoch=False)  # one epoch of one batch
    for _ in range(4):
        optim.step()
        linear.step()
    assert optim.param_groups[0]['lr'] == pytest.approx(0.1)
    with pytest.raises(ValueError, match='end should be larger than begin'):
        CosineAnnealingLR(optimiser(1.), begin=1, end=1, by_epoch=True)


@pytest.mark.parametrize('wrong', [dict(by_epoch=True), dict(epoch_length=None), dict(end=int(1e9))])
def test_without_the_length_of_an_epoch(wrong):
    with pytest.raises(ValueError, match='EpochWarmupCosineLR needs by_epoch=True together with convert_to_iter_based'):
        EpochWarmupCosineLR(optimiser(1.), **{**dict(epoch_length=3, end=9), **wrong})
    with pytest.raises(ValueError, match='warmup_epochs must be a number from 0 on, got -1'):
        EpochWarmupCosineLR(optimiser(1.), warmup_epochs=-1, epoch_length=3, end=9)


@pytest.mark.parametrize('stop', [2, 4, 7])  # within the warm-up, at its end, within the cosine
def test_resumed_by_its_state(stop):
    def make():
        optim = optimiser(1.)
        return EpochWarmupCosineLR(optim, eta_min_ratio=0.01, epoch_length=4, end=12), optim

    straight = steps(*make(), 12)
    scheduler, optim = make()
    steps(scheduler, optim, stop)
    state = scheduler.state_dict(), optim.state_dict()
    scheduler, optim = make()
    scheduler.load_state_dict(state[0])
    optim.load_state_dict(state[1])
    assert steps(scheduler, optim, 13 - stop) == straight[stop - 1:]
