"""AFF's options (Tables 4 to 7 and 12), each against its definition written out with dense matrices in float64."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mmaffnet import AFFNet
from mmaffnet.models.token_mixers import AFF, spectral

SIZES = [(8, 8), (7, 9), (12, 5), (1, 6), (6, 1), (1, 1)]
# A row of an ablation table each.
ROWS = {
    'sum': dict(combine='sum'), 'spatial': dict(mask='spatial'), 'spatial sum': dict(mask='spatial', combine='sum'),
    'g=C': dict(groups='channels'), 'g=1': dict(groups=1), 'K=3': dict(kernel_size=3),
    'K=3 g=C': dict(kernel_size=3, groups='channels'), 'K=5 spatial': dict(kernel_size=5, mask='spatial'),
    'K=3 shrunk': dict(kernel_size=3, softshrink=0.2), 'none': dict(transform='none'), 'dct': dict(transform='dct'),
    'haar': dict(transform='haar'), 'haar 2': dict(transform='haar', levels=2),
    'dct sum': dict(transform='dct', combine='sum'), 'haar spatial': dict(transform='haar', mask='spatial'),
    'none K=3': dict(transform='none', kernel_size=3), 'haar 2 K=3': dict(transform='haar', levels=2, kernel_size=3),
    'none shrunk': dict(transform='none', softshrink=0.2, groups=4),
    'dct g=C': dict(transform='dct', groups='channels'),
}
FOURIER = [name for name, cfg in ROWS.items() if 'transform' not in cfg]
REAL = [name for name, cfg in ROWS.items() if 'transform' in cfg]


def random_mixer(cfg, dims=16, dtype=torch.float64) -> AFF:
    mixer = AFF(dims, **cfg).to(dtype)
    for parameter in mixer.parameters():
        nn.init.normal_(parameter, std=0.3)
    return mixer


# Definitions, in complex numbers and dense matrices


def dense(weight: torch.Tensor) -> torch.Tensor:
    """(2, g, in, out[, K, K]) as one complex kernel (C out, C in, K, K)."""
    if weight.dim() == 4:
        weight = weight[..., None, None]
    weight = torch.complex(*weight)
    g, i, o, k, _ = weight.shape
    full = weight.new_zeros(g * o, g * i, k, k)
    for n, block in enumerate(weight):
        full[n * o:(n + 1) * o, n * i:(n + 1) * i] = block.transpose(0, 1)
    return full


def layer(z, weight, bias):
    """At each (u, v) the sum over the kernel's offsets, zeros beyond the border."""
    kernel, (h, w) = dense(weight), z.shape[-2:]
    r = kernel.shape[-1] // 2
    padded = F.pad(torch.view_as_real(z).movedim(-1, 0), (r, r, r, r))
    padded = torch.complex(*padded)
    out = sum(torch.einsum('oi,bihw->bohw', kernel[:, :, i, j], padded[..., i:i + h, j:j + w])
              for i in range(2 * r + 1) for j in range(2 * r + 1))
    return out + torch.complex(*bias.flatten(1))[:, None, None]


def on_parts(function, z):
    return torch.complex(function(z.real), function(z.imag))


def network(mixer, z):
    z = layer(on_parts(torch.relu, layer(z, mixer.w1, mixer.b1)), mixer.w2, mixer.b2)
    if mixer.shrink is not None:
        z = on_parts(lambda part: part.sign() * (part.abs() - mixer.shrink.lambd).clamp(min=0), z)
    return z.mean(1, keepdim=True) if mixer.mask_kind == 'spatial' else z


def joined(mixer, mask, z):
    return mask + z if mixer.combine == 'sum' else mask * z


def defined(mixer, x):
    h, w = x.shape[-2:]
    if mixer.transform in ('auto', 'fft', 'dft'):
        z = torch.fft.rfft2(x, norm='ortho')
        return torch.fft.irfft2(joined(mixer, network(mixer, z), z), s=(h, w), norm='ortho')

    def real_network(z):
        return joined(mixer, network(mixer, torch.complex(z, torch.zeros_like(z))).real, z)

    if mixer.transform == 'none':
        return real_network(x)
    if mixer.transform == 'dct':
        matrices = [cosine_matrix(n) for n in (h, w)]
        return matrices[0].t() @ real_network(matrices[0] @ x @ matrices[1].t()) @ matrices[1]
    return haar_filter(x, real_network, mixer.levels)


