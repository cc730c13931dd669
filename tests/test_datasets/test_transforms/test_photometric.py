from itertools import permutations

import mmcv
import numpy as np
import pytest
import torch

pytest.importorskip('torchvision')
from PIL import Image  # noqa: E402
from torchvision.transforms import v2  # noqa: E402

from mmaffnet.registry import TRANSFORMS  # noqa: E402

SAME = dict(brightness=(1, 1), contrast=(1, 1), saturation=(1, 1), hue=(0, 0))


def build(**kwargs):
    return TRANSFORMS.build(dict(type='mmaffnet.RandomPhotometricDistort', **kwargs))


@pytest.fixture(scope='module')
def photograph(data_root):
    """A colourful photograph as mmcv loads it: BGR."""
    return mmcv.imread(str(sorted((data_root / 'coco/val2017').glob('*.jpg'))[3]))


def permuted_like(out, want):
    """``want`` with its channels in the order that comes closest to ``out``."""
    return min((want[..., list(order)] for order in permutations(range(3))), key=lambda w: np.abs(out - w).mean())


# Luma of ITU-R 601, which Pillow uses: in BGR order another picture would come out.
LUMA = np.array([0.114, 0.587, 0.299])


@pytest.mark.parametrize('name, factor, formula', [
    ('brightness', 0.875, lambda img: img * 0.875),
    ('brightness', 1.125, lambda img: img * 1.125),
    ('contrast', 0.5, lambda img: 0.5 * img + 0.5 * (img @ LUMA).mean()),
    ('saturation', 0.5, lambda img: 0.5 * img + 0.5 * (img @ LUMA)[..., None]),
    ('saturation', 1.5, lambda img: 1.5 * img - 0.5 * (img @ LUMA)[..., None]),
])
def test_against_formula(photograph, name, factor, formula):
    out = build(**{**SAME, name: (factor, factor)}, prob=1.0)(dict(img=photograph))['img'].astype(float)
    want = permuted_like(out, formula(photograph.astype(float)).clip(0, 255))
    # Pillow goes through 8-bit HSV for the hue, even for a shift of 0.
    assert np.abs(out - want).max() <= 6 and np.abs(out - want).mean() < 1
    assert np.abs(photograph - permuted_like(photograph, want)).mean() > 3, 'the case must change the picture'


def test_hue_turns_red_towards_yellow():
    red = np.zeros((4, 4, 3), dtype=np.uint8)
    red[..., 2] = 255  # BGR
    out = build(**{**SAME, 'hue': (1 / 6, 1 / 6)}, prob=1.0)(dict(img=red))['img']
    assert sorted(out[0, 0].tolist()) == pytest.approx([0, 255, 255], abs=8)


@pytest.mark.parametrize('channel_order', ['bgr', 'rgb'])
def test_is_torchvisions_on_rgb(photograph, channel_order):
    step = {'bgr': -1, 'rgb': 1}[channel_order]
    ours, theirs = build(channel_order=channel_order), v2.RandomPhotometricDistort()
    assert (theirs.brightness, theirs.contrast, theirs.saturation, theirs.hue, theirs.p) == (
        (0.875, 1.125), (0.5, 1.5), (0.5, 1.5), (-0.05, 0.05), 0.5)
    for seed in range(8):
        torch.manual_seed(seed)
        got = ours(dict(img=photograph))['img']
        torch.manual_seed(seed)
        want = np.asarray(theirs(Image.fromarray(photograph[..., ::step].copy())))[..., ::step]
        np.testing.assert_array_equal(got, want)
        assert got.flags.c_contiguous


def test_torch_seed_decides_and_the_rest_is_untouched(photograph):
    transform = build()
    boxes = torch.rand(3, 4)

    def run(seed):
        torch.manual_seed(seed)
        original = photograph.copy()
        results = transform(dict(img=photograph, gt_bboxes=boxes, img_shape=photograph.shape[:2]))
        np.testing.assert_array_equal(photograph, original)
        assert results['gt_bboxes'] is boxes and results['img_shape'] == results['img'].shape[:2]
        return results['img']

    np.testing.assert_array_equal(run(1), run(1))
    assert len({run(seed).tobytes() for seed in range(12)}) > 6


def test_probability_zero_changes_nothing(photograph):
    np.testing.assert_array_equal(build(prob=0.0)(dict(img=photograph))['img'], photograph)


@pytest.mark.parametrize('img', [np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), np.uint8)])
def test_wrong_pictures(img):
    with pytest.raises(TypeError, match=r'uint8 picture \(H, W, 3\), got .*LoadImageFromFile'):
        build()(dict(img=img))


def test_wrong_channel_order():
    with pytest.raises(ValueError, match="'bgr' or 'rgb', got 'gbr'"):
        build(channel_order='gbr')
