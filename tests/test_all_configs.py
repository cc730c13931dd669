"""Every config below configs/ takes one training step and one evaluation step, on random pictures.

A new config is found by itself. Pictures are small, so that all of them take about a minute: the sizes of a recipe are
tested where the recipe is.
"""

import math
import re
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData, PixelData

from mmaffnet.analysis.counting import count_parameters
from mmaffnet.engine.config import import_host

ROOT = Path(__file__).resolve().parents[1] / 'configs'
LEAVES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob('*.py') if '_base_' not in path.parts)
SIZE, BATCH = 96, 3
# FCOS has a factor for the boxes of each level: those of the last three are larger than pictures of this size.
OUT_OF_REACH = re.compile(r'fcos/.* bbox_head\.scales\.[2-4]\.scale')


@pytest.fixture
def one_thread():
    """Maps are so small that threads cost more than they give, many times more on a machine that is busy otherwise."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=LEAVES)
def built(request, one_thread):
    """(config, host, model) with fresh weights, as the runner builds it on a CPU."""
    cfg = Config.fromfile(ROOT / request.param)
    host = cfg.default_scope
    pytest.importorskip(host)
    if 'TIMMBackbone' in str(cfg.model):
        pytest.importorskip('timm')
    import_host(cfg)
    if cfg.get('data_preprocessor'):
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    for part in (cfg.model.data_preprocessor, *(cfg.model.data_preprocessor.get('batch_augments') or ())):
        if part.get('size'):
            part.size = (SIZE, SIZE)
        if part.get('pad_size_divisor', 1) > SIZE:  # EfficientDet: the input's side; it has norms for each level, which
            # see an object each where the anchors shrink with the picture
            cfg.model.bbox_head.anchor_generator.octave_base_scale *= SIZE / part.pad_size_divisor
            part.pad_size_divisor = SIZE
    if 'rpn_proposal' in (cfg.model.get('train_cfg') or {}):  # hundreds of regions of each small picture take a minute
        cfg.model.train_cfg.rpn_proposal.max_per_img = cfg.model.test_cfg.rpn.max_per_img = 50
    # What a runner tells its model; a hub of its own, since others' may hold the size of a batch.
    MessageHub.get_instance(f'{request.param} {time.monotonic_ns()}').update_info('iter', 0)
    if cfg.model.backbone.get('img_size'):  # a token mixer that is bound to one size of input
        cfg.model.backbone.img_size = SIZE
    with DefaultScope.overwrite_default_scope(host):
        model = MODELS.build(cfg.model)
        model.init_weights()
        switch_on(model)
        yield cfg, host, revert_sync_batchnorm(model)


@torch.no_grad()
def switch_on(model):
    """Open residual branches that start closed, by a last norm of weight 0 (ResNet, timm) or a layer scale of 1e-6
    (EdgeNeXt): the first step would leave all that lies behind them where it was."""
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1 and not name.endswith('bias') and parameter.abs().max() < 1e-5:
            parameter.fill_(1.)


def batch(host, num_classes):
    """What a data loader yields: pictures as they are decoded, and samples of the host's type."""
    make = {'mmdet': detection_sample, 'mmseg': segmentation_sample, 'mmpretrain': classification_sample}[host]
    samples = [make(num_classes) for _ in range(BATCH)]
    for sample in samples:
        sample.set_metainfo(dict(img_shape=(SIZE, SIZE), ori_shape=(2 * SIZE, SIZE), scale_factor=(1., 0.5)))
    return dict(inputs=[torch.randint(256, (3, SIZE, SIZE), dtype=torch.uint8) for _ in samples], data_samples=samples)


def detection_sample(num_classes):
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    sides = SIZE * torch.tensor([0.1, 0.2, 0.35, 0.5, 0.7, 0.9])[:, None]   # something for each level
    corner = torch.rand(6, 2) * (SIZE - sides)
    boxes = torch.cat([corner, corner + sides], 1)
    at = torch.arange(SIZE) + 0.5
    across, down = ((at > boxes[:, [k]]) & (at < boxes[:, [k + 2]]) for k in (0, 1))  # (6, SIZE) each
    masks = BitmapMasks((down[:, :, None] & across[:, None]).numpy().astype('uint8'), SIZE, SIZE)
    found = InstanceData(bboxes=boxes, labels=torch.randint(num_classes, (6, )), masks=masks)
    return DetDataSample(gt_instances=found, ignored_instances=InstanceData(bboxes=torch.zeros(0, 4)))


