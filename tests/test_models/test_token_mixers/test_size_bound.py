"""Operators bound to one size of map: they refuse others and name both; their weights are converted on request only."""

import copy

import pytest
import torch
from mmengine.runner import load_checkpoint
from torch import nn

from mmaffnet import AFFNet
from mmaffnet.models.token_mixers import FNO, GFN
from mmaffnet.models.token_mixers.size_bound import resize_transfer

SMALL = dict(channels=(8, 8, 8, 16, 16, 16), expand_ratio=2, blocks=(1, 1, 1))
CONVERSIONS = [((8, 8), (12, 12)), ((8, 8), (11, 11)), ((7, 7), (12, 12)), ((7, 7), (9, 9)), ((8, 6), (12, 14)),
               ((8, 8), (8, 12)), ((6, 8), (16, 10))]


def with_kernel(shape, size, reach, dtype=torch.float64):
    """Real circular kernels of which the tokens up to ``reach`` around (0, 0) are random, all others zero."""
    kernel = torch.zeros(*shape, *size, dtype=dtype)
    for i in range(-reach, reach + 1):
        for j in range(-reach, reach + 1):
            kernel[..., i % size[0], j % size[1]] = torch.randn(shape, dtype=dtype)
    return kernel


def convolved(kernel, x):
    """Circular convolution with (C out, C in, H, W), or depthwise (C, H, W), as a sum of shifted maps."""
    out = 0
    for i, j in (kernel != 0).flatten(0, -3).any(0).nonzero().tolist():
        shifted, weight = x.roll((i, j), (2, 3)), kernel[..., i, j]
        out = out + (weight[:, None, None] * shifted if weight.dim() == 1
                     else torch.einsum('io,bihw->bohw', weight, shifted))
    return out


def load(mixer, kernel):
    """Give a mixer the transfer functions of kernels."""
    if isinstance(mixer, FNO):                                                       # kernel (in, out, H, W)
        z = torch.view_as_real(torch.fft.rfft2(kernel))                              # (in, out, H, V, 2)
        mixer.weight.data = z.permute(2, 3, 4, 0, 1).flatten(2, 3).contiguous()
    elif mixer.spectrum == 'full':
        mixer.weight.data = torch.view_as_real(torch.fft.fft2(kernel)).movedim(-1, 0).contiguous()
    else:
        mixer.weight.data = torch.view_as_real(torch.fft.rfft2(kernel))
    return mixer


KINDS = {'GFN': GFN, 'GFN full': lambda *args, **cfg: GFN(*args, spectrum='full', **cfg), 'FNO': FNO}


@pytest.mark.parametrize('kind', KINDS)
def test_another_size_is_an_error_that_names_both(kind):
    mixer = KINDS[kind](4, (8, 6))
    for size in ((8, 7), (16, 10), (6, 8)):
        with pytest.raises(ValueError, match=rf'8 x 6.*{size[0]} x {size[1]}.*img_size.*resize_on_load'):
            mixer(torch.randn(1, 4, *size))


@pytest.mark.parametrize('kind', ['GFN', 'FNO'])
def test_a_backbone_of_another_size_is_an_error(kind):
    net = AFFNet(SMALL, token_mixer=dict(type=kind), img_size=64).eval()
    with pytest.raises(ValueError, match='8 x 8.*12 x 12'):
        net(torch.rand(1, 3, 96, 96))
    with pytest.raises(ValueError, match='img_size'):
        AFFNet(SMALL, token_mixer=dict(type=kind))


@pytest.mark.parametrize('old, new', CONVERSIONS)
@pytest.mark.parametrize('kind', KINDS)
def test_a_kernel_that_fits_filters_both_sizes_alike(kind, old, new):
    """Converted as they are loaded; the result on larger maps is the same small convolution, written out."""
    shape = (4, 4) if kind == 'FNO' else (4, )
    mixer = load(KINDS[kind](4, old).double(), with_kernel(shape, old, 1))
    other = KINDS[kind](4, new, resize_on_load=True).double()
    other.load_state_dict(mixer.state_dict())
    torch.manual_seed(0)
    small = torch.randn(2, 4, *new, dtype=torch.float64)
    kernel = torch.zeros(*shape, *new, dtype=torch.float64)
    source = mixer.weight.detach()
    if kind == 'FNO':
        transfer = source.unflatten(2, (2, 4)).permute(3, 4, 0, 1, 2).contiguous()
        spatial = torch.fft.irfft2(torch.view_as_complex(transfer), s=old)
    elif kind == 'GFN full':
        spatial = torch.fft.ifft2(torch.complex(*source)).real
    else:
        spatial = torch.fft.irfft2(torch.view_as_complex(source), s=old)
    for i in (-1, 0, 1):
        for j in (-1, 0, 1):
            kernel[..., i % new[0], j % new[1]] = spatial[..., i % old[0], j % old[1]]
    with torch.no_grad():
        torch.testing.assert_close(other(small), convolved(kernel, small), rtol=0, atol=1e-12)


