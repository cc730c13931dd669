import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope

pytest.importorskip('mmdet')
from mmdet.registry import DATASETS, TRANSFORMS  # noqa: E402
from mmdet.structures.bbox import HorizontalBoxes  # noqa: E402


def build(**kwargs):
    init_default_scope('mmdet')
    return TRANSFORMS.build(dict(type='mmaffnet.SSDRandomCrop', **kwargs))


def picture(boxes, height=400, width=400, ignored=None):
    """A picture whose segmentation map numbers its pixels, so that a crop says where it was cut."""
    results = dict(
        img=np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8),
        img_shape=(height, width),
        gt_seg_map=np.arange(height * width).reshape(height, width),
        gt_bboxes=HorizontalBoxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)),
        gt_bboxes_labels=np.arange(len(boxes)))
    if ignored is not None:
        results['gt_ignore_flags'] = np.array(ignored, dtype=bool)
    return results


def window(results, width):
    """(x1, y1, x2, y2) of the crop in the picture of the given width."""
    (y1, x1), (y2, x2) = (divmod(int(results['gt_seg_map'][corner]), width) for corner in ((0, 0), (-1, -1)))
    return x1, y1, x2 + 1, y2 + 1


@pytest.fixture(scope='module')
def photographs(data_root):
    """Loaded training photographs with boxes and masks."""
    init_default_scope('mmdet')
    dataset = DATASETS.build(dict(
        type='CocoDataset',
        data_root=str(data_root / 'coco'),
        ann_file='annotations/instances_train2017.json',
        data_prefix=dict(img='train2017/'),
        pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True, with_mask=True)]))
    crowded = [i for i in range(len(dataset)) if any(x['ignore_flag'] for x in dataset.get_data_info(i)['instances'])]
    assert crowded
    return [dataset[i] for i in sorted({*crowded, *range(30)})]


def copied(results):
    copy = dict(results, gt_bboxes=results['gt_bboxes'].clone())
    height, width = results['img'].shape[:2]
    copy['gt_seg_map'] = np.arange(height * width).reshape(height, width)
    return copy


def test_photographs(photographs):
    np.random.seed(0)
    crop, cropped, with_crowd = build(), 0, 0
    for before in photographs:
        for _ in range(4):
            after = crop(copied(before))
            height, width = before['img'].shape[:2]
            x1, y1, x2, y2 = window(after, width)
            np.testing.assert_array_equal(after['img'], before['img'][y1:y2, x1:x2])
            assert after['img_shape'] == (y2 - y1, x2 - x1)
            if after['img_shape'] == (height, width):
                assert len(after['gt_bboxes']) == len(before['gt_bboxes'])
                continue
            cropped += 1
            assert min(x2 - x1, y2 - y1) >= 100 and 0.5 <= (y2 - y1) / (x2 - x1) <= 2
            # int() takes up to one pixel from the 0.3
            assert (x2 - x1) > 0.3 * width - 1 and (y2 - y1) > 0.3 * height - 1
            boxes = before['gt_bboxes'].tensor.double().numpy()
            centres = (boxes[:, :2] + boxes[:, 2:]) / 2
            inside = ((centres > (x1, y1)) & (centres < (x2, y2))).all(1)
            crowd = before['gt_ignore_flags']
            assert (inside & ~crowd).any()
            with_crowd += (inside & crowd).any()
            patch = np.array([x1, y1, x2, y2])
            sides = np.minimum(boxes[:, 2:], patch[2:]) - np.maximum(boxes[:, :2], patch[:2])
            inter = sides.clip(0).prod(1)
            iou = inter / ((boxes[:, 2:] - boxes[:, :2]).prod(1) + (patch[2:] - patch[:2]).prod() - inter)
            assert iou[~crowd].max() >= 0.1 - 1e-6
            want = (boxes[inside] - (x1, y1, x1, y1)).clip(0, (x2 - x1, y2 - y1) * 2)
            np.testing.assert_allclose(after['gt_bboxes'].tensor.numpy(), want, atol=1e-3)
            assert (want[:, 2:] > want[:, :2]).all()
            for key in ('gt_bboxes_labels', 'gt_ignore_flags'):
                np.testing.assert_array_equal(after[key], before[key][inside])
            np.testing.assert_array_equal(
                after['gt_masks'].to_ndarray(), before['gt_masks'].to_ndarray()[inside, y1:y2, x1:x2])
    assert cropped > 40 and with_crowd > 0


def test_thresholds_are_drawn_evenly():
    np.random.seed(0)
    crop = build()
    drawn = [crop._random_mode() for _ in range(7000)]
    for mode in (None, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0):
        assert abs(drawn.count(mode) - 1000) < 5 * np.sqrt(7000 * 1 / 7 * 6 / 7)


def test_one_box_is_enough():
    np.random.seed(0)
    far_apart = [[0, 0, 160, 160], [240, 240, 400, 400]]  # no patch has an IoU of 0.5 with both
    crop = build(min_ious=(0.5, ))
    results = [crop(picture(far_apart)) for _ in range(50)]
    labels = [r['gt_bboxes_labels'].tolist() for r in results if r['img_shape'] != (400, 400)]
    assert [0] in labels and [1] in labels


def test_ignored_boxes_neither_admit_nor_refuse_a_patch():
    np.random.seed(0)
    crop = build(min_ious=(0.5, ))
    # The crowd overlaps every large patch, the object only those at the left.
    for _ in range(50):
        result = crop(picture([[0, 0, 160, 160], [0, 0, 400, 400]], ignored=[False, True]))
        if result['img_shape'] != (400, 400):
            assert 0 in result['gt_bboxes_labels']
            x1, y1, x2, y2 = window(result, 400)
            inter = max(min(x2, 160) - x1, 0) * max(min(y2, 160) - y1, 0)
            assert inter / ((x2 - x1) * (y2 - y1) + 160 * 160 - inter) >= 0.5
            assert result['gt_ignore_flags'].tolist() == [label == 1 for label in result['gt_bboxes_labels']]


@pytest.mark.parametrize('results', [
    picture([]),
    picture([[10, 10, 200, 200]], ignored=[True]),
    picture([[10, 10, 80, 80]], height=99, width=300),
], ids=['no boxes', 'only crowds', 'smaller than the smallest patch'])
def test_pictures_that_stay_whole(results):
    np.random.seed(0)
    crop = build()
    for _ in range(20):
        after = crop(dict(results))
        assert after['img'] is results['img'] and len(after['gt_bboxes']) == len(results['gt_bboxes'])


def test_number_of_trials(monkeypatch):
    draws = []
    uniform = np.random.uniform
    monkeypatch.setattr(np.random, 'uniform', lambda *args: draws.append(args) or uniform(*args))
    crop = build(min_side=0, aspect_ratio_range=(0, np.inf))
    boxes = picture([[10, 10, 200, 200]])['gt_bboxes']
    assert crop._find_patch(boxes, 2.0, 400, 400) is None  # no IoU is 2
    assert len(draws) == 40 * 4


def test_numpy_seed_decides():
    crop = build()

    def windows(seed):
        np.random.seed(seed)
        return [window(crop(picture([[100, 100, 300, 300]])), 400) for _ in range(10)]

    assert windows(1) == windows(1) != windows(2)
