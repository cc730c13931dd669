import math

import numpy as np
import pytest
import torch
from mmcv.cnn import ConvModule, fuse_conv_bn
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

pytest.importorskip('mmdet')
from mmdet.registry import MODELS  # noqa: E402

from mmaffnet.models.dense_heads import ssdlite_head  # noqa: E402

SIDES = [(20, 20), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1)]
SMALL = dict(
    num_classes=3,
    in_channels=(8, 12, 6),
    feat_channels=(8, 16, 6),
    anchor_generator=dict(type='mmaffnet.SSDLiteAnchorGenerator', ratios=((2, 3), (2, ), (2, ))))
SMALL_SIDES = [(4, 6), (2, 3), (1, 1)]


@pytest.fixture
def build(config_root):
    """Head of the shipped config, changed by keyword arguments."""

    def build_head(test_cfg=None, train_cfg=None, **kwargs):
        init_default_scope('mmdet')
        cfg = Config.fromfile(config_root / '_base_/models/ssdlite_affnet.py').model
        head = dict(cfg.bbox_head, norm_cfg=dict(type='BN'))
        head.update(kwargs)
        head.update(
            train_cfg=ConfigDict(cfg.train_cfg, **(train_cfg or {})),
            test_cfg=ConfigDict(cfg.test_cfg, **(test_cfg or {})))
        return MODELS.build(head)

    return build_head


def meta(height=320, width=320, scale_factor=(1.0, 1.0)):
    return dict(img_shape=(height, width), pad_shape=(height, width), batch_input_shape=(height, width),
                scale_factor=scale_factor)


def ground_truth(boxes, labels):
    return InstanceData(
        bboxes=torch.as_tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        labels=torch.as_tensor(labels, dtype=torch.long))


def to_maps(values, sides, anchors):
    """(B, N, C) in the order of the anchors as maps (B, A·C, H, W)."""
    chunks = values.split([h * w * a for (h, w), a in zip(sides, anchors, strict=True)], dim=1)
    return [chunk.reshape(len(values), h, w, -1).permute(0, 3, 1, 2)
            for chunk, (h, w) in zip(chunks, sides, strict=True)]


def from_maps(maps, last):
    return torch.cat([m.permute(0, 2, 3, 1).reshape(len(m), -1, last) for m in maps], dim=1)


def total(losses):
    return {key: torch.stack([part.sum() for part in parts]).sum() for key, parts in losses.items()}


def random_outputs(head, sides, batch=2, seed=0):
    rng = torch.Generator().manual_seed(seed)
    count = sum(h * w * a for (h, w), a in zip(sides, head.num_base_priors, strict=True))
    scores = torch.randn(batch, count, head.num_classes + 1, generator=rng)
    deltas = torch.randn(batch, count, 4, generator=rng)
    return (scores, deltas), (to_maps(scores, sides, head.num_base_priors),
                              to_maps(deltas, sides, head.num_base_priors))


# Matching and loss


@pytest.fixture
def shared_case(reference, reference_weights):
    data = reference('ssd_train.pt')
    scores = torch.from_numpy(reference_weights.normal('scores:shared', (3, 3232, 81), 2.0)).float()
    deltas = torch.from_numpy(reference_weights.normal('deltas:shared', (3, 3232, 4), 1.0)).float()
    scores = torch.cat([scores[..., 1:], scores[..., :1]], dim=-1)  # background last
    return data, to_maps(scores, SIDES, (6, ) * 5 + (4, )), to_maps(deltas, SIDES, (6, ) * 5 + (4, ))


