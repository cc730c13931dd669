# mmdet's "1x": 12 epochs at batch 16, the rate divided by ten after 8 and after 11. mmdet has SGD there for ResNet, and
# AdamW with this rate and decay for Swin, which like AFFNet was trained by AdamW.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=12, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='AmpOptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05),
    clip_grad=dict(max_norm=10),
    # No decay on norms and biases; the mixer's b1 and b2 are biases of three dimensions.
    paramwise_cfg=dict(
        norm_decay_mult=0,
        bias_decay_mult=0,
        custom_keys={'token_mixer.b1': dict(decay_mult=0), 'token_mixer.b2': dict(decay_mult=0)}))

# The steps are shares of train_cfg.max_epochs and follow it: 16 and 22 of 24 epochs, 4 and 5 of 6.
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='mmaffnet.RelativeMultiStepLR', shares=(2 / 3, 11 / 12), gamma=0.1, by_epoch=True, begin=0),
]

auto_scale_lr = dict(enable=False, base_batch_size=16)  # --auto-scale-lr divides by 8 GPUs x 2
