"""Extra levels of the SSDLite detector below the backbone's last map."""

from collections.abc import Sequence

import torch.nn as nn
from mmcv.cnn import ConvModule, DepthwiseSeparableConvModule
from mmengine.model import BaseModule
from torch import Tensor

from mmaffnet.registry import MODELS


@MODELS.register_module()
class SSDLiteNeck(BaseModule):
    """Appends smaller maps to the backbone's: separable convolutions of stride 2, then one pooled 1x1 map.

    mmdet's ``SSDNeck`` squeezes the channels with a 1x1 convolution before each 3x3 and ends with a convolution; the
    reference detector does neither. Each new level but the last is a 3x3 depthwise convolution of stride 2 + norm
    (no activation between), 1x1 + norm + activation. The last is global average pooling, then a 1x1 convolution with
    neither bias nor norm (batch statistics of a single value do not exist) + activation.

    Source: Sec. 4.2 of the paper for the detector; ml-cvnets, on which the authors' release stands, for the layers.

    Args:
        in_channels (Sequence[int]): Channels of the backbone's maps, from the largest map to the smallest.
        out_channels (Sequence[int]): Channels of all levels; starts with ``in_channels``, which pass unchanged, then
            names each new level. The last of the new ones is the pooled map. Without new ones the neck does nothing.
        norm_cfg (dict): Norm of the separable convolutions. Defaults to ``dict(type='BN')``.
        act_cfg (dict): Activation of the new levels. Defaults to ``dict(type='ReLU')``.
        init_cfg (dict or list[dict], optional): Defaults to Xavier uniform for every convolution.

    Raises:
        ValueError: If ``out_channels`` does not start with ``in_channels``.
    """

    def __init__(
            self,
            in_channels: Sequence[int],
            out_channels: Sequence[int],
            norm_cfg: dict | None = None,
            act_cfg: dict | None = None,
            init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg or dict(type='Xavier', layer='Conv2d', distribution='uniform'))
        norm_cfg = norm_cfg or dict(type='BN')
        act_cfg = act_cfg or dict(type='ReLU')
        in_channels, out_channels = tuple(in_channels), tuple(out_channels)
        if not in_channels or out_channels[:len(in_channels)] != in_channels:
            raise ValueError(f'SSDLiteNeck: out_channels must start with in_channels {in_channels} (these levels pass '
                             f'unchanged), got {out_channels}; append the new levels to in_channels.')
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.extra_layers = nn.ModuleList()
        channels, new_channels = in_channels[-1], out_channels[len(in_channels):]
        for level, out in enumerate(new_channels, start=1):
            if level < len(new_channels):
                layer = DepthwiseSeparableConvModule(
                    channels, out, 3, stride=2, padding=1, norm_cfg=norm_cfg, act_cfg=act_cfg, dw_act_cfg=None)
            else:
                layer = nn.Sequential(
                    nn.AdaptiveAvgPool2d(1), ConvModule(channels, out, 1, bias=False, act_cfg=act_cfg))
            self.extra_layers.append(layer)
            channels = out

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Extend the backbone's maps.

        Args:
            inputs (Sequence[Tensor]): One map (B, C_i, H_i, W_i) for each of ``in_channels``.

        Returns:
            tuple[Tensor, ...]: The inputs, then one map for each new level: (B, C, ceil(H/2), ceil(W/2)) of the one
            before, the last (B, C, 1, 1).
        """
        outs = list(inputs)
        if len(outs) != len(self.in_channels):
            raise ValueError(f'SSDLiteNeck was built for {len(self.in_channels)} maps (in_channels '
                             f"{self.in_channels}) but got {len(outs)}: make the backbone's out_indices agree.")
        for layer in self.extra_layers:
            outs.append(layer(outs[-1]))
        return tuple(outs)
