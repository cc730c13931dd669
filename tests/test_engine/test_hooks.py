"""Hooks that a config may name."""
from types import SimpleNamespace

import torch
from torch import nn

from mmaffnet.registry import HOOKS


def test_channels_last_hook_turns_weights_and_maps():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.SiLU())
    x = torch.rand(2, 3, 8, 8)
    want = net(x)
    HOOKS.build(dict(type='mmaffnet.ChannelsLastHook')).before_run(SimpleNamespace(model=net))
    got = net(x)
    assert got.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(got, want)
