"""AFFNet-t on ImageNet-1k at 256x256: 2,654,232 parameters.

The paper prints 77.0 top-1 (Table 2); no weights of ours exist yet.

    tools/dist_train.sh configs/imagenet/affnet-t_8xb128-300e_in1k-256px.py 8
"""
_base_ = [
    '../_base_/models/affnet_cls.py', '../_base_/datasets/imagenet_256px.py',
    '../_base_/schedules/imagenet_adamw_300e.py', '../_base_/default_runtime_cls.py'
]

# What users change most
data_root = 'data/imagenet/'
classes = None  # ImageNet's 1000; or a tuple of names: data sets and head follow
train_dataloader = dict(batch_size=128)  # on each GPU, 1024 on all 8
train_cfg = dict(max_epochs=300)  # the learning rate's schedule follows
optim_wrapper = dict(optimizer=dict(lr=0.0049, weight_decay=0.02))  # for batch 1024; --auto-scale-lr for another
param_scheduler = dict(eta_min=0.00049)

model = dict(backbone=dict(arch='t'), head=dict(in_channels=768))