def cosine_matrix(n):
    rows = [[math.cos(math.pi * (2 * t + 1) * k / (2 * n)) * math.sqrt((1 if k == 0 else 2) / n) for t in range(n)]
            for k in range(n)]
    return torch.tensor(rows, dtype=torch.float64)


def haar_filter(x, function, levels):
    """By PyWavelets: the function on each subband by itself."""
    pywt = pytest.importorskip('pywt')
    low, *details = pywt.wavedec2(x.detach().numpy(), 'haar', mode='symmetric', level=levels)

    def filtered(band):
        return function(torch.from_numpy(np.ascontiguousarray(band))).numpy()

    coefficients = [filtered(low), *(tuple(map(filtered, bands)) for bands in details)]
    out = coefficients[0]
    for bands in coefficients[1:]:   # an odd side comes back even at each level
        out = pywt.idwt2((out[..., :bands[0].shape[-2], :bands[0].shape[-1]], bands), 'haar', mode='symmetric')
    return torch.from_numpy(out)[..., :x.shape[-2], :x.shape[-1]]


@pytest.mark.filterwarnings('ignore:Level value')
@pytest.mark.parametrize('name', ROWS)
@pytest.mark.parametrize('size', SIZES)
def test_definition(name, size):
    mixer = random_mixer(ROWS[name])
    x = torch.randn(2, 16, *size, dtype=torch.float64)
    with torch.no_grad():
        want = defined(mixer, x)
        for layout in (torch.contiguous_format, torch.channels_last):
            got = mixer(x.contiguous(memory_format=layout))
            assert got.shape == x.shape
            torch.testing.assert_close(got, want, rtol=0, atol=1e-11)


@pytest.mark.parametrize('name', FOURIER)
@pytest.mark.parametrize('size', [(8, 8), (7, 9), (9, 20), (1, 1)])
def test_forms_agree_with_gradients(name, size):
    mixer = random_mixer(ROWS[name])
    x, results = torch.randn(2, 16, *size, dtype=torch.float64), []
    weight = torch.randn_like(x)
    for form in ('fft', 'dft', 'auto'):
        net, inp = copy.deepcopy(mixer), x.clone().requires_grad_()
        net.transform = form
        out = net(inp)
        (out * weight).sum().backward()
        results.append([out.detach(), inp.grad, *(p.grad for p in net.parameters())])
    for other in results[1:]:
        for got, want in zip(other, results[0], strict=True):
            torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize('name', ROWS)
def test_gradcheck(name):
    torch.manual_seed(4)   # away from the kinks of ReLU and the shrinkage
    mixer = random_mixer({'groups': 2, **ROWS[name]}, dims=4)
    x = torch.randn(1, 4, 5, 4, dtype=torch.float64, requires_grad=True)
    names, values = zip(*mixer.named_parameters(), strict=True)

    def call(inp, *parameters):
        return torch.func.functional_call(mixer, dict(zip(names, parameters, strict=True)), (inp, ))

    assert torch.autograd.gradcheck(call, (x, *values))


@pytest.mark.parametrize('name', ROWS)
def test_gradients_reach_every_parameter_but_the_imaginary_bias(name):
    mixer = random_mixer(ROWS[name])
    mixer(torch.randn(2, 16, 8, 8, dtype=torch.float64)).square().sum().backward()
    for key, parameter in mixer.named_parameters():
        if key == 'b2' and name in REAL:   # of a real map's mask only the real part is used
            assert bool((parameter.grad[1] == 0).all()) and bool((parameter.grad[0] != 0).any())
        else:
            assert all(bool((half != 0).any()) for half in parameter.grad)


