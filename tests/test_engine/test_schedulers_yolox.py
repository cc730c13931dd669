"""YOLOX's learning rate against mmdet's chain of schedulers, and in runs of other lengths."""
import math

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import ConstantLR, CosineAnnealingLR
from mmengine.registry import RUNNERS
from torch import nn

from mmaffnet.analysis.toy_training import toy_config
from mmaffnet.engine.errors import UserError
from mmaffnet.engine.schedulers import QuadraticWarmupCosineLR
from mmaffnet.registry import PARAM_SCHEDULERS

LENGTH = 10  # iterations of an epoch


def optimiser(*rates):
    return torch.optim.SGD([dict(params=[nn.Parameter(torch.zeros(1))], lr=lr) for lr in rates], lr=1.)


def ours(config_root, optim, epochs):
    """The shipped schedule, built as the runner does, which ends it with the training."""
    cfg = Config.fromfile(config_root / 'yolox' / 'yolox_affnet-et_8xb8-300e_coco.py')
    return PARAM_SCHEDULERS.build(dict(cfg.param_scheduler, end=epochs),
                                  default_args=dict(optimizer=optim, epoch_length=LENGTH))


def stepped(optim, schedulers, epochs):
    """The rates of the first group: iteration by iteration, as mmengine's hook steps."""
    found = []
    for iteration in range(epochs * LENGTH):
        found.append(optim.param_groups[0]['lr'])
        optim.step()
        for scheduler in schedulers:
            if not scheduler.by_epoch or (iteration + 1) % LENGTH == 0:
                scheduler.step()
    return found


def test_each_iteration_has_the_rate_of_mmdets_recipe(config_root):
    schedulers = pytest.importorskip('mmdet.engine.schedulers')
    optim, lr, epochs, last = optimiser(0.01), 0.01, 300, 15
    chain = [schedulers.QuadraticWarmupLR.build_iter_from_epoch(optim, begin=0, end=5, epoch_length=LENGTH),
             CosineAnnealingLR.build_iter_from_epoch(
                 optim, eta_min=lr * 0.05, begin=5, T_max=epochs - last, end=epochs - last, epoch_length=LENGTH),
             ConstantLR(optim, by_epoch=True, factor=1, begin=epochs - last, end=epochs)]
    expected = stepped(optim, chain, epochs)
    optim = optimiser(0.01)
    found = stepped(optim, [ours(config_root, optim, epochs)], epochs)
    assert found == pytest.approx(expected, rel=1e-9)
    assert found[0] == pytest.approx(0.01 / 2500) and max(found) == 0.01 and found[-1] == found[2849]
    assert found[-1] / 0.01 == pytest.approx(0.0507, abs=1e-4)


def test_the_schedule_follows_the_number_of_epochs(config_root):
    optim = optimiser(0.01, 0.002)
    scheduler = ours(config_root, optim, 30)
    found = stepped(optim, [scheduler], 30)
    assert found[:50] == sorted(found[:50]) and found[49] == found[50] == 0.01
    assert found[50:] == sorted(found[50:], reverse=True) and found[149:] == [found[149]] * 151
    assert found[149] < found[148]
    for iteration in (50, 99, 149):  # 15 epochs in front of the last 15
        share = 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * (iteration - 50) / 150))
        assert found[iteration] == pytest.approx(0.01 * share)
    assert optim.param_groups[1]['lr'] == pytest.approx(found[-1] / 5)  # a group's own peak


def test_a_run_without_room_for_the_cosine_is_named(config_root):
    with pytest.raises(UserError, match='20 epochs are too few for 5 of warm-up and 15 at .*scheduler.warmup_epochs=N'):
        ours(config_root, optimiser(0.01), 20)
    ours(config_root, optimiser(0.01), 21)


def test_no_warmup_and_no_last_epochs():
    optim = optimiser(0.1)
    found = stepped(optim, [QuadraticWarmupCosineLR(optim, 0, 0, epoch_length=LENGTH, end=3 * LENGTH)], 3)
    assert found == pytest.approx([0.1 * (0.05 + 0.475 * (1 + math.cos(math.pi * i / 30))) for i in range(30)])


def test_the_runner_gives_it_the_length_of_the_training(tmp_path):
    runner = RUNNERS.build(toy_config(tmp_path, default_hooks={}, param_scheduler=dict(
        type='mmaffnet.QuadraticWarmupCosineLR', warmup_epochs=1, num_last_epochs=1, by_epoch=True,
        convert_to_iter_based=True)))
    runner.train()
    scheduler, = runner.param_schedulers
    assert (scheduler.epoch_length, scheduler.num_epochs, scheduler.last_step) == (4, 3, 11)
