# COCO column of the paper's Table 9; what it leaves out is from the framework of the authors' release.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=200, val_interval=5)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

# Weight decay on norms and biases too (no_decay_bn_filter_bias: false in the framework's SSD recipe).
optim_wrapper = dict(
    type='AmpOptimWrapper',
    optimizer=dict(type='AdamW', lr=7e-4, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05))

# Iteration i < 500: 0.1 lr + 0.9 lr · i/500. After that, in epoch e: lr_min + (lr - lr_min)(1 + cos(pi e/epochs))/2
# with lr_min = 0.1 lr. Neither end nor T_max of the cosine is given, so that both follow train_cfg.max_epochs.
# Exact where the warm-up ends within the first epoch (COCO has 917 iterations of batch 128). With shorter epochs both
# act at once, and the rate stays below what either would give: shorten the warm-up there (param_scheduler.0.end).
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=501),  # reaches lr at end - 1
    dict(type='CosineAnnealingLR', eta_min_ratio=0.1, by_epoch=True, begin=0),
]

# Right for 200 epochs. After 150 iterations it still holds 93 % of the initial weights: short runs need another
# (dict(type='EMAHook', ema_type='ExpMomentumEMA', gamma=...), or none).
custom_hooks = [
    dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=0.0005, update_buffers=True, priority=49)
]

# --auto-scale-lr divides by 8 GPUs x 16.
auto_scale_lr = dict(enable=False, base_batch_size=128)
