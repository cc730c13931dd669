"""DeepLabV3-AFFNet-et on CamVid at 180x240, from scratch on two CPU cores: does it learn?

    python tools/train.py configs/camvid/deeplabv3_affnet-et_1xb8-15e_camvid-180x240.py --seed 0
"""
_base_ = [
    '../_base_/models/deeplabv3_affnet.py', '../_base_/datasets/camvid_180x240.py',
    '../_base_/schedules/ade20k_adamw_120e.py', '../_base_/default_runtime_seg.py'
]

data_root = 'data/camvid/'
classes = None  # SegNet's 11
pretrained = None  # a checkpoint of an AFFNet-et backbone
train_dataloader = dict(batch_size=8)
train_cfg = dict(max_epochs=15, val_interval=3)  # the learning rate's schedule follows
# From scratch in 675 iterations: a larger rate than for ADE20K, in float32, after a warm-up of one epoch.
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(lr=2e-3))
param_scheduler = dict(warmup_iters=45, warmup_lr=1e-5, eta_min=1e-5)
auto_scale_lr = dict(base_batch_size=8)

# Maps of 23 x 30 at stride 8: ADE20K's rates of 12, 24 and 36 would reach beyond them.
model = dict(
    data_preprocessor=dict(size=(180, 240)),
    backbone=dict(arch='et', norm_cfg=dict(type='BN')),
    decode_head=dict(in_channels=144, dilations=(1, 3, 6, 9), num_classes=11, norm_cfg=dict(type='BN')),
    auxiliary_head=dict(in_channels=104, num_classes=11, norm_cfg=dict(type='BN')))

# No average of weights: the paper's would still hold the initial ones.
custom_hooks = [dict(type='mmaffnet.ChannelsLastHook')]
default_hooks = dict(logger=dict(interval=15), checkpoint=dict(max_keep_ckpts=1, save_best=None))
log_processor = dict(window_size=15)
