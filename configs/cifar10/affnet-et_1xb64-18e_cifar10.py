"""AFFNet-et on 5,000 pictures of CIFAR-10 at 64x64, from scratch on two CPU cores: does it learn?

    mkdir -p data/cifar10 && unzip -q cifar10_images.zip -d data/cifar10
    python tools/train.py configs/cifar10/affnet-et_1xb64-18e_cifar10.py --seed 0
"""
_base_ = [
    '../_base_/models/affnet_cls.py', '../_base_/datasets/cifar10_64px.py',
    '../_base_/schedules/cifar10_adamw_short.py', '../_base_/default_runtime_cls.py'
]

data_root = 'data/cifar10/'
classes = None  # CIFAR-10's
train_dataloader = dict(batch_size=64)
train_cfg = dict(max_epochs=18)  # the learning rate's schedule follows
optim_wrapper = dict(optimizer=dict(lr=2e-3))

data_preprocessor = dict(num_classes=10)
model = dict(backbone=dict(arch='et'), head=dict(in_channels=576, num_classes=10, topk=(1, )))

default_hooks = dict(logger=dict(interval=26), checkpoint=dict(max_keep_ckpts=1, save_best=None))
log_processor = dict(window_size=26)
