"""Table 5, "Base. + FFC", at the width of et on CIFAR-10: 1,262,858 parameters.

    python tools/train.py configs/ablations/cifar10/table5_affnet-et-ffc_1xb64-18e_cifar10.py --seed 0
"""
_base_ = '../../cifar10/affnet-et_1xb64-18e_cifar10.py'

model = dict(backbone=dict(token_mixer=dict(type='FFC')))
