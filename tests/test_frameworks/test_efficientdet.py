"""EfficientDet: the recipe as its sources have it, AFFNet in EfficientNet's place, and eight photographs learnt."""
import importlib.util
import math
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.model import MomentumAnnealingEMA, revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from torch import nn

from mmaffnet.analysis.logs import curve, read_scalars
from mmaffnet.engine.cli import train_main
from mmaffnet.engine.config import load_config
from mmaffnet.engine.own_data import apply_own_data

pytest.importorskip('mmdet')
spec = importlib.util.spec_from_file_location(
    'small_recipes_efficientdet', Path(__file__).parents[1] / 'test_engine' / 'small_recipes_efficientdet.py')
small_recipes = importlib.util.module_from_spec(spec)
spec.loader.exec_module(small_recipes)

# side of the input, width of the pyramid, repeats, depth of the head, widths of the encoder's maps
COEFFICIENTS = {
    'd1_affnet-base': (640, 88, 4, 3, [128, 256, 320]), 'd1_affnet-t': (640, 88, 4, 3, [96, 160, 192]),
    'd1_efficientnet-b1': (640, 88, 4, 3, [40, 112, 320]), 'd0_efficientnet-b0': (512, 64, 3, 3, [40, 112, 320])}


def path_of(name):
    return f'efficientdet/efficientdet-{name}_8xb16-300e_coco.py'


@pytest.fixture
def load(config_root):
    return lambda name: Config.fromfile(config_root / path_of(name))


def build(cfg):
    init_default_scope('mmdet')
    from mmdet.registry import MODELS
    model = revert_sync_batchnorm(MODELS.build(cfg.model))
    model.init_weights()
    return model


