"""A small detection config, and small COCO-format sets with classes of their own."""
import json

import numpy as np
import pytest
from PIL import Image

SMALL = """
_base_ = '{base}'
data_root = '{data_root}'
resize = dict(type='Resize', scale=({size}, {size}), keep_ratio=False, backend='pillow', interpolation='bicubic')
train_pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True), resize,
                  dict(type='PackDetInputs')]
test_pipeline = [dict(type='LoadImageFromFile'), resize, dict(type='LoadAnnotations', with_bbox=True),
                 dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))]
train_dataloader = dict(batch_size={batch}, num_workers=0, persistent_workers=False,
                        dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=4, num_workers=0, persistent_workers=False, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs={epochs}, val_interval={epochs})
param_scheduler = [dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=2),
                   dict(type='CosineAnnealingLR', eta_min_ratio=0.1, by_epoch=True, begin=0)]
# Short runs: the paper's EMA would still hold the initial weights.
custom_hooks = []
default_hooks = dict(logger=dict(interval=1))
{extra}
"""


@pytest.fixture
def small_config(tmp_path, config_root):
    """Write a config for pictures of 96 px without augmentation: small_config(data_root, name=…, extra=…) -> Path."""
    def write(data_root, name='small', epochs=1, batch=4, size=96, extra=''):
        base = config_root / 'ssdlite' / 'ssdlite_affnet-et_8xb16-200e_coco.py'
        path = tmp_path / f'{name}.py'
        path.write_text(SMALL.format(base=base, data_root=data_root, size=size, batch=batch, epochs=epochs,
                                     extra=extra))
        return path

    return write


@pytest.fixture
def own_set(tmp_path):
    """Write a COCO-format set: own_set(classes, ids=…) -> its root."""
    def write(classes, ids=None, name='own', num=8):
        root = tmp_path / name
        rng = np.random.default_rng(0)
        categories = [dict(id=i, name=c) for i, c in zip(ids or range(1, len(classes) + 1), classes, strict=True)]
        for part in ('train2017', 'val2017'):
            (root / part).mkdir(parents=True)
            images, annotations = [], []
            for image_id in range(1, num + 1):
                pixels = rng.integers(0, 256, (80, 100, 3), dtype=np.uint8)
                for k in range(2):
                    index = int(rng.integers(len(classes)))
                    x, y, w, h = (int(v) for v in rng.integers((0, 0, 20, 20), (50, 40, 50, 40)))
                    pixels[y:y + h, x:x + w] = 255 * index // len(classes)
                    annotations.append(dict(id=2 * image_id + k, image_id=image_id, bbox=[x, y, w, h], area=w * h,
                                            category_id=categories[index]['id'], iscrowd=0))
                Image.fromarray(pixels).save(root / part / f'{image_id}.png')
                images.append(dict(id=image_id, file_name=f'{image_id}.png', height=80, width=100))
            (root / 'annotations').mkdir(exist_ok=True)
            (root / 'annotations' / f'instances_{part}.json').write_text(
                json.dumps(dict(images=images, annotations=annotations, categories=categories)))
        return root

    return write
