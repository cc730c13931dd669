"""The weighted bidirectional feature pyramid of EfficientDet (Tan et al., CVPR 2020, Sec. 3)."""

from collections import OrderedDict
from collections.abc import Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmcv.cnn import build_activation_layer, build_norm_layer
from mmengine.model import BaseModule
from torch import Tensor

from mmaffnet.models.layers import SeparableConv
from mmaffnet.registry import MODELS


def fast_normalized_fusion(inputs: Sequence[Tensor], weights: Tensor, eps: float = 1e-4) -> Tensor:
    r"""Add maps with weights that are at least 0 and add up to (nearly) 1.

    .. math:: O = \sum_i \frac{w_i}{\epsilon + \sum_j w_j} \cdot I_i, \qquad w_i \ge 0 \text{ by a ReLU}

    Args:
        inputs (Sequence[Tensor]): Maps I_i of one shape (B, C, H, W).
        weights (Tensor): (number of maps,); taken through the ReLU here.
        eps (float): Defaults to 1e-4.

    Returns:
        Tensor: O, (B, C, H, W) in the maps' type.

    Source: EfficientDet, Sec. 3.3, "Fast normalized fusion" (the equation has no number there).
    """
    weights = weights.relu()
    weights = weights / (eps + weights.sum())
    fused = inputs[0] * weights[0]
    for weight, x in zip(weights[1:], inputs[1:], strict=True):
        fused = fused + x * weight
    return fused


def resample(x: Tensor, size: tuple[int, int], pool_padding: str = 'same') -> Tensor:
    """Bring a map to the size of another level.

    Smaller maps are enlarged by the nearest value: where ``size`` halves to the map's size, rounding up, each value is
    repeated 2×2 and what stands over is cut off. Larger ones go through max pooling: 3×3 with stride 2 where they halve
    to ``size``, rounding up, else (a backbone that rounds down, a ratio other than 2) with the windows of
    ``adaptive_max_pool2d``. A map of this size passes.

    Args:
        x (Tensor): (B, C, H, W).
        size (tuple[int, int]): (H', W').
        pool_padding (str): Where the 3×3 windows lie. ``same``: as TensorFlow's padding of this name, so even sides are
            padded after the last value only; ``symmetric``: by one on all sides.

    Returns:
        Tensor: (B, C, H', W').
    """
    height, width = x.shape[-2:]
    if (height, width) == tuple(size):
        return x
    if height < size[0] or width < size[1]:
        return F.interpolate(x, size=size, mode='nearest')
    if tuple(size) == halved(x):
        # The rounding up stands for the padding behind the last value.
        padding = (height % 2, width % 2) if pool_padding == 'same' else 1
        return F.max_pool2d(x, 3, 2, padding, ceil_mode=pool_padding == 'same')
    return F.adaptive_max_pool2d(x, size)


def halved(x: Tensor) -> tuple[int, int]:
    """tuple[int, int]: Half of the height and width of a map, rounded up."""
    height, width = x.shape[-2:]
    return (height + 1) // 2, (width + 1) // 2


class FusionNode(nn.Module):
    """One node of the pyramid: inputs to this width and size, fusion, activation, separable convolution and norm.

    Args:
        in_channels (Sequence[int]): Widths of the inputs. Whichever differs from ``out_channels`` gets a 1×1
            convolution + norm without activation.
        out_channels (int): Width of the node.
        eps (float): Of the fusion.
        pool_padding (str): See ``resample``.
        conv_bias (bool): Of the 1×1 convolutions.
        norm_cfg (dict): Norm of all convolutions.
        act_cfg (dict): Activation between fusion and convolution.
    """

    def __init__(self, in_channels: Sequence[int], out_channels: int, eps: float, pool_padding: str, conv_bias: bool,
                 norm_cfg: dict, act_cfg: dict) -> None:
        super().__init__()
        self.eps = eps
        self.pool_padding = pool_padding
        self.projs = nn.ModuleList(
            projection(channels, out_channels, conv_bias, norm_cfg) for channels in in_channels)
        self.fusion_weights = nn.Parameter(torch.ones(len(in_channels)))
        self.act = build_activation_layer(act_cfg)
        self.conv = SeparableConv(out_channels, out_channels, bias=conv_bias, norm_cfg=norm_cfg)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Fuse maps (B, C_i, H_i, W_i), the first of which has the node's size, to (B, C, H_0, W_0)."""
        size = inputs[0].shape[-2:]
        maps = [resample(proj(x), size, self.pool_padding) for proj, x in zip(self.projs, inputs, strict=True)]
        return self.conv(self.act(fast_normalized_fusion(maps, self.fusion_weights, self.eps)))


