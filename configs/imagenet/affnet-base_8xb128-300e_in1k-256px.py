"""AFFNet-base on ImageNet-1k at 256x256: 5,568,696 parameters.

The paper prints 79.8 top-1 (Table 2); no weights of ours exist yet.

    tools/dist_train.sh configs/imagenet/affnet-base_8xb128-300e_in1k-256px.py 8
"""
_base_ = [
    '../_base_/models/affnet_cls.py', '../_base_/datasets/imagenet_256px_strong.py',
    '../_base_/schedules/imagenet_adamw_300e.py', '../_base_/default_runtime_cls.py'
]

# What users change most
data_root = 'data/imagenet/'
classes = None  # ImageNet's 1000; or a tuple of names: data sets and head follow
train_dataloader = dict(batch_size=128)  # on each GPU, 1024 on all 8
train_cfg = dict(max_epochs=300)  # the learning rate's schedule follows
optim_wrapper = dict(optimizer=dict(lr=0.002, weight_decay=0.05))  # for batch 1024; --auto-scale-lr for another
param_scheduler = dict(eta_min=0.0002)

# each batch: MixUp or CutMix with equal chance, applied with probability 0.5
model = dict(train_cfg=dict(augments=[dict(type='Mixup', alpha=0.2), dict(type='CutMix', alpha=1.0)],
                            probs=[0.25, 0.25]))