# The reference's boxes are fractions of the picture: pixels of any input size must give the same.
@pytest.mark.parametrize('height, width', [(320, 320), (305, 320)])
@pytest.mark.parametrize('label_smoothing', [0.0, 0.1])
def test_reference_loss(build, shared_case, label_smoothing, height, width):
    data, scores, deltas = shared_case
    head = build(train_cfg=dict(label_smoothing=label_smoothing))
    gts = [ground_truth(np.array(gt['boxes']).reshape(-1, 4) * (width, height, width, height),
                        np.array(gt['labels'], dtype=int) - 1) for gt in data['gt']]
    losses = total(head.loss_by_feat(scores, deltas, gts, [meta(height, width)] * 3))
    want = data['loss'][f'label_smoothing_{label_smoothing}']
    assert losses['loss_cls'].item() == pytest.approx(want['cls_loss'], rel=data['loss_rtol'])
    assert losses['loss_bbox'].item() == pytest.approx(want['reg_loss'], rel=data['loss_rtol'])


def test_reference_matching_and_targets(build, shared_case):
    data, *_ = shared_case
    head = build()
    gts = [ground_truth(np.array(gt['boxes']).reshape(-1, 4) * 320, np.array(gt['labels'], dtype=int) - 1)
           for gt in data['gt']]
    metas = [meta()] * 3
    labels, _, targets, weights, avg_factor = head.get_targets(*head.get_anchors(SIDES, metas, 'cpu'), gts, metas)
    labels, targets, weights = (torch.cat(t, dim=1) for t in (labels, targets, weights))
    torch.testing.assert_close(torch.where(labels == 80, 0, labels + 1), data['matched_labels'].long())
    image, anchor = data['positive_index'].T
    torch.testing.assert_close(targets[image, anchor], data['positive_targets'], rtol=1e-5, atol=1e-5)
    assert avg_factor == len(image) == 23
    assert weights.sum() == 4 * 23


def brute_force_loss(scores, deltas, labels, targets, background):
    """Loss of one picture in float64, before it is divided."""
    scores = scores.double().numpy()
    log_p = scores - np.log(np.exp(scores).sum(-1, keepdims=True))
    positives = [n for n, label in enumerate(labels) if label != background]
    negatives = sorted((n for n, label in enumerate(labels) if label == background),
                       key=lambda n: log_p[n, background])[:3 * len(positives)]
    loss_cls = -sum(log_p[n, labels[n]] for n in positives + negatives)
    loss_bbox = 0.0
    for n in positives:
        for difference in np.abs(deltas[n].double().numpy() - targets[n].double().numpy()):
            loss_bbox += difference - 0.5 if difference > 1 else 0.5 * difference**2
    return loss_cls, loss_bbox


def test_loss_of_another_head_against_brute_force(build):
    head = build(**SMALL)
    (scores, deltas), maps = random_outputs(head, SMALL_SIDES, batch=3)
    metas = [meta(64, 96)] * 3
    # In the second picture every third anchor is a box: so many positives that all negatives are taken. In the third
    # every sixteenth: enough positives that some would be among the hardest negatives.
    anchors = torch.cat(head.prior_generator.grid_priors(SMALL_SIDES, device='cpu')) * torch.tensor([96, 64] * 2)
    gts = [ground_truth([[0, 0, 30, 20], [40, 20, 90, 60]], [2, 0]), *(
        ground_truth(anchors[::step], [1] * len(anchors[::step])) for step in (3, 16))]
    labels, _, targets, *_ = head.get_targets(*head.get_anchors(SMALL_SIDES, metas, 'cpu'), gts, metas)
    labels, targets = torch.cat(labels, dim=1), torch.cat(targets, dim=1)
    parts = [brute_force_loss(scores[i], deltas[i], labels[i].tolist(), targets[i], background=3) for i in range(3)]
    num_pos = (labels != 3).sum(1)
    num_neg = (labels == 3).sum(1)
    assert 0 < 3 * num_pos[0] < num_neg[0] and 3 * num_pos[1] > num_neg[1] > 0 and 60 < 3 * num_pos[2] < num_neg[2]
    losses = total(head.loss_by_feat(*maps, gts, metas))
    assert losses['loss_cls'].item() == pytest.approx(sum(p[0] for p in parts) / num_pos.sum().item(), rel=1e-5)
    assert losses['loss_bbox'].item() == pytest.approx(sum(p[1] for p in parts) / num_pos.sum().item(), rel=1e-5)


