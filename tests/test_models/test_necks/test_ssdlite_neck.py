import math

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import init_default_scope

pytest.importorskip('mmdet')
from mmdet.registry import MODELS  # noqa: E402


def build(**kwargs):
    init_default_scope('mmdet')
    return MODELS.build(dict(type='mmaffnet.SSDLiteNeck', **kwargs))


@pytest.mark.parametrize('in_channels, new_channels, sides', [
    ((8, 16), (24, 12, 12, 6), [(20, 20), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1)]),
    ((4, 8, 16), (24, 12, 12, 6), [(19, 27), (10, 14), (5, 7), (3, 4), (2, 2), (1, 1), (1, 1)]),
    ((8, ), (6, ), [(7, 3), (1, 1)]),
    ((8, 16), (), [(20, 20), (10, 10)]),
])
def test_any_levels_and_sizes(in_channels, new_channels, sides):
    neck = build(in_channels=in_channels, out_channels=in_channels + new_channels)
    inputs = [torch.randn(2, c, *side) for c, side in zip(in_channels, sides, strict=False)]
    outs = neck(inputs)
    assert [tuple(out.shape) for out in outs] == [
        (2, c, *side) for c, side in zip(in_channels + new_channels, sides, strict=True)]
    assert all(out is inp for out, inp in zip(outs, inputs, strict=False))


@pytest.mark.parametrize('act_cfg, act', [(dict(type='ReLU'), F.relu), (dict(type='SiLU'), F.silu)])
def test_layers_against_their_formula(act_cfg, act):
    torch.manual_seed(0)
    neck = build(in_channels=(6, ), out_channels=(6, 10, 4), act_cfg=act_cfg).double().eval()
    for name, tensor in neck.state_dict().items():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5) if 'var' in name else tensor.normal_()
    state = neck.state_dict()

    def norm(x, key):
        weight, bias, mean, var = (state[f'{key}.{leaf}'][:, None, None]
                                   for leaf in ('weight', 'bias', 'running_mean', 'running_var'))
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias

    x = torch.randn(2, 6, 9, 7, dtype=torch.float64)
    key = 'extra_layers.0.{}_conv'
    y = norm(F.conv2d(x, state[key.format('depthwise') + '.conv.weight'], stride=2, padding=1, groups=6),
             key.format('depthwise') + '.bn')
    y = act(norm(F.conv2d(y, state[key.format('pointwise') + '.conv.weight']), key.format('pointwise') + '.bn'))
    z = act(torch.einsum('oc,bc->bo', state['extra_layers.1.1.conv.weight'][..., 0, 0], y.mean((2, 3))))
    outs = neck([x])
    torch.testing.assert_close(outs[1], y)
    torch.testing.assert_close(outs[2], z[..., None, None])
    assert [key for key in state if key.startswith('extra_layers.1')] == ['extra_layers.1.1.conv.weight']


def test_trains_on_one_picture_whose_last_map_is_one_cell():
    neck = build(in_channels=(8, ), out_channels=(8, 16, 6)).train()
    neck([torch.randn(1, 8, 4, 4)])[-1].sum().backward()
    assert all(p.grad is not None for p in neck.parameters())


def test_xavier_uniform():
    torch.manual_seed(0)
    neck = build(in_channels=(64, ), out_channels=(64, 128, 128, 64))
    neck.init_weights()
    weights = {name: p for name, p in neck.named_parameters() if p.dim() == 4}
    assert len(weights) == 5
    for weight in weights.values():
        fan_in, fan_out = weight[0].numel(), len(weight) * weight[0, 0].numel()
        bound = math.sqrt(6 / (fan_in + fan_out))
        assert 0.9 * bound < weight.abs().max() <= bound


def test_errors_say_what_is_allowed():
    with pytest.raises(ValueError, match=r'must start with in_channels \(8, 16\)'):
        build(in_channels=(8, 16), out_channels=(8, 32))
    neck = build(in_channels=(8, 16), out_channels=(8, 16, 32))
    with pytest.raises(ValueError, match='2 maps .* got 1: .*out_indices'):
        neck([torch.randn(1, 8, 4, 4)])
