"""The operators beside AFF against their equations, written out in complex numbers and float64."""

import pytest
import torch
from torch import nn

from mmaffnet.models.token_mixers import AFF, AFNO, DFF, FFC, FNO, GFN, ConvMixer, Identity, SpectralMixer, TruncatedFNO

SIZES = [(8, 8), (7, 8), (8, 7), (7, 9), (5, 4), (12, 5), (6, 1), (1, 6), (1, 1), (2, 2)]


def random(mixer: nn.Module) -> nn.Module:
    mixer = mixer.double().eval()
    for parameter in mixer.parameters():
        nn.init.normal_(parameter, std=0.3)
    for norm in (m for m in mixer.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 1.5)
    return mixer


def image(*size, batch=2, dims=16):
    return torch.randn(batch, dims, *size, dtype=torch.float64)


def spectrum(x):
    return torch.fft.rfft2(x, norm='ortho')


def back(z, x):
    return torch.fft.irfft2(z, s=x.shape[-2:], norm='ortho')


def compare(mixer, x, want):
    with torch.no_grad():
        for form in ('fft', 'dft'):
            mixer.transform = form
            torch.testing.assert_close(mixer(x), want, rtol=0, atol=1e-11)


def test_identity_and_convolution():
    x = image(7, 9)
    assert Identity(16)(x) is x
    mixer = random(ConvMixer(16))
    padded = nn.functional.pad(x, (1, 1, 1, 1))
    want = sum(torch.einsum('oi,bihw->bohw', mixer.conv.weight[:, :, i, j], padded[:, :, i:i + 7, j:j + 9])
               for i in range(3) for j in range(3))
    torch.testing.assert_close(mixer(x), want)


@pytest.mark.parametrize('size', SIZES)
def test_afno(size):
    mixer, x = random(AFNO(16, softshrink=0.1)), image(*size)

    def linear(z, weight, bias):
        dense = torch.block_diag(*torch.complex(*weight))
        return torch.einsum('bihw,io->bohw', z, dense) + torch.complex(*bias).reshape(16, 1, 1)

    with torch.no_grad():
        z = linear(spectrum(x), mixer.w1, mixer.b1)
        z = linear(torch.complex(z.real.relu(), z.imag.relu()), mixer.w2, mixer.b2)

        def shrink(value):
            return value.sign() * (value.abs() - 0.1).clamp(min=0)

        compare(mixer, x, back(torch.complex(shrink(z.real), shrink(z.imag)), x))


