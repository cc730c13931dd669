# ADE20K column of the paper's Table 9.
_base_ = './adamw_no_norm_decay.py'

train_cfg = dict(max_epochs=120, val_interval=5)
optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = dict(warmup_iters=500, warmup_lr=5e-5, eta_min=1e-6)
auto_scale_lr = dict(base_batch_size=16)  # --auto-scale-lr divides by 8 GPUs x 2
