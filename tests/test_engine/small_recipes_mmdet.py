"""RetinaNet, FCOS and Mask R-CNN on AFFNet, as shipped, at sizes that a test can train."""

BASES = {
    'retinanet': 'retinanet/retinanet_affnet-t_fpn_8xb2-1x_coco.py',
    'fcos': 'fcos/fcos_affnet-t_fpn_8xb2-1x_coco.py',
    'mask_rcnn': 'mask_rcnn/mask-rcnn_affnet-t_fpn_8xb2-1x_coco.py'}

# Behind the backbone a quarter as wide, and for objects half as large.
NARROW = {
    'retinanet': """
model = dict(neck=dict(out_channels=64), bbox_head=dict(
    in_channels=64, feat_channels=64, stacked_convs=2, anchor_generator=dict(octave_base_scale=2)))
""",
    'fcos': """
ranges = ((-1, 32), (32, 64), (64, 128), (128, 256), (256, 1e8))
model = dict(neck=dict(out_channels=64), bbox_head=dict(
    in_channels=64, feat_channels=64, stacked_convs=2, regress_ranges=ranges))
""",
    'mask_rcnn': """
roi = dict(out_channels=64)
proposals = dict(nms_pre=200, max_per_img=50)
model = dict(
    neck=dict(out_channels=64),
    rpn_head=dict(in_channels=64, feat_channels=64, anchor_generator=dict(scales=[4])),
    roi_head=dict(
        bbox_roi_extractor=roi, mask_roi_extractor=roi, bbox_head=dict(in_channels=64, fc_out_channels=256),
        mask_head=dict(num_convs=2, in_channels=64, conv_out_channels=64)),
    train_cfg=dict(rpn_proposal=proposals, rcnn=dict(sampler=dict(num=32))), test_cfg=dict(rpn=proposals))
"""}

SMALL = """
_base_ = '{base}'
data_root = '{root}'
# The shipped steps as they are, at small and several sizes.
small = dict(RandomChoiceResize=dict(scales=[(160, 96), (128, 80)]), Resize=dict(scale=(160, 96)))
train_pipeline, test_pipeline = (
    [dict(step, **small.get(step['type'], {{}})) for step in steps]
    for steps in (_base_.train_pipeline, _base_.test_pipeline))
train_dataloader = dict(batch_size=4, num_workers={workers}, persistent_workers={workers} > 0,
                        dataset=dict(pipeline=train_pipeline, {data}))
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(pipeline=test_pipeline, {data}))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs={epochs}, val_interval={epochs})
param_scheduler = [dict(_base_.param_scheduler[0], end=4), _base_.param_scheduler[1]]
default_hooks = dict(logger=dict(interval=1))
{more}
"""


EACH_EPOCH = 'train_cfg = dict(max_epochs=3, val_interval=1)'


def retinanet(data_root, config_root, tmp_path):
    """Three iterations an epoch of three; pictures of several sizes, upright ones and others in batches of their own;
    the rate steps down with the last epoch."""
    return small_mmdet('retinanet', config_root, data_root / 'coco', epochs=3, workers=2, data='indices=12',
                       more=EACH_EPOCH)


def mask_rcnn(data_root, config_root, tmp_path):
    """The same with masks; regions are sampled at random in the training step."""
    return small_mmdet('mask_rcnn', config_root, data_root / 'coco', epochs=3, workers=2, data='indices=12',
                       more=EACH_EPOCH)


def small_mmdet(name, config_root, root, epochs, workers=0, data='', more=''):
    """The text of a config.

    Args:
        name (str): Key of ``BASES``.
        config_root (Path): Folder of the shipped configs.
        root (Path): Folder of data in COCO's format.
        epochs (int): Length of the training, which is validated at its end.
        workers (int): Of the training's loader, persistent ones.
        data (str): Arguments of the data sets.
        more (str): Further lines.

    Returns:
        str: The text.
    """
    return SMALL.format(base=config_root / BASES[name], root=root, epochs=epochs, workers=workers, data=data,
                        more=NARROW[name] + more)
