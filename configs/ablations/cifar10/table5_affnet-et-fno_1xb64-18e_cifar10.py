"""Table 5, "Base. + FNO", at the width of et on CIFAR-10: 2,995,658 parameters.

    python tools/train.py configs/ablations/cifar10/table5_affnet-et-fno_1xb64-18e_cifar10.py --seed 0
"""
_base_ = '../../cifar10/affnet-et_1xb64-18e_cifar10.py'

model = dict(backbone=dict(
    img_size=64,  # the operator is bound to one size of input
    token_mixer=dict(type='FNO')))