def segmentation_sample(num_classes):
    from mmseg.structures import SegDataSample
    mask = torch.randint(num_classes, (1, SIZE, SIZE))
    mask[:, :SIZE // 8] = 255
    return SegDataSample(gt_sem_seg=PixelData(data=mask))


def classification_sample(num_classes):
    from mmpretrain.structures import DataSample
    return DataSample().set_gt_label(int(torch.randint(num_classes, ())))


def classes_of(model):
    """Number of classes of the model's head; two-stage detectors have theirs in a part of the head."""
    model = getattr(model, 'roi_head', model)
    return next(head.num_classes for name in ('bbox_head', 'decode_head', 'head')
                if (head := getattr(model, name, None)) is not None)


def train_one_step(cfg, host, model):
    """One step of the config's optimiser; returns the names of the parameters that stayed where they were."""
    wrapper = dict(cfg.optim_wrapper)
    if wrapper['type'] == 'AmpOptimWrapper':   # as the runner does on a CPU
        wrapper['type'] = 'OptimWrapper'
    optimiser = build_optim_wrapper(model, wrapper)
    learnt = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    before = {name: parameter.detach().clone() for name, parameter in learnt.items()}
    gradients = {}
    for name, parameter in learnt.items():
        parameter.register_hook(lambda grad, name=name: gradients.update({name: grad.abs().max().item()}))
    losses = model.train().train_step(batch(host, classes_of(model)), optimiser)
    assert 'loss' in losses and all(torch.as_tensor(value).isfinite().all() for value in losses.values()), losses
    assert losses['loss'] > 0
    unused = sorted(learnt.keys() - gradients.keys())
    assert unused == [], 'without a gradient: they would stop a distributed run'
    assert all(math.isfinite(value) for value in gradients.values()), gradients
    assert all(parameter.isfinite().all() for parameter in learnt.values())
    # weight decay alone moves a parameter too: it is the gradient that tells whether it is used
    return [name for name in learnt if not gradients[name] or torch.equal(before[name], learnt[name])]


def check_boxes(sample, num_classes, clipped=True, masks=False):
    from mmdet.structures import DetDataSample
    assert isinstance(sample, DetDataSample)
    found = sample.pred_instances
    assert found.bboxes.shape == (len(found), 4) and found.bboxes.isfinite().all()
    height, width = sample.ori_shape
    if clipped:
        assert (found.bboxes >= 0).all() and (found.bboxes <= torch.tensor([width, height] * 2)).all()
    assert (found.bboxes[:, 2:] >= found.bboxes[:, :2]).all()
    assert ((found.scores >= 0) & (found.scores <= 1)).all()
    assert ((found.labels >= 0) & (found.labels < num_classes)).all()
    if masks:
        assert found.masks.shape == (len(found), height, width) and found.masks.dtype == torch.bool


def check_mask(sample, num_classes):
    from mmseg.structures import SegDataSample
    assert isinstance(sample, SegDataSample)
    assert sample.seg_logits.data.shape == (num_classes, *sample.ori_shape) and sample.seg_logits.data.isfinite().all()
    mask = sample.pred_sem_seg.data
    assert mask.shape == (1, *sample.ori_shape) and not mask.is_floating_point()
    assert ((mask >= 0) & (mask < num_classes)).all()


def check_scores(sample, num_classes):
    from mmpretrain.structures import DataSample
    assert isinstance(sample, DataSample)
    assert sample.pred_score.shape == (num_classes, ) and (sample.pred_score >= 0).all()
    assert sample.pred_score.sum().item() == pytest.approx(1, abs=1e-4)
    assert sample.pred_label.item() == sample.pred_score.argmax().item()


def test_one_training_and_one_evaluation_step(built):
    cfg, host, model = built
    said = re.search(r'([\d,]+) parameters', Path(cfg.filename).read_text().split('_base_')[0])
    if not cfg.model.backbone.get('img_size'):  # else they depend on the size of the recipe: test_table_ablations.py
        assert not said or int(said[1].replace(',', '')) == count_parameters(model)
    folder = Path(cfg.filename).parent.name
    stayed = [name for name in train_one_step(cfg, host, model) if not OUT_OF_REACH.match(f'{folder}/ {name}')]
    assert stayed == [], 'a trainable parameter stayed where it was'

    num_classes = classes_of(model)
    with torch.no_grad():
        samples = model.eval().val_step(batch(host, num_classes))
    assert len(samples) == BATCH
    check = {'mmdet': check_boxes, 'mmseg': check_mask, 'mmpretrain': check_scores}[host]
    if host == 'mmdet':
        # YOLOX's own head lets boxes reach beyond the picture
        check = partial(check, clipped=cfg.model.type != 'YOLOX', masks='mask_head' in cfg.model.get('roi_head', {}))
    for sample in samples:
        check(sample, num_classes)


def test_the_list_is_not_empty():
    assert {path.split('/')[0] for path in LEAVES} >= {
        'imagenet', 'ssdlite', 'deeplabv3', 'comparisons', 'ablations', 'yolox', 'efficientdet', 'semantic_fpn',
        'deeplabv3plus'}
