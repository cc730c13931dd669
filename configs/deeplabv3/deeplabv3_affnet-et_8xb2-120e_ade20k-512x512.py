"""DeepLabV3-AFFNet-et on ADE20K at 512x512: 2,213,526 parameters without the auxiliary head.

The paper prints 33.0 mIoU and 2.2 M parameters (Table 3); no weights of ours exist yet.

    tools/dist_train.sh configs/deeplabv3/deeplabv3_affnet-et_8xb2-120e_ade20k-512x512.py 8
"""
_base_ = [
    '../_base_/models/deeplabv3_affnet.py', '../_base_/datasets/ade20k_512x512.py',
    '../_base_/schedules/ade20k_adamw_120e.py', '../_base_/default_runtime_seg.py'
]

# What users change most
data_root = 'data/ade/ADEChallengeData2016/'
classes = None  # the 150 of ADE20K; or a tuple of names: data sets and heads follow
pretrained = None  # a checkpoint of an AFFNet-et backbone; the recipe starts from ImageNet-1k weights
train_dataloader = dict(batch_size=2)  # on each GPU, 16 on all 8
train_cfg = dict(max_epochs=120)  # the learning rate's schedule follows
optim_wrapper = dict(optimizer=dict(lr=5e-4))  # for batch 16; --auto-scale-lr for another

model = dict(
    backbone=dict(arch='et'),
    decode_head=dict(in_channels=144),
    auxiliary_head=dict(in_channels=104))
