"""Every token mixer traced, exported, copied, laid out otherwise."""

import copy
import importlib.util
import io
from pathlib import Path

import pytest
import torch
from mmcv.cnn import fuse_conv_bn

_spec = importlib.util.spec_from_file_location('mixers', Path(__file__).with_name('mixers.py'))
table = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(table)
FOURIER, MIXERS, SIZE = table.FOURIER, table.MIXERS, table.SIZE
build, count, is_bound = table.build, table.count, table.is_bound


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('name', [name for name in FOURIER if not is_bound(name)])
def test_trace_at_one_size_run_at_another(name):
    mixer = build(name)
    with torch.no_grad():
        traced = torch.jit.trace(mixer, torch.randn(2, 16, *SIZE))
        for size in ((10, 12), (7, 9), (12, 7)):
            x = torch.randn(1, 16, *size)
            torch.testing.assert_close(traced(x), mixer(x), rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('form', ['fft', 'dft', 'auto'])
@pytest.mark.parametrize('name', [name for name in FOURIER if is_bound(name)])
def test_a_trace_that_is_bound_to_one_size_refuses_others(name, form):
    """Also one whose spectrum would have as many columns."""
    with torch.no_grad():
        traced = torch.jit.trace(build(name, size=(8, 8), transform=form), torch.randn(2, 16, 8, 8))
        assert traced(torch.randn(3, 16, 8, 8)).shape == (3, 16, 8, 8)
        for size in ((8, 9), (16, 8), (4, 4)):
            with pytest.raises(RuntimeError):
                traced(torch.randn(2, 16, *size))


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('form', ['fft', 'dft'])
@pytest.mark.parametrize('size', [(8, 8), (9, 12)])
@pytest.mark.parametrize('name', FOURIER)
def test_trace_and_export_agree_with_eager(name, size, form):
    mixer, x = build(name, size=size, transform=form), torch.randn(2, 16, *size)
    with torch.no_grad():
        want = mixer(x)
        torch.testing.assert_close(torch.jit.trace(mixer, x)(x), want, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(torch.export.export(mixer, (x, )).module()(x), want, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(mixer(x), want)   # and nothing was left behind that breaks eager calls


class NoComplex(torch.utils._python_dispatch.TorchDispatchMode):

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(out):
            assert not (isinstance(tensor, torch.Tensor) and tensor.is_complex()), func
        return out


@pytest.mark.parametrize('size', [(8, 8), (9, 12)])
@pytest.mark.parametrize('name', FOURIER)
def test_dft_has_no_complex_tensor(name, size):
    with NoComplex():
        build(name, size=size, transform='dft')(torch.randn(1, 16, *size)).sum().backward()


@pytest.mark.parametrize('name', MIXERS)
def test_no_cache_in_state_or_copy(name):
    mixer = build(name)
    keys = set(mixer.state_dict())
    mixer(torch.randn(1, 16, *SIZE))
    assert set(mixer.state_dict()) == keys
    assert not any(isinstance(value, torch.Tensor) for value in vars(copy.deepcopy(mixer)).values())
    stream = io.BytesIO()
    torch.save(mixer, stream)
    assert stream.tell() < 30_000 + 4 * count(mixer)


@pytest.mark.parametrize('name', MIXERS)
def test_channels_last_and_fusing_change_nothing(name):
    mixer, x = build(name, size=(9, 12)), torch.randn(2, 16, 9, 12)
    last = fuse_conv_bn(copy.deepcopy(mixer)).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        torch.testing.assert_close(last(x.contiguous(memory_format=torch.channels_last)), mixer(x),
                                   rtol=1e-4, atol=1e-5)
