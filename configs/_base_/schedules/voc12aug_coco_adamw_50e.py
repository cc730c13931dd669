# VOC column of the paper's Table 9: ADE20K's but for length and batch.
_base_ = './ade20k_adamw_120e.py'

train_cfg = dict(max_epochs=50)
auto_scale_lr = dict(base_batch_size=128)  # --auto-scale-lr divides by 8 GPUs x 16
