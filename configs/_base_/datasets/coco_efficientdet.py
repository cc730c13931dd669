# COCO detection with EfficientDet's augmentation: jittered scale, crop, flip. Resizing is bilinear without
# antialiasing (OpenCV), as in EfficientDet's own pipeline, unlike SSDLite's.
_base_ = './coco_detection.py'

# Of the square that pictures are scaled to, cropped to and padded to (model.data_preprocessor.pad_size_divisor).
# 512 for D0, 640 for D1, 768 for D2, 896 for D3: the line image_size of a config changes all of it.
image_size = 640

train_pipeline = [
    dict(type='LoadImageFromFile', backend_args=_base_.backend_args),
    dict(type='LoadAnnotations', with_bbox=True),
    # The longer side becomes 0.1 to 2 times image_size, the ratio is kept.
    dict(type='RandomResize', scale=(image_size, image_size), ratio_range=(0.1, 2.0), keep_ratio=True),
    # Crops without a box stay, as negatives. What is smaller than the crop is padded by the data preprocessor.
    dict(type='RandomCrop', crop_size=(image_size, image_size), allow_negative_crop=True),
    dict(type='RandomFlip', prob=0.5),
    # Crowd boxes leave here: they are packed as ignored instances, which the assigner does not look at.
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile', backend_args=_base_.backend_args),
    dict(type='Resize', scale=(image_size, image_size), keep_ratio=True),
    # Behind Resize: these boxes are in the picture's own pixels, as the metric wants them.
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]

train_dataloader = dict(batch_size=16, num_workers=8, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=16, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
