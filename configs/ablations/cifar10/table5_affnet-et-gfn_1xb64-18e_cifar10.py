"""Table 5, "Base. + GFN", at the width of et on CIFAR-10: 827,978 parameters.

    python tools/train.py configs/ablations/cifar10/table5_affnet-et-gfn_1xb64-18e_cifar10.py --seed 0
"""
_base_ = '../../cifar10/affnet-et_1xb64-18e_cifar10.py'

model = dict(backbone=dict(
    img_size=64,  # the operator is bound to one size of input
    token_mixer=dict(type='GFN')))