@pytest.mark.parametrize('name', COEFFICIENTS)
def test_compound_coefficient(load, name):
    cfg = load(name)
    size, width, repeats, depth, widths = COEFFICIENTS[name]
    model = build(cfg).eval()
    assert cfg.image_size == cfg.model.data_preprocessor.pad_size_divisor == size
    assert len(model.neck.layers) == repeats and len(model.bbox_head.cls_tower.convs) == depth
    seen = []
    model.neck.register_forward_pre_hook(lambda module, args: seen.extend(args[0]))
    with torch.no_grad():
        pyramid = model.extract_feat(torch.rand(1, 3, 256, 128))
        scores, boxes = model.bbox_head(pyramid)
    sides = [(256 // stride, 128 // stride) for stride in (8, 16, 32, 64, 128)]
    assert [tuple(x.shape[1:]) for x in seen] == [(c, *s) for c, s in zip(widths, sides[:3], strict=True)]
    assert [tuple(x.shape[1:]) for x in pyramid] == [(width, *s) for s in sides]
    assert [tuple(x.shape[1:]) for x in scores] == [(9 * 80, *s) for s in sides]
    assert [tuple(x.shape[1:]) for x in boxes] == [(9 * 4, *s) for s in sides]


@pytest.mark.parametrize('name', COEFFICIENTS)
def test_recipe(load, name):
    cfg = load(name)
    assert cfg.train_cfg.max_epochs == 300
    assert 8 * cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == 128
    optimizer = cfg.optim_wrapper.optimizer
    assert optimizer == dict(type='SGD', lr=0.16, momentum=0.9, weight_decay=4e-5)
    assert cfg.optim_wrapper.clip_grad == dict(max_norm=10)
    schedule = cfg.param_scheduler
    assert schedule.warmup_epochs == 1 and schedule.warmup_ratio == 0.1
    assert schedule.eta_min_ratio * optimizer.lr == pytest.approx(0.0016)
    head, nms = cfg.model.bbox_head, cfg.model.test_cfg.nms
    assert (head.loss_cls.alpha, head.loss_cls.gamma) == (0.25, 1.5)
    assert head.loss_bbox.beta == 0.1 and head.loss_bbox.loss_weight * 4 / 0.1 == pytest.approx(50)
    assert (nms.type, nms.method, nms.sigma, cfg.model.test_cfg.max_per_img) == ('soft_nms', 'gaussian', 0.5, 100)
    for part in (cfg.model.neck, head, *([cfg.model.backbone] if 'efficientnet' in name else [])):
        assert (part.norm_cfg.momentum, part.norm_cfg.eps) == (0.01, 1e-3)


@pytest.mark.parametrize('name', ['d1_efficientnet-b1', 'd0_efficientnet-b0', 'd1_affnet-t'])
def test_the_same_recipe_for_every_encoder(load, name):
    ours, other = load('d1_affnet-base'), load(name)
    differs = {'model', 'image_size', 'train_pipeline', 'test_pipeline', 'size', 'pipelines'}
    if 'd0' in name:
        differs |= {'train_dataloader', 'val_dataloader', 'test_dataloader'}
    for key in set(other) - differs:
        assert other[key] == ours[key], key
    for part in ('train_cfg', 'test_cfg'):
        assert other.model[part] == ours.model[part]
    for key in set(ours.model.bbox_head) - {'in_channels'}:
        assert other.model.bbox_head[key] == ours.model.bbox_head[key]


@pytest.mark.parametrize('name', ['d1_affnet-t', 'd0_efficientnet-b0'])
def test_norms_alone_do_not_decay(load, name):
    cfg = load(name)
    model = build(cfg)
    wrapper = build_optim_wrapper(model, dict(cfg.optim_wrapper))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decays = {names[id(parameter)]: group['weight_decay'] for group in wrapper.optimizer.param_groups
              for parameter in group['params']}
    assert decays.keys() == set(names.values())
    norms = {f'{name}.{part}' for name, module in model.named_modules()
             if isinstance(module, nn.modules.batchnorm._BatchNorm | nn.GroupNorm) for part in ('weight', 'bias')}
    assert len(norms) > 100 and {name for name, decay in decays.items() if decay == 0} == norms
    assert {decay for name, decay in decays.items() if name not in norms} == {4e-5}


def test_average_is_that_of_the_released_code(load):
    """shadow = d shadow + (1 - d) weight, with d = min(0.9998, (1 + n) / (10 + n)) at iteration n."""
    hook, = load('d1_affnet-base').custom_hooks
    assert (hook.type, hook.ema_type, hook.update_buffers) == ('EMAHook', 'MomentumAnnealingEMA', True)
    source = nn.Linear(1, 1, bias=False).double()
    average = MomentumAnnealingEMA(source, momentum=hook.momentum, gamma=hook.gamma)
    shadow = None
    for n in range(45100):  # from 44,990 on it is 0.9998
        if 50 <= n < 44900:
            continue
        if n == 44900:
            average.steps.fill_(n + 1)
        source.weight.data.fill_((n * 0.37) % 1)
        average.update_parameters(source)
        if n == 0:  # mmengine's first step copies; the other's shadow starts as a copy
            average.update_parameters(source)
            shadow = source.weight.item()
            continue
        decay = min(0.9998, (1 + n) / (10 + n))
        shadow = decay * shadow + (1 - decay) * source.weight.item()
        assert average.module.weight.item() == pytest.approx(shadow, rel=1e-9), n


# Pictures without an object


def samples(size, boxes):
    """A batch of pictures of random pixels, with these boxes in each."""
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData
    found = []
    for own in boxes:
        sample = DetDataSample(gt_instances=InstanceData(
            bboxes=torch.tensor(own).reshape(-1, 4), labels=torch.zeros(len(own), dtype=torch.long)))
        sample.set_metainfo(dict(img_shape=(size, size), ori_shape=(size, size), scale_factor=(1., 1.)))
        found.append(sample)
    return dict(inputs=[torch.randint(256, (3, size, size), dtype=torch.uint8) for _ in boxes], data_samples=found)


@pytest.fixture
def small_model(config_root, tmp_path):
    config = tmp_path / 'config.py'
    config.write_text(small_recipes.small_efficientdet(
        config_root, tmp_path, epochs=1, size=128, more=small_recipes.NARROW))
    cfg = load_config(config)
    apply_own_data(cfg)
    return build(cfg).train()


def losses_of(model, batch):
    data = model.data_preprocessor(batch, training=True)
    return {key: sum(value) for key, value in model.loss(data['inputs'], data['data_samples']).items()}


def test_crops_without_a_box_train_as_background(small_model):
    losses = losses_of(small_model, samples(128, [[], []]))
    assert losses['loss_bbox'] == 0 and 0 < losses['loss_cls'] < 100
    sum(losses.values()).backward()
    gradients = {name: parameter.grad for name, parameter in small_model.named_parameters()}
    assert all(grad is not None and grad.isfinite().all() for grad in gradients.values())
    assert gradients['bbox_head.cls_predict.pointwise.bias'].gt(0).all(), 'all classes become less likely'
    mixed = losses_of(small_model, samples(128, [[], [[20., 30., 90., 100.]]]))
    assert mixed['loss_bbox'] > 0 and all(loss.isfinite() for loss in mixed.values())


# Through the tools


def test_classes_length_and_size_from_the_command_line(eight, config_root, tmp_path):
    config, run = tmp_path / 'config.py', tmp_path / 'run'
    config.write_text(small_recipes.small_efficientdet(
        config_root, 'nowhere', epochs=7, batch=2, more=small_recipes.NARROW))
    train_main([str(config), '--work-dir', str(run), '--seed', '0', '--cfg-options', f'data_root={eight}',
                'classes=person,bicycle,car', 'train_cfg.max_epochs=1', 'train_cfg.val_interval=1', 'image_size=160'])
    saved = torch.load(run / 'epoch_1.pth', weights_only=True)
    assert saved['state_dict']['bbox_head.cls_predict.pointwise.bias'].shape == (9 * 3, )
    assert tuple(saved['meta']['dataset_meta']['classes']) == ('person', 'bicycle', 'car')
    rates = curve(read_scalars(run), 'lr')[1]  # an epoch is warm-up from end to end
    assert rates == pytest.approx([0.16 * (0.1 + 0.9 * i / len(rates)) for i in range(len(rates))])
    assert len(curve(read_scalars(run), 'coco/bbox_mAP')[1]) == 1


@pytest.mark.slow
def test_eight_photographs_are_learnt_resumed_evaluated_and_predicted(overfit, config_root, eight):
    # The shipped model and its own optimiser, rate and average; of the augmentation neither random scales nor flips.
    text = small_recipes.small_efficientdet(
        config_root, eight, epochs=80, size=128, batch=8, small=dict(
            RandomResize=dict(ratio_range=(1., 1.)), RandomFlip=dict(prob=0.)),
        more='param_scheduler = dict(warmup_epochs=3)\n'
             'default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=74, save_best=None))')
    done = overfit(text, 'coco/bbox_mAP_50', 0.5, eight / 'val2017' / '000000000042.jpg')
    assert done.losses[-1] < 0.3 * done.losses[0]
    assert done.rates == pytest.approx([rate(i, 3, 80) for i in range(80)])
    best = max(done.prediction['detections'], key=lambda found: found['score'])
    assert best['class'] == 'dog' and best['score'] > 0.5


def rate(iteration, warmup, total):
    """The recipe's learning rate where an epoch is one iteration."""
    if iteration < warmup:
        return 0.16 * (0.1 + 0.9 * iteration / warmup)
    return 0.16 * (0.01 + 0.99 * (1 + math.cos(math.pi * (iteration - warmup) / (total - warmup))) / 2)
