import math

import pytest
import torch
import torch.nn.functional as F
from mmcv.cnn import fuse_conv_bn
from mmengine.registry import init_default_scope

pytest.importorskip('mmdet')
from mmdet.registry import MODELS  # noqa: E402

from mmaffnet.models.necks.bifpn import fast_normalized_fusion, resample  # noqa: E402


def build(**kwargs):
    init_default_scope('mmdet')
    return MODELS.build(dict(type='mmaffnet.BiFPN', **kwargs))


def maps(widths, sides, batch=2, **kwargs):
    return [torch.randn(batch, c, *side, **kwargs) for c, side in zip(widths, sides, strict=True)]


# Fusion and resampling


def test_fusion_against_its_equation():
    inputs = maps((3, 3, 3), [(2, 4)] * 3, dtype=torch.float64)
    weights = torch.tensor([2.0, -1.0, 0.5], dtype=torch.float64)
    # The negative weight counts as 0; 1e-4 is the paper's epsilon.
    want = (2.0 * inputs[0] + 0.5 * inputs[2]) / (2.5 + 1e-4)
    torch.testing.assert_close(fast_normalized_fusion(inputs, weights), want, rtol=1e-14, atol=0)
    torch.testing.assert_close(fast_normalized_fusion(inputs, weights, eps=0.5), want * (2.5 + 1e-4) / 3.0)


def test_fusion_of_weights_that_are_all_zero_or_less():
    inputs = maps((1, 1), [(2, 2)] * 2)
    assert torch.equal(fast_normalized_fusion(inputs, torch.tensor([-1.0, 0.0])), torch.zeros(2, 1, 2, 2))


def test_fusion_keeps_the_maps_type():
    inputs = maps((1, 1), [(2, 2)] * 2, dtype=torch.bfloat16)
    assert fast_normalized_fusion(inputs, torch.ones(2)).dtype == torch.bfloat16


@pytest.mark.parametrize('pool_padding', ['same', 'symmetric'])
@pytest.mark.parametrize('side', [1, 2, 3, 4, 5, 8, 13, 16])
def test_down_sampling(side, pool_padding):
    row = torch.randn(side)
    half = math.ceil(side / 2)
    # TensorFlow's padding splits what the windows need, 2·(half - 1) + 3 - side, and puts the odd one behind.
    before = (2 * (half - 1) + 3 - side) // 2 if pool_padding == 'same' else 1
    padded = [-math.inf] * before + row.tolist() + [-math.inf] * 3
    want = torch.tensor([max(padded[2 * i:2 * i + 3]) for i in range(half)])
    for dim, x in ((3, row.view(1, 1, 1, side).expand(2, 3, 7, side)), (2, row.view(side, 1).expand(2, 3, side, 7))):
        size = (4, half) if dim == 3 else (half, 4)
        got = resample(x, size, pool_padding)
        assert got.shape == (2, 3, *size)
        assert torch.equal(got, want.view((1, 1, 1, half) if dim == 3 else (1, 1, half, 1)).expand_as(got))


def test_down_sampling_of_negative_values_pads_with_nothing():
    assert (resample(-torch.ones(1, 1, 4, 5), (2, 3)) == -1).all()


@pytest.mark.parametrize('side', [*range(1, 20), 75, 80])
def test_up_sampling_repeats_and_cuts(side):
    x = torch.randn(1, 2, math.ceil(side / 2), math.ceil(40 / 2))
    want = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)[:, :, :side, :40]
    assert torch.equal(resample(x, (side, 40)), want)


def test_other_ratios():
    x = torch.arange(5.0).view(1, 1, 1, 5)
    assert resample(x, (1, 2)).flatten().tolist() == [2, 4]  # rounded down: windows of 0 to 2 and 2 to 4
    assert resample(x, (1, 5)) is x
    assert resample(torch.arange(8.0).view(1, 1, 1, 8), (1, 2)).flatten().tolist() == [3, 7]
    assert resample(torch.arange(2.0).view(1, 1, 1, 2), (1, 5)).flatten().tolist() == [0, 0, 0, 1, 1]


# The neck


