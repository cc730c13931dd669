# A short run from scratch on two cores; the same for every model that is compared.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=30, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

# No decay on norms and biases; the mixer's b1 and b2 are biases of three dimensions, which mmengine's rules do not see.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05),
    clip_grad=dict(max_norm=10),
    paramwise_cfg=dict(
        norm_decay_mult=0,
        bias_decay_mult=0,
        custom_keys={'token_mixer.b1': dict(decay_mult=0), 'token_mixer.b2': dict(decay_mult=0)}))
param_scheduler = dict(
    type='mmaffnet.WarmupCosineLR', by_epoch=True, convert_to_iter_based=True,
    warmup_iters=78, warmup_lr=1e-5, eta_min=1e-5)  # one epoch of 5,000 pictures

# No average of weights: the paper's would still hold the initial ones.
custom_hooks = [dict(type='mmaffnet.ChannelsLastHook')]
auto_scale_lr = dict(enable=False, base_batch_size=64)
