# YOLOX-Tiny as mmdet ships it: CSPDarknet (0.33 deep, 0.375 wide), PAFPN, decoupled head, SimOTA.
norm_cfg = dict(type='BN', momentum=0.03, eps=0.001)  # statistics averaged over GPUs after each iteration
act_cfg = dict(type='Swish')
model = dict(
    type='YOLOX',
    data_preprocessor=dict(  # BGR in 0 to 255: YOLOX's own feeding, no mean, no standard deviation
        type='DetDataPreprocessor',
        pad_size_divisor=32,
        batch_augments=[
            # mmdet's, that also goes on with its size when a run is resumed.
            dict(type='mmaffnet.BatchSyncRandomResize', random_size_range=(320, 640), size_divisor=32, interval=10)
        ]),
    backbone=dict(
        type='CSPDarknet',
        deepen_factor=0.33,
        widen_factor=0.375,
        out_indices=(2, 3, 4),
        use_depthwise=False,
        spp_kernal_sizes=(5, 9, 13),
        norm_cfg=norm_cfg,
        act_cfg=act_cfg),
    neck=dict(
        type='YOLOXPAFPN',
        in_channels=(96, 192, 384),
        out_channels=96,
        num_csp_blocks=1,
        use_depthwise=False,
        upsample_cfg=dict(scale_factor=2, mode='nearest'),
        norm_cfg=norm_cfg,
        act_cfg=act_cfg),
    bbox_head=dict(
        type='YOLOXHead',
        num_classes=80,
        in_channels=96,
        feat_channels=96,
        stacked_convs=2,
        strides=(8, 16, 32),
        use_depthwise=False,
        norm_cfg=norm_cfg,
        act_cfg=act_cfg,
        loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True, reduction='sum', loss_weight=1.0),
        loss_bbox=dict(type='IoULoss', mode='square', eps=1e-16, reduction='sum', loss_weight=5.0),
        loss_obj=dict(type='CrossEntropyLoss', use_sigmoid=True, reduction='sum', loss_weight=1.0),
        loss_l1=dict(type='L1Loss', reduction='sum', loss_weight=1.0)),  # in the last epochs only
    train_cfg=dict(assigner=dict(type='SimOTAAssigner', center_radius=2.5)),
    # mmdet evaluates with 0.01 and names 0.001 for a final test: --cfg-options model.test_cfg.score_thr=0.001
    test_cfg=dict(score_thr=0.01, nms=dict(type='nms', iou_threshold=0.65)))

tta_model = dict(type='DetTTAModel', tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.65), max_per_img=100))
