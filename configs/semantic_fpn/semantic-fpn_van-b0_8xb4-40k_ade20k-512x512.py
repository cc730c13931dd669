"""Semantic FPN-VAN-B0 on ADE20K at 512x512, the origin of Table 11's column "VAN": 7,984,374 parameters.

The paper prints 38.5 mIoU for it (Table 11), as VAN's own paper does. No weights of ours exist yet.

    tools/dist_train.sh configs/semantic_fpn/semantic-fpn_van-b0_8xb4-40k_ade20k-512x512.py 8
"""
_base_ = './semantic-fpn_affnet-base_8xb4-40k_ade20k-512x512.py'

pretrained = None  # a checkpoint of this backbone; mmpretrain's VAN-tiny classifiers fit

sync_bn = 'torch'  # its patch embeddings have a plain BatchNorm, whatever norm_cfg says
model = dict(
    # VAN's own input; only AFFNet is fed RGB / 255
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
    backbone=dict(
        # VAN-B0 was named VAN-tiny. drop_path_rate is that of its released Semantic FPN's base file.
        _delete_=True, type='mmpretrain.VAN', arch='tiny', out_indices=(0, 1, 2, 3), drop_path_rate=0.1),
    neck=dict(in_channels=[32, 64, 160, 256]))
