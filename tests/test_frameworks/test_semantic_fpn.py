"""Semantic FPN: AFFNet's four maps under mmseg's pyramid, VAN's schedule, and VAN-B0 beside it."""
import json

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from PIL import Image

from mmaffnet.analysis.logs import available_keys, read_scalars
from mmaffnet.engine.cli import test_main as run_test
from mmaffnet.engine.cli import train_main

pytest.importorskip('mmseg')

RECIPE = 'semantic-fpn_{}_8xb4-40k_ade20k-512x512'
WIDTHS = {'affnet-t': [48, 96, 160, 192], 'affnet-base': [64, 128, 256, 320], 'van-b0': [32, 64, 160, 256]}


@pytest.fixture
def load(config_root):
    def load(name):
        return Config.fromfile(config_root / 'semantic_fpn' / f'{RECIPE.format(name)}.py')

    return load


@pytest.mark.parametrize('name', WIDTHS)
def test_maps_of_strides_4_to_32_reach_pyramid_and_head(load, name):
    if name == 'van-b0':
        pytest.importorskip('mmpretrain')
    init_default_scope('mmseg')
    from mmseg.registry import MODELS
    model = revert_sync_batchnorm(MODELS.build(load(name).model)).eval()
    seen = {}
    model.neck.register_forward_pre_hook(lambda module, args: seen.update(neck=args[0]))
    model.decode_head.register_forward_pre_hook(lambda module, args: seen.update(head=args[0]))
    with torch.no_grad():
        logits = model.decode_head(model.extract_feat(torch.rand(1, 3, 72, 104)))  # no multiple of 32
    sizes = [(18, 26), (9, 13), (5, 7), (3, 4)]
    assert [tuple(m.shape[1:]) for m in seen['neck']] == [(c, *s) for c, s in zip(WIDTHS[name], sizes, strict=True)]
    assert [tuple(m.shape[1:]) for m in seen['head']] == [(256, *size) for size in sizes]
    assert logits.shape == (1, 150, 18, 26)
    # Each step of a branch of the head doubles: those of strides 4, 8, 16, 32 have 1, 1, 2, 3 convolutions.
    convs = [sum(isinstance(m, torch.nn.Conv2d) for m in branch.modules()) for branch in model.decode_head.scale_heads]
    assert convs == [1, 1, 2, 3] and model.decode_head.conv_seg.in_channels == 128


def test_recipe(load):
    cfg = load('affnet-base')
    assert cfg.train_cfg == dict(type='IterBasedTrainLoop', max_iters=40000, val_interval=4000)
    assert 8 * cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == 32
    assert cfg.optim_wrapper == dict(
        type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=1e-4))
    assert cfg.param_scheduler == dict(type='PolyLR', power=0.9, eta_min=0., by_epoch=False)
    assert (cfg.model.data_preprocessor.mean, cfg.model.data_preprocessor.std) == ([0.] * 3, [255.] * 3)
    steps = {step.type: step for step in cfg.train_dataloader.dataset.pipeline}
    assert steps['RandomResize'].scale == (2048, 512) and steps['RandomResize'].ratio_range == (0.5, 2.0)
    assert steps['RandomCrop'].crop_size == cfg.model.data_preprocessor['size'] == (512, 512)
    assert cfg.default_hooks.checkpoint.interval == cfg.train_cfg.val_interval
    assert not cfg.default_hooks.checkpoint.by_epoch and not cfg.log_processor.by_epoch


def test_the_origin_has_the_same_recipe(load):
    ours, origin = load('affnet-base'), load('van-b0')
    for name in set(origin) - {'model', 'sync_bn'}:
        assert origin[name] == ours[name], name
    assert origin.model.decode_head == ours.model.decode_head
    assert origin.model.data_preprocessor.mean == [123.675, 116.28, 103.53]  # its own; only AFFNet is fed RGB / 255


def test_own_masks_need_a_folder_classes_and_a_length(small_segmentor, tmp_path):
    rng = np.random.default_rng(0)
    for part in ('training', 'validation'):
        for kind in ('images', 'annotations'):
            (tmp_path / 'own' / kind / part).mkdir(parents=True)
        for number in range(6):
            mask = rng.integers(3, size=(40, 60), dtype=np.uint8)
            Image.fromarray(mask).save(tmp_path / 'own' / 'annotations' / part / f'{number}.png')
            Image.fromarray(np.stack([80 * mask] * 3, -1)).save(tmp_path / 'own' / 'images' / part / f'{number}.jpg')
    config, run = tmp_path / 'own.py', tmp_path / 'run'
    config.write_text(small_segmentor(RECIPE.format('affnet-t'), size=32, more=(
        f"data_root, classes = '{tmp_path}/own', ('sand', 'stone', 'weed')\ntrain_cfg = dict(max_iters=2)\n")))
    train_main([str(config), '--work-dir', str(run), '--seed', '0', '--cfg-options', 'default_hooks.logger.interval=1'])
    saved = torch.load(run / 'iter_2.pth', weights_only=True)  # at the end, which comes before the first interval
    assert saved['state_dict']['decode_head.conv_seg.weight'].shape == (3, 128, 1, 1)
    assert tuple(saved['meta']['dataset_meta']['classes']) == ('sand', 'stone', 'weed')
    assert 'mIoU' in available_keys(read_scalars(run))


@pytest.mark.slow
def test_few_masks_are_learnt_resumed_evaluated_and_predicted(overfit, small_segmentor, best_constant_miou, few_masks,
                                                                   tmp_path):
    text = small_segmentor(RECIPE.format('affnet-t'), size=96, more=(
        'train_cfg = dict(max_iters=40, val_interval=40)\n'
        'optim_wrapper = dict(optimizer=dict(lr=2e-3))\n'
        'default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=34, save_best=None))\n'
        "sizes = [dict(type='Resize', scale=(side, side), keep_ratio=False) for side in (96, 112)]\n"
        'augment = dict(_base_.tta_pipeline[1], transforms=[sizes, *_base_.tta_pipeline[1].transforms[1:]])\n'
        'tta_pipeline = [_base_.tta_pipeline[0], augment]'))
    picture = few_masks / 'images' / 'validation' / 'ADE_train_00004996.jpg'
    done = overfit(text, 'mIoU', max(20, 2 * best_constant_miou), picture)
    # The rate follows from the length of the run alone.
    assert done.rates == [pytest.approx(2e-3 * (1 - i / 39)**0.9, rel=1e-6, abs=1e-12) for i in range(40)]
    assert done.losses[-1] < 0.2 * done.losses[0]
    assert len(done.prediction['segments']) > 1
    # By the shipped config's test-time augmentation: two sizes, each flipped too.
    run_test([str(tmp_path / 'config.py'), str(done.run / 'iter_40.pth'), '--work-dir', str(tmp_path / 'augmented'),
              '--tta', '--out', str(tmp_path / 'augmented.json')])
    assert json.loads((tmp_path / 'augmented.json').read_text())['mIoU'] > max(20, 2 * best_constant_miou)
