"""The inverted residual ("MBConv") that AFFNet uses for its stem, for down-sampling and for mixing channels."""

from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from torch import Tensor

from .recompute import recomputed


def make_divisible(value: float, divisor: int = 8) -> int:
    """Round to the nearest multiple of ``divisor``, at least ``divisor``, and never lose more than a tenth.

    Source: the rounding of MobileNetV2, which the release uses for hidden widths.
    """
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


class MBConv(BaseModule):
    """1×1 expansion, depthwise 3×3, 1×1 projection without activation.

    Args:
        in_channels (int): Channels of the input.
        out_channels (int): Channels of the output.
        expand_ratio (float): Hidden width over ``in_channels``, rounded to a multiple of 8; at 1 the expansion is left
            out.
        stride (int): Of the depthwise convolution, 1 or 2. Defaults to 1.
        dilation (int): Of the depthwise convolution. Defaults to 1.
        with_skip (bool, optional): Add the input to the output. Defaults to None: where stride is 1 and the widths
            agree.
        conv_cfg, norm_cfg, act_cfg (dict, optional): As in mmcv's ``ConvModule``.
        with_cp (bool): Recompute in the backward pass instead of keeping activations. Defaults to False.
        init_cfg (dict, optional): mmengine initialisation.

    Raises:
        ValueError: ``with_skip=True`` where input and output differ in shape.

    Source: paper Sec. 3.4 and Table 8; MobileNetV2.
    """

    def __init__(self,
                 in_channels: int,
                 out_channels: int,
                 expand_ratio: float,
                 stride: int = 1,
                 dilation: int = 1,
                 with_skip: bool | None = None,
                 conv_cfg: dict | None = None,
                 norm_cfg: dict | None = None,
                 act_cfg: dict | None = None,
                 with_cp: bool = False,
                 init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        same_shape = stride == 1 and in_channels == out_channels
        if with_skip and not same_shape:
            raise ValueError(f'with_skip=True needs stride 1 and equal widths, got stride {stride}, '
                             f'{in_channels} channels in and {out_channels} out')
        self.with_skip = same_shape if with_skip is None else with_skip
        self.with_cp = with_cp
        hidden = make_divisible(round(expand_ratio * in_channels))
        cfg = dict(conv_cfg=conv_cfg, norm_cfg=norm_cfg or dict(type='BN'))
        act_cfg = act_cfg or dict(type='SiLU')
        self.expand_conv = None
        if expand_ratio != 1:
            self.expand_conv = ConvModule(in_channels, hidden, 1, act_cfg=act_cfg, **cfg)
        else:
            hidden = in_channels
        self.depthwise_conv = ConvModule(
            hidden, hidden, 3, stride, padding=dilation, dilation=dilation, groups=hidden, act_cfg=act_cfg, **cfg)
        self.linear_conv = ConvModule(hidden, out_channels, 1, act_cfg=None, **cfg)

    def _forward(self, x: Tensor) -> Tensor:
        out = x if self.expand_conv is None else self.expand_conv(x)
        out = self.linear_conv(self.depthwise_conv(out))
        return x + out if self.with_skip else out

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C_out, ceil(H / stride), ceil(W / stride))."""
        return recomputed(self, self._forward, x) if self.with_cp else self._forward(x)
