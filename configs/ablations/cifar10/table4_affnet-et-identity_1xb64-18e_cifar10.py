"""Table 4, "Base.", the blocks without a token mixer, at the width of et on CIFAR-10: 804,298 parameters.

    python tools/train.py configs/ablations/cifar10/table4_affnet-et-identity_1xb64-18e_cifar10.py --seed 0
"""
_base_ = '../../cifar10/affnet-et_1xb64-18e_cifar10.py'

model = dict(backbone=dict(token_mixer=dict(type='Identity')))
