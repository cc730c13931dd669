# What all configs share and no recipe asks about.
# mmaffnet.safe_loading: checkpoints are loaded without running anything of them, by the hosts' own functions too.
custom_imports = dict(imports=['mmaffnet', 'mmaffnet.safe_loading'], allow_failed_imports=False)
# mmengine's runner, that also trains on CPUs what is written for GPUs (SyncBN, mixed precision, DDP), and reads
# data_root, classes and pretrained from the top of a config.
runner_type = 'mmaffnet.AFFNetRunner'

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    # Each file appears when it is complete, and only then an old one goes: a kill at any moment loses nothing.
    checkpoint=dict(
        type='mmaffnet.AtomicCheckpointHook', backend_args=dict(backend='mmaffnet.atomic'), interval=1,
        max_keep_ckpts=3),
    sampler_seed=dict(type='DistSamplerSeedHook'))

env_cfg = dict(
    cudnn_benchmark=True,  # one input size in training
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'))

vis_backends = [dict(type='LocalVisBackend')]
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=True)
log_level = 'INFO'
load_from = None
resume = False
