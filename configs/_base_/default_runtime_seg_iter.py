# Segmentation by iterations: what is counted, logged and saved by epochs elsewhere.
_base_ = './default_runtime_seg.py'

default_hooks = dict(
    logger=dict(log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=4000))  # and one at the end, where the run is shorter
log_processor = dict(by_epoch=False)
