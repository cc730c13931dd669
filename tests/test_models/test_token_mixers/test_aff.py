"""The AFF mixer against its definition, the reference numbers, and itself in its two forms."""

import copy
import io

import pytest
import torch
from torch import nn

from mmaffnet.models.token_mixers import AFF, spectral

SIZES = [(8, 8), (16, 16), (7, 9), (12, 5), (5, 12), (9, 20), (1, 6), (6, 1), (1, 1), (2, 2), (17, 8)]


def random_mixer(dims=16, dtype=torch.float64, **cfg) -> AFF:
    mixer = AFF(dims, **cfg).to(dtype)
    for parameter in mixer.parameters():
        nn.init.normal_(parameter, std=0.3)
    return mixer


def in_form(mixer: AFF, transform: str) -> AFF:
    mixer = copy.deepcopy(mixer)
    mixer.transform = transform
    return mixer


def equation_4(mixer: AFF, x: torch.Tensor) -> torch.Tensor:
    """Eq. 4 written out at each frequency with dense complex matrices, in float64."""
    b, c, h, w = x.shape
    block = c // mixer.groups
    z = torch.fft.rfft2(x.double(), norm='ortho')

    def linear(value, weight, bias):
        weight = torch.complex(*weight.double())
        dense = torch.block_diag(*weight)                                    # (in, out)
        assert dense.shape == (c, c) and weight.shape[1] == block
        return torch.einsum('bihw,io->bohw', value, dense) + torch.complex(*bias.double()).reshape(c, 1, 1)

    m = linear(z, mixer.w1, mixer.b1)
    m = linear(torch.complex(m.real.relu(), m.imag.relu()), mixer.w2, mixer.b2)
    return torch.fft.irfft2(m * z, s=(h, w), norm='ortho')


@pytest.mark.parametrize('transform', ['fft', 'dft'])
@pytest.mark.parametrize('size', SIZES)
def test_equation_4(size, transform):
    mixer = random_mixer(transform=transform)
    x = torch.randn(2, 16, *size, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(mixer(x), equation_4(mixer, x), rtol=0, atol=1e-12)


@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize('size', [*SIZES, (32, 32), (40, 20)])
def test_forms_agree_with_gradients(size, layout):
    mixer = random_mixer(32, torch.float32)
    reference, results = random_mixer(32), {}
    reference.load_state_dict(mixer.double().state_dict())
    mixer.float()
    x = torch.randn(3, 32, *size)
    for name, net in dict(ref=reference, fft=in_form(mixer, 'fft'), dft=in_form(mixer, 'dft'),
                          auto=in_form(mixer, 'auto')).items():
        inp = x.to(net.w1.dtype, copy=True).contiguous(memory_format=layout).detach().requires_grad_()
        out = net(inp)
        (out * torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)).sum().backward()
        results[name] = [out.detach(), inp.grad, *(p.grad for p in net.parameters())]
    for name in ('fft', 'dft', 'auto'):
        for got, want in zip(results[name], results['ref'], strict=True):
            # a single number has no spread: measure it by its size
            scale = want.std() if want.numel() > 1 and want.std() > 0 else want.abs().max()
            assert (got - want).abs().max() <= 1e-5 * scale, name


@pytest.mark.parametrize('index', range(6))
@pytest.mark.parametrize('transform', ['fft', 'dft', 'auto'])
def test_reference_filter(reference, reference_weights, index, transform):
    case = reference('filter.pt')['cases'][index]
    options = case['options']
    act = {'relu': 'ReLU', 'swish': 'SiLU'}[options['filter_activation']]
    mixer = AFF(options['channels'], options['groups'], act_cfg=dict(type=act),
                softshrink=options['sparsity_threshold'], with_skip=True, transform=transform)
    mixer.load_state_dict(reference_weights.state_dict(options['spec']))
    x = reference_weights.image(case['input']['shape'], case['input']['seed']) * case['input'].get('scale', 1.)
    with torch.no_grad():
        got = dict(output=mixer(x), mask=mixer.mask(spectral.rfft2(x)))
    for key, want in case['outputs'].items():
        torch.testing.assert_close(got[key], want, rtol=case['rtol'], atol=case['atol'][key])