@pytest.mark.parametrize('combine', ['product', 'sum'])
def test_entries_that_the_inverse_discards_get_no_gradient(combine):
    """Of the mask at the self-conjugate columns the Hermitian part alone reaches the output (`spectral.irfft2`)."""
    mixer = random_mixer(dict(combine=combine), dims=8)
    z = spectral.rfft2(torch.randn(1, 8, 6, 6, dtype=torch.float64))
    mask = torch.view_as_real(mixer.mask(z).detach()).requires_grad_()
    out = spectral.irfft2(mixer._combine(torch.view_as_complex(mask), z), (6, 6))
    (gradient, ) = torch.autograd.grad((out * torch.randn_like(out)).sum(), mask)
    gradient = torch.view_as_complex(gradient)
    if combine == 'sum':   # the gradient of the mask is that of the spectrum, and has its symmetry
        for v in (0, 3):
            column = gradient[..., v]
            torch.testing.assert_close(column, column[..., -torch.arange(6) % 6].conj(), rtol=0, atol=1e-12)
        assert gradient[..., 0, 0].imag.abs().max() == 0
    else:
        # at (0, 0) the spectrum is real: an imaginary mask there turns it imaginary, which no real map has
        assert gradient[..., 0, 0].imag.abs().max() < 1e-12 < gradient[..., 0, 0].real.abs().max()


@pytest.mark.parametrize('name', ROWS)
def test_autocast_computes_in_float32(name):
    mixer = random_mixer(ROWS[name], dtype=torch.float32)
    x = torch.randn(2, 16, 10, 7).bfloat16()
    with torch.no_grad():
        with torch.autocast('cpu', torch.bfloat16):
            got = mixer(x)
        assert got.dtype == torch.bfloat16
        torch.testing.assert_close(got, mixer(x.float()).bfloat16(), rtol=0, atol=0)


@pytest.mark.parametrize('name', ROWS)
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_model(name, dtype):
    mixer = random_mixer(ROWS[name], dtype=torch.float32)
    x = torch.randn(2, 16, 10, 10)
    with torch.no_grad():
        want = mixer(x)
        got = copy.deepcopy(mixer).to(dtype)(x.to(dtype))
    assert got.dtype == dtype
    assert (got.float() - want).std() < (0.02 if dtype is torch.float16 else 0.1) * want.std()


@pytest.mark.parametrize('cfg', [dict(transform='fft'), *(ROWS[name] for name in REAL)])
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_model_computes_in_float32_but_by_dft(cfg, dtype):
    half = random_mixer(cfg, dtype=torch.float32).to(dtype)
    x = torch.randn(2, 16, 9, 10).to(dtype)
    with torch.no_grad():
        want = copy.deepcopy(half).float()(x.float()).to(dtype)
        torch.testing.assert_close(half(x), want, rtol=0, atol=0)