@pytest.mark.parametrize('boxes, world_size, want', [
    ([[[0, 0, 9, 9]], []], 1, 1),  # one positive, not one and the empty picture's
    ([[], []], 1, 1),
    ([[], []], 4, 0.25),  # of all GPUs together 1
])
def test_number_of_positives(build, monkeypatch, boxes, world_size, want):
    monkeypatch.setattr(ssdlite_head, 'get_world_size', lambda: world_size)
    head, metas = build(**SMALL), [meta(64, 96)] * 2
    gts = [ground_truth(b, [0] * len(b)) for b in boxes]
    *_, avg_factor = head.get_targets(*head.get_anchors(SMALL_SIDES, metas, 'cpu'), gts, metas)
    assert avg_factor == want


def test_a_picture_without_boxes_changes_nothing(build):
    head = build(**SMALL)
    _, (scores, deltas) = random_outputs(head, SMALL_SIDES)
    boxes, empty = ground_truth([[0, 0, 30, 20]], [2]), ground_truth([], [])
    alone = total(head.loss_by_feat([s[:1] for s in scores], [d[:1] for d in deltas], [boxes], [meta(64, 96)]))
    both = total(head.loss_by_feat(scores, deltas, [boxes, empty], [meta(64, 96)] * 2))
    assert alone['loss_cls'] > 0 and alone['loss_bbox'] > 0
    torch.testing.assert_close(both, alone)


def test_a_batch_without_boxes_has_no_loss_and_a_gradient_of_zero(build):
    head = build(**SMALL)
    _, maps = random_outputs(head, SMALL_SIDES)
    for m in maps[0] + maps[1]:
        m.requires_grad_()
    losses = total(head.loss_by_feat(*maps, [ground_truth([], [])] * 2, [meta(64, 96)] * 2))
    assert losses['loss_cls'] == losses['loss_bbox'] == 0
    (losses['loss_cls'] + losses['loss_bbox']).backward()
    assert all((m.grad == 0).all() for m in maps[0] + maps[1])


def test_ignored_boxes_do_not_count(build):
    head = build(**SMALL)
    _, maps = random_outputs(head, SMALL_SIDES, batch=1)
    gts, metas = [ground_truth([[0, 0, 30, 20]], [2])], [meta(64, 96)]
    crowd = [InstanceData(bboxes=torch.tensor([[40.0, 20.0, 90.0, 60.0]]), labels=torch.tensor([0]))]
    torch.testing.assert_close(head.loss_by_feat(*maps, gts, metas, crowd), head.loss_by_feat(*maps, gts, metas))


def test_weight_of_positives(build):
    gts, metas, losses = [ground_truth([[0, 0, 30, 20]], [2])], [meta(64, 96)], []
    for pos_weight in (-1, 2):
        head = build(train_cfg=dict(pos_weight=pos_weight, neg_pos_ratio=0), **SMALL)
        losses.append(total(head.loss_by_feat(*random_outputs(head, SMALL_SIDES, batch=1)[1], gts, metas)))
    torch.testing.assert_close(losses[1]['loss_cls'], 2 * losses[0]['loss_cls'])
    assert losses[1]['loss_bbox'] == losses[0]['loss_bbox'] > 0


def test_gpus_count_their_positives_together(build, monkeypatch):
    head = build(**SMALL)
    _, (scores, deltas) = random_outputs(head, SMALL_SIDES)
    metas = [meta(64, 96)]
    gts = [ground_truth([[0, 0, 30, 20]], [2]), ground_truth([[x, 0, x + 16, 16] for x in range(0, 80, 8)], [1] * 10)]
    whole = total(head.loss_by_feat(scores, deltas, gts, metas * 2))

    counts = []
    monkeypatch.setattr(ssdlite_head, 'reduce_mean', lambda count: counts.append(count) or count)

    def of_rank(rank):
        return total(head.loss_by_feat([s[rank:rank + 1] for s in scores], [d[rank:rank + 1] for d in deltas],
                                       gts[rank:rank + 1], metas))

    of_rank(0), of_rank(1)
    assert counts[0] != counts[1]
    mean = torch.stack(counts[:2]).mean()
    monkeypatch.setattr(ssdlite_head, 'reduce_mean', lambda count: mean)
    monkeypatch.setattr(ssdlite_head, 'get_world_size', lambda: 2)
    # DDP averages the gradients of the ranks.
    torch.testing.assert_close({key: (of_rank(0)[key] + of_rank(1)[key]) / 2 for key in whole}, whole)


