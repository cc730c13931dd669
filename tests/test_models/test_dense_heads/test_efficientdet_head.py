import functools
import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmcv.cnn import fuse_conv_bn
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

pytest.importorskip('mmdet')

from mmaffnet.models.dense_heads import efficientdet_head  # noqa: E402

spec = importlib.util.spec_from_file_location('efficientdet_case', Path(__file__).with_name('efficientdet_case.py'))
case = importlib.util.module_from_spec(spec)
spec.loader.exec_module(case)


@functools.cache
def anchors_by_hand(size):
    """(N, 4) in float64: the level, rows, columns, scales, ratios of height to width."""
    boxes = []
    for stride in case.STRIDES:
        side = math.ceil(size / stride)
        for row in range(side):
            for column in range(side):
                for octave in (0, 1 / 3, 2 / 3):
                    for ratio in (1.0, 0.5, 2.0):
                        width = 4 * stride * 2**octave / ratio**0.5
                        height = width * ratio
                        x, y = (column + 0.5) * stride, (row + 0.5) * stride
                        boxes.append((x - width / 2, y - height / 2, x + width / 2, y + height / 2))
    return np.array(boxes)


def overlap(a, b):
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = a, b
    inter = max(0, min(ax2, bx2) - max(ax1, bx1)) * max(0, min(ay2, by2) - max(ay1, by1))
    return inter / ((ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - inter)


# Anchors, matching and loss


@pytest.mark.parametrize('size', [128, 200])
def test_anchors(size):
    anchors = case.build().prior_generator.grid_priors([(side, side) for side in case.sides_of(size)], device='cpu')
    np.testing.assert_allclose(torch.cat(anchors).numpy(), anchors_by_hand(size), rtol=1e-5, atol=1e-3)


# The second box overlaps with no anchor by half, and with one more than with all others: 22·23 of 32².
GT = [([[10, 20, 60, 90], [74, 8.5, 96, 31.5], [11, 22, 61, 88]], [2, 0, 1]), ([], []), ([[0, 0, 127, 100]], [1])]


def matched_by_hand(boxes, size):
    """Index of each anchor's box, or -1: at least half, and each box's best anchor whatever the overlap."""
    anchors = anchors_by_hand(size)
    ious = np.array([[overlap(anchor, box) for anchor in anchors] for box in boxes])
    out = np.where(ious.max(0) >= 0.5, ious.argmax(0), -1)
    for index, row in enumerate(ious):
        out[row.argmax()] = index
    return anchors, out


def loss_by_hand(scores, deltas, gts, size):
    """Losses in float64, as the class's docstring writes them."""
    loss_cls = loss_bbox = positives = 0
    for score, delta, (boxes, labels) in zip(scores.double().numpy(), deltas.double().numpy(), gts, strict=True):
        if boxes:
            anchors, matched = matched_by_hand(boxes, size)
        else:
            matched = np.full(len(score), -1)
        positives += (matched >= 0).sum()
        target = np.zeros_like(score)
        for n in np.flatnonzero(matched >= 0):
            target[n, labels[matched[n]]] = 1
            (x1, y1, x2, y2), (ax1, ay1, ax2, ay2) = boxes[matched[n]], anchors[n]
            w, h, aw, ah = x2 - x1, y2 - y1, ax2 - ax1, ay2 - ay1
            want = (x1 + w / 2 - ax1 - aw / 2) / aw, (y1 + h / 2 - ay1 - ah / 2) / ah, np.log(w / aw), np.log(h / ah)
            for error in np.abs(delta[n] - want):
                loss_bbox += 0.5 * error**2 if error < 0.1 else 0.1 * (error - 0.05)
        p = 1 / (1 + np.exp(-score))
        loss_cls -= np.where(target == 1, 0.25 * (1 - p)**1.5 * np.log(p), 0.75 * p**1.5 * np.log(1 - p)).sum()
    return loss_cls / (positives + 1), 50 * loss_bbox / (4 * (positives + 1)), positives


def test_loss_against_its_equation():
    head = case.build()
    count = len(anchors_by_hand(128))
    scores, deltas = torch.randn(3, count, 3), 0.2 * torch.randn(3, count, 4)
    gts = [case.ground_truth(*gt) for gt in GT]
    losses = head.loss_by_feat(case.as_maps(scores, 128), case.as_maps(deltas, 128), gts, [case.meta(128)] * 3)
    loss_cls, loss_bbox, positives = loss_by_hand(scores, deltas, GT, 128)
    assert 10 < positives < 200
    assert sum(losses['loss_cls']).item() == pytest.approx(loss_cls, rel=1e-5)
    assert sum(losses['loss_bbox']).item() == pytest.approx(loss_bbox, rel=1e-5)


def test_loss_without_any_object_is_finite_and_divided_by_one():
    head = case.build()
    count = len(anchors_by_hand(128))
    scores = torch.randn(2, count, 3)
    empty = [([], [])] * 2
    losses = head.loss_by_feat(case.as_maps(scores, 128), case.as_maps(torch.randn(2, count, 4), 128),
                               [case.ground_truth(*gt) for gt in empty], [case.meta(128)] * 2)
    assert sum(losses['loss_cls']).item() == pytest.approx(
        loss_by_hand(scores, torch.zeros(2, count, 4), empty, 128)[0], rel=1e-5)
    assert sum(losses['loss_bbox']).item() == 0


def test_number_of_gpus_changes_nothing(monkeypatch):
    """Two GPUs with one picture each give, on average, the loss of one GPU with both."""
    head = case.build()
    count = len(anchors_by_hand(128))
    scores, deltas = torch.randn(2, count, 3), torch.randn(2, count, 4)
    gts, metas = [case.ground_truth(*GT[0]), case.ground_truth(*GT[2])], [case.meta(128)] * 2

    def total(part):
        maps = case.as_maps(scores[part], 128), case.as_maps(deltas[part], 128)
        losses = head.loss_by_feat(*maps, gts[part], metas[part])
        return torch.stack([sum(losses['loss_cls']), sum(losses['loss_bbox'])])

    want = total(slice(0, 2))
    counts = [(matched_by_hand(boxes, 128)[1] >= 0).sum() for boxes, _ in (GT[0], GT[2])]
    assert counts[0] != counts[1]
    monkeypatch.setattr(efficientdet_head, 'get_world_size', lambda: 2)
    monkeypatch.setattr(efficientdet_head, 'reduce_mean', lambda count: torch.full_like(count, sum(counts) / 2))
    torch.testing.assert_close((total(slice(0, 1)) + total(slice(1, 2))) / 2, want, rtol=1e-5, atol=1e-5)


# Layers


@pytest.mark.parametrize('kwargs', [{}, dict(stacked_convs=0), dict(feat_channels=6), dict(conv_bias=True),
                                    dict(act_cfg=dict(type='ReLU'))])
def test_layers_against_their_equation(randomize_weights, kwargs):
    head = case.build(**kwargs).double().eval()
    randomize_weights(head)
    state = head.state_dict()

    def conv(x, key):
        x = F.conv2d(x, state[f'{key}.depthwise.weight'], padding=1, groups=x.shape[1])
        return F.conv2d(x, state[f'{key}.pointwise.weight'], state.get(f'{key}.pointwise.bias'))

    x = case.feats(8, 100, dtype=torch.float64)
    outs = head(x)
    for branch, part, channels in (('cls', outs[0], 3), ('reg', outs[1], 4)):
        for level, want in enumerate(x):
            for depth in range(kwargs.get('stacked_convs', 3)):
                want = conv(want, f'{branch}_tower.convs.{depth}')
                weight, bias, mean, var = (state[f'{branch}_tower.norms.{level}.{depth}.{leaf}'][:, None, None]
                                           for leaf in ('weight', 'bias', 'running_mean', 'running_var'))
                want = (want - mean) / (var + 1e-3).sqrt() * weight + bias
                want = want.relu() if 'act_cfg' in kwargs else want * want.sigmoid()
            want = conv(want, f'{branch}_predict')
            assert want.shape[1] == 9 * channels
            torch.testing.assert_close(part[level], want, rtol=1e-10, atol=1e-10)


def test_each_level_has_norms_of_its_own_and_shares_the_rest():
    head = case.build().train()
    x = [feat + 3 * level for level, feat in enumerate(case.feats(8, 256, batch=4))]
    head(x)
    means = [head.cls_tower.norms[level][0].running_mean for level in range(5)]
    for level, mean in enumerate(means):
        conv = head.cls_tower.convs[0]
        torch.testing.assert_close(mean, 0.01 * conv(x[level]).mean((0, 2, 3)))
    assert all(not torch.allclose(means[0], mean) for mean in means[1:])
    counts = dict(convs=3 * (8 * 9 + 8 * 8), norms=5 * 3 * 2 * 8)
    predict = 2 * 8 * 9 + 9 * 3 * (8 + 1) + 9 * 4 * (8 + 1)
    assert sum(p.numel() for p in head.parameters()) == 2 * (counts['convs'] + counts['norms']) + predict
    synced = case.build(norm_cfg=dict(type='SyncBN'))
    assert sum(isinstance(m, torch.nn.SyncBatchNorm) for m in synced.modules()) == 2 * 3 * 5


def test_norms_of_shared_convolutions_are_not_fused(randomize_weights):
    head = case.build().eval()
    randomize_weights(head)
    x = case.feats(8, 100)
    want = head(x)
    fused = fuse_conv_bn(head)(x)
    for a, b in zip(fused[0] + fused[1], want[0] + want[1], strict=True):
        torch.testing.assert_close(a, b)


def test_gradients_reach_every_parameter():
    head = case.build().train()
    gts = [case.ground_truth(*GT[0]), case.ground_truth(*GT[2])]
    # Boxes near each level's anchors, so that all levels have positives.
    gts[1] = case.ground_truth([[0, 0, 4 * s, 4 * s] for s in case.STRIDES], [0, 1, 2, 0, 1])
    losses = head.loss_by_feat(*head(case.feats(8, 512)), gts, [case.meta(512)] * 2)
    sum(sum(parts) for parts in losses.values()).backward()
    dead = [name for name, p in head.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert dead == []


def test_initialisation(build_efficientdet):
    head = build_efficientdet('d0', conv_bias=True).bbox_head
    head.init_weights()
    prior = math.log(0.01 / 0.99)
    for name, p in head.named_parameters():
        if p.dim() == 4:
            inputs = 9 if 'depthwise' in name else p.shape[1]
            assert p.std().item() == pytest.approx(inputs**-0.5, rel=0.1), name
        elif name == 'cls_predict.pointwise.bias':
            torch.testing.assert_close(p, torch.full_like(p, prior))
        elif name.endswith('bias'):
            assert (p == 0).all(), name
        else:
            assert (p == 1).all(), name
    with torch.no_grad():
        scores, boxes = head.train()(case.feats(64, 256))
    assert np.median(np.concatenate([s.sigmoid().numpy().ravel() for s in scores])) == pytest.approx(0.01, rel=0.2)


def test_predictions_of_half_precision_are_float32():
    head = case.build().eval()
    with torch.autocast('cpu', torch.bfloat16):
        outs = head(case.feats(8, 128, dtype=torch.bfloat16))
    assert {out.dtype for part in outs for out in part} == {torch.float32}
    assert case.build().double()(case.feats(8, 128, dtype=torch.float64))[0][0].dtype == torch.float64


@pytest.mark.parametrize('wrong, message', [
    (dict(stacked_convs=-1), 'stacked_convs must be at least 0, got -1'),
    (dict(loss_cls=dict(type='CrossEntropyLoss')), 'use_sigmoid=True'),
    (dict(anchor_generator=dict(
        type='SSDAnchorGenerator', scale_major=False, input_size=300, strides=[8, 16, 32],
        ratios=([2], [2, 3], [2]), basesize_ratio_range=(0.2, 0.9))), r'as many anchors, got \[4, 6, 4\]'),
])
def test_errors_say_what_is_allowed(wrong, message):
    with pytest.raises(ValueError, match=message):
        case.build(**wrong)


def test_wrong_number_of_maps():
    with pytest.raises(ValueError, match=r'5 levels, .*\[8, 16, 32, 64, 128\], but got 3 maps: .*num_outs'):
        case.build()(case.feats(8, 128)[:3])


# Prediction


def test_soft_nms_by_hand():
    head = case.build()
    anchors = anchors_by_hand(128)
    scores = torch.full((1, len(anchors), 3), -20.0)
    # Neighbours in one row: the middle anchor best, the others overlap with it. Class 1 stands alone.
    picks = {(9, 0): 0.9, (0, 0): 0.8, (18, 0): 0.6, (9, 1): 0.5}
    for (anchor, label), p in picks.items():
        scores[0, anchor, label] = math.log(p / (1 - p))
    got = case.predictions(head, scores, torch.zeros(1, len(anchors), 4), 128)
    clipped = np.clip(anchors, 0, 128)
    iou = {pair: overlap(clipped[pair[0]], clipped[pair[1]]) for pair in ((9, 0), (9, 18), (0, 18))}
    first = 0.8 * math.exp(-iou[9, 0]**2 / 0.5)
    last = 0.6 * math.exp(-iou[9, 18]**2 / 0.5) * math.exp(-iou[0, 18]**2 / 0.5)
    assert first > last > 0.05
    want = sorted([(0.9, 9, 0), (first, 0, 0), (last, 18, 0), (0.5, 9, 1)], reverse=True)
    np.testing.assert_allclose(got.scores, [p for p, *_ in want], rtol=1e-4)
    assert got.labels.tolist() == [label for *_, label in want]
    np.testing.assert_allclose(got.bboxes, clipped[[anchor for _, anchor, _ in want]], rtol=1e-4, atol=1e-3)


def test_candidates_are_counted_over_the_whole_picture():
    head = case.build()
    anchors = anchors_by_hand(128)
    order = torch.randperm(len(anchors) * 3)
    scores = torch.linspace(-1, 1, len(order))[order].reshape(1, -1, 3)
    cfg = ConfigDict(case.TEST, nms_pre=50, nms=dict(type='nms', iou_threshold=1.0), max_per_img=1000)
    got = case.predictions(head, scores, torch.zeros(1, len(anchors), 4), 128, cfg)
    want = scores.flatten().topk(50)
    torch.testing.assert_close(got.scores, want.values.sigmoid())
    assert torch.equal(got.labels, want.indices % 3)


@pytest.mark.parametrize('width', [0.0, 1e-5])
def test_boxes_without_area(width):
    """Two such boxes have no overlap that a number could tell, and must not take the places of others. The second
    width is lost in what separates the classes: 258.00001 is 258 in float32."""
    slivers, others = [[0.0, 10.0, width, 20.0]] * 2, [[0.0, 0.0, 30.0, 30.0], [60.0, 60.0, 100.0, 128.0]]
    results = InstanceData(
        bboxes=torch.tensor(slivers + others), scores=torch.tensor([0.9, 0.8, 0.7, 0.6]),
        labels=torch.tensor([2, 2, 2, 2]))
    cfg = ConfigDict(case.TEST, max_per_img=4 if width else 2)
    got = case.build()._bbox_post_process(results, cfg, img_meta=case.meta(128))
    assert got.scores.isfinite().all()
    torch.testing.assert_close(got.scores[-2:], torch.tensor([0.7, 0.6]))


def test_nothing_found():
    head = case.build()
    count = len(anchors_by_hand(128))
    got = case.predictions(head, torch.full((1, count, 3), -20.0), torch.zeros(1, count, 4), 128)
    assert len(got) == 0 and got.bboxes.shape == (0, 4)
