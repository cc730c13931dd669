# EfficientDet-D1's BiFPN and head (Tan, Pang, Le, CVPR 2020) on AFFNet's maps of strides 8, 16, 32, whose widths are:
# et (64, 104, 144), t (96, 160, 192), base (128, 256, 320). The other compound coefficients stand in a table in
# configs/efficientdet/efficientdet-d0_efficientnet-b0_8xb16-300e_coco.py.
norm_cfg = dict(type='SyncBN', eps=1e-3, momentum=0.01)
model = dict(
    type='SingleStageDetector',
    data_preprocessor=dict(  # RGB in [0, 1]: no mean, no standard deviation
        type='DetDataPreprocessor',
        mean=[0.0, 0.0, 0.0],
        std=[255.0, 255.0, 255.0],
        bgr_to_rgb=True,
        pad_size_divisor=640),  # right and below to the square of image_size, with 0
    backbone=dict(type='mmaffnet.AFFNet', arch='base', out_indices=(2, 3, 4), norm_cfg=dict(type='SyncBN')),
    # No bias in front of a norm, which would take it away again; Google's models have them: conv_bias=True in neck and
    # head adds 3,872 parameters to D1.
    neck=dict(
        type='mmaffnet.BiFPN', in_channels=(128, 256, 320), out_channels=88, num_repeats=4, norm_cfg=norm_cfg),
    bbox_head=dict(
        type='mmaffnet.EfficientDetHead',
        num_classes=80,
        in_channels=88,
        stacked_convs=3,
        norm_cfg=norm_cfg,
        anchor_generator=dict(
            type='AnchorGenerator',
            octave_base_scale=4,
            scales_per_octave=3,
            ratios=[1.0, 0.5, 2.0],
            strides=[8, 16, 32, 64, 128],
            center_offset=0.5,
            scale_major=False),
        loss_cls=dict(type='FocalLoss', use_sigmoid=True, alpha=0.25, gamma=1.5, loss_weight=1.0),
        # 50 times Huber's loss (delta 0.1), a mean over the four values: 50 * 0.1 / 4 times this one.
        loss_bbox=dict(type='SmoothL1Loss', beta=0.1, loss_weight=1.25)),
    train_cfg=dict(
        assigner=dict(
            type='MaxIoUAssigner',
            pos_iou_thr=0.5,
            neg_iou_thr=0.5,
            min_pos_iou=0.0,
            gt_max_assign_all=False,
            ignore_iof_thr=-1),
        sampler=dict(type='PseudoSampler'),  # focal loss takes all anchors
        allowed_border=-1,
        pos_weight=-1),
    test_cfg=dict(
        score_thr=0.001,
        nms_pre=5000,  # of the whole picture
        # A Gaussian lowers the scores of overlapping boxes of a class; iou_threshold would be a linear decay's.
        nms=dict(type='soft_nms', method='gaussian', iou_threshold=0.3, sigma=0.5, min_score=0.001),
        max_per_img=100))
