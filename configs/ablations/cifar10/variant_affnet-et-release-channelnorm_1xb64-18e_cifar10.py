"""The release's wiring and mixer with its other norm in the blocks, at the width of et on CIFAR-10: 865,034 parameters.

    python tools/train.py configs/ablations/cifar10/variant_affnet-et-release-channelnorm_1xb64-18e_cifar10.py --seed 0
"""
_base_ = '../../cifar10/affnet-et_1xb64-18e_cifar10.py'

model = dict(backbone=dict(variant='release', token_norm_cfg=dict(type='mmaffnet.ChannelNorm')))
