# AFFNet with a linear classifier, Table 2 of the paper. Widths of conv_1x1_exp: et 576, t 768, base 960.
data_preprocessor = dict(num_classes=1000, mean=[0, 0, 0], std=[255, 255, 255], to_rgb=True)  # RGB in [0, 1]
model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmaffnet.AFFNet', arch='base', out_indices=(5, )),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=960,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
        init_cfg=dict(type='TruncNormal', layer='Linear', mean=0, std=0.02, bias=0),
        topk=(1, 5)))
