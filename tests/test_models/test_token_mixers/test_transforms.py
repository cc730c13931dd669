"""The cosine and the Haar transform against scipy, PyWavelets and their definitions; inverses at every kind of size."""

import io
import math

import numpy as np
import pytest
import torch

from mmaffnet.models.token_mixers import dct, spectral
from mmaffnet.models.token_mixers.haar import haar2, ihaar2
from mmaffnet.models.token_mixers.transforms import from_coefficients, to_coefficients

SIZES = [(8, 8), (7, 8), (8, 7), (5, 9), (1, 3), (1, 1), (6, 1), (2, 2), (32, 32), (64, 65), (67, 130), (129, 3)]


def maps(size, dtype=torch.float64):
    return torch.randn(2, 3, *size, dtype=dtype)


# Cosine transform


@pytest.mark.parametrize('size', SIZES)
def test_dct_is_scipys(size):
    fft = pytest.importorskip('scipy.fft')
    x = maps(size)
    want = fft.dctn(x.numpy(), type=2, norm='ortho', axes=(-2, -1))
    got = dct.dct2(x)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-13)
    np.testing.assert_allclose(dct.idct2(got), x, rtol=0, atol=1e-13)
    # the inverse alone, of coefficients that no forward transform made
    np.testing.assert_allclose(dct.idct2(x), fft.idctn(x.numpy(), type=2, norm='ortho', axes=(-2, -1)), atol=1e-13)


@pytest.mark.parametrize('n', [1, 2, 5, 8, 64, 81])
def test_both_forms_of_the_dct(n, monkeypatch):
    x = torch.randn(3, 2, n, n, dtype=torch.float64)
    results = []
    for side in (0, 1000):   # the FFT at any size, the matrix at any size
        monkeypatch.setattr(dct, 'MATRIX_SIDE', side)
        inp = x.clone().requires_grad_()
        out, back = dct.dct2(inp), dct.idct2(inp)
        (out.sin().sum() + back.cos().sum()).backward()
        results.append((out.detach(), back.detach(), inp.grad))
    for by_fft, by_matrix in zip(*results, strict=True):
        torch.testing.assert_close(by_fft, by_matrix, rtol=0, atol=1e-13)


def test_dct_keeps_energy_and_its_first_coefficient_is_the_mean():
    x = maps((7, 12))
    y = dct.dct2(x)
    torch.testing.assert_close(y.square().sum(), x.square().sum())
    torch.testing.assert_close(y[..., 0, 0], x.mean((2, 3)) * math.sqrt(7 * 12))


def test_dct_matrices_are_in_the_shared_cache():
    spectral._matrices.clear()
    with torch.inference_mode():
        dct.dct2(maps((10, 12)))
    dct.dct2(maps((10, 12)).requires_grad_()).sum().backward()   # made in inference, of use in training
    assert len(spectral._matrices) == 2
    assert all((m @ m.t() - torch.eye(len(m))).abs().max() < 1e-14
               for (m, ) in spectral._matrices.values())


# Haar wavelets


@pytest.mark.parametrize('mode', ['symmetric', 'constant', 'periodization'])
@pytest.mark.parametrize('size', SIZES)
def test_haar_is_pywavelets(size, mode):
    pywt = pytest.importorskip('pywt')
    x = maps(size)
    approximation, details = pywt.dwt2(x.numpy(), 'haar', mode=mode)
    for got, want in zip(haar2(x), (approximation, *details), strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-14)


@pytest.mark.filterwarnings('ignore:Level value')
@pytest.mark.parametrize('size', [(8, 8), (32, 16), (7, 9), (12, 5)])
@pytest.mark.parametrize('levels', [1, 2, 3])
def test_levels_are_pywavelets(size, levels):
    pywt = pytest.importorskip('pywt')
    x = maps(size)
    approximation, *details = pywt.wavedec2(x.numpy(), 'haar', mode='symmetric', level=levels)
    parts = to_coefficients(x, 'haar', levels)
    assert len(parts) == levels
    for part, bands in zip(parts[:-1], details[:0:-1], strict=True):
        np.testing.assert_allclose(part, np.concatenate(bands), rtol=0, atol=1e-13)
    np.testing.assert_allclose(parts[-1], np.concatenate([approximation, *details[0]]), rtol=0, atol=1e-13)