# Prediction


def brute_force_detections(scores, deltas, anchors, size, cfg):
    """(label, score, x1, y1, x2, y2) in pixels, by falling score: a plain NMS for each class, in float64."""
    scores, deltas, anchors = scores.double().numpy(), deltas.double().numpy(), anchors.double().numpy()
    prob = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    wh = anchors[:, 2:] - anchors[:, :2]
    centre = (anchors[:, :2] + anchors[:, 2:]) / 2 + deltas[:, :2] * 0.1 * wh
    half = wh * np.exp(0.2 * deltas[:, 2:]) / 2
    boxes = np.concatenate([centre - half, centre + half], axis=1) * (*size, *size)

    def iou(a, b):
        w, h = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
        inter = max(w, 0) * max(h, 0)
        return inter / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - inter)

    detections = []
    for label in range(scores.shape[1] - 1):
        order = [n for n in np.argsort(-prob[:, label]) if prob[n, label] > cfg.score_thr][:cfg.nms_pre]
        kept = []
        for n in order:
            if all(iou(boxes[n], boxes[k]) <= cfg.nms.iou_threshold for k in kept):
                kept.append(n)
        detections += [(label, prob[n, label], *boxes[n]) for n in kept]
    return np.array(sorted(detections, key=lambda d: -d[1])[:cfg.max_per_img])


@pytest.mark.parametrize('test_cfg', [
    dict(),
    dict(score_thr=0.3),
    dict(nms_pre=7),
    dict(nms=dict(type='nms', iou_threshold=0.2)),
    dict(max_per_img=9),
])
def test_predictions_against_brute_force(build, test_cfg):
    head = build(test_cfg=dict(max_per_img=1000, **{k: v for k, v in test_cfg.items() if k != 'max_per_img'}), **SMALL)
    head.test_cfg.update(test_cfg)
    head.bbox_coder.clip_border = False
    (scores, deltas), maps = random_outputs(head, SMALL_SIDES)
    anchors = torch.cat(head.prior_generator.grid_priors(SMALL_SIDES, device='cpu'))
    _, result = head.predict_by_feat(*maps, batch_img_metas=[meta(64, 96)] * 2)
    want = brute_force_detections(scores[1], deltas[1], anchors, (96, 64), head.test_cfg)
    got = torch.cat([result.labels[:, None], result.scores[:, None], result.bboxes], dim=1).numpy()
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-4)


def test_boxes_beyond_the_picture_are_clipped_after_nms_and_do_not_meet_other_classes(build):
    head = build(**SMALL)
    count = len(torch.cat(head.prior_generator.grid_priors(SMALL_SIDES, device='cpu')))
    anchors = torch.cat(head.prior_generator.grid_priors(SMALL_SIDES, device='cpu'))
    scores = torch.full((1, count, 4), -20.0)
    scores[..., 3] = 0
    # mmcv would add 4, the largest coordinate + 1, to the box of class 1 and so bring it onto the third.
    targets = torch.tensor([[0.0, 0.0, 1.5, 1.0], [-3.0, -4.0, -1.0, -3.0], [0.1, 0.0, 3.0, 1.0]])
    deltas = torch.zeros(1, count, 4)
    deltas[0, :3] = head.bbox_coder.encode(anchors[:3], targets)
    for anchor, label in enumerate((0, 1, 0)):
        scores[0, anchor, label] = 10.0 - anchor
    maps = to_maps(scores, SMALL_SIDES, head.num_base_priors), to_maps(deltas, SMALL_SIDES, head.num_base_priors)
    result, = head.predict_by_feat(*maps, batch_img_metas=[meta(1, 1)])
    # IoU of the first and third is 1.4/3 unclipped (both stay) and 0.9 clipped; the second has no area left.
    assert result.labels.tolist() == [0, 1, 0]
    torch.testing.assert_close(
        result.bboxes, torch.tensor([[0.0, 0, 1, 1], [0, 0, 0, 0], [0.1, 0, 1, 1]]), rtol=0, atol=1e-5)


