"""What every token mixer must do: its parameters, sizes, forms and precision."""

import copy
import importlib.util
from pathlib import Path

import pytest
import torch

from mmaffnet import AFFNet
from mmaffnet.models.layers.aff_block import build_mixer
from mmaffnet.models.token_mixers.size_bound import SizeBoundMixer
from mmaffnet.registry import TOKEN_MIXERS

_spec = importlib.util.spec_from_file_location('mixers', Path(__file__).with_name('mixers.py'))
table = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(table)
ARCHS, FOURIER, FREQUENCY, MIXERS = table.ARCHS, table.FOURIER, table.FREQUENCY, table.MIXERS
SIZE, SMALL = table.SIZE, table.SMALL
build, count, is_bound = table.build, table.count, table.is_bound


def test_every_mixer_has_a_line():
    shipped = {name for name, cls in TOKEN_MIXERS.module_dict.items() if cls.__module__.startswith('mmaffnet.')}
    assert {line.cfg['type'] for line in MIXERS.values()} == shipped


# Counts


@pytest.mark.parametrize('name', MIXERS)
def test_parameters_of_a_block(name):
    assert count(build(name, 32, (8, 6))) == MIXERS[name].block(32, 8, 4)


@pytest.mark.parametrize('arch', ARCHS)
@pytest.mark.parametrize('name', MIXERS)
def test_parameters_of_affnet(name, arch):
    """To the unit, against the formula of each block, and for base against numbers on record."""
    line = MIXERS[name]
    with torch.device('meta'):
        net = AFFNet(arch, token_mixer=line.cfg, img_size=256, out_indices=5)
        floor = count(AFFNet(arch, token_mixer=dict(type='Identity'), out_indices=5))
    assert count(net) - floor == sum(
        blocks * line.block(c, side, side // 2 + 1)
        for c, side, blocks in zip(ARCHS[arch], (32, 16, 8), (2, 4, 3), strict=True))
    total = count(net) + 961_000   # the classifier of 1000 classes on 960 channels
    if arch == 'base' and line.total is not None:
        assert total == line.total
        if line.printed is not None:   # the prints are cut off here, rounded there
            assert (abs(total / 1e6 - line.printed) < 0.1) is (name != 'GFN')


def test_gfn_is_what_does_not_fit_the_print():
    """5.91 M for the 6.5 printed, and 5.76 at 224 pixels; both variants come nearer."""
    def total(size, **cfg):
        with torch.device('meta'):
            net = AFFNet('base', token_mixer=dict(type='GFN', **cfg), img_size=size, out_indices=5)
        return (count(net) + 961_000) / 1e6

    assert total(256) == pytest.approx(5.909, abs=5e-4) and total(224) == pytest.approx(5.757, abs=5e-4)
    assert total(256, spectrum='full') == pytest.approx(6.430, abs=5e-4)
    assert total(256, pointwise=True) == pytest.approx(6.511, abs=5e-4)


# Shapes, forms, precision


def at_sizes(names, *sizes):
    """Each mixer at each size, but those that are an error: the truncated FNO keeps two columns of frequencies."""
    return pytest.mark.parametrize('name, size', [
        (name, size) for name in names for size in sizes if name != 'TruncatedFNO' or size[1] > 1])


@at_sizes(MIXERS, (8, 8), (7, 9), (12, 5), (1, 6), (6, 1), (9, 16), (17, 8))
def test_shapes(name, size):
    x = torch.randn(2, 16, *size)
    with torch.no_grad():
        out = build(name, size=size)(x)
    assert out.shape == x.shape and out.dtype == x.dtype and out.isfinite().all()


@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
@at_sizes(FOURIER, (8, 8), (7, 9), (12, 5), (5, 12), (6, 1), (1, 6), (1, 1))
def test_forms_agree_with_gradients(name, size, layout):
    mixer = build(name, size=size).double()
    x = torch.randn(2, 16, *size, dtype=torch.float64)
    weights = torch.randn_like(x)
    results = []
    for form in ('fft', 'dft', 'auto'):
        mixer.transform = form
        mixer.zero_grad()
        inp = x.contiguous(memory_format=layout).detach().requires_grad_()
        out = mixer(inp)
        (out * weights).sum().backward()
        results.append([out.detach(), inp.grad, *(p.grad.clone() for p in mixer.parameters())])
    for other in results[1:]:
        for got, want in zip(other, results[0], strict=True):
            torch.testing.assert_close(got, want, rtol=0, atol=1e-11)


@pytest.mark.parametrize('name', FREQUENCY)
def test_autocast_computes_in_float32(name):
    """The result has the input's dtype and is, to the bit, that of the cast input in float32."""
    mixer, x = build(name), torch.randn(2, 16, *SIZE)
    with torch.no_grad():
        for inp in (x.bfloat16(), x):
            with torch.autocast('cpu', torch.bfloat16):
                got = mixer(inp)
            assert got.dtype == inp.dtype
            torch.testing.assert_close(got, mixer(inp.float()).to(inp.dtype), rtol=0, atol=0)


@pytest.mark.parametrize('form', ['fft', 'dft'])
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('name', FOURIER)
def test_half_model(name, dtype, form):
    mixer, x = build(name, transform=form), torch.randn(2, 16, *SIZE)
    with torch.no_grad():
        want, got = mixer(x), copy.deepcopy(mixer).to(dtype)(x.to(dtype))
    assert got.dtype == dtype
    assert (got.float() - want).std() < (0.01 if dtype is torch.float16 else 0.05) * want.std()


@pytest.mark.parametrize('name', [name for name in MIXERS if name != 'Identity'])
def test_float32_is_as_exact_as_it_can_be(name):
    mixer, x = build(name), torch.randn(2, 16, *SIZE)
    with torch.no_grad():
        got, want = mixer(x), copy.deepcopy(mixer).double()(x.double())
    assert (got - want).abs().max() < 3e-6 * want.abs().max()


@pytest.mark.parametrize('name', MIXERS)
def test_a_batch_of_two_is_two_of_one(name):
    mixer, x = build(name), torch.randn(2, 16, *SIZE)
    with torch.no_grad():
        torch.testing.assert_close(mixer(x), torch.cat([mixer(x[:1]), mixer(x[1:])]), rtol=1e-5, atol=1e-5)


# Arguments


def test_bound_mixers_are_told_the_size_by_the_backbone():
    for name in MIXERS:
        net = AFFNet(SMALL, token_mixer=MIXERS[name].cfg, img_size=(64, 96))
        sizes = [m.map_size for m in net.modules() if isinstance(m, SizeBoundMixer)]
        assert sizes == ([(8, 12), (4, 6), (2, 3)] if is_bound(name) else [])


@pytest.mark.parametrize('cfg, word', [
    (dict(type='ConvMixer', kernel_size=4), 'odd'), (dict(type='AFNO', transform='dct'), 'auto'),
    (dict(type='AFNO', groups=3), 'groups'), (dict(type='GFN'), 'img_size'), (dict(type='FNO', map_size=8), 'map_size'),
    (dict(type='GFN', map_size=(8, 0)), '1 or more'), (dict(type='GFN', map_size=(8, 8), spectrum='third'), 'full'),
    (dict(type='FFC', transform='dct'), 'dft'), (dict(type='DFF', mask_on='output'), 'embedding'),
    (dict(type='TruncatedFNO', modes=(0, 4)), '1 or more'), (dict(type='TruncatedFNO', modes=(1, 2, 3)), 'modes')])
def test_bad_arguments(cfg, word):
    with pytest.raises(ValueError, match=word):
        build_mixer(cfg, 16)


@pytest.mark.parametrize('name, cfg', [
    ('ConvMixer', dict(kernel_size=5)), ('AFNO', dict(softshrink=0.5)), ('AFNO', dict(groups=4)),
    ('AFNO', dict(act_cfg=dict(type='GELU'))), ('FFC', dict(act_cfg=dict(type='SiLU'))),
    ('FFC', dict(norm_cfg=dict(type='GN', num_groups=2))), ('DFF', dict(act_cfg=dict(type='SiLU'))),
    ('DFF', dict(norm_cfg=dict(type='GN', num_groups=2))), ('DFF', dict(mask_on='embedding')),
    ('GFN', dict(init_std=0.5)), ('GFN', dict(pointwise=True)), ('GFN', dict(spectrum='full')),
    ('TruncatedFNO', dict(modes=(2, 2)))])
def test_arguments_change_something(name, cfg):
    x, outs = torch.randn(1, 16, *SIZE), []
    for changes in ({}, cfg):
        torch.manual_seed(1)
        mixer = build(name, std=None if 'init_std' in cfg else 0.3, **changes)
        with torch.no_grad():
            outs.append(mixer(x))
    assert not torch.allclose(*outs, atol=1e-4)


def test_initialisation():
    """The sources' own: 0.02 N(0, 1) for the filters, U[0, 1) / C² for FNO; a second draw by init_weights."""
    for name, low, high in (('GFN', 0.019, 0.021), ('GFN full', 0.019, 0.021), ('AFNO', 0.018, 0.022)):
        mixer = build(name, 64, std=None)
        for parameter in mixer.parameters():
            parameter.data.zero_()
        mixer.init_weights()
        assert low < next(mixer.parameters()).std().item() < high
    for name in ('FNO', 'TruncatedFNO'):
        mixer = build(name, std=None)
        mixer.weight.data.zero_()
        mixer.init_weights()
        assert 0 <= mixer.weight.min() and 0.99 / 16**2 < mixer.weight.max() <= 1 / 16**2
        assert mixer.weight.mean().item() == pytest.approx(0.5 / 16**2, rel=0.05)
