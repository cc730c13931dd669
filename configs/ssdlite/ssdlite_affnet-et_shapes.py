"""SSDLite-AFFNet-et on the shapes that `make demo` draws: minutes on two cores, from scratch.

    make demo
"""
_base_ = [
    '../_base_/models/ssdlite_affnet.py', '../_base_/datasets/coco_ssd_320x320.py',
    '../_base_/schedules/ssdlite_adamw_200e.py', '../_base_/default_runtime_det.py'
]

data_root = 'work_dirs/demo/shapes/'
classes = ('star', 'ring', 'cross', 'crescent', 'striped_disc', 'chequered_disc')
pretrained = None

# Pictures of 224 to 256 px at 160 px. Their small objects need the finer map of layer_3 (stride 8): with COCO's levels,
# from stride 16 on, the grid is 10 x 10 and little is learnt.
model = dict(
    backbone=dict(
        arch='et',
        out_indices=(2, 3, 4),
        norm_cfg=dict(type='BN'),
        # torch's own default for convolutions. Measured: learns faster than Table 9's Kaiming normal in a short run.
        init_cfg=[
            dict(type='Kaiming', layer='Conv2d', a=5**0.5, mode='fan_in', nonlinearity='leaky_relu',
                 distribution='uniform'),
            dict(type='Constant', val=1, bias=0, layer=['_BatchNorm', 'GroupNorm', 'LayerNorm'])
        ]),
    neck=dict(
        in_channels=(64, 104, 144), out_channels=(64, 104, 144, 128, 64), norm_cfg=dict(type='BN')),
    bbox_head=dict(
        num_classes=6,
        in_channels=(64, 104, 144, 128, 64),
        feat_channels=(128, 128, 128, 128, 64),
        norm_cfg=dict(type='BN'),
        prior_prob=0.25,  # what mining three negatives for each positive shows the head
        anchor_generator=dict(
            ratios=((2, 3), (2, 3), (2, 3), (2, 3), (2, )), scales=(0.08, 0.18, 0.36, 0.6, 0.8, 1.0))),
    test_cfg=dict(max_per_img=100))

resize = dict(type='Resize', scale=(160, 160), keep_ratio=False, backend='pillow', interpolation='bicubic')
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomFlip', prob=0.5),
    resize,
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    resize,
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
train_dataloader = dict(batch_size=16, num_workers=1, drop_last=True, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=20, num_workers=1, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

train_cfg = dict(max_epochs=9, val_interval=3)
optim_wrapper = dict(_delete_=True, type='OptimWrapper', clip_grad=dict(max_norm=10),
                     optimizer=dict(type='AdamW', lr=5e-3, weight_decay=0.05))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.02, by_epoch=False, begin=0, end=51),
    dict(type='CosineAnnealingLR', eta_min_ratio=0.01, by_epoch=True, convert_to_iter_based=True, begin=0),
]
# No average of weights: the paper's would still hold the initial ones (see docs/own_data.md).
custom_hooks = [dict(type='mmaffnet.ChannelsLastHook')]
default_hooks = dict(logger=dict(interval=25), checkpoint=dict(interval=3, max_keep_ckpts=1))