@pytest.mark.gpu
@pytest.mark.parametrize('name', ROWS)
@pytest.mark.parametrize('size', [(20, 20), (13, 7), (8, 8)])
def test_cuda_agrees_with_cpu(name, size):
    mixer = random_mixer(ROWS[name], dtype=torch.float32)
    x = torch.randn(2, 16, *size)
    with torch.no_grad():
        want = mixer(x)
        mixer.cuda()
        torch.testing.assert_close(mixer(x.cuda()).cpu(), want, rtol=2e-3, atol=2e-3)
        with torch.autocast('cuda', torch.float16):
            torch.testing.assert_close(mixer(x.cuda()).cpu(), want, rtol=2e-3, atol=2e-3)


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('name', ROWS)
def test_trace_and_export(name):
    mixer = random_mixer(ROWS[name], dtype=torch.float32).eval()
    x, other = torch.randn(2, 16, 8, 8), torch.randn(3, 16, 7, 10)
    with torch.no_grad():
        traced = torch.jit.trace(mixer, x)
        torch.testing.assert_close(traced(x), mixer(x), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(torch.export.export(mixer, (x, )).module()(x), mixer(x), rtol=1e-4, atol=1e-4)
        if mixer.transform == 'dct':
            with pytest.raises(RuntimeError):
                traced(other)
        else:   # another size, parity and batch
            torch.testing.assert_close(traced(other), mixer(other), rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('cfg', [dict(ROWS[name], transform='dft') for name in FOURIER] + [ROWS[n] for n in REAL])
def test_forms_without_complex_numbers_export_without_them(cfg):
    mixer, x = random_mixer(cfg, dtype=torch.float32), torch.randn(1, 16, 8, 9)
    program = torch.export.export(mixer, (x, ))
    assert not any(node.meta['val'].is_complex() for node in program.graph.nodes
                   if isinstance(node.meta.get('val'), torch.Tensor))


# What is particular to a row


def test_spatial_mask_is_the_mean_of_the_other():
    one, many = random_mixer(dict(mask='spatial')), random_mixer({})
    many.load_state_dict(one.state_dict())
    z = spectral.rfft2(torch.randn(2, 16, 7, 8, dtype=torch.float64))
    assert one.mask(z).shape == (2, 1, 7, 5)
    torch.testing.assert_close(one.mask(z), many.mask(z).mean(1, keepdim=True))


def reached(mixer, size=(16, 16), at=(5, 6)):
    """Tokens whose output changes as one token moves."""
    x = torch.randn(1, 16, *size, dtype=torch.float64)
    moved = x.clone()
    moved[:, :, at[0], at[1]] += 1
    with torch.no_grad():
        return ((mixer(moved) - mixer(x)).abs().amax((0, 1)) > 1e-12).sum().item()


@pytest.mark.parametrize('cfg, tokens', [
    (dict(), 256), (dict(transform='dct'), 256), (dict(transform='none'), 1), (dict(transform='haar'), 4),
    (dict(transform='haar', levels=3), 64), (dict(transform='none', kernel_size=3), 25)])
def test_how_far_a_token_reaches(cfg, tokens):
    assert reached(random_mixer(cfg)) == tokens


def test_a_wider_kernel_reads_neighbouring_frequencies():
    for k, entries in ((1, 1), (3, 25)):   # two layers of 3×3
        mixer = random_mixer(dict(kernel_size=k))
        z = torch.randn(1, 16, 12, 12, dtype=torch.complex128)
        moved = z.clone()
        moved[:, :, 6, 6] += 1
        assert ((mixer.mask(moved) - mixer.mask(z)).abs().amax((0, 1)) > 1e-12).sum() == entries


@pytest.mark.parametrize('cfg, count', [
    (dict(), 16**2 // 2 + 4 * 16), (dict(groups='channels'), 8 * 16), (dict(groups=1), 4 * 16**2 + 4 * 16),
    (dict(kernel_size=3), 9 * 16**2 // 2 + 4 * 16), (dict(transform='haar', levels=2), 16**2 // 2 + 4 * 16)])
def test_parameters(cfg, count):
    assert sum(p.numel() for p in AFF(16, **cfg).parameters()) == count


def test_channels_last_net_with_wide_kernels():
    """torch lays out every parameter of four and five axes, and fails at five."""
    mixer = AFF(16, kernel_size=3)
    x = torch.randn(1, 16, 12, 12)
    want = mixer(x)
    assert mixer.to(memory_format=torch.channels_last).w1.is_contiguous()
    torch.testing.assert_close(mixer(x.contiguous(memory_format=torch.channels_last)), want)


@pytest.mark.parametrize('cfg, word', [
    (dict(kernel_size=2), 'odd'), (dict(kernel_size=0), 'odd'), (dict(combine='mean'), "'sum'"),
    (dict(mask='token'), "'spatial'"), (dict(transform='wavelet'), "'haar'"), (dict(groups='all'), "'channels'"),
    (dict(groups=3), 'multiple'), (dict(levels=2), "'haar'"), (dict(transform='haar', levels=0), 'levels')])
def test_bad_arguments_say_what_is_allowed(cfg, word):
    with pytest.raises(ValueError, match=word):
        AFF(16, **cfg)


@pytest.mark.parametrize('name', ROWS)
def test_in_a_backbone_its_parameters_move_and_silencing_it_changes_the_loss(name):
    torch.manual_seed(0)
    arch = dict(channels=(8, 8, 8, 16, 16, 16), expand_ratio=2, blocks=(1, 1, 1))
    net = AFFNet(arch, token_mixer=dict(type='AFF', init_std=0.2, **ROWS[name]))
    net.init_weights()
    x = torch.rand(2, 3, 64, 64)
    optimiser = torch.optim.SGD(net.parameters(), 0.1)
    before = copy.deepcopy(net.state_dict())
    loss = net(x)[-1].square().mean()
    loss.backward()
    optimiser.step()
    for key, value in net.named_parameters():
        assert not torch.equal(value, before[key]), key
    net.load_state_dict(before)
    for module in net.modules():
        if isinstance(module, AFF):
            module.register_forward_hook(lambda module, inputs, output: torch.zeros_like(output))
    assert abs(net(x)[-1].square().mean().item() - loss.item()) > 1e-4 * loss.item()
