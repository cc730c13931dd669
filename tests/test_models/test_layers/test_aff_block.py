"""The orders and channel mixers of an AFF block (Tables 13 and 14) against their equations."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mmaffnet.models.layers import FFN, AFFBlock, MBConv
from mmaffnet.models.layers.aff_block import AFFStage


def random_block(**cfg) -> AFFBlock:
    block = AFFBlock(16, dict(type='AFF', init_std=0.3), **cfg).double().eval()
    for norm in (block.norm1, block.norm2):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, std=0.3)
    return block


def layer_norm(x, norm):
    mean, var = x.mean((1, 2, 3), keepdim=True), x.var((1, 2, 3), keepdim=True, correction=0)
    return (x - mean) / (var + 1e-5).sqrt() * norm.weight[:, None, None] + norm.bias[:, None, None]


@pytest.fixture
def x():
    return torch.randn(2, 16, 9, 7, dtype=torch.float64)


def test_token_first_exchanges_the_branches(x):
    block = random_block(order='token_first')
    with torch.no_grad():
        hat = block.token_mixer(layer_norm(x, block.norm2)) + x
        want = block.mlp(layer_norm(hat, block.norm1)) + hat
        torch.testing.assert_close(block(x), want)
        other = random_block()   # the same parameters in the other order
        other.load_state_dict(block.state_dict())
        assert not torch.allclose(other(x), want, atol=1e-3)


def test_ffn_is_two_linear_layers(x):
    ffn = FFN(16, expand_ratio=1.5).double()
    (w1, b1), (w2, b2) = ((layer.conv.weight[..., 0, 0], layer.conv.bias)
                          for layer in (ffn.expand_conv, ffn.linear_conv))
    assert w1.shape == (24, 16) and w2.shape == (16, 24)
    with torch.no_grad():
        tokens = x.movedim(1, -1)
        want = F.linear(F.silu(F.linear(tokens, w1, b1)), w2, b2).movedim(-1, 1)
        torch.testing.assert_close(ffn(x), want)
        ffn.with_skip = True
        torch.testing.assert_close(ffn(x), want + x)


@pytest.mark.parametrize('variant', ['paper', 'release'])
def test_ffn_in_the_block(x, variant):
    block = random_block(channel_mixer='ffn', variant=variant)
    assert isinstance(block.mlp, FFN) and not any(isinstance(m, (MBConv, nn.BatchNorm2d)) for m in block.modules())
    with torch.no_grad():
        normed = layer_norm(x, block.norm1)
        linear = block.mlp.linear_conv(block.mlp.expand_conv(normed))
        if variant == 'paper':
            want = x + linear
            want = want + block.token_mixer(layer_norm(want, block.norm2))
        else:
            want = x + block.token_mixer(layer_norm(normed + linear, block.norm2))
        torch.testing.assert_close(block(x), want)


def test_the_channel_mixers_cost_nearly_the_same():
    c = 320
    ffn, mbconv = (sum(p.numel() for p in AFFBlock(c, dict(type='AFF'), channel_mixer=name).mlp.parameters())
                   for name in ('ffn', 'mbconv'))
    assert ffn == 4 * c * c + 3 * c                          # two matrices and two biases
    assert mbconv == 4 * c * c + 9 * 2 * c + 2 * 5 * c       # without biases, a depthwise 3×3, three batch norms


@pytest.mark.parametrize('cfg', [dict(order='token_first'), dict(channel_mixer='ffn'),
                                 dict(order='token_first', channel_mixer='ffn')])
def test_training_in_a_stage(cfg):
    stage = AFFStage(16, [0., 0.3], token_mixer=dict(type='AFF', init_std=0.2), with_cp=True, **cfg)
    stage.init_weights()
    x = torch.randn(2, 16, 8, 8, requires_grad=True)
    stage(x).square().mean().backward()
    assert all(p.grad is not None for p in stage.parameters())
    assert all(bool((p.grad != 0).any()) for p in stage.blocks[0].parameters())


@pytest.mark.parametrize('order', ['channel_first', 'token_first'])
def test_drop_path_drops_both_branches(order):
    block = AFFBlock(16, dict(type='AFF', init_std=1.), drop_path=0.9, order=order).train()
    x = torch.randn(64, 16, 4, 4)
    untouched = (block(x) == x).all(dim=(1, 2, 3)).float().mean().item()
    assert 0.6 < untouched < 0.95   # 0.9² = 0.81