def test_layers_against_their_equations(randomize_weights):
    neck = build(in_channels=(4, 6), out_channels=5, num_repeats=2, num_outs=3, conv_bias=True).double().eval()
    randomize_weights(neck)
    state = neck.state_dict()

    def norm(x, key):
        weight, bias, mean, var = (state[f'{key}.{leaf}'][:, None, None]
                                   for leaf in ('weight', 'bias', 'running_mean', 'running_var'))
        return (x - mean) / (var + 1e-3).sqrt() * weight + bias

    def project(x, key):
        return norm(F.conv2d(x, state[f'{key}.conv.weight'], state[f'{key}.conv.bias']), f'{key}.norm')

    def node(key, *inputs):
        w = state[f'{key}.fusion_weights'].relu()
        fused = sum(w[i] * x for i, x in enumerate(inputs)) / (w.sum() + 1e-4)
        fused = fused * fused.sigmoid()
        out = F.conv2d(fused, state[f'{key}.conv.depthwise.weight'], padding=1, groups=5)
        out = F.conv2d(out, state[f'{key}.conv.pointwise.weight'], state[f'{key}.conv.pointwise.bias'])
        return norm(out, f'{key}.conv.norm')

    def up(x):
        return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)

    def down(x):
        return F.max_pool2d(F.pad(x, (0, 1, 0, 1), value=-math.inf), 3, 2)

    inputs = maps((4, 6), [(8, 12), (4, 6)], dtype=torch.float64)
    a, b = inputs
    c = down(project(b, 'extra_conv'))
    key = 'layers.0'
    b_td = node(f'{key}.top_down.1', project(b, f'{key}.top_down.1.projs.0'), up(c))
    a_out = node(f'{key}.top_down.0', project(a, f'{key}.top_down.0.projs.0'), up(b_td))
    b_out = node(f'{key}.bottom_up.1', project(b, f'{key}.bottom_up.1.projs.0'), b_td, down(a_out))
    c_out = node(f'{key}.bottom_up.2', c, down(b_out))
    key = 'layers.1'
    b_td = node(f'{key}.top_down.1', b_out, up(c_out))
    a_last = node(f'{key}.top_down.0', a_out, up(b_td))
    b_last = node(f'{key}.bottom_up.1', b_out, b_td, down(a_last))
    c_last = node(f'{key}.bottom_up.2', c_out, down(b_last))
    for got, want in zip(neck(inputs), (a_last, b_last, c_last), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)
    # The second repeat needs no projections.
    assert not [name for name in state if name.startswith('layers.1') and '.projs.' in name]


@pytest.mark.parametrize('sides', [
    [(16, 16), (8, 8), (4, 4)],
    [(13, 21), (7, 11), (4, 6)],
    [(3, 2), (2, 1), (1, 1)],
    [(1, 1), (1, 1), (1, 1)],
    [(11, 9), (5, 4), (2, 2)],  # a backbone that rounds down
    [(8, 8), (4, 4), (4, 4)],  # one whose last stage does not stride
])
def test_any_size(sides):
    neck = build(in_channels=(4, 6, 8), out_channels=5, num_repeats=2).eval()
    outs = neck(maps((4, 6, 8), sides, batch=1))
    height, width = sides[-1]
    for _ in range(2):
        height, width = math.ceil(height / 2), math.ceil(width / 2)
        sides = [*sides, (height, width)]
    assert [tuple(out.shape) for out in outs] == [(1, 5, *side) for side in sides]
    assert all(out.isfinite().all() for out in outs)


@pytest.mark.parametrize('in_channels, num_outs', [((6, ), 2), ((6, 7), 2), ((6, 7), 6), ((4, 5, 6, 7), 4)])
def test_any_number_of_levels(in_channels, num_outs):
    neck = build(in_channels=in_channels, out_channels=6, num_repeats=2, num_outs=num_outs)
    outs = neck(maps(in_channels, [(2**(6 - i), 2**(6 - i)) for i in range(len(in_channels))]))
    assert [out.shape[1:] for out in outs] == [(6, 2**(6 - i), 2**(6 - i)) for i in range(num_outs)]


def test_maps_of_the_right_width_are_not_projected():
    neck = build(in_channels=(4, 8), out_channels=8, num_repeats=1, num_outs=3)
    assert [name for name in neck.state_dict() if name.endswith('conv.weight')] == [
        'layers.0.top_down.0.projs.0.conv.weight']


