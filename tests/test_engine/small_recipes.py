"""The shipped recipes of ADE20K, VOC and ImageNet at a size that a test can train, on the sample pictures."""
import argparse

from mmaffnet.dataset_converters.voc12aug_coco import add_merge_arguments, merge_voc

# Steps of a shipped pipeline at a small size; everything else of them stays.
SHIPPED = """
_base_ = '{base}'
data_root = '{root}'
small = {small}
train_pipeline, test_pipeline = (
    [dict(step, **small.get((part, step['type']), {{}})) for step in _base_[f'{{part}}_pipeline']]
    for part in ('train', 'test'))
train_dataloader = dict(batch_size={batch}, num_workers=2, dataset=dict(pipeline=train_pipeline, {train}))
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(pipeline=test_pipeline, indices=2))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=2, val_interval=1)
param_scheduler = dict(warmup_iters=2)  # both of its parts within the run
default_hooks = dict(logger=dict(interval=1))
{more}
"""
SMALL_SEGMENTATION = {
    ('train', 'RandomResize'): dict(scale=[(128, 64), (128, 96)]), ('train', 'RandomCrop'): dict(crop_size=(64, 64)),
    ('train', 'Pad'): dict(size=(64, 64)), ('test', 'Resize'): dict(scale=(256, 64))}
SMALL_CLASSIFICATION = {
    ('train', 'RandomResizedCrop'): dict(scale=64), ('test', 'ResizeEdge'): dict(scale=72),
    ('test', 'CenterCrop'): dict(crop_size=64)}
SMALL_MODEL = 'model = dict(data_preprocessor=dict(size=(64, 64)))'


def ade20k(data_root, config_root, tmp_path):
    """The shipped recipe on all six pictures of ADE20K's training part."""
    return SHIPPED.format(
        base=config_root / 'deeplabv3' / 'deeplabv3_affnet-et_8xb2-120e_ade20k-512x512.py', batch=2, train='',
        root=data_root / 'ade20k' / 'ADEChallengeData2016', small=SMALL_SEGMENTATION, more=SMALL_MODEL)


def voc(data_root, config_root, tmp_path):
    """The shipped recipe on VOC, SBD and COCO, merged as docs/data.md says."""
    voc12aug_coco(['--voc', data_root / 'VOCdevkit/VOC2012', '--sbd', data_root / 'VOCdevkit/VOCaug/dataset',
                   '--coco', data_root / 'coco', '--out', tmp_path / 'merged', '--workers', '1'])
    # from the end of the list: pictures of COCO
    return SHIPPED.format(
        base=config_root / 'deeplabv3' / 'deeplabv3_affnet-et_8xb16-50e_voc12aug-coco-512x512.py', batch=2,
        root=tmp_path / 'merged', small=SMALL_SEGMENTATION, more=SMALL_MODEL, train='indices=[0, 1, -4, -3, -2, -1]')


def imagenet(data_root, config_root, tmp_path):
    """The shipped recipe of base: RandAugment, Random Erasing, MixUp and CutMix."""
    return SHIPPED.format(
        base=config_root / 'imagenet' / 'affnet-base_8xb128-300e_in1k-256px.py', batch=4,
        root=data_root / 'imagenet_samples', small=SMALL_CLASSIFICATION, more='',
        train="split='val', indices=12")


def voc12aug_coco(arguments):
    """What tools/dataset_converters/voc12aug_coco.py does, in this process."""
    parser = argparse.ArgumentParser()
    add_merge_arguments(parser)
    assert merge_voc(parser.parse_args([str(argument) for argument in arguments])) in (0, None)
