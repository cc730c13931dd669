"""MobileViT-XXS under the recipe of affnet-et_1xb64-18e_cifar10.py: the backbone differs, nothing else.

    python tools/train.py configs/cifar10/mobilevit-xxs_1xb64-18e_cifar10.py --seed 0
"""
_base_ = './affnet-et_1xb64-18e_cifar10.py'

model = dict(backbone=dict(_delete_=True, type='MobileViT', arch='xx_small'), head=dict(in_channels=320))
