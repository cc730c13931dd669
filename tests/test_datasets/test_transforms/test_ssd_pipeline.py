"""The pipelines of the shipped SSDLite configs on photographs."""

import json

import mmcv
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image

pytest.importorskip('mmdet')
from mmdet.registry import DATASETS, MODELS  # noqa: E402
from mmengine.dataset import pseudo_collate  # noqa: E402


@pytest.fixture(scope='module')
def cfg(config_root):
    init_default_scope('mmdet')
    return Config.fromfile(config_root / 'ssdlite/ssdlite_affnet-et_8xb16-200e_coco.py')


def build(cfg, data_root, split):
    dataset = cfg[f'{split}_dataloader'].dataset
    dataset.data_root = str(data_root / 'coco')
    return DATASETS.build(dataset)


def test_validation_picture_is_pillows_bicubic_in_rgb(cfg, data_root):
    dataset = build(cfg, data_root, 'val')
    assert len(dataset) == 64
    sample = dataset[5]
    picture = mmcv.imread(sample['data_samples'].img_path)
    want = np.asarray(Image.fromarray(picture[..., ::-1].copy()).resize((320, 320), Image.Resampling.BICUBIC))
    batch = MODELS.build(cfg.model.data_preprocessor)(pseudo_collate([sample]))
    np.testing.assert_allclose(batch['inputs'][0].permute(1, 2, 0).numpy(), want / 255, atol=1e-6)
    height, width = picture.shape[:2]
    assert sample['data_samples'].ori_shape == (height, width)
    assert sample['data_samples'].scale_factor == pytest.approx((320 / width, 320 / height))


def test_training_leaves_out_pictures_without_annotation_and_crowds(cfg, data_root):
    dataset = build(cfg, data_root, 'train')
    annotations = json.loads((data_root / 'coco/annotations/instances_train2017.json').read_text())['annotations']
    assert len(dataset) == len({a['image_id'] for a in annotations}) == 126
    crowds = {a['image_id'] for a in annotations if a['iscrowd']}
    samples = [dataset[i] for i in range(len(dataset)) if dataset.get_data_info(i)['img_id'] in crowds]
    assert samples and sum(len(s['data_samples'].ignored_instances) for s in samples) > 0
    # What is left is what the model trains on: the assigner of the config does not look at ignored boxes.
    assert cfg.model.train_cfg.assigner.get('ignore_iof_thr', -1) == -1


def test_training_samples(cfg, data_root):
    dataset = build(cfg, data_root, 'train')

    def run(seed):
        torch.manual_seed(seed)
        np.random.seed(seed)
        return [dataset[i] for i in range(12)]

    first, again, other = run(0), run(0), run(1)
    flips = set()
    for a, b, c in zip(first, again, other, strict=True):
        assert a['inputs'].shape == (3, 320, 320) and a['inputs'].dtype == torch.uint8
        boxes = a['data_samples'].gt_instances.bboxes.tensor
        assert (boxes >= 0).all() and (boxes <= 320).all() and (boxes[:, 2:] > boxes[:, :2]).all()
        assert torch.equal(a['inputs'], b['inputs']) and not torch.equal(a['inputs'], c['inputs'])
        assert torch.equal(boxes, b['data_samples'].gt_instances.bboxes.tensor)
        flips.add(a['data_samples'].flip)
    assert flips == {True, False}


def test_order_and_settings(cfg):
    steps = [step.type for step in cfg.train_dataloader.dataset.pipeline]
    assert steps == ['LoadImageFromFile', 'LoadAnnotations', 'mmaffnet.SSDRandomCrop',
                     'mmaffnet.RandomPhotometricDistort', 'RandomFlip', 'Resize', 'PackDetInputs']
    assert cfg.train_dataloader.dataset.pipeline[4].prob == 0.5
    # The crops' and the distortions' ranges are those classes' defaults.
    assert set(cfg.train_dataloader.dataset.pipeline[2]) == set(cfg.train_dataloader.dataset.pipeline[3]) == {'type'}
