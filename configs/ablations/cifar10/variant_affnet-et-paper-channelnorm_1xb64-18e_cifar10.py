"""The paper's wiring with the release's other norm in the blocks, at the width of et on CIFAR-10: 865,034 parameters.

The paper's wiring with GN is the row table4_affnet-et-aff.

    python tools/train.py configs/ablations/cifar10/variant_affnet-et-paper-channelnorm_1xb64-18e_cifar10.py --seed 0
"""
_base_ = '../../cifar10/affnet-et_1xb64-18e_cifar10.py'

model = dict(backbone=dict(token_norm_cfg=dict(type='mmaffnet.ChannelNorm')))
