"""The separable convolution of EfficientDet: no norm and no activation between its two halves."""

import torch.nn as nn
from mmcv.cnn import build_norm_layer
from torch import Tensor


class DepthwiseConv2d(nn.Conv2d):
    """3×3 convolution of each channel by itself, stride 1, without bias.

    A class of its own so that ``init_cfg`` can name it (``layer='DepthwiseConv2d'``): mmengine's initialisers know a
    layer by its class, and torch's count of a depthwise kernel's outputs leaves the groups out.

    Args:
        channels (int): Channels in and out.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, padding=1, groups=channels, bias=False)


class SeparableConv(nn.Module):
    """Depthwise 3×3 without bias, 1×1, and a norm where asked for.

    mmcv's ``DepthwiseSeparableConvModule`` gives both halves the same kind of bias, and the depthwise half one wherever
    it has no norm.

    Args:
        in_channels (int): Channels of the input.
        out_channels (int): Channels of the output.
        bias (bool): Of the 1×1 convolution. Defaults to True.
        norm_cfg (dict, optional): Norm behind it. Defaults to None: no norm.

    Source: EfficientDet (Tan et al., CVPR 2020), Sec. 3.3 for the depthwise separable convolution; Google's code for
    the missing norm and activation between.
    """

    def __init__(self, in_channels: int, out_channels: int, bias: bool = True, norm_cfg: dict | None = None) -> None:
        super().__init__()
        self.depthwise = DepthwiseConv2d(in_channels)
        self.pointwise = nn.Conv2d(in_channels, out_channels, 1, bias=bias)
        self.norm = build_norm_layer(norm_cfg, out_channels)[1] if norm_cfg else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C_out, H, W)."""
        return self.norm(self.pointwise(self.depthwise(x)))
