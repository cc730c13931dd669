# ADE20K column of the paper's Table 9; what it leaves out is from the framework of the authors' release.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=120, val_interval=5)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

# No decay on norms and biases; the mixer's b1 and b2 are biases of three dimensions, which mmengine's rules do not see.
optim_wrapper = dict(
    type='AmpOptimWrapper',
    optimizer=dict(type='AdamW', lr=5e-4, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05),
    clip_grad=dict(max_norm=10),
    paramwise_cfg=dict(
        norm_decay_mult=0,
        bias_decay_mult=0,
        custom_keys={'token_mixer.b1': dict(decay_mult=0), 'token_mixer.b2': dict(decay_mult=0)}))

param_scheduler = dict(
    type='mmaffnet.WarmupCosineLR', by_epoch=True, convert_to_iter_based=True,
    warmup_iters=500, warmup_lr=5e-5, eta_min=1e-6)

custom_hooks = [
    dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=0.0005, update_buffers=True, priority=49)
]

# --auto-scale-lr divides by 8 GPUs x 2.
auto_scale_lr = dict(enable=False, base_batch_size=16)
