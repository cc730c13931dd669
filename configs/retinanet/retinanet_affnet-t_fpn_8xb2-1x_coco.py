"""RetinaNet with an FPN on AFFNet-t on COCO at 1333x800: 11,117,860 parameters.

All but the backbone is mmdet's; no figure of the paper, and no weights of ours exist yet.

    tools/dist_train.sh configs/retinanet/retinanet_affnet-t_fpn_8xb2-1x_coco.py 8
"""
_base_ = [
    '../_base_/datasets/coco_detection_1333x800.py', '../_base_/schedules/coco_1x.py',
    '../_base_/default_runtime_det.py'
]

# What users change most
data_root = 'data/coco/'
classes = None  # COCO's 80; or a tuple of names: data sets, metric and head follow
pretrained = None  # a checkpoint of an AFFNet-t backbone, trained on ImageNet-1k
train_dataloader = dict(batch_size=2)  # on each GPU, 16 on all 8
train_cfg = dict(max_epochs=12)  # the learning rate's schedule follows
optim_wrapper = dict(optimizer=dict(lr=1e-4))  # for batch 16; --auto-scale-lr for another

model = dict(
    type='RetinaNet',
    data_preprocessor=dict(  # RGB in [0, 1]: no mean, no standard deviation
        type='DetDataPreprocessor',
        mean=[0.0, 0.0, 0.0],
        std=[255.0, 255.0, 255.0],
        bgr_to_rgb=True,
        pad_size_divisor=32),
    # The maps of strides 8, 16 and 32. Another arch: et (64, 104, 144), base (128, 256, 320).
    backbone=dict(type='mmaffnet.AFFNet', arch='t', out_indices=(2, 3, 4), norm_cfg=dict(type='SyncBN')),
    neck=dict(
        type='FPN', in_channels=[96, 160, 192], out_channels=256, add_extra_convs='on_input', num_outs=5),
    bbox_head=dict(
        type='RetinaHead',
        num_classes=80,
        in_channels=256,
        stacked_convs=4,
        feat_channels=256,
        anchor_generator=dict(
            type='AnchorGenerator',
            octave_base_scale=4,
            scales_per_octave=3,
            ratios=[0.5, 1.0, 2.0],
            strides=[8, 16, 32, 64, 128]),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
        loss_cls=dict(type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0),
        loss_bbox=dict(type='L1Loss', loss_weight=1.0)),
    train_cfg=dict(
        assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0, ignore_iof_thr=-1),
        sampler=dict(type='PseudoSampler'),  # the focal loss takes all anchors
        allowed_border=-1,
        pos_weight=-1),
    test_cfg=dict(
        nms_pre=1000, min_bbox_size=0, score_thr=0.05, nms=dict(type='nms', iou_threshold=0.5), max_per_img=100))

env_cfg = dict(cudnn_benchmark=False)  # pictures of many sizes, each of which it would measure anew
