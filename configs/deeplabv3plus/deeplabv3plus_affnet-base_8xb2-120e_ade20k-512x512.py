"""DeepLabV3+-AFFNet-base on ADE20K at 512x512: 7,863,190 parameters without the auxiliary head.

The column "MOAT" of the paper's Table 11: 41.5 mIoU printed for AFFNet, and not for which (base is our reading), beside
41.2 for tiny-MOAT-0. The origin has no config here, since no maintained package has its encoder. The recipe is that of
DeepLabV3. No weights of ours exist yet.

    tools/dist_train.sh configs/deeplabv3plus/deeplabv3plus_affnet-base_8xb2-120e_ade20k-512x512.py 8
"""
_base_ = [
    '../_base_/models/deeplabv3plus_affnet.py', '../_base_/datasets/ade20k_512x512.py',
    '../_base_/schedules/ade20k_adamw_120e.py', '../_base_/default_runtime_seg.py'
]

# What users change most
data_root = 'data/ade/ADEChallengeData2016/'
classes = None  # the 150 of ADE20K; or a tuple of names: data sets and heads follow
pretrained = None  # a checkpoint of an AFFNet-base backbone; the recipe starts from ImageNet-1k weights
train_dataloader = dict(batch_size=2)  # on each GPU, 16 on all 8
train_cfg = dict(max_epochs=120)  # the learning rate's schedule follows
optim_wrapper = dict(optimizer=dict(lr=5e-4))  # for batch 16; --auto-scale-lr for another
