# ImageNet-1k as base trains on it (Table 9): RandAugment and Random Erasing too.
_base_ = './imagenet_256px.py'

bicubic = dict(backend='pillow', interpolation='bicubic')
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=256, crop_ratio_range=(0.08, 1.0), aspect_ratio_range=(3 / 4, 4 / 3),
         **bicubic),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    # torchvision's own, since its scale of 31 steps is what "magnitude 9" counts on
    dict(type='NumpyToPIL', to_rgb=True),
    dict(type='torchvision/RandAugment', num_ops=2, magnitude=9, interpolation='bilinear'),
    dict(type='PILToNumpy', to_bgr=True),
    dict(type='RandomErasing', erase_prob=0.25, min_area_ratio=0.02, max_area_ratio=0.33, aspect_range=(0.3, 3.3),
         mode='const', fill_color=0),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
