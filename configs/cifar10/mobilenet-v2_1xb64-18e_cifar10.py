"""MobileNetV2 under the recipe of affnet-et_1xb64-18e_cifar10.py: the backbone differs, nothing else.

    python tools/train.py configs/cifar10/mobilenet-v2_1xb64-18e_cifar10.py --seed 0
"""
_base_ = './affnet-et_1xb64-18e_cifar10.py'

model = dict(backbone=dict(_delete_=True, type='MobileNetV2', widen_factor=1.0), head=dict(in_channels=1280))
