# DeepLabV3 on AFFNet, Sec. 4.3 of the paper. Widths of the backbone's maps at out_indices (3, 4): et (104, 144),
# t (160, 192), base (256, 320).
data_preprocessor = dict(  # RGB in [0, 1]: no mean, no standard deviation
    type='SegDataPreProcessor',
    mean=[0.0, 0.0, 0.0],
    std=[255.0, 255.0, 255.0],
    bgr_to_rgb=True,
    pad_val=0,
    seg_pad_val=255,
    size=(512, 512))
model = dict(
    type='EncoderDecoder',
    data_preprocessor=data_preprocessor,
    backbone=dict(
        type='mmaffnet.AFFNet', arch='base', out_indices=(3, 4), output_stride=8, norm_cfg=dict(type='SyncBN')),
    # With 256 channels et and t have the parameters that Table 3 prints (2.2, 3.5 M); base has 7.0 for the printed 6.9.
    decode_head=dict(
        type='mmaffnet.DeepLabV3Head',
        in_channels=320,
        in_index=1,
        channels=256,
        dilations=(1, 12, 24, 36),
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=dict(type='SyncBN'),
        align_corners=True,
        # the mean over labelled pixels, as torch and the framework have it; mmseg's default divides by all pixels
        loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True, loss_weight=1.0)),
    auxiliary_head=dict(  # in training only
        type='FCNHead',
        in_channels=256,
        in_index=0,
        channels=128,  # max(in_channels / 4, 128)
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=dict(type='SyncBN'),
        align_corners=True,
        loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True, loss_weight=0.4)),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'))
