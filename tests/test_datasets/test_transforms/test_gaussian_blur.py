import mmcv
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from mmaffnet.registry import TRANSFORMS


def build(**kwargs):
    return TRANSFORMS.build(dict(type='mmaffnet.RandomGaussianBlur', **kwargs))


@pytest.fixture(scope='module')
def sample(data_root):
    """A real picture and its mask."""
    root = data_root / 'ade20k' / 'ADEChallengeData2016'
    name = sorted(path.stem for path in (root / 'images' / 'validation').iterdir())[0]
    return (mmcv.imread(str(root / 'images' / 'validation' / f'{name}.jpg')),
            mmcv.imread(str(root / 'annotations' / 'validation' / f'{name}.png'), 'grayscale'))


@pytest.mark.parametrize('radius', [0.5, 1.0, 3.0])
def test_against_the_convolution_with_a_gaussian(sample, radius):
    image, mask = sample
    before, kept = image.copy(), mask.copy()
    results = build(radius=(radius, radius), prob=1.0)(dict(img=image, gt_seg_map=mask, seg_fields=['gt_seg_map']))
    # Pillow repeats the border's pixels, and takes three box filters for the Gaussian.
    want = gaussian_filter(image.astype(float), (radius, radius, 0), mode='nearest')
    off = np.abs(results['img'] - want)
    changed = np.abs(image - want).mean()
    assert off.mean() < 0.25 + 0.15 * changed and changed > 1, (off.mean(), changed)  # 0.25: rounding to bytes
    assert results['img'].dtype == np.uint8 and results['img'].shape == image.shape
    assert results['gt_seg_map'] is mask
    np.testing.assert_array_equal(mask, kept)
    np.testing.assert_array_equal(image, before)  # a new array: the loaded picture is not written to


def test_grey_pictures_and_radius_0(sample):
    grey = sample[0][..., 0].copy()
    blurred = build(radius=(2, 2), prob=1.0)(dict(img=grey))['img']
    want = gaussian_filter(grey.astype(float), 2, mode='nearest')
    assert blurred.shape == grey.shape and np.abs(blurred - want).mean() < 1
    np.testing.assert_array_equal(build(radius=(0, 0), prob=1.0)(dict(img=grey))['img'], grey)


def test_probability_and_range_of_the_radius(monkeypatch):
    image = np.zeros((4, 4, 3), np.uint8)
    image[2:] = 255
    drawn = []
    monkeypatch.setattr('mmaffnet.datasets.transforms.gaussian_blur.ImageFilter.GaussianBlur',
                        lambda radius: drawn.append(radius) or _Identity())
    np.random.seed(0)
    transform = build()
    for _ in range(2000):
        transform(dict(img=image))
    # of 2000 draws 1000 ± 3 standard deviations, and a uniform distribution's mean and variance
    assert abs(len(drawn) - 1000) < 3 * 500**0.5
    assert np.mean(drawn) == pytest.approx(0.5, abs=0.03) and np.var(drawn) == pytest.approx(1 / 12, abs=0.01)
    assert 0 <= min(drawn) < 0.01 and 0.99 < max(drawn) <= 1
    drawn.clear()
    build(prob=0.)(dict(img=image))
    assert drawn == []


class _Identity:
    """Pillow's filter protocol: the picture as it is."""

    def filter(self, image):
        return image


@pytest.mark.parametrize('wrong, message', [(dict(radius=(1, 0)), 'low <= high, got'), (dict(radius=(-1, 1)), '-1'),
                                            (dict(prob=1.5), 'got 1.5')])
def test_wrong_arguments_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        build(**wrong)
