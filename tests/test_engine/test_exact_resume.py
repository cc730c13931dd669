"""A run that is interrupted anywhere and resumed equals the undisturbed one: every log line, every bit of its state."""
import argparse
import importlib.util
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmaffnet.analysis.compare_resume import compare_resume, table
from mmaffnet.engine.config import add_common_arguments
from mmaffnet.engine.train import add_train_arguments, prepare


def module(name):
    """A module beside this one."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f'{name}.py'))
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


small_recipes, small_recipes_efficientdet, small_recipes_mmdet, small_recipes_mmseg, small_recipes_yolox = map(
    module, ('small_recipes', 'small_recipes_efficientdet', 'small_recipes_mmdet', 'small_recipes_mmseg',
             'small_recipes_yolox'))

DETECTOR = """
_base_ = '{base}'
data_root = '{root}/coco'
# The augmentation of the shipped config as it is, at a third of its size.
resize = dict(type='Resize', scale=(96, 96), keep_ratio=False, backend='pillow', interpolation='bicubic')
train_pipeline = [*_base_.train_pipeline[:-2], resize, _base_.train_pipeline[-1]]
test_pipeline = [_base_.test_pipeline[0], resize, *_base_.test_pipeline[2:]]
train_dataloader = dict(batch_size=4, num_workers=2, dataset=dict(pipeline=train_pipeline, indices=12))
val_dataloader = dict(batch_size=4, num_workers=0, persistent_workers=False,
                      dataset=dict(pipeline=test_pipeline, indices=4))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=3, val_interval=1)
param_scheduler = [dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=5),
                   dict(type='CosineAnnealingLR', eta_min_ratio=0.1, by_epoch=True, begin=0)]
default_hooks = dict(logger=dict(interval=1))
"""


COMMON = """
custom_imports = dict(imports=['mmaffnet'], allow_failed_imports=False)
runner_type = 'mmaffnet.AFFNetRunner'
env_cfg = dict(mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0))
val_cfg, test_cfg = dict(), dict()
"""

SEGMENTOR = COMMON + """
default_scope = 'mmseg'
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(type='SegDataPreProcessor', mean=[0, 0, 0], std=[255, 255, 255], bgr_to_rgb=True,
                           size=(64, 64), pad_val=0, seg_pad_val=255),
    backbone=dict(type='mmaffnet.AFFNet', arch='et', out_indices=(4,), drop_path_rate=0.2),
    decode_head=dict(type='FCNHead', in_channels=144, channels=16, in_index=0, num_convs=1, num_classes=32,
                     dropout_ratio=0.1), train_cfg=dict(), test_cfg=dict(mode='whole'))
load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]
train_pipeline = [
    *load, dict(type='RandomResize', scale=(120, 90), ratio_range=(0.8, 1.5), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(64, 64), cat_max_ratio=0.75), dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'), dict(type='PackSegInputs')]
val_pipeline = [load[0], dict(type='Resize', scale=(64, 64), keep_ratio=False), load[1], dict(type='PackSegInputs')]
dataset = dict(type='BaseSegDataset', data_root='{root}/camvid', metainfo=dict(classes=[str(i) for i in range(32)]))
train_dataloader = dict(
    batch_size=4, num_workers=2, persistent_workers={persistent}, sampler=dict(type='{sampler}', shuffle=True),
    dataset=dict(indices=10, pipeline=train_pipeline, **dataset,
                 data_prefix=dict(img_path='img_dir/train', seg_map_path='ann_dir/train')))
val_dataloader = test_dataloader = dict(
    batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False), dataset=dict(
        indices=2, pipeline=val_pipeline, **dataset,
        data_prefix=dict(img_path='img_dir/val', seg_map_path='ann_dir/val')))
val_evaluator = test_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
train_cfg = dict(type='IterBasedTrainLoop', max_iters=7, val_interval=4)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01, momentum=0.9))
param_scheduler = [dict(type='PolyLR', power=0.9, by_epoch=False)]
default_hooks = dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=3, save_best='mIoU'),
                     logger=dict(type='LoggerHook', interval=1))
log_processor = dict(by_epoch=False)
visualizer = dict(type='SegLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')])
"""

CLASSIFIER = COMMON + """
default_scope = 'mmpretrain'
data_preprocessor = dict(num_classes=4, mean=[0, 0, 0], std=[255, 255, 255], to_rgb=True)
model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmaffnet.AFFNet', arch='et', out_indices=(5,), drop_path_rate=0.2),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=4, in_channels=576,
              loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original')),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]))
load, pack = dict(type='LoadImageFromFile'), dict(type='PackInputs')
train_pipeline = [
    load, dict(type='RandomResizedCrop', scale=64), dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='RandAugment', policies='timm_increasing', num_policies=2, total_level=10, magnitude_level=9,
         magnitude_std=0.5), dict(type='RandomErasing', erase_prob=0.5, mode='rand'), pack]
val_pipeline = [load, dict(type='Resize', scale=(64, 64)), pack]
train_dataloader = dict(
    batch_size=4, num_workers=2, persistent_workers=False, collate_fn=dict(type='default_collate'),
    sampler=dict(type='RepeatAugSampler', shuffle=True, num_repeats=2),
    dataset=dict(type='CustomDataset', data_prefix='{photos}', pipeline=train_pipeline))
