# VAN's schedule for Semantic FPN: 40k iterations of batch 32, weight decay on norms and biases too, float32 (--amp for
# mixed precision). Its released config has lr 2e-4 (1e-4 for 4 GPUs, doubled for 8).
train_cfg = dict(type='IterBasedTrainLoop', max_iters=40000, val_interval=4000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=1e-4))

# Iteration i, from 0 on: lr (1 - i / (max_iters - 1))^0.9. No end is given, so that it follows train_cfg.max_iters.
param_scheduler = dict(type='PolyLR', power=0.9, eta_min=0.0, by_epoch=False)

auto_scale_lr = dict(enable=False, base_batch_size=32)  # --auto-scale-lr divides by 8 GPUs x 4
