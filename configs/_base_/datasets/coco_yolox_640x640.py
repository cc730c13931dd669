# COCO detection with the augmentation of YOLOX-Tiny as mmdet ships it: training at 640x640 (the batch is then resized
# by the data preprocessor), evaluation at 416x416. Resizing is mmdet's own (OpenCV, bilinear), unlike SSDLite's.
_base_ = './coco_detection.py'

img_scale = (640, 640)  # width, height

pad = dict(type='Pad', pad_to_square=True, pad_val=dict(img=(114.0, 114.0, 114.0)))
meta_keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')

# Of mixed pictures. The two first are left out in the last epochs (YOLOXModeSwitchHook): then Resize and pad act.
# The larger YOLOX have MixUp too, which the authors leave out for Tiny. Behind RandomAffine it would be
# dict(type='MixUp', img_scale=img_scale, ratio_range=(0.8, 1.6), pad_val=114.0).
train_pipeline = [
    dict(type='Mosaic', img_scale=img_scale, pad_val=114.0),
    dict(
        type='RandomAffine',
        scaling_ratio_range=(0.5, 1.5),
        border=(-img_scale[0] // 2, -img_scale[1] // 2)),  # back from the mosaic's 1280x1280
    dict(type='YOLOXHSVRandomAug'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='Resize', scale=img_scale, keep_ratio=True),
    pad,
    dict(type='FilterAnnotations', min_gt_bbox_wh=(1, 1), keep_empty=False),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile', backend_args=_base_.backend_args),
    dict(type='Resize', scale=(416, 416), keep_ratio=True),
    pad,
    # Behind Resize: these boxes are in the picture's own pixels, as the metric wants them.
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=meta_keys),
]
tta_pipeline = [
    dict(type='LoadImageFromFile', backend_args=_base_.backend_args),
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='Resize', scale=scale, keep_ratio=True) for scale in ((640, 640), (320, 320), (960, 960))],
            # In front of Pad, or boxes could not be flipped back.
            [dict(type='RandomFlip', prob=1.0), dict(type='RandomFlip', prob=0.0)],
            [pad],
            [dict(type='LoadAnnotations', with_bbox=True)],
            [dict(type='PackDetInputs', meta_keys=(*meta_keys, 'flip', 'flip_direction'))],
        ]),
]

train_dataloader = dict(
    batch_size=8,
    num_workers=4,
    dataset=dict(
        _delete_=True,
        type='MultiImageMixDataset',
        dataset=dict(
            _base_.train_dataloader.dataset,
            filter_cfg=dict(filter_empty_gt=False, min_size=32),  # pictures without any object train too
            pipeline=[
                dict(type='LoadImageFromFile', backend_args=_base_.backend_args),
                dict(type='LoadAnnotations', with_bbox=True)
            ]),
        pipeline=train_pipeline))
val_dataloader = dict(batch_size=8, num_workers=4, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
