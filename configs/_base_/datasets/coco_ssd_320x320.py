# COCO detection at 320x320 with SSD's augmentation.
data_root = 'data/coco/'
backend_args = None

# All resizing goes through Pillow, which antialiases; OpenCV's bicubic does not. The ratio is not kept.
resize = dict(type='Resize', scale=(320, 320), keep_ratio=False, backend='pillow', interpolation='bicubic')
meta_keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'flip', 'flip_direction')

train_pipeline = [
    dict(type='LoadImageFromFile', backend_args=backend_args),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='mmaffnet.SSDRandomCrop'),
    dict(type='mmaffnet.RandomPhotometricDistort'),
    # Table 9 of the paper prints a cross for the flip on COCO; the authors' released pipeline flips, and so do we.
    dict(type='RandomFlip', prob=0.5),
    resize,
    # Crowd boxes leave here: they are packed as ignored instances, which the assigner does not look at.
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile', backend_args=backend_args),
    resize,
    # Behind Resize: these boxes are in the picture's own pixels, as the metric wants them.
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
tta_pipeline = [
    dict(type='LoadImageFromFile', backend_args=backend_args),
    dict(
        type='TestTimeAug',
        transforms=[
            [resize],
            [dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0)],
            [dict(type='LoadAnnotations', with_bbox=True)],
            [dict(type='PackDetInputs', meta_keys=meta_keys)],
        ]),
]

train_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='mmaffnet.CocoDataset',
        data_root=data_root,
        ann_file='annotations/instances_train2017.json',
        data_prefix=dict(img='train2017/'),
        # Pictures without any annotation of our classes are left out; those with nothing but crowds stay, without
        # boxes, as in the reference. mmdet leaves out boxes below 1 px, the reference only those of no area.
        filter_cfg=dict(filter_empty_gt=True),
        pipeline=train_pipeline,
        backend_args=backend_args))
val_dataloader = dict(
    batch_size=16,
    num_workers=2,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='mmaffnet.CocoDataset',
        data_root=data_root,
        ann_file='annotations/instances_val2017.json',
        data_prefix=dict(img='val2017/'),
        test_mode=True,
        pipeline=test_pipeline,
        backend_args=backend_args))
test_dataloader = val_dataloader

val_evaluator = dict(
    type='CocoMetric',
    ann_file=data_root + 'annotations/instances_val2017.json',
    metric='bbox',
    backend_args=backend_args)
test_evaluator = val_evaluator
