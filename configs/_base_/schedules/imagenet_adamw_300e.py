# ImageNet column of the paper's Table 9.
_base_ = './adamw_no_norm_decay.py'

train_cfg = dict(max_epochs=300, val_interval=1)
optim_wrapper = dict(optimizer=dict(lr=0.002))
# Iteration i < 20,000: 1e-6 + i (lr - 1e-6) / 20,000.
param_scheduler = dict(warmup_iters=20000, warmup_lr=1e-6, eta_min=0.0002)
auto_scale_lr = dict(base_batch_size=1024)  # --auto-scale-lr divides by 8 GPUs x 128