@pytest.mark.parametrize('with_nms', [True, False])
def test_rescale_brings_boxes_into_the_original_picture(build, with_nms):
    head = build(test_cfg=dict(nms=dict(type='nms', iou_threshold=1.0), max_per_img=1000), **SMALL)
    _, maps = random_outputs(head, SMALL_SIDES)
    metas = [meta(64, 96, scale_factor=(96 / 50, 64 / 200))] * 2
    inputs, originals = (head.predict_by_feat(*maps, batch_img_metas=metas, rescale=rescale, with_nms=with_nms)
                         for rescale in (False, True))
    factor = torch.tensor([50 / 96, 200 / 64] * 2)
    for a, b in zip(inputs, originals, strict=True):
        torch.testing.assert_close(a.bboxes * factor, b.bboxes, rtol=1e-5, atol=1e-3)
        assert (b.bboxes >= 0).all() and (b.bboxes <= torch.tensor([50.001, 200.001] * 2)).all()
        assert (b.bboxes[:, 2] > 49.9).any(), 'the case must contain clipped boxes'


def test_padding_is_part_of_the_anchors_unit(build):
    head = build(**SMALL)
    _, maps = random_outputs(head, SMALL_SIDES, batch=1)
    padded = dict(meta(64, 96), img_shape=(60, 90))
    whole, = head.predict_by_feat(*maps, batch_img_metas=[meta(64, 96)])
    cut, = head.predict_by_feat(*maps, batch_img_metas=[padded])
    torch.testing.assert_close(cut.bboxes, torch.minimum(whole.bboxes, torch.tensor([90.0, 60.0] * 2)))
    gts = [ground_truth([[0, 0, 30, 20]], [2])]
    torch.testing.assert_close(
        head.loss_by_feat(*maps, gts, [padded]), head.loss_by_feat(*maps, gts, [meta(64, 96)]))


def test_nothing_above_the_threshold(build):
    head = build(test_cfg=dict(score_thr=0.999999), **SMALL)
    _, maps = random_outputs(head, SMALL_SIDES)
    for result in head.predict_by_feat(*maps, batch_img_metas=[meta(64, 96)] * 2, rescale=True):
        assert result.bboxes.shape == (0, 4) and len(result.scores) == len(result.labels) == 0


def test_half_precision_outputs_are_decoded_in_float32(build):
    head = build(**SMALL)
    _, maps = random_outputs(head, SMALL_SIDES)
    halves = [[m.half() for m in level] for level in maps]
    got = head.predict_by_feat(*halves, batch_img_metas=[meta(64, 96)] * 2)
    want = head.predict_by_feat(*[[m.float() for m in level] for level in halves],
                                batch_img_metas=[meta(64, 96)] * 2)
    for a, b in zip(got, want, strict=True):
        assert a.bboxes.dtype == a.scores.dtype == torch.float32
        torch.testing.assert_close(a.bboxes, b.bboxes, rtol=0, atol=0)


# Layers


