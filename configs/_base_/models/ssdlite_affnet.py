# SSDLite on AFFNet, Sec. 4.2 of the paper. Widths of the backbone's maps at out_indices (3, 4): et (104, 144),
# t (160, 192), base (256, 320).
model = dict(
    type='SingleStageDetector',
    data_preprocessor=dict(  # RGB in [0, 1]: no mean, no standard deviation
        type='DetDataPreprocessor',
        mean=[0.0, 0.0, 0.0],
        std=[255.0, 255.0, 255.0],
        bgr_to_rgb=True,
        pad_size_divisor=1),
    backbone=dict(type='mmaffnet.AFFNet', arch='base', out_indices=(3, 4), norm_cfg=dict(type='SyncBN')),
    # Widths 512, then 256 x 5, which give the parameters of the paper's Table 3 (1.9, 3.0, 5.6 M, truncated):
    # arithmetic, no evidence of what was trained. The yaml of the authors' framework has 512, 256, 256, 128, 128, 64:
    # the first two are feat_channels, the others the new levels' out_channels and feat_channels alike.
    neck=dict(
        type='mmaffnet.SSDLiteNeck',
        in_channels=(256, 320),
        out_channels=(256, 320, 256, 256, 256, 256),
        norm_cfg=dict(type='SyncBN')),
    bbox_head=dict(
        type='mmaffnet.SSDLiteHead',
        num_classes=80,
        in_channels=(256, 320, 256, 256, 256, 256),
        feat_channels=(512, 256, 256, 256, 256, 256),
        norm_cfg=dict(type='SyncBN'),
        anchor_generator=dict(
            type='mmaffnet.SSDLiteAnchorGenerator',
            ratios=((2, 3), (2, 3), (2, 3), (2, 3), (2, 3), (2, )),
            min_scale=0.1,
            max_scale=1.05),
        bbox_coder=dict(
            type='DeltaXYWHBBoxCoder',
            clip_border=True,
            target_means=(0.0, 0.0, 0.0, 0.0),
            target_stds=(0.1, 0.1, 0.2, 0.2))),
    train_cfg=dict(
        assigner=dict(
            type='MaxIoUAssigner',
            pos_iou_thr=0.5,
            neg_iou_thr=0.5,
            min_pos_iou=0.0,
            gt_max_assign_all=False,
            iou_calculator=dict(type='mmaffnet.SmoothedBboxOverlaps2D', eps=1e-5)),
        neg_pos_ratio=3,
        smoothl1_beta=1.0,
        label_smoothing=0.0,
        pos_weight=-1,
        allowed_border=-1),
    test_cfg=dict(
        score_thr=0.01,
        nms_pre=400,  # of each class
        nms=dict(type='nms', iou_threshold=0.5),
        max_per_img=200))  # COCO's mAP counts 100 of them

tta_model = dict(type='DetTTAModel', tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=200))
