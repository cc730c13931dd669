"""Table 4, "Base. + AFF (Our AFFNet)", at the width of et on CIFAR-10: 865,034 parameters.

Also the row of the variant `paper` and of the norm GN, which are the defaults.

    python tools/train.py configs/ablations/cifar10/table4_affnet-et-aff_1xb64-18e_cifar10.py --seed 0
"""
_base_ = '../../cifar10/affnet-et_1xb64-18e_cifar10.py'

model = dict(backbone=dict(token_mixer=dict(type='AFF')))
