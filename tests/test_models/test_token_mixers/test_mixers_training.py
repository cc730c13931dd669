"""Every token mixer learns, and matters."""

import copy
import importlib.util
from pathlib import Path

import pytest
import torch
from torch import nn

from mmaffnet import AFFNet
from mmaffnet.models.layers import AFFBlock
from mmaffnet.registry import TOKEN_MIXERS

_spec = importlib.util.spec_from_file_location('mixers', Path(__file__).with_name('mixers.py'))
table = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(table)
FOURIER, MIXERS, SIZE, SMALL = table.FOURIER, table.MIXERS, table.SIZE, table.SMALL
build, is_bound = table.build, table.is_bound


def without_gradient(block: nn.Module) -> list[str]:
    return [name for name, p in block.named_parameters() if p.grad is None or not p.grad.any()]


@pytest.mark.parametrize('name', MIXERS)
def test_gradients_reach_every_parameter_of_a_block(name):
    """Every tensor. Single numbers get none where a spectrum is real by symmetry: see test_operators.py."""
    bound = dict(map_size=SIZE) if is_bound(name) else {}
    block = AFFBlock(16, {**MIXERS[name].cfg, **bound}).train()
    block.init_weights()
    x = torch.randn(4, 16, *SIZE, requires_grad=True)
    block(x).square().sum().backward()
    assert without_gradient(block) == [] and x.grad.any()


def test_a_mixers_own_initialisation_comes_before_the_backbones():
    class Own(nn.Module):
        def __init__(self, embed_dims, init_cfg):
            super().__init__()
            self.conv = nn.Conv2d(embed_dims, embed_dims, 1)

        def init_weights(self):
            nn.init.constant_(self.conv.weight, 3)

    TOKEN_MIXERS.register_module(name='Own', module=Own)
    try:
        half = dict(type='Constant', layer='Conv2d', val=0.5)
        for kind, init_cfg, expected in (('Own', None, 3), ('ConvMixer', half, 0.5), ('FFC', half, 0.5)):
            net = AFFNet(SMALL, token_mixer=dict(type=kind, init_cfg=init_cfg))
            net.init_weights()
            convs = [conv for m in net.modules() if isinstance(m, AFFBlock)
                     for conv in m.token_mixer.modules() if isinstance(conv, nn.Conv2d)]
            assert convs and all((conv.weight == expected).all() for conv in convs)
            assert not (net.layer_3[1].conv_proj.conv.weight == expected).any()
    finally:
        TOKEN_MIXERS.module_dict.pop('Own')


@pytest.mark.parametrize('name', [name for name in MIXERS if name != 'Identity'])
def test_the_mixer_learns_and_matters(name):
    """A small classifier of which nothing but the mixers is trained: the loss falls, and silencing them undoes it."""
    net = AFFNet(SMALL, token_mixer=MIXERS[name].cfg, img_size=64, out_indices=4).train().requires_grad_(False)
    classify = nn.Linear(16, 4).requires_grad_(False)
    images, labels = torch.rand(8, 3, 64, 64), torch.arange(8) % 4
    mixers = [m.token_mixer.requires_grad_() for m in net.modules() if isinstance(m, AFFBlock)]
    before = copy.deepcopy([m.state_dict() for m in mixers])

    def loss():
        return nn.functional.cross_entropy(classify(net(images)[0].mean((2, 3))), labels)

    optimizer = torch.optim.Adam([p for m in mixers for p in m.parameters()], lr=0.03)
    losses = []
    for _ in range(25):
        losses.append(loss())
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0] - 0.1
    for mixer, state in zip(mixers, before, strict=True):
        for key, parameter in mixer.named_parameters():
            assert (parameter - state[key]).abs().max() > 1e-3, key
    with torch.no_grad():
        trained = loss()
        for mixer in mixers:
            mixer.register_forward_hook(lambda module, inputs, output: torch.zeros_like(output))
        assert loss() > trained + 0.1


@pytest.mark.parametrize('name', MIXERS)
def test_training_under_autocast(name):
    net = AFFNet(SMALL, token_mixer=MIXERS[name].cfg, img_size=64).train()
    with torch.autocast('cpu', torch.bfloat16):
        sum(out.float().square().mean() for out in net(torch.rand(2, 3, 64, 64))).backward()
    assert without_gradient(net) == []
    assert all(p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.gpu
@pytest.mark.parametrize('form', ['fft', 'dft'])
@pytest.mark.parametrize('name', FOURIER)
def test_cuda_agrees_with_cpu(name, form):
    for size in ((8, 8), (10, 10), (13, 7)):
        mixer, x = build(name, size=size, transform=form), torch.randn(2, 16, *size)
        with torch.no_grad():
            want = mixer(x)
            mixer.cuda()
            torch.testing.assert_close(mixer(x.cuda()).cpu(), want, rtol=1e-3, atol=1e-3)
            with torch.autocast('cuda', torch.float16):
                torch.testing.assert_close(mixer(x.cuda()).cpu(), want, rtol=1e-3, atol=1e-3)
