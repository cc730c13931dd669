"""The channel norm of the released code."""

import torch
from torch import Tensor, nn

from mmaffnet.registry import MODELS


@MODELS.register_module()
class ChannelNorm(nn.LayerNorm):
    r"""Normalisation over the channels at each position, the release's ``layer_norm`` on maps.

    .. math:: y = \frac{x - \mu}{\sigma + \epsilon} \cdot \gamma + \beta

    with the mean :math:`\mu` and the *biased* standard deviation :math:`\sigma` over the channels of one position.
    :math:`\epsilon` stands outside the root. mmpretrain's ``LN2d`` has it inside, and the release's ``layer_norm_2d``
    is a group norm with one group: three different functions. A subclass of ``nn.LayerNorm``, so that optimiser
    constructors recognise it as a norm.

    Args:
        num_channels (int): Channels C.
        eps (float): Added to the standard deviation. Defaults to 1e-5.

    Source: released code, ``attn_norm_layer='layer_norm'``.
    """

    def __init__(self, num_channels: int, eps: float = 1e-5) -> None:
        super().__init__(num_channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise a map.

        Args:
            x (Tensor): Of shape (B, C, H, W).

        Returns:
            Tensor: Of the same shape.
        """
        var, mean = torch.var_mean(x, dim=1, keepdim=True, correction=0)
        scale = self.weight.view(-1, 1, 1)
        shift = self.bias.view(-1, 1, 1)
        return (x - mean) / (var.sqrt() + self.eps) * scale + shift