@pytest.mark.parametrize('size', [(8, 8), (7, 8), (8, 7), (7, 9), (5, 4), (1, 6), (6, 1), (1, 1), (2, 2)])
def test_equation_6_circular_depthwise_convolution(size):
    h, w = size
    mixer = random_mixer()
    x = torch.randn(1, 16, h, w, dtype=torch.float64)
    with torch.no_grad():
        mask = mixer.mask(spectral.rfft2(x))
        kernel = torch.fft.irfft2(mask, s=(h, w), norm='backward')
        # the unitary inverse of the mask is the kernel times sqrt(H·W)
        torch.testing.assert_close(spectral.irfft2(mask, (h, w)), kernel * (h * w)**0.5)
        explicit = sum(kernel[..., i:i + 1, j:j + 1] * x.roll((i, j), dims=(2, 3)) for i in range(h) for j in range(w))
        torch.testing.assert_close(mixer(x), explicit, rtol=0, atol=1e-12)


@pytest.mark.parametrize('size', [(8, 8), (7, 8), (8, 7), (5, 4), (1, 6), (6, 1), (1, 1), (2, 2)])
def test_hermitian_columns(size):
    h, w = size
    spectrum = torch.randn(2, 3, h, w // 2 + 1, dtype=torch.complex128)
    fixed = spectral.hermitian_columns(spectrum, w)
    plain = torch.fft.irfft2(spectrum, s=(h, w), norm='ortho')
    # no change where the library keeps the Hermitian part by itself
    torch.testing.assert_close(torch.fft.irfft2(fixed, s=(h, w), norm='ortho'), plain, rtol=0, atol=1e-14)
    # the full spectrum by conjugate mirroring has a real inverse: nothing is left to a library's choice
    columns = torch.arange(w)
    mirrored = torch.where(columns <= w // 2, columns, w - columns)
    rows = torch.where(columns[None] <= w // 2, torch.arange(h)[:, None], -torch.arange(h)[:, None] % h)
    full = fixed[:, :, rows, mirrored.expand(h, w)]
    full = torch.where(columns <= w // 2, full, full.conj())
    inverse = torch.fft.ifft2(full, norm='ortho')
    torch.testing.assert_close(inverse.real, plain, rtol=0, atol=1e-14)
    assert inverse.imag.abs().max() < 1e-14
    # every self-conjugate column is its own mirror image
    for v in {0, w // 2} if w % 2 == 0 else {0}:
        column = fixed[..., v]
        torch.testing.assert_close(column, column[..., -torch.arange(h) % h].conj())


def test_discarded_mask_entries_get_no_gradient():
    mask = torch.randn(1, 1, 8, 5, dtype=torch.complex128, requires_grad=True)
    x = torch.randn(1, 1, 8, 8, dtype=torch.float64)
    z = spectral.rfft2(x)
    jacobian = torch.autograd.functional.jacobian(
        lambda m: spectral.irfft2(torch.view_as_complex(m) * z, (8, 8)).flatten(), torch.view_as_real(mask).detach())
    # of 2·8·5 real numbers 64 reach the output
    assert torch.linalg.matrix_rank(jacobian.flatten(1)).item() == 64


@pytest.mark.parametrize('transform', ['fft', 'dft'])
def test_gradcheck(transform):
    torch.manual_seed(3)   # away from the kinks of ReLU
    mixer = random_mixer(8, groups=2, transform=transform)
    x = torch.randn(1, 8, 4, 5, dtype=torch.float64, requires_grad=True)
    names, values = zip(*mixer.named_parameters(), strict=True)

    def call(inp, *parameters):
        return torch.func.functional_call(mixer, dict(zip(names, parameters, strict=True)), (inp, ))

    assert torch.autograd.gradcheck(call, (x, *values))


@pytest.mark.parametrize('transform', ['fft', 'dft', 'auto'])
def test_gradients_reach_every_parameter(transform):
    mixer = AFF(16, transform=transform)
    mixer(torch.randn(2, 16, 8, 8)).square().sum().backward()
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in mixer.parameters())


@pytest.mark.parametrize('transform', ['fft', 'dft', 'auto'])
def test_autocast_computes_in_float32(transform):
    mixer = random_mixer(dtype=torch.float32, transform=transform)
    x = torch.randn(2, 16, 10, 10).bfloat16()
    with torch.no_grad():
        with torch.autocast('cpu', torch.bfloat16):
            got = mixer(x)
        assert got.dtype == torch.bfloat16
        torch.testing.assert_close(got, mixer(x.float()).bfloat16(), rtol=0, atol=0)


@pytest.mark.parametrize('transform', ['fft', 'dft', 'auto'])
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_model(dtype, transform):
    mixer = random_mixer(dtype=torch.float32, transform=transform)
    x = torch.randn(2, 16, 10, 10)
    with torch.no_grad():
        want = mixer(x)
        got = copy.deepcopy(mixer).to(dtype)(x.to(dtype))
    assert got.dtype == dtype
    assert (got.float() - want).std() < (0.01 if dtype is torch.float16 else 0.05) * want.std()


def test_half_model_takes_dft():
    mixer = AFF(16).half()
    assert mixer._form(torch.zeros(1, 16, 40, 40, dtype=torch.half)) == 'dft'


@pytest.mark.parametrize('transform', ['fft', 'dft', 'auto'])
@pytest.mark.parametrize('size', [(8, 8), (10, 12)])
@pytest.mark.filterwarnings('ignore')
def test_trace_and_export_agree_with_eager(transform, size):
    mixer = random_mixer(dtype=torch.float32, transform=transform).eval()
    x = torch.randn(2, 16, *size)
    with torch.no_grad():
        want = mixer(x)
        traced = torch.jit.trace(mixer, x)
        torch.testing.assert_close(traced(x), want, rtol=1e-5, atol=1e-5)
        exported = torch.export.export(mixer, (x, )).module()
        torch.testing.assert_close(exported(x), want, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(mixer(x), want)   # and the export left nothing behind that breaks eager calls


@pytest.mark.filterwarnings('ignore')
def test_trace_at_other_sizes():
    fft, dft = random_mixer(dtype=torch.float32), random_mixer(dtype=torch.float32, transform='dft')
    x = torch.randn(2, 16, 8, 8)
    with torch.no_grad():
        other = torch.randn(1, 16, 10, 7)
        torch.testing.assert_close(torch.jit.trace(fft, x)(other), fft(other), rtol=1e-5, atol=1e-5)
        traced = torch.jit.trace(dft, x)
        for size in ((10, 7), (4, 16), (16, 4), (16, 8), (8, 16), (8, 1), (1, 8), (1, 1), (1, 64)):
            with pytest.raises(RuntimeError):
                traced(torch.randn(2, 16, *size))


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('size', [(8, 8), (9, 16)])
def test_dft_has_no_complex_tensor(size):
    class NoComplex(torch.utils._python_dispatch.TorchDispatchMode):

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            for tensor in torch.utils._pytree.tree_leaves(out):
                assert not (isinstance(tensor, torch.Tensor) and tensor.is_complex()), func
            return out

    with NoComplex():
        random_mixer(dtype=torch.float32, transform='dft')(torch.randn(1, 16, *size)).sum().backward()


def test_matrices_are_in_no_state_and_no_copy():
    mixer = AFF(16, transform='dft')
    keys = set(mixer.state_dict())
    mixer(torch.randn(1, 16, 8, 8))
    mixer(torch.randn(1, 16, 12, 12))
    assert set(mixer.state_dict()) == keys == {'w1', 'b1', 'w2', 'b2'}
    assert not list(mixer.buffers())
    stream = io.BytesIO()
    torch.save(mixer, stream)
    assert stream.tell() < 20_000
    assert not any(isinstance(value, torch.Tensor) for value in vars(copy.deepcopy(mixer)).values())


def test_matrices_are_shared_and_train_after_inference():
    spectral._matrices.clear()
    first, second = AFF(16, transform='dft'), AFF(32, transform='dft')
    with torch.inference_mode():
        first(torch.randn(1, 16, 12, 12))
    assert len(spectral._matrices) == 1
    second(torch.randn(1, 32, 12, 12)).sum().backward()
    assert len(spectral._matrices) == 1
    second.double()(torch.randn(1, 32, 12, 12, dtype=torch.float64))
    assert len(spectral._matrices) == 2


def test_weights_stay_contiguous_in_channels_last():
    mixer = nn.Sequential(AFF(64), nn.Conv2d(64, 64, 3)).to(memory_format=torch.channels_last)
    assert mixer[0].w1.is_contiguous() and mixer[0].w2.is_contiguous()
    assert not mixer[1].weight.is_contiguous()


def test_cache_is_bounded(monkeypatch):
    spectral._matrices.clear()
    monkeypatch.setattr(spectral, 'CACHE_ENTRIES', 3)
    mixer = AFF(16, transform='dft')
    for side in range(9, 16):
        mixer(torch.randn(1, 16, side, side))
    assert len(spectral._matrices) == 3


@pytest.mark.parametrize('cfg, changes', [
    (dict(groups=4), True), (dict(act_cfg=dict(type='SiLU')), True), (dict(softshrink=0.5), True),
    (dict(with_skip=True), True), (dict(transform='dft'), False), (dict(init_std=0.2), True)])
def test_arguments_change_something(cfg, changes):
    torch.manual_seed(1)
    plain = AFF(16, init_std=0.3)
    torch.manual_seed(1)
    other = AFF(16, **{'init_std': 0.3, **cfg})
    x = torch.randn(1, 16, 9, 9)
    with torch.no_grad():
        assert torch.allclose(plain(x), other(x), atol=1e-5) is not changes
    assert 'transform=' in repr(other)


def test_init_weights_draws_anew():
    mixer = AFF(64, init_std=0.05)
    mixer.w1.data.zero_()
    mixer.init_weights()
    assert abs(mixer.w1.std().item() - 0.05) < 0.005 and mixer.b1.std() > 0.03


@pytest.mark.parametrize('cfg, word', [
    (dict(embed_dims=20), 'groups'), (dict(embed_dims=16, groups=0), 'groups'),
    (dict(embed_dims=16, transform='wavelet'), 'auto'), (dict(embed_dims=16, softshrink=-1), 'softshrink')])
def test_bad_arguments(cfg, word):
    with pytest.raises(ValueError, match=word):
        AFF(**cfg)


@pytest.mark.gpu
@pytest.mark.parametrize('transform', ['fft', 'dft', 'auto'])
@pytest.mark.parametrize('size', [(40, 40), (20, 20), (10, 10), (8, 8), (13, 7)])
def test_cuda_agrees_with_cpu(transform, size):
    mixer = random_mixer(dtype=torch.float32, transform=transform)
    x = torch.randn(2, 16, *size)
    with torch.no_grad():
        want = mixer(x)
        mixer.cuda()
        torch.testing.assert_close(mixer(x.cuda()).cpu(), want, rtol=1e-3, atol=1e-3)
        with torch.autocast('cuda', torch.float16):
            torch.testing.assert_close(mixer(x.cuda()).cpu(), want, rtol=1e-3, atol=1e-3)
        half = mixer.half()(x.cuda().half())
        assert (half.float().cpu() - want).std() < 0.02 * want.std()
