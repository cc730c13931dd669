# COCO detection at 320x320 with SSD's augmentation.
_base_ = './coco_detection.py'

# All resizing goes through Pillow, which antialiases; OpenCV's bicubic does not. The ratio is not kept.
resize = dict(type='Resize', scale=(320, 320), keep_ratio=False, backend='pillow', interpolation='bicubic')
meta_keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'flip', 'flip_direction')

train_pipeline = [
    dict(type='LoadImageFromFile', backend_args=_base_.backend_args),
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
    dict(type='LoadImageFromFile', backend_args=_base_.backend_args),
    resize,
    # Behind Resize: these boxes are in the picture's own pixels, as the metric wants them.
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
tta_pipeline = [
    dict(type='LoadImageFromFile', backend_args=_base_.backend_args),
    dict(
        type='TestTimeAug',
        transforms=[
            [resize],
            [dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0)],
            [dict(type='LoadAnnotations', with_bbox=True)],
            [dict(type='PackDetInputs', meta_keys=meta_keys)],
        ]),
]

train_dataloader = dict(batch_size=16, num_workers=4, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=16, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
