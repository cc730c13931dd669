"""Semantic FPN-AFFNet-base on ADE20K at 512x512: 8,499,686 parameters.

The paper prints 43.2 mIoU for AFFNet in VAN's framework (Table 11), and not which AFFNet: base is our reading. No
weights of ours exist yet.

    tools/dist_train.sh configs/semantic_fpn/semantic-fpn_affnet-base_8xb4-40k_ade20k-512x512.py 8
"""
_base_ = [
    '../_base_/models/semantic_fpn_affnet.py', '../_base_/datasets/ade20k_512x512_mmseg.py',
    '../_base_/schedules/ade20k_adamw_40k.py', '../_base_/default_runtime_seg_iter.py'
]

# What users change most
data_root = 'data/ade/ADEChallengeData2016/'
classes = None  # the 150 of ADE20K; or a tuple of names: data sets and head follow
pretrained = None  # a checkpoint of an AFFNet-base backbone; the recipe starts from ImageNet-1k weights
train_dataloader = dict(batch_size=4)  # on each GPU, 32 on all 8
train_cfg = dict(max_iters=40000)  # the learning rate's schedule follows
optim_wrapper = dict(optimizer=dict(lr=1e-4))  # for batch 32; --auto-scale-lr for another
