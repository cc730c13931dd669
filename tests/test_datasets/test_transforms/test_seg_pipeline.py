"""The training pipelines of ADE20K and VOC on picture and mask together: a picture made from its mask shows shifts."""
import copy

import numpy as np
import pytest
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.registry import DefaultScope
from PIL import Image
from scipy.ndimage import maximum_filter, minimum_filter

from mmaffnet.engine.config import import_host
from mmaffnet.engine.randomness import seed_generators

CONFIGS = {'ade20k': 'deeplabv3_affnet-et_8xb2-120e_ade20k-512x512',
           'voc': 'deeplabv3_affnet-et_8xb16-50e_voc12aug-coco-512x512'}
MASKS = {'ade20k': 'ade20k/ADEChallengeData2016/annotations/validation/ADE_val_00000001.png',
         'voc': 'VOCdevkit/VOC2012/SegmentationClass/2007_000032.png'}


def compose(steps):
    pytest.importorskip('mmseg')
    with DefaultScope.overwrite_default_scope('mmseg'):
        return Compose(copy.deepcopy(steps))


@pytest.fixture(params=CONFIGS)
def drawn(request, config_root, data_root, tmp_path):
    """(steps of the config's train pipeline, a sample whose picture is its mask in colours, that mask)."""
    pytest.importorskip('mmseg')
    cfg = Config.fromfile(config_root / 'deeplabv3' / f'{CONFIGS[request.param]}.py')
    import_host(cfg)
    path = data_root / MASKS[request.param]
    mask = np.array(Image.open(path))
    # No channel near 0 or 255, which no distortion then reaches: a channel of 0 is filling.
    colours = np.random.default_rng(0).integers(90, 200, (256, 3)).astype(np.uint8)
    Image.fromarray(colours[mask]).save(tmp_path / 'picture.png')
    sample = dict(img_path=str(tmp_path / 'picture.png'), seg_map_path=str(path), seg_fields=[],
                  reduce_zero_label=request.param == 'ade20k')
    if request.param == 'ade20k':  # 0 is no class
        mask = np.where(mask == 0, 255, mask - 1).astype(np.uint8)
    return list(cfg.train_dataloader.dataset.pipeline), sample, mask


def spread(image, mask):
    """Largest standard deviation of the colours of one label, more than four pixels away from other labels."""
    inside = (maximum_filter(mask, 9) == minimum_filter(mask, 9)) & (mask != 255)
    found = [image[:, inside & (mask == label)].std(axis=1).max() for label in np.unique(mask[inside])]
    return max(found, default=0.)


def test_whole_pipeline(drawn):
    steps, sample, original = drawn
    pipeline = compose(steps)
    flipped, reversed_spreads = set(), []
    for seed in range(8):
        seed_generators(seed)
        packed = pipeline(copy.deepcopy(sample))
        image, mask = packed['inputs'].numpy(), packed['data_samples'].gt_sem_seg.data.numpy()
        assert image.shape == (3, 512, 512) and image.dtype == np.uint8 and mask.shape == (1, 512, 512)
        mask = mask[0]
        assert set(np.unique(mask)) <= set(np.unique(original)) | {255}
        assert spread(image.astype(float), mask) < 2, seed
        reversed_spreads.append(spread(image.astype(float), mask[:, ::-1]))
        filled = (image == 0).all(0)
        assert (mask[filled] == 255).all()
        flipped.add(packed['data_samples'].flip)
    assert flipped == {True, False}
    assert max(reversed_spreads) > 10, 'the check would not see a mask that was turned round'


def named(steps, *types):
    return [step for step in steps if step['type'] in types]


def test_padding_is_0_and_ignored(drawn):
    steps, sample, _ = drawn
    resize, = named(steps, 'RandomResize')
    rest = named(steps, 'RandomCrop', 'Pad', 'PackSegInputs')
    packed = compose([*steps[:2], dict(resize, scale=[(1024, 256)] * 2), *rest])(sample)
    image, mask = packed['inputs'].numpy(), packed['data_samples'].gt_sem_seg.data.numpy()[0]
    assert (image[:, 256:] == 0).all() and (mask[256:] == 255).all()
    width = min(512, round(256 * Image.open(sample['img_path']).width / Image.open(sample['img_path']).height))
    assert (image[:, :256, :width - 1] > 0).all() and (image[:, :, width + 1:] == 0).all()
    assert (mask[:, width + 1:] == 255).all() and (mask[:256, :width - 1] != 255).any()


@pytest.mark.parametrize('degree', [10., -10.])
def test_rotation_fills_the_corners(drawn, degree):
    """Against geometry: a pixel whose place before the rotation lies outside of the picture is filling."""
    steps, _, _ = drawn
    rotate, = named(steps, 'RandomRotate')
    assert (rotate['prob'], rotate['degree']) == (1.0, 10)
    image, mask = np.full((512, 512, 3), 100, np.uint8), np.full((512, 512), 7, np.uint8)
    mask[:256] = 3
    turned = compose([dict(rotate, degree=(degree, degree))])(
        dict(img=image, gt_seg_map=mask, seg_fields=['gt_seg_map']))
    y, x = np.mgrid[:512, :512] - 255.5
    angle = np.deg2rad(degree)
    was_x, was_y = x * np.cos(angle) + y * np.sin(angle), -x * np.sin(angle) + y * np.cos(angle)
    outside = np.maximum(np.abs(was_x), np.abs(was_y))
    far_out, inside = outside > 257, outside < 254.5
    assert far_out.sum() > 5000
    assert (turned['img'][far_out] == 0).all() and (turned['gt_seg_map'][far_out] == 255).all()
    assert (turned['img'][inside] == 100).all()
    # nearest: no label between 3 and 7; and the same direction in both
    assert set(np.unique(turned['gt_seg_map'])) == {3, 7, 255}
    upper = inside & (was_y < -2)
    assert (turned['gt_seg_map'][upper] == 3).all() and (turned['gt_seg_map'][inside & (was_y > 2)] == 7).all()
