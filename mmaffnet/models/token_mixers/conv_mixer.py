"""A dense convolution as token mixer: the local one of Table 4."""

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmaffnet.registry import TOKEN_MIXERS


@TOKEN_MIXERS.register_module()
class ConvMixer(BaseModule):
    r"""Mix the tokens of a neighbourhood, and all channels, by a dense convolution.

    .. math:: Y = k * X, \qquad k \in \mathbb R^{C \times C \times K \times K}

    with zeros beyond the border, no bias, no norm: K²·C² parameters. X and Y have the shape (B, C, H, W). No row of
    Table 1; by its experiments: not adaptive, any size, its own weights for each channel, K × K tokens.

    A depthwise convolution would have 9·C parameters; the 10.7 M printed are those of a dense one.

    Args:
        embed_dims (int): Channels C.
        kernel_size (int): K, odd. Defaults to 3.
        init_cfg (dict, optional): mmengine initialisation. Without one torch's default stays, and in AFFNet the
            backbone's own for convolutions holds.

    Raises:
        ValueError: ``kernel_size`` is even.

    Source: paper Table 4, "Base. + Conv-Mixer (3 × 3)".
    """

    def __init__(self, embed_dims: int, kernel_size: int = 3, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f'kernel_size must be odd (1, 3, 5, ...), so that the map keeps its size; '
                             f'got {kernel_size}')
        self.conv = nn.Conv2d(embed_dims, embed_dims, kernel_size, padding=kernel_size // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        return self.conv(x)
