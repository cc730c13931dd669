"""Steps at shares of the training: mmdet's 1x, 2x and 3x, and what becomes of them in short runs."""
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import LinearLR, MultiStepLR
from torch import nn

from mmaffnet.engine.multistep import RelativeMultiStepLR
from mmaffnet.registry import PARAM_SCHEDULERS

LEAVES = ['retinanet/retinanet_affnet-t_fpn_8xb2-1x_coco.py', 'fcos/fcos_affnet-t_fpn_8xb2-1x_coco.py',
          'mask_rcnn/mask-rcnn_affnet-t_fpn_8xb2-1x_coco.py']


def optimiser(lr=1.):
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)


def stepped(optim, scheduler, steps):
    """The rate in each of the steps that follow."""
    seen = []
    for _ in range(steps):
        seen.append(optim.param_groups[0]['lr'])
        optim.step()
        scheduler.step()
    return seen


def epochs_of_steps(epochs, **options):
    optim = optimiser()
    rates = stepped(optim, RelativeMultiStepLR(optim, **dict(dict(shares=(2 / 3, 11 / 12), end=epochs), **options)),
                    epochs)
    return [(epoch, round(rates[epoch] / rates[epoch - 1], 9)) for epoch in range(1, epochs)
            if rates[epoch] != rates[epoch - 1]]


@pytest.mark.parametrize(('epochs', 'steps'), [
    (12, [8, 11]), (24, [16, 22]), (36, [24, 33]), (6, [4, 5]), (3, [2]), (2, [1]), (1, []), (300, [200, 275])])
def test_steps_follow_the_length(epochs, steps):
    assert epochs_of_steps(epochs) == [(step, 0.1) for step in steps]


def test_factor_and_shares():
    assert epochs_of_steps(10, shares=[0.5], gamma=0.25) == [(5, 0.25)]


def test_the_same_as_mmengines_at_its_milestones():
    """With a warm-up over it that ends in the third epoch, and a begin."""
    found = []
    for make in (lambda optim: RelativeMultiStepLR(optim, shares=(2 / 3, 11 / 12), begin=2, end=14),
                 lambda optim: MultiStepLR(optim, milestones=[8, 11], begin=2, end=14)):
        optim = optimiser(0.02)
        schedulers = [LinearLR(optim, start_factor=0.001, by_epoch=False, begin=0, end=25), make(optim)]
        rates = []
        for _ in range(14):
            rates += stepped(optim, schedulers[0], 10)
            schedulers[1].step()
        found.append(rates)
    assert found[0] == found[1] and len(set(found[0])) == 25 + 2


def test_by_iteration():
    optim = optimiser()
    scheduler = PARAM_SCHEDULERS.build(dict(
        type='mmaffnet.RelativeMultiStepLR', shares=(2 / 3, 11 / 12), end=3, by_epoch=True, convert_to_iter_based=True,
        optimizer=optim, epoch_length=8))
    assert not scheduler.by_epoch
    rates = stepped(optim, scheduler, 24)
    assert rates[15:17] == [1, pytest.approx(0.1)] and rates[21:23] == [pytest.approx(0.1), pytest.approx(0.01)]


@pytest.mark.parametrize(('wrong', 'says'), [
    (dict(shares=()), r'shares must be numbers between 0 and 1, got \(\)'), (dict(shares=(0.5, 1)), r'got \(0\.5, 1\)'),
    (dict(shares=(8, 11)), r'got \(8, 11\)'), (dict(end=int(1e9)), 'end must be given')])
def test_errors(wrong, says):
    with pytest.raises(ValueError, match=says):
        RelativeMultiStepLR(optimiser(), **dict(dict(shares=(0.5, ), end=12), **wrong))


def test_resumed_by_its_state():
    straight = []
    for stop in (None, 4, 8, 11):
        optim = optimiser()
        scheduler = RelativeMultiStepLR(optim, shares=(2 / 3, 11 / 12), end=12)
        rates = stepped(optim, scheduler, 12 if stop is None else stop)
        if stop is not None:
            state = scheduler.state_dict(), optim.state_dict()
            optim = optimiser()
            scheduler = RelativeMultiStepLR(optim, shares=(2 / 3, 11 / 12), end=12)
            scheduler.load_state_dict(state[0])
            optim.load_state_dict(state[1])
            rates += stepped(optim, scheduler, 12 - stop)
        straight = straight or rates
        assert rates == straight


@pytest.mark.parametrize('path', LEAVES)
def test_recipe(config_root, path):
    cfg = Config.fromfile(config_root / path)
    assert cfg.train_cfg.max_epochs == 12
    assert 8 * cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == 16
    warmup, steps = cfg.param_scheduler
    assert (warmup.type, warmup.end, warmup.start_factor) == ('LinearLR', 500, 0.001)
    assert steps.type == 'mmaffnet.RelativeMultiStepLR' and 'end' not in steps
    preprocessor = cfg.model.data_preprocessor
    assert (preprocessor.mean, preprocessor.std, preprocessor.bgr_to_rgb) == ([0.] * 3, [255.] * 3, True)
    assert preprocessor.pad_size_divisor == 32 and cfg.model.backbone.norm_cfg.type == 'SyncBN'
    masks = 'mask_rcnn' in path
    for part in ('train', 'val', 'test'):
        load, = (step for step in cfg[f'{part}_dataloader'].dataset.pipeline if step.type == 'LoadAnnotations')
        assert load.get('with_mask', False) == masks
    assert cfg.val_evaluator.metric == cfg.test_evaluator.metric == (['bbox', 'segm'] if masks else 'bbox')
    assert preprocessor.get('pad_mask', False) == masks
