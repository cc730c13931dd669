# YOLOX's schedule as mmdet ships it.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=300, val_interval=10)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=5e-4, nesterov=True),
    # No decay on norms and biases. The mixer's b1 and b2 are biases of three dimensions, which mmengine's rules do not
    # see.
    paramwise_cfg=dict(
        norm_decay_mult=0,
        bias_decay_mult=0,
        custom_keys={'token_mixer.b1': dict(decay_mult=0), 'token_mixer.b2': dict(decay_mult=0)}))

# mmdet's three schedulers in one, whose cosine and last epochs follow train_cfg.max_epochs.
param_scheduler = dict(
    type='mmaffnet.QuadraticWarmupCosineLR',
    warmup_epochs=5,
    num_last_epochs=15,  # at the cosine's last rate; the same as the hook's below
    eta_min_ratio=0.05,
    by_epoch=True,
    convert_to_iter_based=True)

custom_hooks = [
    # Without mixed pictures, with the L1 loss. As in the authors' code it switches one epoch before the last 15.
    dict(type='YOLOXModeSwitchHook', num_last_epochs=15, priority=48),
    dict(type='SyncNormHook', priority=48),
    dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.0001, update_buffers=True, priority=49)
]
auto_scale_lr = dict(enable=False, base_batch_size=64)  # --auto-scale-lr divides by 8 GPUs x 8