def test_haar_by_hand():
    a, b, c, d = 1., 2., 4., 8.
    x = torch.tensor([[a, b], [c, d]]).view(1, 1, 2, 2)
    assert [band.item() for band in haar2(x)] == [7.5, -4.5, -2.5, 1.5]
    # an odd side repeats its last row and column
    odd = torch.tensor([[a, b, 3.]]).view(1, 1, 1, 3)
    assert [band.flatten().tolist() for band in haar2(odd)] == [[a + b, 6.], [0., 0.], [a - b, 0.], [0., 0.]]


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('levels', [1, 2, 3, 5])
def test_haar_inverse(size, levels):
    x = maps(size)
    parts = to_coefficients(x, 'haar', levels)
    torch.testing.assert_close(from_coefficients(parts, 'haar', size), x, rtol=0, atol=1e-13)
    torch.testing.assert_close(ihaar2(*haar2(x), size), x, rtol=0, atol=1e-14)


def test_haar_keeps_energy_at_even_sizes_only():
    even, odd = maps((8, 6)), maps((7, 6)).abs() + 1
    assert sum(band.square().sum() for band in haar2(even)).item() == pytest.approx(even.square().sum().item())
    assert sum(band.square().sum() for band in haar2(odd)).item() == pytest.approx(
        odd.square().sum().item() + odd[..., -1, :].square().sum().item())   # the repeated row counts twice


# Both


@pytest.mark.parametrize('transform, levels', [('dct', 1), ('haar', 1), ('haar', 3), ('none', 1)])
@pytest.mark.parametrize('size', [(8, 8), (7, 9), (1, 1)])
def test_round_trip_in_float32_and_gradients(transform, levels, size):
    x = maps(size, torch.float32).requires_grad_()
    out = from_coefficients(to_coefficients(x, transform, levels), transform, size)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, x, rtol=0, atol=1e-5)
    weight = torch.randn_like(out)
    (out * weight).sum().backward()
    torch.testing.assert_close(x.grad, weight, rtol=0, atol=1e-5)   # of the identity


class RoundTrip(torch.nn.Module):

    def __init__(self, transform, levels=1):
        super().__init__()
        self.options = transform, levels

    def forward(self, x):
        transform, levels = self.options
        parts = to_coefficients(x, transform, levels)
        return from_coefficients(tuple(part.square() for part in parts), transform, x.shape[-2:])


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('levels', [1, 2])
def test_a_trace_of_haar_serves_every_parity(levels):
    net = RoundTrip('haar', levels)
    traced = torch.jit.trace(net, maps((8, 8)))
    for size in ((7, 9), (10, 5), (1, 1), (12, 16)):
        x = maps(size)
        torch.testing.assert_close(traced(x), net(x), rtol=0, atol=1e-12)


@pytest.mark.filterwarnings('ignore')
def test_a_trace_of_dct_refuses_other_sizes():
    net = RoundTrip('dct')
    traced = torch.jit.trace(net, maps((8, 8)))
    x = maps((8, 8))
    torch.testing.assert_close(traced(x), net(x))
    for size in ((10, 7), (4, 16), (16, 4), (8, 1), (1, 8), (8, 9)):
        with pytest.raises(RuntimeError):
            traced(maps(size))


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('transform', ['dct', 'haar'])
@pytest.mark.parametrize('size', [(8, 8), (7, 9), (130, 5)])
def test_export_without_complex_numbers(transform, size):
    net, x = RoundTrip(transform), maps(size)
    program = torch.export.export(net, (x, ))
    torch.testing.assert_close(program.module()(x), net(x), rtol=0, atol=1e-12)
    assert not any(node.meta['val'].is_complex() for node in program.graph.nodes
                   if isinstance(node.meta.get('val'), torch.Tensor))


def test_no_tensor_of_a_transform_is_saved_with_it():
    net = RoundTrip('dct')
    net(maps((40, 40)))
    stream = io.BytesIO()
    torch.save(net, stream)
    assert stream.tell() < 5_000
