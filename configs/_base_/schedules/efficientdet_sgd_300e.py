# EfficientDet's schedule (Tan, Pang, Le, CVPR 2020, Sec. 5.1; what the paper leaves out is from its released code).
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=300, val_interval=5)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.16, momentum=0.9, weight_decay=4e-5),
    clip_grad=dict(max_norm=10),  # the released code's
    # Norms alone are spared. The released code spares biases and the BiFPN's fusion weights too: bias_decay_mult=0,
    # custom_keys={'fusion_weights': dict(decay_mult=0)}.
    paramwise_cfg=dict(norm_decay_mult=0))

# One epoch from 0.1 lr up to lr, then a cosine down to 0.01 lr (0.0016), both changing each iteration; it follows
# train_cfg.max_epochs. A set of few pictures wants a longer warm-up: param_scheduler = dict(warmup_epochs=5).
param_scheduler = dict(
    type='mmaffnet.EpochWarmupCosineLR',
    warmup_epochs=1,
    warmup_ratio=0.1,
    eta_min_ratio=0.01,
    by_epoch=True,
    convert_to_iter_based=True)

# The released code keeps min(0.9998, (1 + n)/(10 + n)) of the average at iteration n: here 1 minus that. Short runs can
# keep it, since it starts fast: after 150 iterations it is about the mean of the last 18.
custom_hooks = [
    dict(type='EMAHook', ema_type='MomentumAnnealingEMA', momentum=0.0002, gamma=9, update_buffers=True, priority=49)
]
auto_scale_lr = dict(enable=False, base_batch_size=128)  # --auto-scale-lr divides by 8 GPUs x 16
