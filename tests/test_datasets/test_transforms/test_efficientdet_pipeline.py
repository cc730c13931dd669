"""The pipelines of the shipped EfficientDet configs on photographs."""
import json

import cv2
import mmcv
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

pytest.importorskip('mmdet')
from mmdet.registry import DATASETS, MODELS  # noqa: E402
from mmengine.dataset import pseudo_collate  # noqa: E402

SIZES = {'d0_efficientnet-b0': 512, 'd1_affnet-t': 640}


@pytest.fixture(scope='module', params=SIZES)
def cfg(request, config_root):
    init_default_scope('mmdet')
    return Config.fromfile(config_root / f'efficientdet/efficientdet-{request.param}_8xb16-300e_coco.py')


@pytest.fixture(scope='module')
def size(cfg):
    return SIZES['d0_efficientnet-b0' if 'd0' in cfg.filename else 'd1_affnet-t']


def build(cfg, root, split):
    return DATASETS.build(dict(cfg[f'{split}_dataloader'].dataset, data_root=str(root)))


def preprocessed(cfg, samples):
    return MODELS.build(cfg.model.data_preprocessor)(pseudo_collate(samples), training=True)


@pytest.fixture(scope='module')
def marked(data_root, tmp_path_factory):
    """Grey photographs in each of which one rectangle is painted in magenta, and annotated."""
    root = tmp_path_factory.mktemp('marked')
    for part in ('train2017', 'annotations'):
        (root / part).mkdir()
    images, annotations = [], []
    for number, path in enumerate(sorted((data_root / 'coco' / 'train2017').glob('*.jpg'))[:5], start=1):
        picture = cv2.cvtColor(mmcv.imread(str(path), 'grayscale'), cv2.COLOR_GRAY2BGR)
        height, width = picture.shape[:2]
        x, y, w, h = 10 * number, height // 8, width // 4, height // 4 + 5 * number
        picture[y:y + h, x:x + w] = (255, 0, 255)
        cv2.imwrite(str(root / 'train2017' / f'{number}.png'), picture)
        images.append(dict(id=number, file_name=f'{number}.png', height=height, width=width))
        annotations.append(dict(id=number, image_id=number, category_id=1, bbox=[x, y, w, h], area=w * h, iscrowd=0))
    (root / 'annotations' / 'instances_train2017.json').write_text(json.dumps(
        dict(images=images, annotations=annotations, categories=[dict(id=1, name='person')])))
    return root


def box_of_mark(picture):
    """What of the rectangle is in a picture (3, H, W), as x1, y1, x2, y2; None where it is not. A grey pixel has as
    much green as red and blue, one in the rectangle 255 less, and interpolation is linear."""
    blue, green, red = picture.float()
    rows, columns = ((blue + red) / 2 - green > 127).nonzero(as_tuple=True)
    if len(rows) == 0:
        return None
    return torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]).float()


def test_boxes_follow_scale_crop_and_flip(cfg, size, marked):
    dataset = build(Config(dict(train_dataloader=dict(dataset=dict(
        cfg.train_dataloader.dataset, metainfo=dict(classes=('person', )))))), marked, 'train')
    found, empty, flips, sides = 0, 0, set(), []
    for seed in range(10):
        np.random.seed(seed)
        for index in range(len(dataset)):
            sample = dataset[index]
            picture, instances = sample['inputs'], sample['data_samples'].gt_instances
            assert sample['data_samples'].img_shape == picture.shape[1:] and max(picture.shape[1:]) <= size
            factor = sample['data_samples'].scale_factor[0]
            sides.append(factor * max(sample['data_samples'].ori_shape) / size)
            flips.add(sample['data_samples'].flip)
            mark = box_of_mark(picture)
            if len(instances) == 0:  # a crop beside the rectangle
                empty += 1
                assert mark is None
                continue
            box, = instances.bboxes.tensor
            if (box[2:] - box[:2]).min() > 2:
                found += 1
                assert (mark - box).abs().max() <= 1.01, (seed, index, box, mark)
    assert found > 30 and empty > 0 and flips == {True, False}
    assert 0.09 < min(sides) < 0.4 and 1.6 < max(sides) < 2.01


def test_batch_is_padded_to_the_square_on_the_right_and_below(cfg, size, data_root):
    dataset = build(cfg, data_root / 'coco', 'train')
    np.random.seed(0)
    samples = [dataset[index] for index in range(6)]
    assert any(sample['inputs'].shape[1:] != (size, size) for sample in samples)
    batch = preprocessed(cfg, samples)
    assert batch['inputs'].shape == (6, 3, size, size)
    mean, std = (torch.tensor(cfg.model.data_preprocessor[key])[:, None, None] for key in ('mean', 'std'))
    for sample, given, out in zip(samples, batch['inputs'], batch['data_samples'], strict=True):
        height, width = sample['inputs'].shape[1:]
        assert torch.allclose(given[:, :height, :width], (sample['inputs'][[2, 1, 0]] - mean) / std, atol=1e-5)
        assert not given[:, height:].any() and not given[:, :, width:].any()
        assert out.batch_input_shape == (size, size)


def test_affnet_is_fed_rgb_in_0_to_1_and_efficientnet_its_own(cfg):
    preprocessor = cfg.model.data_preprocessor
    assert preprocessor.bgr_to_rgb is True
    if cfg.model.backbone.type == 'mmaffnet.AFFNet':
        assert (list(preprocessor.mean), list(preprocessor.std)) == ([0.] * 3, [255.] * 3)
    else:  # ImageNet's, in RGB
        assert (list(preprocessor.mean), list(preprocessor.std)) == ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375])


def test_validation_picture_keeps_its_ratio(cfg, size, data_root):
    dataset = build(cfg, data_root / 'coco', 'val')
    assert len(dataset) == 64
    sample = dataset[5]
    meta = sample['data_samples']
    picture = mmcv.imread(meta.img_path)
    height, width = picture.shape[:2]
    scaled = tuple(round(side * size / max(height, width)) for side in (height, width))
    assert sample['inputs'].shape[1:] == scaled and max(scaled) == size and min(scaled) < size
    want = cv2.resize(picture, scaled[::-1], interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(sample['inputs'].permute(1, 2, 0).numpy(), want)
    assert meta.ori_shape == (height, width)
    assert meta.scale_factor == pytest.approx((scaled[1] / width, scaled[0] / height))
    assert preprocessed(cfg, [sample])['inputs'].shape == (1, 3, size, size)


def test_order_and_settings(cfg, size):
    steps = cfg.train_dataloader.dataset.pipeline
    assert [step.type for step in steps] == [
        'LoadImageFromFile', 'LoadAnnotations', 'RandomResize', 'RandomCrop', 'RandomFlip', 'PackDetInputs']
    assert tuple(steps[2].scale) == tuple(steps[3].crop_size) == (size, size) and steps[3].allow_negative_crop
    assert tuple(steps[2].ratio_range) == (0.1, 2.0) and steps[4].prob == 0.5
