"""The filter as mask and as kernel: Eq. 6 by an explicit sum of shifted maps, in float64."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mmaffnet.analysis.kernels import (
    EquivalentKernel,
    NoKernel,
    centred,
    equivalent_kernel,
    full_plane,
    kernel_difference,
    pick,
    strongest_channels,
    transfer,
)
from mmaffnet.models.layers.aff_block import build_mixer
from mmaffnet.registry import TOKEN_MIXERS

CHANNELS = 8
SIZES = [(8, 8), (7, 8), (8, 7), (7, 9), (5, 4), (1, 6), (6, 1), (1, 1), (2, 2)]
FILTERS = {
    'AFF': dict(type='AFF', groups=2),
    'AFF in matrices': dict(type='AFF', groups=2, transform='dft'),
    'AFF 1xHxW': dict(type='AFF', groups=2, mask='spatial'),
    'AFF g=C': dict(type='AFF', groups='channels'),
    'AFF K=3': dict(type='AFF', groups=2, kernel_size=3),
    'AFF shrunk': dict(type='AFF', groups=2, softshrink=0.1),
    'GFN': dict(type='GFN'),
    'GFN full': dict(type='GFN', spectrum='full'),
    'DFF': dict(type='DFF'),
    'Identity': dict(type='Identity'),
}
SHARED = {'AFF 1xHxW', 'DFF', 'Identity'}
STATIC = {'GFN', 'GFN full', 'Identity'}


def build(cfg, size=(8, 8), dtype=torch.float64):
    bound = dict(map_size=size) if getattr(TOKEN_MIXERS.get(cfg['type']), 'needs_map_size', False) else {}
    mixer = build_mixer({**cfg, **bound}, CHANNELS).to(dtype).eval()
    for parameter in mixer.parameters():
        nn.init.normal_(parameter, std=0.5)
    return mixer


def random_map(size, batch=1):
    return torch.randn(batch, CHANNELS, *size, dtype=torch.float64)


def convolve(kernel, x):
    """Circular depthwise convolution, written out: every token's shift of the map times the kernel's number there."""
    h, w = x.shape[-2:]
    return sum(kernel[..., i:i + 1, j:j + 1] * x.roll((i, j), (-2, -1)) for i in range(h) for j in range(w))


@pytest.mark.parametrize('size', SIZES, ids=str)
@pytest.mark.parametrize('name', FILTERS)
def test_convolution_with_the_kernel_is_the_mixer(name, size):
    mixer, x = build(FILTERS[name], size), random_map(size, batch=2)
    found = equivalent_kernel(mixer, x)
    assert found.kernel.shape == x.shape and found.mask.shape == found.spectrum.shape == (
        2, CHANNELS, size[0], size[1] // 2 + 1)
    assert found.kernel.dtype == torch.float64 and found.shared is (name in SHARED)
    with torch.no_grad():
        torch.testing.assert_close(convolve(found.kernel, x), mixer(x), rtol=0, atol=1e-12)


def test_the_factor():
    """Identity has M = 1 everywhere: its kernel is 1 at the centre, where the unitary transform alone gives √(HW)."""
    found = equivalent_kernel(build(dict(type='Identity')), random_map((6, 9)))
    impulse = torch.zeros(6, 9, dtype=torch.float64)
    impulse[0, 0] = 1
    torch.testing.assert_close(found.kernel, impulse.expand_as(found.kernel), rtol=0, atol=1e-15)
    unitary = torch.fft.irfft2(found.mask, s=(6, 9), norm='ortho')
    torch.testing.assert_close(unitary / math.sqrt(54), found.kernel, rtol=0, atol=1e-15)
    mixer, x = build(FILTERS['AFF'], (6, 9)), random_map((6, 9))
    found = equivalent_kernel(mixer, x)
    torch.testing.assert_close(found.kernel, torch.fft.irfft2(found.mask, s=(6, 9), norm='backward'))


@pytest.mark.parametrize('size', [(6, 8), (5, 7)], ids=str)
def test_an_imaginary_bias_is_a_hilbert_transform_along_the_rows(size):
    """A constant i on the half spectrum: in row 0 alone a sum of sines, for even W a cotangent at odd distances."""
    mixer = build(FILTERS['AFF'], size)
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.zero_()
        mixer.b2[1] = 1
    kernel = equivalent_kernel(mixer, random_map(size)).kernel[0]
    w, width = torch.arange(1, size[1], dtype=torch.float64), size[1]
    sines = sum((2 * math.pi * v * w / width).sin() for v in range(1, (width + 1) // 2))
    torch.testing.assert_close(kernel[:, 0, 1:], (-2 / width * sines).expand(CHANNELS, -1))
    assert kernel[:, 1:].abs().max() < 1e-15 and kernel[:, 0, 0].abs().max() < 1e-15
    if width % 2 == 0:
        odd = w % 2 == 1
        torch.testing.assert_close(kernel[0, 0, 1:][odd], -2 / width / (math.pi * w[odd] / width).tan())
        assert kernel[0, 0, 1:][~odd].abs().max() < 1e-15


def test_what_stands_around_the_filter_is_left_out():
    x = random_map((8, 8))
    skipping, pointwise = build(dict(type='AFF', with_skip=True)), build(dict(type='GFN', pointwise=True))
    with torch.no_grad():
        filtered = convolve(equivalent_kernel(skipping, x).kernel, x)
        torch.testing.assert_close(x + filtered, skipping(x))
        filtered = convolve(equivalent_kernel(pointwise, x).kernel, x)
        torch.testing.assert_close(F.conv2d(filtered, pointwise.pointwise.weight), pointwise(x))


@pytest.mark.parametrize('name', FILTERS)
def test_which_kernels_adapt(name):
    mixer = build(FILTERS[name])
    first, second = (equivalent_kernel(mixer, random_map((8, 8))).kernel for _ in range(2))
    if name in STATIC:
        assert torch.equal(first, second)
    else:
        assert kernel_difference(first, second).median() > 1e-2   # with g=C, ReLU can close both parts of a channel


@pytest.mark.parametrize('cfg, reason', [
    (dict(type='AFF', combine='sum'), 'added to the spectrum'),
    (dict(type='AFF', transform='dct'), 'cosine'),
    (dict(type='AFF', transform='haar'), 'wavelet'),
    (dict(type='AFF', transform='none'), 'no token reaches another'),
    (dict(type='AFNO'), "in the spectrum's place"),
    (dict(type='FFC'), 'ReLU'),
    (dict(type='FNO'), 'C × C kernels'),
    (dict(type='TruncatedFNO', modes=(2, 2)), 'C × C kernels'),
    (dict(type='DFF', mask_on='embedding'), 'embedding'),
    (dict(type='ConvMixer', kernel_size=5), '5 × 5')])
def test_mixers_without_kernels_say_why(cfg, reason):
    with pytest.raises(NoKernel, match=reason):
        equivalent_kernel(build(cfg), random_map((8, 8)))


def test_a_mixer_of_ones_own():
    class Halve(nn.Module):
        """Halves its map."""

        def forward(self, x):
            return x / 2

    x = random_map((5, 6))
    with pytest.raises(NoKernel, match='Halve: register'):
        equivalent_kernel(Halve(), x)

    @transfer.register
    def _(mixer: Halve, x):
        return x.new_full((1, 1, x.shape[2], x.shape[3] // 2 + 1), 0.5)

    torch.testing.assert_close(convolve(equivalent_kernel(Halve(), x).kernel, x), x / 2)


@pytest.mark.parametrize('size', SIZES, ids=str)
def test_full_plane(size):
    x = random_map(size)
    torch.testing.assert_close(full_plane(torch.fft.rfft2(x), size[1]), torch.fft.fft2(x))
    found = equivalent_kernel(build(FILTERS['AFF'], size), x)
    kernel = torch.fft.ifft2(full_plane(found.mask, size[1]))   # of a mask, which is not Hermitian by itself
    torch.testing.assert_close(kernel.real, found.kernel)
    assert kernel.imag.abs().max() < 1e-15


@pytest.mark.parametrize('size', [(6, 8), (5, 7), (1, 4)], ids=str)
def test_centred(size):
    plane = torch.zeros(size)
    plane[0, 0] = 1
    assert centred(plane)[size[0] // 2, size[1] // 2] == 1


def test_chosen_channels_in_their_order():
    mixer, x = build(FILTERS['AFF']), random_map((8, 8))
    everything, some = equivalent_kernel(mixer, x), equivalent_kernel(mixer, x, [5, 0])
    assert some.channels == (5, 0)
    for part in ('spectrum', 'mask', 'kernel'):
        assert torch.equal(getattr(some, part), getattr(everything, part)[:, [5, 0]])
        assert torch.equal(getattr(pick(everything, (5, 0)), part), getattr(some, part))
    for wrong in ([8], [-1], []):
        with pytest.raises(ValueError, match=r'from 0 to 7, got \['):
            equivalent_kernel(mixer, x, wrong)


def test_strongest_channels():
    """The energy is the filtered map's, all tokens: neither that of the input alone nor that of the kernel alone."""
    x = torch.ones(1, 3, 4, 4) * torch.tensor([3., 2., 1.]).view(1, 3, 1, 1)
    gains = torch.tensor([2., 5., 4.]).view(1, 3, 1, 1)
    spectrum = torch.fft.rfft2(x, norm='ortho')
    found = EquivalentKernel(spectrum, gains * torch.ones_like(spectrum), torch.zeros(1, 3, 4, 4), (7, 8, 9), False)
    assert strongest_channels(found, 2) == [8, 7] and strongest_channels(found, 5) == [8, 7, 9]