@pytest.mark.parametrize('sides', [SMALL_SIDES, [(7, 5), (3, 4), (1, 1)]])
def test_outputs_and_layers(build, sides):
    head = build(**SMALL)
    feats = [torch.randn(2, c, *side) for c, side in zip((8, 12, 6), sides, strict=True)]
    scores, deltas = head(feats)
    assert [tuple(s.shape) for s in scores] == [(2, a * 4, *side) for a, side in zip((6, 4, 4), sides, strict=True)]
    assert [tuple(d.shape) for d in deltas] == [(2, a * 4, *side) for a, side in zip((6, 4, 4), sides, strict=True)]
    # Projections stand only where widths differ; the last level has one 1x1 convolution.
    assert [key for key in head.state_dict() if key.startswith('proj_convs') and key.endswith('conv.weight')] == [
        'proj_convs.1.conv.weight']
    assert [key for key in head.state_dict() if key.startswith('pred_convs.2')] == [
        'pred_convs.2.conv.weight', 'pred_convs.2.conv.bias']
    assert all(convs.depthwise_conv.act_cfg is None and convs.pointwise_conv.norm_cfg is None
               for convs in list(head.pred_convs)[:-1])


def test_activation_is_configurable(build):
    relu, silu = build(**SMALL), build(act_cfg=dict(type='SiLU'), **SMALL)
    silu.load_state_dict(relu.state_dict())
    feats = [torch.randn(2, c, *side) for c, side in zip((8, 12, 6), SMALL_SIDES, strict=True)]
    differs = [not torch.equal(a, b) for a, b in zip(relu(feats)[0], silu(feats)[0], strict=True)]
    assert differs == [False, True, False]  # only the second level has a projection, hence an activation


def test_initialisation(build):
    head = build()
    head.init_weights()
    convs = [m.conv for m in head.modules() if isinstance(m, ConvModule)]
    assert len(convs) == 2 + 2 * 5 + 1
    for conv in convs:
        fan_in, fan_out = conv.weight[0].numel(), len(conv.weight) * conv.weight[0, 0].numel()
        bound = math.sqrt(6 / (fan_in + fan_out))
        assert 0.9 * bound < conv.weight.abs().max() <= bound
        assert conv.bias is None or (conv.bias == 0).all()


def test_all_norms_fuse_into_convolutions(build):
    head = build(**SMALL).eval()
    for name, buffer in head.named_buffers():
        if 'running' in name:
            buffer.uniform_(0.5, 1.5)
    feats = [torch.randn(2, c, *side) for c, side in zip((8, 12, 6), SMALL_SIDES, strict=True)]
    want = head(feats)
    fused = fuse_conv_bn(head)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in fused.modules())
    torch.testing.assert_close(fused(feats), want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('wrong', [dict(in_channels=(8, 12)), dict(feat_channels=(8, 16, 6, 6))])
def test_wrong_number_of_levels(build, wrong):
    with pytest.raises(ValueError, match='3 levels of anchors need as many in_channels and feat_channels'):
        build(**{**SMALL, **wrong})


def test_allowed_border_is_refused(build):
    with pytest.raises(ValueError, match='allowed_border must be -1'):
        build(train_cfg=dict(allowed_border=0), **SMALL)


def test_from_maps_is_the_inverse_of_to_maps(build):
    head = build(**SMALL)
    (scores, deltas), maps = random_outputs(head, SMALL_SIDES)
    assert torch.equal(from_maps(maps[0], 4), scores) and torch.equal(from_maps(maps[1], 4), deltas)


def test_prior_prob_is_the_objects_probability_at_the_start():
    head = ssdlite_head.SSDLiteHead(num_classes=6, prior_prob=0.25)
    head.init_weights()
    maps = [torch.randn(2, channels, side, side) for channels, side in zip(head.in_channels, (8, 4, 3, 2, 2, 1),
                                                                        strict=True)]
    with torch.no_grad():
        scores, boxes = head.train()(maps)
    for score, box in zip(scores, boxes, strict=True):
        foreground = 1 - score.unflatten(1, (-1, 7)).softmax(2)[:, :, -1]
        assert foreground.mean().item() == pytest.approx(0.25, abs=0.02)
        assert box.abs().max() < 2
    with pytest.raises(ValueError, match='between 0 and 1'):
        ssdlite_head.SSDLiteHead(prior_prob=1.0)
