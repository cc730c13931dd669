"""The shipped recipe of YOLOX-AFFNet-et at a size that a test can train."""

SMALL = """
_base_ = '{base}'
data_root = '{root}'
size = (96, 96)
# The shipped augmentation as it is, at a seventh of its size.
steps = dict(train=_base_.train_pipeline, test=_base_.test_pipeline)
small = dict(Mosaic=dict(img_scale=size), RandomAffine=dict(border=(-48, -48)), Resize=dict(scale=size))
train_pipeline, test_pipeline = (
    [dict(step, **small.get(step['type'], {{}})) for step in steps[part]] for part in ('train', 'test'))
train_dataloader = dict(batch_size=4, num_workers={workers}, persistent_workers={workers} > 0,
                        dataset=dict(pipeline=train_pipeline, dataset=dict({data})))
val_dataloader = dict(batch_size=4, num_workers=0, persistent_workers=False,
                      dataset=dict(pipeline=test_pipeline, {data}))
test_dataloader = val_dataloader
model = dict(data_preprocessor=dict(batch_augments=[
    dict(_base_.model.data_preprocessor.batch_augments[0], random_size_range=(64, 160), interval=2)]))
train_cfg = dict(max_epochs={epochs}, val_interval=2)
param_scheduler = dict(warmup_epochs=1, num_last_epochs=1)
custom_hooks = [dict(_base_.custom_hooks[0], num_last_epochs=1), *_base_.custom_hooks[1:]]
default_hooks = dict(logger=dict(interval=1))
{more}
"""


def yolox(data_root, config_root, tmp_path):
    """Three iterations an epoch, a new size after each second one. Mosaic and RandomAffine end, and the L1 loss begins,
    with the third of four epochs; persistent workers have to be started anew for that."""
    return small_yolox(config_root, data_root / 'coco', epochs=4, workers=2, data='indices=12')


def small_yolox(config_root, root, epochs, workers=0, data='', more=''):
    """The text of a config.

    Args:
        config_root (Path): Folder of the shipped configs.
        root (Path): Folder of data in COCO's format.
        epochs (int): Length of the training.
        workers (int): Of the training's loader, persistent ones.
        data (str): Arguments of the data sets.
        more (str): Further lines.

    Returns:
        str: The text.
    """
    base = config_root / 'yolox' / 'yolox_affnet-et_8xb8-300e_coco.py'
    return SMALL.format(base=base, root=root, epochs=epochs, workers=workers, data=data, more=more)