def test_afno_is_the_mask_of_aff():
    """With the same parameters: AFF multiplies the spectrum with what AFNO returns."""
    aff, afno, x = random(AFF(16)), random(AFNO(16, softshrink=0.)), image(8, 8)
    afno.load_state_dict(aff.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(afno(x), back(aff.mask(spectrum(x)), x), rtol=0, atol=1e-12)


def test_a_fresh_afno_is_partly_shrunk_to_zero():
    """37 % of the numbers, at AFFNet's first stage and random maps of unit variance."""
    mixer = AFNO(128).double()
    with torch.no_grad():
        mask = mixer.mask(spectrum(image(32, 32, batch=1, dims=128)))
    assert (torch.view_as_real(mask) == 0).double().mean().item() == pytest.approx(0.37, abs=0.03)


@pytest.mark.parametrize('size', SIZES)
def test_gfn(size):
    mixer, x = random(GFN(16, size)), image(*size)
    with torch.no_grad():
        compare(mixer, x, back(torch.view_as_complex(mixer.weight) * spectrum(x), x))


@pytest.mark.parametrize('size', SIZES)
def test_gfn_of_a_full_spectrum(size):
    """The literal full transform, of which the real part is kept."""
    mixer, x = random(GFN(16, size, spectrum='full')), image(*size)
    with torch.no_grad():
        full = torch.fft.ifft2(torch.complex(*mixer.weight) * torch.fft.fft2(x, norm='ortho'), norm='ortho')
        compare(mixer, x, full.real)


def test_gfn_pointwise():
    mixer, x = random(GFN(16, (8, 7), pointwise=True)), image(8, 7)
    with torch.no_grad():
        filtered = back(torch.view_as_complex(mixer.weight) * spectrum(x), x)
        compare(mixer, x, torch.einsum('oi,bihw->bohw', mixer.pointwise.weight[:, :, 0, 0], filtered))


@pytest.mark.parametrize('size', [(8, 8), (7, 9), (5, 4)])
def test_gfn_is_equation_6(size):
    """A circular depthwise convolution; its kernel is the inverse transform of w, over sqrt(H·W)."""
    (h, w), mixer, x = size, random(GFN(16, size)), image(*size)
    with torch.no_grad():
        kernel = torch.fft.irfft2(torch.view_as_complex(mixer.weight), s=size, norm='ortho') / (h * w)**0.5
        explicit = sum(kernel[:, i, j, None, None] * x.roll((i, j), (2, 3)) for i in range(h) for j in range(w))
        compare(mixer, x, explicit)


@pytest.mark.parametrize('size', SIZES)
def test_fno(size):
    mixer, x = random(FNO(16, size)), image(*size)
    with torch.no_grad():
        matrices = torch.complex(mixer.weight[:, :, :16], mixer.weight[:, :, 16:])            # (H, V, in, out)
        compare(mixer, x, back(torch.einsum('bihv,hvio->bohv', spectrum(x), matrices), x))


@pytest.mark.parametrize('size', [(16, 10), (7, 9), (24, 24), (8, 6), (4, 6)])
def test_truncated_fno(size):
    """The source's algorithm, which writes two corners into zeros, the second over the first where they meet."""
    mixer, x = random(TruncatedFNO(16, (4, 4))), image(*size)
    with torch.no_grad():
        matrices = torch.complex(mixer.weight[:, :, :16], mixer.weight[:, :, 16:])
        z = spectrum(x)
        out = torch.zeros_like(z)
        out[:, :, :4, :4] = torch.einsum('bihv,hvio->bohv', z[:, :, :4, :4], matrices[:4])
        out[:, :, -4:, :4] = torch.einsum('bihv,hvio->bohv', z[:, :, -4:, :4], matrices[4:])
        compare(mixer, x, back(out, x))


def test_truncated_fno_with_all_modes_is_fno():
    full, truncated, x = random(FNO(16, (8, 6))), random(TruncatedFNO(16, (4, 4))), image(8, 6)
    truncated.load_state_dict(full.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(truncated(x), full(x))


@pytest.mark.parametrize('size', [(5, 4), (3, 12)])
def test_truncated_fno_on_a_map_that_is_too_small(size):
    with pytest.raises(ValueError, match=rf'4 x 6 or more.*{size[0]} rows'):
        TruncatedFNO(16, (4, 4))(torch.randn(1, 16, *size))


def test_weights_of_fno_stay_contiguous_in_channels_last():
    """Else each product would copy them first."""
    for mixer in (FNO(16, (8, 8)), TruncatedFNO(16, (4, 4))):
        assert mixer.to(memory_format=torch.channels_last).weight.is_contiguous()


def embedded(mixer, z):
    """ReLU(BN(P·[Re; Im])), the norm written out."""
    conv, norm = mixer.embedding.conv, mixer.embedding.bn
    e = torch.einsum('oi,bihv->bohv', conv.weight[:, :, 0, 0], torch.cat((z.real, z.imag), 1))
    shape = (-1, 1, 1)
    e = (e - norm.running_mean.view(shape)) / (norm.running_var.view(shape) + 1e-5).sqrt()
    return (e * norm.weight.view(shape) + norm.bias.view(shape)).clamp(min=0)


@pytest.mark.parametrize('size', SIZES)
def test_ffc(size):
    mixer, x = random(FFC(16)), image(*size)
    with torch.no_grad():
        e = embedded(mixer, spectrum(x))
        compare(mixer, x, back(torch.complex(e[:, :16], e[:, 16:]), x))


@pytest.mark.parametrize('mask_on', ['input', 'embedding'])
@pytest.mark.parametrize('size', SIZES)
def test_dff(size, mask_on):
    mixer, x = random(DFF(16, mask_on=mask_on)), image(*size)
    with torch.no_grad():
        z = spectrum(x)
        e = embedded(mixer, z)
        pooled = nn.functional.pad(torch.stack((e.mean(1), e.max(1).values), 1), (3, 3, 3, 3))
        c = mixer.attention.weight[0]
        h, v = z.shape[-2:]
        score = sum((c[:, i, j, None, None] * pooled[:, :, i:i + h, j:j + v]).sum(1, keepdim=True)
                    for i in range(7) for j in range(7))
        masked = z if mask_on == 'input' else torch.complex(e[:, :16], e[:, 16:])
        compare(mixer, x, back(masked / (1 + (-score).exp()), x))


# What gets no gradient, number by number


def self_conjugate(h, w):
    """The coefficients of a real map that are real: (0, 0), and half-way along the even sides."""
    return {(u, v) for u in {0, h / 2} for v in {0, w / 2} if u % 1 == v % 1 == 0}


@pytest.mark.parametrize('size', [(8, 6), (7, 6), (8, 5), (7, 5)])
@pytest.mark.parametrize('kind', [GFN, FNO])
def test_only_the_imaginary_parts_of_real_coefficients_get_no_gradient(kind, size):
    mixer, x = random(kind(4, size)), image(*size, dims=4)
    (mixer(x) * torch.randn_like(x)).sum().backward()
    grad = mixer.weight.grad
    if kind is GFN:                                                  # (C, H, V, 2)
        real, imag = (grad[..., k].abs().amax(0) for k in (0, 1))
    else:                                                            # (H, V, 2·C, C)
        real, imag = (grad[:, :, 4 * k:4 * k + 4].abs().amax((2, 3)) for k in (0, 1))
    assert real.min() > 1e-3
    dead = {(u, v) for u in range(size[0]) for v in range(size[1] // 2 + 1) if imag[u, v] < 1e-13}
    assert dead == self_conjugate(*size)
    assert imag[imag > 1e-13].min() > 1e-3


@pytest.mark.parametrize('kind', [AFNO, FFC, DFF])
def test_every_number_of_the_shared_networks_gets_a_gradient(kind):
    mixer, x = random(kind(16)).train(), 5 * image(8, 6, batch=8)   # no unit of a ReLU is off everywhere
    for norm in (m for m in mixer.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.reset_parameters()
    (mixer(x) * torch.randn_like(x)).sum().backward()
    for name, parameter in mixer.named_parameters():
        assert (parameter.grad != 0).all(), name


@pytest.mark.parametrize('kind', [AFNO, FFC, DFF, lambda c: GFN(c, (4, 5)), lambda c: FNO(c, (4, 5)),
                                  lambda c: GFN(c, (4, 5), spectrum='full'), lambda c: TruncatedFNO(c, (2, 2))])
@pytest.mark.parametrize('form', ['fft', 'dft'])
def test_gradcheck(kind, form):
    torch.manual_seed(3)   # away from the kinks of ReLU and SoftShrink
    mixer = random(kind(8))
    mixer.transform = form
    x = image(4, 5, batch=1, dims=8).requires_grad_()
    names, values = zip(*mixer.named_parameters(), strict=True)

    def call(inp, *parameters):
        return torch.func.functional_call(mixer, dict(zip(names, parameters, strict=True)), (inp, ))

    assert torch.autograd.gradcheck(call, (x, *values), fast_mode=True)


def test_a_mixer_without_filter_says_what_is_missing():
    class Half(SpectralMixer):
        pass

    with pytest.raises(NotImplementedError, match='Half must define filter'):
        Half()(torch.randn(1, 4, 8, 8))
