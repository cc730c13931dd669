"""Mask R-CNN with an FPN on AFFNet-t on COCO at 1333x800, boxes and instance masks: 21,768,480 parameters.

All but the backbone is mmdet's; no figure of the paper, and no weights of ours exist yet.

    tools/dist_train.sh configs/mask_rcnn/mask-rcnn_affnet-t_fpn_8xb2-1x_coco.py 8
"""
_base_ = [
    '../_base_/datasets/coco_instance_1333x800.py', '../_base_/schedules/coco_1x.py',
    '../_base_/default_runtime_det.py'
]

# What users change most
data_root = 'data/coco/'
classes = None  # COCO's 80; or a tuple of names: data sets, metric and both heads follow
pretrained = None  # a checkpoint of an AFFNet-t backbone, trained on ImageNet-1k
train_dataloader = dict(batch_size=2)  # on each GPU, 16 on all 8
train_cfg = dict(max_epochs=12)  # the learning rate's schedule follows
optim_wrapper = dict(optimizer=dict(lr=1e-4))  # for batch 16; --auto-scale-lr for another

roi_align = dict(type='SingleRoIExtractor', out_channels=256, featmap_strides=[4, 8, 16, 32])
nms_of_proposals = dict(type='nms', iou_threshold=0.7)
model = dict(
    type='MaskRCNN',
    data_preprocessor=dict(  # RGB in [0, 1]: no mean, no standard deviation
        type='DetDataPreprocessor',
        mean=[0.0, 0.0, 0.0],
        std=[255.0, 255.0, 255.0],
        bgr_to_rgb=True,
        pad_mask=True,
        pad_size_divisor=32),
    # The maps of strides 4, 8, 16 and 32. Another arch: et (48, 64, 104, 144), base (64, 128, 256, 320).
    backbone=dict(type='mmaffnet.AFFNet', arch='t', out_indices=(1, 2, 3, 4), norm_cfg=dict(type='SyncBN')),
    neck=dict(type='FPN', in_channels=[48, 96, 160, 192], out_channels=256, num_outs=5),
    rpn_head=dict(
        type='RPNHead',
        in_channels=256,
        feat_channels=256,
        anchor_generator=dict(
            type='AnchorGenerator', scales=[8], ratios=[0.5, 1.0, 2.0], strides=[4, 8, 16, 32, 64]),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
        loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=1.0),
        loss_bbox=dict(type='L1Loss', loss_weight=1.0)),
    roi_head=dict(
        type='StandardRoIHead',
        bbox_roi_extractor=dict(roi_layer=dict(type='RoIAlign', output_size=7, sampling_ratio=0), **roi_align),
        bbox_head=dict(
            type='Shared2FCBBoxHead',
            in_channels=256,
            fc_out_channels=1024,
            roi_feat_size=7,
            num_classes=80,
            bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_stds=[0.1, 0.1, 0.2, 0.2]),
            reg_class_agnostic=False,
            loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
            loss_bbox=dict(type='L1Loss', loss_weight=1.0)),
        mask_roi_extractor=dict(roi_layer=dict(type='RoIAlign', output_size=14, sampling_ratio=0), **roi_align),
        mask_head=dict(
            type='FCNMaskHead',
            num_convs=4,
            in_channels=256,
            conv_out_channels=256,
            num_classes=80,
            loss_mask=dict(type='CrossEntropyLoss', use_mask=True, loss_weight=1.0))),
    train_cfg=dict(
        rpn=dict(
            assigner=dict(
                type='MaxIoUAssigner', pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.3, ignore_iof_thr=-1),
            sampler=dict(type='RandomSampler', num=256, pos_fraction=0.5, add_gt_as_proposals=False),
            allowed_border=-1,
            pos_weight=-1),
        rpn_proposal=dict(nms_pre=2000, max_per_img=1000, nms=nms_of_proposals, min_bbox_size=0),
        rcnn=dict(
            assigner=dict(
                type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.5, ignore_iof_thr=-1),
            sampler=dict(type='RandomSampler', num=512, pos_fraction=0.25, add_gt_as_proposals=True),
            mask_size=28,
            pos_weight=-1)),
    test_cfg=dict(
        rpn=dict(nms_pre=1000, max_per_img=1000, nms=nms_of_proposals, min_bbox_size=0),
        rcnn=dict(
            score_thr=0.05,
            nms=dict(type='nms', iou_threshold=0.5),
            max_per_img=100,
            mask_thr_binary=0.5)))

env_cfg = dict(cudnn_benchmark=False)  # pictures of many sizes, each of which it would measure anew
