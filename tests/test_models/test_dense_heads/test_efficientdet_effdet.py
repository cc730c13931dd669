"""EfficientDet's head against the package effdet: values, anchors, targets, loss, detections."""
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip('mmdet')
from mmdet.structures.bbox import bbox_overlaps  # noqa: E402

spec = importlib.util.spec_from_file_location('efficientdet_case', Path(__file__).with_name('efficientdet_case.py'))
case = importlib.util.module_from_spec(spec)
spec.loader.exec_module(case)


@pytest.mark.parametrize('name, side', [('tf_efficientdet_d0', 512), ('efficientdet_d1', 640)])
def test_agrees_with_effdet(effdet_pair, name, side):
    theirs, ours = effdet_pair(name)
    x = case.feats(ours.neck.out_channels, side, batch=1)
    with torch.no_grad():
        want_scores, want_boxes = theirs.class_net(x), theirs.box_net(x)
        scores, boxes = ours.bbox_head(x)
    for level in range(5):
        assert 0.1 < want_scores[level].std() < 10
        torch.testing.assert_close(scores[level], want_scores[level], rtol=1e-5, atol=1e-5)
        want = want_boxes[level].unflatten(1, (9, 4))[:, :, [1, 0, 3, 2]].flatten(1, 2)
        torch.testing.assert_close(boxes[level], want, rtol=1e-5, atol=1e-5)


@pytest.fixture
def bench():
    """Of effdet, for a picture of 128 px and 5 classes: anchors, their labeller, loss and detections.

    The ratios are set to 2, where effdet's default rounds the sides √2 and 1/√2 to 1.4 and 0.7.
    """
    effdet = pytest.importorskip('effdet')
    from effdet.anchors import AnchorLabeler, Anchors
    from effdet.loss import DetectionLoss
    config = effdet.get_efficientdet_config('tf_efficientdet_d0')
    config.update(image_size=(128, 128), num_classes=5, aspect_ratios=[1.0, 2.0, 0.5])
    anchors = Anchors.from_config(config)

    class Bench:
        boxes = anchors.boxes
        labels = AnchorLabeler(anchors, 5).batch_label_anchors
        loss = DetectionLoss(config)

        @staticmethod
        def detections(scores, deltas, count):
            from effdet.bench import _batch_detection, _post_process
            found = _post_process(scores, deltas, num_levels=5, num_classes=5, max_detection_points=5000)
            scores, deltas, indices, classes = found
            size = torch.tensor([[128.0, 128.0]])
            return _batch_detection(1, scores, deltas, anchors.boxes, indices, classes, torch.ones(1), size,
                                    max_det_per_image=count, soft_nms=True)[0]

    return Bench


def swapped(deltas):
    """Box values in effdet's order (y, x, h, w)."""
    return deltas[..., [1, 0, 3, 2]]


def test_anchors_and_decoding_agree_with_effdet(bench):
    from effdet.anchors import decode_box_outputs
    head = case.build(num_classes=5)
    anchors = torch.cat(head.prior_generator.grid_priors([(side, side) for side in case.sides_of(128)], device='cpu'))
    torch.testing.assert_close(anchors, bench.boxes[:, [1, 0, 3, 2]], rtol=1e-5, atol=1e-3)
    deltas = torch.randn(len(anchors), 4)
    want = decode_box_outputs(swapped(deltas), bench.boxes, output_xyxy=True)
    torch.testing.assert_close(head.bbox_coder.decode(anchors, deltas), want, rtol=1e-4, atol=1e-2)


def test_default_anchors_of_effdet_are_one_in_a_hundred_smaller():
    effdet = pytest.importorskip('effdet')
    from effdet.anchors import Anchors
    config = effdet.get_efficientdet_config('tf_efficientdet_d0')
    want = Anchors.from_config(config).boxes[:, [1, 0, 3, 2]]
    sizes = [(side, side) for side in case.sides_of(512)]
    got = torch.cat(case.build().prior_generator.grid_priors(sizes, device='cpu'))
    sides = (want[:, 2:] - want[:, :2]) / (got[:, 2:] - got[:, :2])
    centres = (want[:, 2:] + want[:, :2]) - (got[:, 2:] + got[:, :2])
    assert sides.min() == pytest.approx(0.7 * 2**0.5, abs=1e-3) and sides.max() == pytest.approx(1, abs=1e-3)
    assert centres.abs().max() < 1e-2