def test_kernel_difference():
    k = torch.randn(3, 4, 5)
    zero = torch.zeros(1, 4, 5)
    assert kernel_difference(k, k).tolist() == [0, 0, 0]
    torch.testing.assert_close(kernel_difference(k, -k), torch.full((3, ), 2.))
    torch.testing.assert_close(kernel_difference(k, k / 4), torch.full((3, ), 0.75))
    assert kernel_difference(zero, zero).item() == 0 and kernel_difference(zero, k[:1]).item() == 1


def test_another_size_is_named():
    with pytest.raises(ValueError, match='8 x 8 .* got a map of 8 x 9'):   # of as many columns in the half spectrum
        equivalent_kernel(build(dict(type='GFN')), random_map((8, 9)))


def test_the_mixer_stays_as_it_was():
    mixer = build(dict(type='DFF')).train()
    before = {key: value.clone() for key, value in mixer.state_dict().items()}
    found = equivalent_kernel(mixer, random_map((8, 8)).requires_grad_())
    assert mixer.training and not found.kernel.requires_grad
    assert all(torch.equal(value, before[key]) for key, value in mixer.state_dict().items())


def test_half_precision_models():
    mixer, x = build(FILTERS['AFF'], dtype=torch.float32), random_map((8, 8)).float()
    exact = equivalent_kernel(mixer, x).kernel
    found = equivalent_kernel(mixer.bfloat16(), x.bfloat16()).kernel
    assert found.dtype == torch.float32
    assert (found - exact).norm() / exact.norm() < 0.03
