"""The feed-forward network, the channel mixer that the paper compares MBConv with (Table 14)."""

from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from torch import Tensor

from .mbconv import make_divisible


class FFN(BaseModule):
    """Two linear layers over the channels of each token, with an activation between them.

    y = W2 σ(W1 x + b1) + b2; an MBConv without the depthwise convolution, and with biases for batch norms.

    Args:
        embed_dims (int): Channels C.
        expand_ratio (float): Hidden width over C, rounded to a multiple of 8. Defaults to 2: of the ratios tried (1.5,
            2, 2.25, 3, 4) it alone gives the print's 5.5 M parameters, and it is MBConv's own.
        with_skip (bool): Add the input to the output. Defaults to False.
        conv_cfg, act_cfg (dict, optional): As in mmcv's ``ConvModule``.
        init_cfg (dict, optional): mmengine initialisation.

    Source: paper Table 14 and the paragraph under it.
    """

    def __init__(self,
                 embed_dims: int,
                 expand_ratio: float = 2.,
                 with_skip: bool = False,
                 conv_cfg: dict | None = None,
                 act_cfg: dict | None = None,
                 init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        hidden = make_divisible(round(expand_ratio * embed_dims))
        self.with_skip = with_skip
        self.expand_conv = ConvModule(embed_dims, hidden, 1, conv_cfg=conv_cfg, act_cfg=act_cfg or dict(type='SiLU'))
        self.linear_conv = ConvModule(hidden, embed_dims, 1, conv_cfg=conv_cfg, act_cfg=None)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        out = self.linear_conv(self.expand_conv(x))
        return x + out if self.with_skip else out