def random_objects(seed, count):
    """Boxes larger than the smallest anchor: what is smaller lies in several, and rounding picks the best."""
    rng = np.random.default_rng(seed)
    corner, size = rng.uniform(0, 50, (count, 2)), rng.uniform(46, 78, (count, 2))
    return case.ground_truth(np.concatenate([corner, corner + size], axis=1), rng.integers(5, size=count))


def without_shared_best_anchors(objects, anchors):
    """Of two objects with one best anchor, mmdet gives it to the last, effdet to the first: drop one."""
    best = bbox_overlaps(objects.bboxes, anchors).argmax(1).tolist()
    return objects[torch.tensor([best.index(anchor) == i for i, anchor in enumerate(best)], dtype=torch.bool)]


@pytest.mark.parametrize('seed', range(3))
def test_targets_and_loss_agree_with_effdet(bench, seed):
    head = case.build(num_classes=5)
    anchor_list, flags = head.get_anchors([(side, side) for side in case.sides_of(128)], [case.meta(128)] * 3, 'cpu')
    gts = [random_objects(10 * seed + i, count) for i, count in enumerate((7, 1, 0))]
    gts[0] = without_shared_best_anchors(gts[0], torch.cat(anchor_list[0]))
    want_labels, want_targets, positives = bench.labels(
        [gt.bboxes[:, [1, 0, 3, 2]] for gt in gts], [gt.labels.float() + 1 for gt in gts])
    labels, weights, targets, _, avg_factor = head.get_targets(anchor_list, flags, gts, [case.meta(128)] * 3)
    assert avg_factor == positives.sum() + 1 and positives.sum() > 8
    for level in range(5):
        want = want_labels[level].flatten(1)
        assert torch.equal(labels[level], torch.where(want < 0, 5, want)) and (weights[level] == 1).all()
        torch.testing.assert_close(
            swapped(targets[level]), want_targets[level].reshape(3, -1, 4), rtol=1e-4, atol=1e-4)

    count = len(bench.boxes)
    scores, deltas = torch.randn(3, count, 5), 0.2 * torch.randn(3, count, 4)
    _, want_cls, want_bbox = bench.loss(
        case.as_maps(scores, 128), case.as_maps(swapped(deltas), 128), want_labels, want_targets, positives)
    losses = head.loss_by_feat(case.as_maps(scores, 128), case.as_maps(deltas, 128), gts, [case.meta(128)] * 3)
    torch.testing.assert_close(sum(losses['loss_cls']), want_cls, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(sum(losses['loss_bbox']), 50 * want_bbox, rtol=1e-4, atol=1e-5)


def test_detections_agree_with_effdet(bench):
    head = case.build(num_classes=5)
    count = len(bench.boxes)
    scores, deltas = 2 * torch.randn(1, count, 5) - 8, 0.3 * torch.randn(1, count, 4)
    want = bench.detections(case.as_maps(scores, 128), case.as_maps(swapped(deltas), 128), 200)
    # effdet also returns what is left of boxes outside the picture.
    want = want[((want[:, 2:4] - want[:, :2]) > 0).all(1)][:100]
    got = case.predictions(head, scores, deltas, 128)
    assert len(got) == len(want) == 100
    # Soft-NMS took part: the boxes' own scores are not what comes out.
    assert not torch.allclose(got.scores, scores.sigmoid().flatten().topk(100).values, rtol=0.01)
    torch.testing.assert_close(got.scores, want[:, 4], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(got.bboxes, want[:, :4], rtol=1e-4, atol=1e-2)
    assert torch.equal(got.labels + 1, want[:, 5].long())