@pytest.mark.parametrize('old, new', CONVERSIONS)
def test_enlarging_and_shrinking_changes_nothing(old, new):
    """Also a kernel as large as the map, whose token at n/2 is also the one at -n/2."""
    kernel = torch.randn(5, *old, dtype=torch.float64)
    weight = torch.view_as_real(torch.fft.rfft2(kernel))
    larger = resize_transfer(weight, old, new)
    assert larger.shape == (5, new[0], new[1] // 2 + 1, 2)
    torch.testing.assert_close(resize_transfer(larger, new, old), weight, rtol=0, atol=1e-12)
    torch.testing.assert_close(resize_transfer(weight, old, old), weight, rtol=0, atol=1e-12)


@pytest.mark.parametrize('old, new', CONVERSIONS)
def test_what_is_learned_and_acts_on_nothing_is_not_converted(old, new):
    """Weights are no spectra of real kernels: half of the self-conjugate columns filters nothing, and stays so."""
    weight = torch.randn(5, old[0], old[1] // 2 + 1, 2, dtype=torch.float64)
    again = resize_transfer(resize_transfer(weight, old, new), new, old)
    before, after = (GFN(5, old).double() for _ in range(2))
    before.weight.data, after.weight.data = weight, again
    x = torch.randn(2, 5, *old, dtype=torch.float64)
    torch.testing.assert_close(after(x), before(x), rtol=0, atol=1e-12)
    for column in {0, old[1] // 2} if old[1] % 2 == 0 else {0}:
        column = torch.view_as_complex(again)[..., column]
        torch.testing.assert_close(column, column.flip(-1).roll(1, -1).conj(), rtol=0, atol=1e-12)


@pytest.mark.parametrize('old, new', CONVERSIONS)
def test_a_filter_without_phase_stays_one(old, new):
    """A real transfer function has a symmetric kernel, which must not be cut on one side only."""
    kernel = torch.randn(5, *old, dtype=torch.float64)
    kernel = kernel + kernel.flip((1, 2)).roll((1, 1), (1, 2))
    weight = torch.view_as_real(torch.fft.rfft2(kernel))
    assert weight[..., 1].abs().max() < 1e-12
    assert resize_transfer(weight, old, new)[..., 1].abs().max() < 1e-12


def test_shrinking_keeps_the_middle():
    kernel = torch.randn(3, 12, 12, dtype=torch.float64)
    small = resize_transfer(torch.view_as_real(torch.fft.rfft2(kernel)), (12, 12), (5, 5))
    small = torch.fft.irfft2(torch.view_as_complex(small), s=(5, 5))
    centred = kernel.roll((2, 2), (1, 2))[:, :5, :5].roll((-2, -2), (1, 2))
    torch.testing.assert_close(small, centred, rtol=0, atol=1e-12)


@pytest.mark.parametrize('kind', KINDS)
def test_weights_of_another_size_are_refused_without_the_option(kind):
    other = KINDS[kind](4, (12, 12))
    with pytest.raises(ValueError, match='12 x 12.*img_size.*resize_on_load=True'):
        other.load_state_dict(KINDS[kind](4, (8, 8)).state_dict())


def test_what_differs_in_more_than_frequencies_is_left_to_torch():
    half, full = GFN(4, (8, 8)), GFN(4, (12, 12), spectrum='full', resize_on_load=True)
    with pytest.raises(RuntimeError, match='size mismatch for weight'):
        full.load_state_dict(half.state_dict())
    with pytest.raises(RuntimeError, match='size mismatch for weight'):
        GFN(6, (12, 12), resize_on_load=True).load_state_dict(half.state_dict())


@pytest.mark.parametrize('kind', ['GFN', 'FNO'])
def test_a_backbone_is_converted_through_a_checkpoint(kind, tmp_path):
    """Of three map sizes at once, by mmengine's loader; the rest of the weights stays as it is."""
    small = AFFNet(SMALL, token_mixer=dict(type=kind), img_size=64)
    torch.save(small.state_dict(), tmp_path / 'small.pth')
    large = AFFNet(SMALL, token_mixer=dict(type=kind, resize_on_load=True), img_size=96)
    load_checkpoint(large, str(tmp_path / 'small.pth'), strict=True)
    state = small.state_dict()
    for key, value in large.state_dict().items():
        if value.shape == state[key].shape:
            assert torch.equal(value, state[key]), key
        else:
            assert key.endswith('token_mixer.weight')
    again = copy.deepcopy(large.state_dict())
    back = AFFNet(SMALL, token_mixer=dict(type=kind, resize_on_load=True), img_size=64)
    back.load_state_dict(again)
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        for got, want in zip(back.eval()(x), small.eval()(x), strict=True):
            torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        assert all(out.isfinite().all() for out in large.eval()(torch.rand(1, 3, 96, 96)))


def test_half_precision_weights_are_converted():
    mixer = GFN(4, (8, 8)).half()
    other = GFN(4, (12, 12), resize_on_load=True).half()
    other.load_state_dict(mixer.state_dict())
    want = resize_transfer(mixer.weight.detach().float(), (8, 8), (12, 12))
    torch.testing.assert_close(other.weight.detach().float(), want, rtol=2e-3, atol=1e-4)
    assert isinstance(other.weight, nn.Parameter) and other.weight.dtype == torch.half
