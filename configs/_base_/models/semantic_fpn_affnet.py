# Semantic FPN on AFFNet: mmseg's pyramid and head on the maps of layer_2 … layer_5, at strides 4, 8, 16 and 32. Their
# widths: et (48, 64, 104, 144), t (48, 96, 160, 192), base (64, 128, 256, 320).
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(  # RGB in [0, 1]: no mean, no standard deviation
        type='SegDataPreProcessor',
        mean=[0.0, 0.0, 0.0],
        std=[255.0, 255.0, 255.0],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size=(512, 512)),
    backbone=dict(type='mmaffnet.AFFNet', arch='base', out_indices=(1, 2, 3, 4), norm_cfg=dict(type='SyncBN')),
    neck=dict(type='FPN', in_channels=[64, 128, 256, 320], out_channels=256, num_outs=4),
    decode_head=dict(
        type='FPNHead',
        in_channels=[256, 256, 256, 256],
        in_index=[0, 1, 2, 3],
        feature_strides=[4, 8, 16, 32],
        channels=128,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=dict(type='SyncBN'),
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', loss_weight=1.0)),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'))