def test_gradients_reach_every_parameter():
    neck = build(in_channels=(4, 6, 8), out_channels=16, num_repeats=2).train()
    outs = neck(maps((4, 6, 8), [(17, 16), (9, 8), (5, 4)], batch=3))
    sum((out * torch.randn_like(out)).sum() for out in outs).backward()
    dead = [name for name, p in neck.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert dead == []


def test_the_bias_before_a_norm_does_nothing_in_training():
    neck = build(in_channels=(4, 6, 8), out_channels=5, num_repeats=1, conv_bias=True).train().double()
    inputs = maps((4, 6, 8), [(16, 16), (8, 8), (4, 4)], batch=3, dtype=torch.float64)
    before = neck(inputs)
    for name, parameter in neck.named_parameters():
        if name.endswith(('conv.bias', 'pointwise.bias')):
            parameter.data.normal_()
    for a, b in zip(before, neck(inputs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


def test_inputs_are_left_alone():
    neck = build(in_channels=(5, 5), out_channels=5, num_repeats=2, num_outs=3)
    inputs = maps((5, 5), [(8, 8), (4, 4)])
    copies = [x.clone() for x in inputs]
    neck(inputs)
    assert len(inputs) == 2 and all(torch.equal(a, b) for a, b in zip(inputs, copies, strict=True))


def test_norms():
    norms = [m for m in build(in_channels=(4, 6, 8)).modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert len(norms) == 3 * 8 + 6 and {(m.eps, m.momentum) for m in norms} == {(1e-3, 0.01)}
    synced = build(in_channels=(4, 6, 8), norm_cfg=dict(type='SyncBN', eps=1e-3))
    assert sum(isinstance(m, torch.nn.SyncBatchNorm) for m in synced.modules()) == len(norms)


def test_activation_is_configurable():
    neck = build(in_channels=(4, 6, 8), act_cfg=dict(type='ReLU'))
    assert {type(m.act) for m in neck.modules() if hasattr(m, 'act')} == {torch.nn.ReLU}


def test_norms_fuse_into_convolutions(randomize_weights):
    neck = build(in_channels=(4, 6, 8), out_channels=5, num_repeats=1).eval()
    randomize_weights(neck)
    inputs = maps((4, 6, 8), [(16, 16), (8, 8), (4, 4)])
    want = neck(inputs)
    fused = fuse_conv_bn(neck)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in fused.modules())
    for a, b in zip(fused(inputs), want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_initialisation():
    neck = build(in_channels=(40, 112, 320), conv_bias=True)
    neck.init_weights()
    seen = 0
    for name, p in neck.named_parameters():
        if p.dim() == 4:
            # Glorot, Bengio (2010): 6 over inputs plus outputs. A depthwise kernel has nine of each.
            fans = 18 if 'depthwise' in name else p.shape[0] + p.shape[1]
            bound = (6 / fans)**0.5
            assert 0.95 * bound < p.abs().max() <= bound, name
            seen += 1
        elif 'fusion_weights' in name or name.endswith('norm.weight'):
            assert (p == 1).all()
        else:
            assert (p == 0).all(), name
    assert seen == 2 * 3 * 8 + 6
    given = build(in_channels=(4, 6, 8), init_cfg=dict(type='Constant', layer='Conv2d', val=0.5))
    given.init_weights()
    assert all((p == 0.5).all() for p in given.parameters() if p.dim() == 4)


@pytest.mark.parametrize('wrong, message', [
    (dict(in_channels=()), 'in_channels is empty'),
    (dict(num_outs=2), r'at least the 3 maps of in_channels \(4, 6, 8\), got 2'),
    (dict(in_channels=(4, ), num_outs=1), 'num_outs must be at least 2'),
    (dict(num_repeats=0), 'num_repeats and out_channels must be at least 1, got 0 and 64'),
    (dict(pool_padding='valid'), "must be 'same' or 'symmetric', got 'valid'"),
])
def test_errors_say_what_is_allowed(wrong, message):
    with pytest.raises(ValueError, match=message):
        build(**{'in_channels': (4, 6, 8), **wrong})


@pytest.mark.parametrize('widths', [(4, 6), (4, 6, 9), (4, 6, 8, 8)])
def test_maps_that_do_not_fit(widths):
    neck = build(in_channels=(4, 6, 8))
    with pytest.raises(ValueError, match=r'in_channels \(4, 6, 8\) but got widths .*out_indices agree'):
        neck(maps(widths, [(8, 8), (4, 4), (2, 2), (1, 1)][:len(widths)]))


# Agreement with effdet


@pytest.mark.parametrize('name, side', [
    ('tf_efficientdet_d0', 512), ('efficientdet_d0', 512), ('tf_efficientdet_d1', 640)])
def test_agrees_with_effdet(effdet_pair, name, side):
    theirs, ours = effdet_pair(name)
    inputs = maps(ours.neck.in_channels, [(side // stride, ) * 2 for stride in (8, 16, 32)], batch=1)
    with torch.no_grad():
        want, got = theirs.fpn(list(inputs)), ours.neck(inputs)
    for a, b in zip(got, want, strict=True):
        assert 0.1 < b.std() < 10
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('name', ['tf_efficientdet_d0', 'efficientdet_d0'])
def test_trains_as_effdet(effdet_pair, name):
    theirs, ours = effdet_pair(name, image_size=(256, 256))
    theirs.fpn.double().train()
    ours.neck.double().train()
    inputs = maps(ours.neck.in_channels, [(32, 32), (16, 16), (8, 8)], dtype=torch.float64)
    want, got = theirs.fpn(list(inputs)), ours.neck(inputs)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    for outs in (want, got):
        sum((out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum() for out in outs).backward()
    # The node that works first: its gradient has come through all others.
    theirs, ours = theirs.fpn.cell[0].fnode[0], ours.neck.layers[0].top_down['3']
    depthwise, norm = theirs.after_combine.conv.conv_dw, theirs.after_combine.conv.bn
    assert depthwise.weight.grad.abs().max() > 1e-3
    torch.testing.assert_close(ours.fusion_weights.grad, theirs.combine.edge_weights.grad, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(ours.conv.depthwise.weight.grad, depthwise.weight.grad, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(ours.conv.norm.running_mean, norm.running_mean)
    torch.testing.assert_close(ours.conv.norm.running_var, norm.running_var)
