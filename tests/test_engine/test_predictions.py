"""Predictions of instance masks, written down and drawn."""
import json

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from PIL import Image
from pycocotools import mask as coco_mask

pytest.importorskip('mmdet')
from mmdet.structures import DetDataSample  # noqa: E402
from mmdet.visualization import DetLocalVisualizer  # noqa: E402

from mmaffnet.engine.predictions import as_json, draw  # noqa: E402


@pytest.fixture
def sample():
    """Two objects in a picture of 60 x 40, the second one likelier: a rectangle and a disc."""
    y, x = torch.meshgrid(torch.arange(40), torch.arange(60), indexing='ij')
    masks = torch.stack([(x >= 2) & (x < 12) & (y >= 3) & (y < 33), (x - 40)**2 + (y - 20)**2 <= 100])
    found = InstanceData(bboxes=torch.tensor([[2., 3, 12, 33], [30, 10, 51, 31]]), scores=torch.tensor([0.4, 0.9]),
                         labels=torch.tensor([1, 0]), masks=masks)
    return DetDataSample(pred_instances=found, metainfo=dict(ori_shape=(40, 60)))


def test_masks_are_written_as_cocos_run_lengths(sample):
    result = json.loads(json.dumps(as_json('mmdet', sample, ('disc', 'bar'))))
    assert (result['height'], result['width']) == (40, 60)
    disc, bar = result['detections']
    assert (disc['class'], bar['class'], bar['bbox']) == ('disc', 'bar', [2, 3, 12, 33])
    for item, mask in ((disc, sample.pred_instances.masks[1]), (bar, sample.pred_instances.masks[0])):
        assert item['mask']['size'] == [40, 60]
        assert np.array_equal(coco_mask.decode(item['mask']), mask.numpy())
    assert coco_mask.area(bar['mask']) == 300


def test_without_masks_there_are_none(sample):
    del sample.pred_instances.masks
    assert all('mask' not in item for item in as_json('mmdet', sample, ())['detections'])


def test_masks_are_drawn_where_the_score_is_high_enough(sample, tmp_path):
    picture = tmp_path / 'grey.png'
    Image.fromarray(np.full((40, 60, 3), 128, np.uint8)).save(picture)
    visualizer = DetLocalVisualizer(name='masks of the test')
    visualizer.dataset_meta = dict(classes=('disc', 'bar'), palette=[(255, 0, 0), (0, 0, 255)])
    draw(visualizer, 'mmdet', picture, sample, tmp_path / 'vis' / 'grey.png', 0.5)
    drawn = np.asarray(Image.open(tmp_path / 'vis' / 'grey.png')).astype(int)
    assert drawn.shape == (40, 60, 3)
    assert drawn[25, 40, 0] > 160 > drawn[25, 40, 2]  # in the disc: towards red
    assert drawn[20, 7].tolist() == [128] * 3  # in the bar, whose score is too low
