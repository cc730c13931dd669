"""DeepLabV3+-AFFNet-t on ADE20K at 512x512: 5,132,022 parameters without the auxiliary head.

The paper prints a figure for one AFFNet with DeepLabV3+ (Table 11, column "MOAT": 41.5 mIoU), which we read as base's.
The recipe is that of DeepLabV3. No weights of ours exist yet.

    tools/dist_train.sh configs/deeplabv3plus/deeplabv3plus_affnet-t_8xb2-120e_ade20k-512x512.py 8
"""
_base_ = [
    '../_base_/models/deeplabv3plus_affnet.py', '../_base_/datasets/ade20k_512x512.py',
    '../_base_/schedules/ade20k_adamw_120e.py', '../_base_/default_runtime_seg.py'
]

# What users change most
data_root = 'data/ade/ADEChallengeData2016/'
classes = None  # the 150 of ADE20K; or a tuple of names: data sets and heads follow
pretrained = None  # a checkpoint of an AFFNet-t backbone; the recipe starts from ImageNet-1k weights
train_dataloader = dict(batch_size=2)  # on each GPU, 16 on all 8
train_cfg = dict(max_epochs=120)  # the learning rate's schedule follows
optim_wrapper = dict(optimizer=dict(lr=5e-4))  # for batch 16; --auto-scale-lr for another

model = dict(
    backbone=dict(arch='t'),
    decode_head=dict(in_channels=192, c1_in_channels=48),
    auxiliary_head=dict(in_channels=160))
