# What the AdamW recipes of classification and segmentation share; values that Table 9 leaves out are from the framework
# of the authors' release.
train_cfg = dict(type='EpochBasedTrainLoop')
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='AmpOptimWrapper',
    optimizer=dict(type='AdamW', betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05),
    clip_grad=dict(max_norm=10),
    # No decay on norms and biases. The mixer's b1 and b2 are biases of three dimensions, which mmengine's rules do not
    # see; the release decays them, since it spares tensors of one dimension only.
    paramwise_cfg=dict(
        norm_decay_mult=0,
        bias_decay_mult=0,
        custom_keys={'token_mixer.b1': dict(decay_mult=0), 'token_mixer.b2': dict(decay_mult=0)}))

# A linear warm-up by iteration, then a cosine that changes once an epoch.
param_scheduler = dict(type='mmaffnet.WarmupCosineLR', by_epoch=True, convert_to_iter_based=True)

custom_hooks = [
    dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=0.0005, update_buffers=True, priority=49)
]
auto_scale_lr = dict(enable=False)