def projection(in_channels: int, out_channels: int, bias: bool, norm_cfg: dict) -> nn.Module:
    """nn.Module: 1×1 convolution + norm, or nothing where the widths agree already."""
    if in_channels == out_channels:
        return nn.Identity()
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(in_channels, out_channels, 1, bias=bias), norm=build_norm_layer(norm_cfg, out_channels)[1]))


class BiFPNLayer(nn.Module):
    r"""One repeat: from the smallest map to the largest, then back, each node but the ends with its input once more.

    .. math::
        P^{td}_l = \mathrm{node}(P^{in}_l,\; P^{td}_{l+1}), \qquad
        P^{out}_l = \mathrm{node}(P^{in}_l,\; P^{td}_l,\; P^{out}_{l-1})

    with P^td = P^in on the smallest map and P^out = P^td on the largest; the smallest has no P^td of its own to fuse.

    Args:
        in_channels (Sequence[int]): Widths of the maps, from the largest map to the smallest, at least two.
        out_channels (int): Width of the outputs.
        **node_cfg: See ``FusionNode``.

    Source: EfficientDet, Sec. 3.3 and Fig. 2 (d).
    """

    def __init__(self, in_channels: Sequence[int], out_channels: int, **node_cfg) -> None:
        super().__init__()
        top = len(in_channels) - 1
        self.top_down = nn.ModuleDict()  # keys: the level, 0 for the largest map
        self.bottom_up = nn.ModuleDict()
        for level in reversed(range(top)):
            above = in_channels[top] if level + 1 == top else out_channels
            self.top_down[str(level)] = FusionNode((in_channels[level], above), out_channels, **node_cfg)
        for level in range(1, top + 1):
            inputs = (in_channels[level], out_channels, out_channels)[:3 if level < top else 2]
            self.bottom_up[str(level)] = FusionNode(inputs, out_channels, **node_cfg)

    def forward(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Fuse maps (B, C_l, H_l, W_l) to maps (B, C, H_l, W_l)."""
        fused = list(inputs)  # P^td
        for level, node in self.top_down.items():
            fused[int(level)] = node([inputs[int(level)], fused[int(level) + 1]])
        outs = fused[:1]
        for level, node in self.bottom_up.items():
            own = [inputs[int(level)], fused[int(level)]] if int(level) < len(inputs) - 1 else [inputs[-1]]
            outs.append(node([*own, outs[-1]]))
        return outs


@MODELS.register_module()
class BiFPN(BaseModule):
    """Repeated bidirectional fusion of a backbone's maps, and of smaller ones made here, at any input size.

    The level behind the backbone's last is that map through a 1×1 convolution + norm, then max pooling of 3×3 and
    stride 2; each further one pools the one before. The first repeat brings every input to ``out_channels``, each node
    by a 1×1 convolution + norm of its own; later ones need none. ``resample`` says how maps change size; where sides
    are multiples of 128 nothing is rounded at strides 8 to 128.

    Compound scaling (Sec. 4.2, Eq. 1, with widths as in the released models): D0 to D3 have 64, 88, 112, 160 channels
    and 3, 4, 5, 6 repeats. Names in the state dict: ``extra_conv``, then ``layers.{repeat}.top_down.{level}`` and
    ``layers.{repeat}.bottom_up.{level}``, level 0 being the largest map.

    Source: EfficientDet (Tan et al., CVPR 2020), Sec. 3.3; what the paper leaves out (order of activation and
    convolution, norms, levels P6 and P7) from Google's code.

    Args:
        in_channels (Sequence[int]): Widths of the backbone's maps, from the largest map to the smallest.
        out_channels (int): Width of the pyramid. Defaults to 64 (D0).
        num_repeats (int): Bidirectional layers. Defaults to 3 (D0).
        num_outs (int): Levels of the pyramid, at least as many as inputs and at least 2. Defaults to 5.
        eps (float): Of the fusion. Defaults to 1e-4.
        pool_padding (str): ``same``, as in Google's models, or ``symmetric``; see ``resample``. Defaults to ``same``.
        conv_bias (bool): Google's models have a bias in front of each norm, which the norm takes away again: True
            gives their parameters. Defaults to False.
        norm_cfg (dict): Defaults to ``dict(type='BN', eps=1e-3, momentum=0.01)``.
        act_cfg (dict): Defaults to ``dict(type='SiLU')``.
        init_cfg (dict or list[dict], optional): Defaults to Xavier uniform that counts a depthwise kernel's nine
            inputs and nine outputs, as effdet does (TensorFlow counts 9·C inputs).

    Raises:
        ValueError: If ``in_channels`` is empty, or ``num_outs``, ``num_repeats``, ``out_channels`` or ``pool_padding``
            is outside its range.
    """

    def __init__(
            self,
            in_channels: Sequence[int],
            out_channels: int = 64,
            num_repeats: int = 3,
            num_outs: int = 5,
            eps: float = 1e-4,
            pool_padding: str = 'same',
            conv_bias: bool = False,
            norm_cfg: dict | None = None,
            act_cfg: dict | None = None,
            init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg or [
            dict(type='Xavier', layer='Conv2d', distribution='uniform', bias=0),
            dict(type='Uniform', layer='DepthwiseConv2d', a=-3**-0.5, b=3**-0.5),  # sqrt(6 / (9 + 9))
        ])
        in_channels = tuple(in_channels)
        _check(in_channels, out_channels, num_repeats, num_outs, pool_padding)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.num_outs = num_outs
        self.pool_padding = pool_padding
        norm_cfg = norm_cfg or dict(type='BN', eps=1e-3, momentum=0.01)
        num_extra = num_outs - len(in_channels)
        if num_extra:
            self.extra_conv = projection(in_channels[-1], out_channels, conv_bias, norm_cfg)
        widths = in_channels + (out_channels, ) * num_extra
        self.layers = nn.ModuleList()
        for _ in range(num_repeats):
            self.layers.append(
                BiFPNLayer(
                    widths,
                    out_channels,
                    eps=eps,
                    pool_padding=pool_padding,
                    conv_bias=conv_bias,
                    norm_cfg=norm_cfg,
                    act_cfg=act_cfg or dict(type='SiLU')))
            widths = (out_channels, ) * num_outs

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Build the pyramid.

        Args:
            inputs (Sequence[Tensor]): One map (B, C_i, H_i, W_i) for each of ``in_channels``.

        Returns:
            tuple[Tensor, ...]: ``num_outs`` maps (B, out_channels, H_i, W_i); each new one has half the size of the one
            before, rounded up.

        Raises:
            ValueError: If the number of maps or their widths differ from ``in_channels``.
        """
        widths = tuple(x.shape[1] for x in inputs)
        if widths != self.in_channels:
            raise ValueError(f'BiFPN was built for maps of in_channels {self.in_channels} but got widths {widths}: '
                             "make in_channels and the backbone's out_indices agree.")
        maps = list(inputs)
        while len(maps) < self.num_outs:
            x = self.extra_conv(maps[-1]) if len(maps) == len(inputs) else maps[-1]
            maps.append(resample(x, halved(x), self.pool_padding))
        for layer in self.layers:
            maps = layer(maps)
        return tuple(maps)


def _check(in_channels: tuple[int, ...], out_channels: int, num_repeats: int, num_outs: int,
           pool_padding: str) -> None:
    if not in_channels:
        raise ValueError("BiFPN: in_channels is empty; give the width of each of the backbone's maps.")
    if num_outs < max(2, len(in_channels)):
        raise ValueError(f'BiFPN: num_outs must be at least 2 and at least the {len(in_channels)} maps of in_channels '
                         f'{in_channels}, got {num_outs}.')
    if num_repeats < 1 or out_channels < 1:
        raise ValueError(f'BiFPN: num_repeats and out_channels must be at least 1, got {num_repeats} and '
                         f'{out_channels}.')
    if pool_padding not in ('same', 'symmetric'):
        raise ValueError(f"BiFPN: pool_padding must be 'same' or 'symmetric', got {pool_padding!r}.")
