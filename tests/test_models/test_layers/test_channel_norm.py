"""The release's channel norm against its formula in float64."""

import pytest
import torch
from mmcv.cnn import build_norm_layer
from mmengine.optim import build_optim_wrapper
from torch import nn

from mmaffnet.models.layers import ChannelNorm


@pytest.mark.parametrize('scale', [1., 0.01])
def test_formula(scale):
    norm = ChannelNorm(12)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = torch.randn(2, 12, 5, 6) * scale
    wide = x.double()
    mean = wide.mean(1, keepdim=True)
    std = ((wide - mean)**2).mean(1, keepdim=True).sqrt()
    want = (wide - mean) / (std + 1e-5) * norm.weight.double()[:, None, None] + norm.bias.double()[:, None, None]
    torch.testing.assert_close(norm(x).double(), want, rtol=1e-5, atol=1e-5)
    # eps outside the root shows on small inputs: a layer norm is off
    inside = nn.functional.layer_norm(wide.permute(0, 2, 3, 1), (12, )).permute(0, 3, 1, 2)
    plain = (wide - mean) / (std + 1e-5)
    assert ((inside - plain).abs().max() > 1e-3) == (scale < 1)


def test_builds_by_name_and_is_a_norm_for_optimisers():
    norm = build_norm_layer(dict(type='mmaffnet.ChannelNorm'), 8)[1]
    assert isinstance(norm, ChannelNorm)
    net = nn.Sequential(nn.Conv2d(3, 8, 1, bias=False), norm)
    wrapper = build_optim_wrapper(net, dict(
        optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.1), paramwise_cfg=dict(norm_decay_mult=0.)))
    decays = {id(p): group['weight_decay'] for group in wrapper.optimizer.param_groups for p in group['params']}
    assert [decays[id(p)] for p in net.parameters()] == [0.1, 0., 0.]
