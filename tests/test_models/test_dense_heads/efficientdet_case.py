"""What the tests of EfficientDet's head share: a small head, its maps, pictures and objects."""
import math

import torch
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

TRAIN = ConfigDict(
    assigner=dict(
        type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.0, gt_max_assign_all=False),
    sampler=dict(type='PseudoSampler'),
    allowed_border=-1,
    pos_weight=-1)
TEST = ConfigDict(
    score_thr=0.001,
    nms_pre=5000,
    nms=dict(type='soft_nms', method='gaussian', iou_threshold=0.3, sigma=0.5, min_score=0.001),
    max_per_img=100)
STRIDES = (8, 16, 32, 64, 128)


def build(**kwargs):
    """A head of few channels and classes, changed by keyword arguments."""
    from mmdet.registry import MODELS
    from mmengine.registry import init_default_scope
    init_default_scope('mmdet')
    cfg = dict(type='mmaffnet.EfficientDetHead', num_classes=3, in_channels=8, train_cfg=TRAIN, test_cfg=TEST)
    return MODELS.build({**cfg, **kwargs})


def sides_of(size):
    return [math.ceil(size / stride) for stride in STRIDES]


def feats(channels, size, batch=2, **kwargs):
    return [torch.randn(batch, channels, side, side, **kwargs) for side in sides_of(size)]


def meta(size):
    return dict(img_shape=(size, size), pad_shape=(size, size), batch_input_shape=(size, size),
                scale_factor=(1.0, 1.0))


def ground_truth(boxes, labels):
    return InstanceData(
        bboxes=torch.as_tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        labels=torch.as_tensor(labels, dtype=torch.long))


def as_maps(values, size):
    """(B, N, last) as maps of each level."""
    chunks = values.split([9 * side * side for side in sides_of(size)], dim=1)
    return [chunk.reshape(len(values), side, side, -1).permute(0, 3, 1, 2).contiguous()
            for chunk, side in zip(chunks, sides_of(size), strict=True)]


def predictions(head, scores, deltas, size, cfg=None):
    return head.predict_by_feat(as_maps(scores, size), as_maps(deltas, size), batch_img_metas=[meta(size)], cfg=cfg)[0]
