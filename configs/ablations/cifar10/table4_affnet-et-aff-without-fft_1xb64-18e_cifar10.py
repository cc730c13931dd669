"""Table 4, "Base. + AFF w/o FFT", at the width of et on CIFAR-10: 865,034 parameters.

    python tools/train.py configs/ablations/cifar10/table4_affnet-et-aff-without-fft_1xb64-18e_cifar10.py --seed 0
"""
_base_ = '../../cifar10/affnet-et_1xb64-18e_cifar10.py'

model = dict(backbone=dict(token_mixer=dict(type='AFF', transform='none')))
