import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

pytest.importorskip('mmdet')
from mmdet.registry import TASK_UTILS  # noqa: E402


def brute_force(anchors, boxes, threshold=0.5, eps=1e-5):
    """Index of the box of each anchor, -1 for background, in float64, one pair after the other."""
    anchors, boxes = anchors.double().numpy(), boxes.double().numpy()
    iou = np.zeros((len(boxes), len(anchors)))
    for b, box in enumerate(boxes):
        for a, anchor in enumerate(anchors):
            w = min(box[2], anchor[2]) - max(box[0], anchor[0])
            h = min(box[3], anchor[3]) - max(box[1], anchor[1])
            inter = max(w, 0) * max(h, 0)
            area = sum((r[2] - r[0]) * (r[3] - r[1]) for r in (box, anchor))
            iou[b, a] = inter / (area - inter + eps)
    matched = np.where(iou.max(0) >= threshold, iou.argmax(0), -1)
    for b in range(len(boxes)):
        matched[iou[b].argmax()] = b
    return matched


@pytest.fixture
def assigner(config_root):
    init_default_scope('mmdet')
    cfg = Config.fromfile(config_root / '_base_/models/ssdlite_affnet.py')
    return TASK_UTILS.build(cfg.model.train_cfg.assigner)


@pytest.mark.parametrize('seed', range(4))
def test_against_brute_force(assigner, seed):
    rng = torch.Generator().manual_seed(seed)
    generator = TASK_UTILS.build(dict(type='mmaffnet.SSDLiteAnchorGenerator', ratios=((2, 3), (2, 3), (2, ))))
    anchors = torch.cat(generator.grid_priors([(5, 7), (3, 4), (1, 1)], device='cpu'))
    corner = torch.rand(8, 2, generator=rng) * 0.8
    boxes = torch.cat([corner, corner + 0.02 + torch.rand(8, 2, generator=rng) * 0.5], dim=1)
    boxes[1] = boxes[0] + torch.tensor([0.0, 0.0, 0.002, 0.003])  # two boxes that want the same anchors
    result = assigner.assign(InstanceData(priors=anchors), InstanceData(bboxes=boxes, labels=torch.arange(8)))
    want = brute_force(anchors, boxes)
    np.testing.assert_array_equal(result.gt_inds.numpy() - 1, want)
    np.testing.assert_array_equal(result.labels.numpy(), want)


def test_the_later_of_two_equal_boxes_wins_their_best_anchor(assigner):
    anchors = torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]])
    boxes = torch.tensor([[0.0, 0.0, 0.5, 0.4]] * 2)
    result = assigner.assign(InstanceData(priors=anchors), InstanceData(bboxes=boxes, labels=torch.tensor([5, 7])))
    assert result.labels.tolist() == [7, -1]


def test_a_picture_without_boxes_is_background(assigner):
    result = assigner.assign(
        InstanceData(priors=torch.rand(9, 4)),
        InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long)))
    assert result.gt_inds.tolist() == [0] * 9


def test_eps_is_added_to_the_union():
    init_default_scope('mmdet')
    overlaps = TASK_UTILS.build(dict(type='mmaffnet.SmoothedBboxOverlaps2D', eps=0.25))
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.5, 0.0, 1.5, 1.0]])
    torch.testing.assert_close(overlaps(boxes, boxes), torch.tensor([[0.8, 0.5 / 1.75], [0.5 / 1.75, 0.8]]))
    assert overlaps(boxes, torch.zeros(0, 4)).shape == (2, 0)
    # Other modes stay mmdet's.
    torch.testing.assert_close(overlaps(boxes, boxes, mode='iof'), torch.tensor([[1.0, 0.5], [0.5, 1.0]]))
    torch.testing.assert_close(overlaps(boxes, boxes, is_aligned=True), torch.ones(2))
    assert repr(overlaps) == 'SmoothedBboxOverlaps2D(eps=0.25)'
