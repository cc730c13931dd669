"""Table 4, "Base. + Conv-mixer (3×3)", at the width of et on CIFAR-10: 1,827,274 parameters.

    python tools/train.py configs/ablations/cifar10/table4_affnet-et-conv-mixer_1xb64-18e_cifar10.py --seed 0
"""
_base_ = '../../cifar10/affnet-et_1xb64-18e_cifar10.py'

model = dict(backbone=dict(token_mixer=dict(type='ConvMixer')))