val_dataloader = test_dataloader = dict(
    batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='CustomDataset', data_prefix='{photos}', pipeline=val_pipeline))
val_evaluator = test_evaluator = dict(type='Accuracy')
train_cfg = dict(by_epoch=True, max_epochs=3, val_interval=2)
# Windows of two iterations, epochs of three: every other epoch ends within a window.
optim_wrapper = dict(type='OptimWrapper', accumulative_counts=2, optimizer=dict(type='AdamW', lr=1e-3))
param_scheduler = [dict(type='ReduceOnPlateauLR', monitor='accuracy/top1', rule='greater', patience=0)]
custom_hooks = [dict(type='EMAHook', momentum=0.1, priority='ABOVE_NORMAL')]
default_hooks = dict(checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=1, save_best='auto'),
                     logger=dict(type='LoggerHook', interval=2))
visualizer = dict(type='UniversalVisualizer', vis_backends=[dict(type='LocalVisBackend')])
"""


def detector(data_root, config_root, tmp_path):
    """SSDLite with EMA, warm-up by iteration, cosine by epoch, persistent workers."""
    return DETECTOR.format(base=config_root / 'ssdlite' / 'ssdlite_affnet-et_8xb16-200e_coco.py', root=data_root)


def endless_segmentor(data_root, config_root, tmp_path):
    """By iterations, with a sampler that never ends."""
    return SEGMENTOR.format(root=data_root, sampler='InfiniteSampler', persistent=True)


def segmentor(data_root, config_root, tmp_path):
    """By iterations, with passes of three batches (the last one of two pictures) and new workers for each."""
    return SEGMENTOR.format(root=data_root, sampler='DefaultSampler', persistent=False)


def classifier(data_root, config_root, tmp_path):
    """Mixed pictures, erased parts, dropped paths, a schedule by the metric, accumulated gradients."""
    photos = sorted((data_root / 'imagenet_samples' / 'val').glob('*/*.JPEG'))[:12]
    for number, photo in enumerate(photos):
        folder = tmp_path / 'photos' / f'class{number // 3}'
        folder.mkdir(parents=True, exist_ok=True)
        (folder / photo.name).symlink_to(photo)
    return CLASSIFIER.format(photos=tmp_path / 'photos')


# A new config joins by one line: name, builder of its text, where to interrupt.
CONFIGS = [
    # 3 iterations an epoch: iteration 6 is the last of its epoch, and its checkpoint is older than the epoch's end.
    ('ssdlite', detector, ['epoch:1', 'iter:4', 'iter:6']),
    ('endless segmentor', endless_segmentor, ['iter:2', 'iter:4']),
    ('segmentor', segmentor, ['iter:3', 'iter:4']),
    ('classifier', classifier, ['epoch:1', 'epoch:2', 'iter:5']),
    ('ade20k', small_recipes.ade20k, ['epoch:1', 'iter:4']),
    ('voc', small_recipes.voc, ['epoch:1']),
    ('imagenet', small_recipes.imagenet, ['epoch:1', 'iter:4']),
    # 3 iterations an epoch; the batch's size is drawn after each second one; Mosaic ends with iteration 6. Within an
    # epoch of Mosaic, before the switch, within the first epoch behind it, before the last.
    ('yolox', small_recipes_yolox.yolox, ['iter:5', 'epoch:2', 'iter:7', 'epoch:3']),
    # 3 iterations an epoch: at the end of the warm-up, within an epoch of the cosine.
    ('efficientdet', small_recipes_efficientdet.efficientdet, ['epoch:1', 'iter:5']),
    ('semantic fpn', small_recipes_mmseg.semantic_fpn, ['iter:3', 'iter:4']),
    ('deeplabv3plus', small_recipes_mmseg.deeplabv3plus, ['epoch:1', 'iter:4']),
    # 3 iterations an epoch: before the rate's step, within an epoch; the random sizes and regions go on as they were.
    ('retinanet', small_recipes_mmdet.retinanet, ['epoch:2', 'iter:4']),
    ('mask rcnn', small_recipes_mmdet.mask_rcnn, ['epoch:1', 'iter:5']),
]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """Sums depend on the number of threads. The config's text, which mmengine formats anew for each checkpoint (0.4 s
    for the shipped detector, 3 s for long lists), is left out."""
    monkeypatch.setattr(Config, 'pretty_text', property(lambda cfg: ''))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def prepared(text, tmp_path, *options):
    """The config of a text, as tools/train.py would train it."""
    path = tmp_path / 'config.py'
    path.write_text(text)
    parser = argparse.ArgumentParser()
    add_train_arguments(parser)
    add_common_arguments(parser)
    return prepare(parser.parse_args([str(path), '--work-dir', str(tmp_path / 'runs'), *options]))


@pytest.mark.slow
@pytest.mark.parametrize(('name', 'build', 'points'), CONFIGS, ids=[config[0] for config in CONFIGS])
def test_resumed_equals_straight(name, build, points, data_root, config_root, tmp_path):
    cfg = prepared(build(data_root, config_root, tmp_path), tmp_path)
    results = compare_resume(cfg, points)
    print(table(results))
    assert all(result.equal for result in results), table(results)
    assert set(points) <= {result.point for result in results}
    assert any(result.point.endswith('+val') for result in results)
    assert all(result.lines and result.tensors > 500 for result in results)
