# COCO detection as mmdet's FPN detectors have it: the shorter side 800, the longer one at most 1333, ratio kept.
_base_ = './coco_detection.py'

train_pipeline = [
    dict(type='LoadImageFromFile', backend_args=_base_.backend_args),
    dict(type='LoadAnnotations', with_bbox=True),
    # One of a list for each picture: multi-scale training is scales=[(1333, 640), (1333, 720), (1333, 800)], or
    # --cfg-options "train_dataloader.dataset.pipeline.2.scales=[(1333,640),(1333,800)]".
    dict(type='RandomChoiceResize', scales=[(1333, 800)], keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile', backend_args=_base_.backend_args),
    dict(type='Resize', scale=(1333, 800), keep_ratio=True),
    # Behind Resize: these boxes are in the picture's own pixels, as the metric wants them.
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]

train_dataloader = dict(
    batch_size=2,
    num_workers=2,
    # Upright pictures with upright ones: less padding.
    batch_sampler=dict(type='AspectRatioBatchSampler'),
    dataset=dict(filter_cfg=dict(min_size=32), pipeline=train_pipeline))
val_dataloader = dict(batch_size=1, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
