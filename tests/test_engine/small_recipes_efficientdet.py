"""The shipped recipe of EfficientDet-D1 with AFFNet at a size that a test can train."""

SMALL = """
_base_ = '{base}'
data_root = '{root}'
image_size = {size}
small = {small}
train_pipeline = [dict(step, **small.get(step['type'], {{}})) for step in _base_.train_pipeline]
norm_cfg = dict(momentum=0.1)  # the recipe's 0.01 would take hundreds of iterations to arrive
model = dict(neck=dict(norm_cfg=norm_cfg), bbox_head=dict(norm_cfg=norm_cfg))
train_dataloader = dict(batch_size={batch}, num_workers={workers}, persistent_workers={workers} > 0,
                        dataset=dict(pipeline=train_pipeline, {data}))
val_dataloader = dict(batch_size=4, num_workers=0, persistent_workers=False, dataset=dict({data}))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs={epochs}, val_interval={epochs})
default_hooks = dict(logger=dict(interval=1))
{more}
"""
NARROW = """
model = dict(
    backbone=dict(arch='et'),
    neck=dict(in_channels=(64, 104, 144), out_channels=32, num_repeats=2, norm_cfg=norm_cfg),
    bbox_head=dict(in_channels=32, stacked_convs=2, norm_cfg=norm_cfg))
"""


def efficientdet(data_root, config_root, tmp_path):
    """The whole augmentation, schedule and average: three iterations an epoch, one epoch of warm-up, two of cosine."""
    return small_efficientdet(config_root, data_root / 'coco', epochs=3, workers=2, data='indices=12',
                              more=NARROW + 'train_cfg.update(val_interval=1)')


def small_efficientdet(config_root, root, epochs, size=96, batch=4, workers=0, small=(), data='', more=''):
    """The text of a config.

    Args:
        config_root (Path): Folder of the shipped configs.
        root (Path): Folder of data in COCO's format.
        epochs (int): Length of the training.
        size (int): ``image_size``.
        batch (int): Of the training.
        workers (int): Of the training's loader, persistent ones.
        small (dict[str, dict]): What becomes of steps of the training's pipeline, by their types.
        data (str): Arguments of the data sets.
        more (str): Further lines.

    Returns:
        str: The text.
    """
    base = config_root / 'efficientdet' / 'efficientdet-d1_affnet-t_8xb16-300e_coco.py'
    return SMALL.format(base=base, root=root, epochs=epochs, size=size, batch=batch, workers=workers, small=dict(small),
                        data=data, more=more)
