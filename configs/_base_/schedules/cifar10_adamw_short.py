# A short run from scratch on two cores; the same for every model that is compared.
_base_ = './adamw_no_norm_decay.py'

train_cfg = dict(max_epochs=18, val_interval=1)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(lr=2e-3))
param_scheduler = dict(warmup_iters=78, warmup_lr=1e-5, eta_min=1e-5)  # one epoch of 5,000 pictures

# No average of weights: the paper's would still hold the initial ones.
custom_hooks = [dict(type='mmaffnet.ChannelsLastHook')]
auto_scale_lr = dict(base_batch_size=64)
