"""UPerNet-AFFNet-t on ADE20K at 512x512: 29,211,334 parameters without the auxiliary head.

Not in the paper: mmseg's UPerNet as it is, as an example of AFFNet under any other segmentor. The schedule is the one
that UPerNet has with AdamW elsewhere (Swin, VAN). No weights exist.

    tools/dist_train.sh configs/upernet/upernet_affnet-t_8xb2-160k_ade20k-512x512.py 8
"""
_base_ = [
    '../_base_/datasets/ade20k_512x512_mmseg.py', '../_base_/schedules/ade20k_adamw_40k.py',
    '../_base_/default_runtime_seg_iter.py'
]

# What users change most
data_root = 'data/ade/ADEChallengeData2016/'
classes = None  # the 150 of ADE20K; or a tuple of names: data sets and heads follow
pretrained = None  # a checkpoint of an AFFNet-t backbone
train_dataloader = dict(batch_size=2)  # on each GPU, 16 on all 8
train_cfg = dict(max_iters=160000, val_interval=16000)  # the learning rate's schedule follows
optim_wrapper = dict(  # lr for batch 16; --auto-scale-lr for another
    optimizer=dict(lr=6e-5, weight_decay=0.01), paramwise_cfg=dict(norm_decay_mult=0.0))
param_scheduler = [  # both at once: the warm-up is a factor of the straight line to 0
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1501),  # reaches 1 at end - 1
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False),
]
auto_scale_lr = dict(base_batch_size=16)
default_hooks = dict(checkpoint=dict(interval=16000))

# The maps of layer_2 … layer_5 of AFFNet-t, at strides 4, 8, 16 and 32; base has (64, 128, 256, 320) channels.
channels = [48, 96, 160, 192]
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(  # RGB in [0, 1]: no mean, no standard deviation
        type='SegDataPreProcessor', mean=[0.0, 0.0, 0.0], std=[255.0, 255.0, 255.0], bgr_to_rgb=True, pad_val=0,
        seg_pad_val=255, size=(512, 512)),
    backbone=dict(type='mmaffnet.AFFNet', arch='t', out_indices=(1, 2, 3, 4), norm_cfg=dict(type='SyncBN')),
    decode_head=dict(
        type='UPerHead', in_channels=channels, in_index=[0, 1, 2, 3], pool_scales=(1, 2, 3, 6), channels=512,
        dropout_ratio=0.1, num_classes=150, norm_cfg=dict(type='SyncBN'), align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', loss_weight=1.0)),
    auxiliary_head=dict(  # in training only
        type='FCNHead', in_channels=channels[2], in_index=2, channels=256, num_convs=1, concat_input=False,
        dropout_ratio=0.1, num_classes=150, norm_cfg=dict(type='SyncBN'), align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', loss_weight=0.4)),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'))
