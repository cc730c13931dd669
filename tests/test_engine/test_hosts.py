"""One entry for all three hosts: a classifier and a segmentor are trained, tested and used for prediction too."""
import json

import pytest
import torch

from mmaffnet.engine.cli import predict_main, train_main
from mmaffnet.engine.cli import test_main as run_test

COMMON = """
custom_imports = dict(imports=['mmaffnet'], allow_failed_imports=False)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3))
param_scheduler = [dict(type='CosineAnnealingLR', by_epoch=True)]
train_cfg = dict(by_epoch=True, max_epochs=1, val_interval=1)
val_cfg, test_cfg = dict(), dict()
default_hooks = dict(checkpoint=dict(type='CheckpointHook', interval=1), logger=dict(type='LoggerHook', interval=1))
"""

CLASSIFIER = """
default_scope = 'mmpretrain'
data_preprocessor = dict(num_classes={num}, mean=[0, 0, 0], std=[255, 255, 255], to_rgb=True)
model = dict(
    type='ImageClassifier', backbone=dict(type='mmaffnet.AFFNet', arch='et', out_indices=(5,)),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes={num}, in_channels=576, loss=dict(type='CrossEntropyLoss')))
pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(64, 64)), dict(type='PackInputs')]
train_dataloader = dict(batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True), dataset=dict(
    type='CustomDataset', data_prefix='{root}', pipeline=pipeline))
val_dataloader = test_dataloader = dict(batch_size=4, num_workers=0, sampler=dict(
    type='DefaultSampler', shuffle=False), dataset=dict(type='CustomDataset', data_prefix='{root}', pipeline=pipeline))
val_evaluator = test_evaluator = dict(type='Accuracy')
visualizer = dict(type='UniversalVisualizer', vis_backends=[dict(type='LocalVisBackend')])
"""

SEGMENTOR = """
default_scope = 'mmseg'
data_root = '{root}'
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(type='SegDataPreProcessor', mean=[0, 0, 0], std=[255, 255, 255], bgr_to_rgb=True,
                           size=(64, 64), pad_val=0, seg_pad_val=255),
    backbone=dict(type='mmaffnet.AFFNet', arch='et', out_indices=(4,), norm_cfg=dict(type='SyncBN')),
    decode_head=dict(type='FCNHead', in_channels=144, channels=16, in_index=0, num_convs=1, num_classes=11,
                     norm_cfg=dict(type='SyncBN')), train_cfg=dict(), test_cfg=dict(mode='whole'))
load = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(64, 64), keep_ratio=False)]
train_pipeline = [load[0], dict(type='LoadAnnotations'), load[1], dict(type='PackSegInputs')]
test_pipeline = [*load, dict(type='LoadAnnotations'), dict(type='PackSegInputs')]
classes = {classes}
train_dataloader = dict(batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True), dataset=dict(
    type='BaseSegDataset', indices=8, data_prefix=dict(img_path='img_dir/train', seg_map_path='ann_dir/train'),
    pipeline=train_pipeline))
val_dataloader = test_dataloader = dict(batch_size=1, num_workers=0, sampler=dict(
    type='DefaultSampler', shuffle=False), dataset=dict(
    type='BaseSegDataset', indices=3, data_prefix=dict(img_path='img_dir/val', seg_map_path='ann_dir/val'),
    pipeline=test_pipeline))
val_evaluator = test_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
visualizer = dict(type='SegLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')])
"""


@pytest.fixture
def run(tmp_path):
    """Train one epoch, test and predict; returns (metrics, the picture's JSON)."""
    def go(text, picture):
        config = tmp_path / 'host.py'
        config.write_text(COMMON + text)
        train_main([str(config), '--work-dir', str(tmp_path / 'run')])
        checkpoint = str(tmp_path / 'run' / 'epoch_1.pth')
        run_test([str(config), checkpoint, '--work-dir', str(tmp_path / 'run'), '--out', str(tmp_path / 'm.json'),
                  '--show-dir', str(tmp_path / 'shown')])
        predict_main([str(picture), '--config', str(config), '--checkpoint', checkpoint, '--out', str(tmp_path)])
        assert (tmp_path / 'vis' / f'{picture.stem}.jpg').stat().st_size
        shown = [path for path in (tmp_path / 'shown').rglob('*') if path.suffix in ('.png', '.jpg', '.JPEG')]
        assert shown
        return [json.loads(path.read_text()) for path in (
            tmp_path / 'm.json', tmp_path / 'preds' / f'{picture.stem}.json')]

    return go


def test_classifier(run, data_root, tmp_path):
    photos = sorted((data_root / 'imagenet_samples' / 'val').glob('*/*.JPEG'))[:8]
    for photo in photos:  # four classes of two photographs
        folder = tmp_path / 'photos' / f'class{photos.index(photo) // 2}'
        folder.mkdir(parents=True, exist_ok=True)
        (folder / photo.name).symlink_to(photo)
    metrics, predicted = run(CLASSIFIER.format(root=tmp_path / 'photos', num=4), photos[0])
    assert 0 <= metrics['accuracy/top1'] <= 100
    scores = [item['score'] for item in predicted['classes']]
    assert sum(scores) == pytest.approx(1) and scores == sorted(scores, reverse=True)
    assert {item['class'] for item in predicted['classes']} == {f'class{i}' for i in range(4)}


def test_segmentor(run, data_root):
    names = [line.split()[1] for line in (data_root / 'camvid' / 'classes.txt').read_text().splitlines()
             if line.split()[0].isdigit()][:11]
    picture = next((data_root / 'camvid' / 'img_dir' / 'val').iterdir())
    metrics, predicted = run(SEGMENTOR.format(root=data_root / 'camvid', classes=tuple(names)), picture)
    assert 0 <= metrics['mIoU'] <= 100
    assert (predicted['height'], predicted['width']) == (180, 240)
    assert sum(item['pixels'] for item in predicted['segments']) == 180 * 240
    assert all(item['class'] == names[item['label']] for item in predicted['segments'])


def test_backbone_of_a_classifier_goes_into_a_detector(run, data_root, tmp_path, small_config, capsys):
    photos = sorted((data_root / 'imagenet_samples' / 'val').glob('*/*.JPEG'))[:2]
    (tmp_path / 'photos' / 'one').mkdir(parents=True)
    for photo in photos:
        (tmp_path / 'photos' / 'one' / photo.name).symlink_to(photo)
    run(CLASSIFIER.format(root=tmp_path / 'photos', num=1), photos[0])
    capsys.readouterr()
    config = small_config(data_root / 'coco', 'detector', extra='train_dataloader = dict(dataset=dict(indices=4))')
    train_main([str(config), '--work-dir', str(tmp_path / 'det'), '--no-validate', '--cfg-options',
                f'pretrained={tmp_path}/run/epoch_1.pth', 'optim_wrapper.optimizer.lr=0'])
    said = capsys.readouterr().out
    assert 'backbone tensors loaded' in said and 'not used: head (2), conv_1x1_exp (6)' in said
    classifier = torch.load(tmp_path / 'run' / 'epoch_1.pth', weights_only=False)['state_dict']
    detector = torch.load(tmp_path / 'det' / 'epoch_1.pth', weights_only=False)['state_dict']
    weights = [key for key in detector if key.startswith('backbone.') and key.endswith('conv.weight')]
    assert len(weights) > 50 and all(torch.equal(detector[key], classifier[key]) for key in weights)
