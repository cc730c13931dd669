"""DFF, deep frequency filtering: one mask for all channels."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmaffnet.registry import TOKEN_MIXERS

from .ffc import build_embedding, embed
from .spectral_mixer import SpectralMixer


@TOKEN_MIXERS.register_module()
class DFF(SpectralMixer):
    r"""Multiply the spectrum of all channels by one attention mask, learned from it.

    .. math::
        E = \mathrm{ReLU}(\mathrm{BN}(P\,[\mathrm{Re} Z; \mathrm{Im} Z])), \qquad
        Y = \mathcal F^{-1}\left[\sigma\left(c * [\mathrm{mean}_c E; \max_c E]\right) \odot Z\right], \qquad
        Z = \mathcal F(X)

    with the sigmoid :math:`\sigma` and a 7×7 convolution c from two maps to one, without bias. X and Y have the shape
    (B, C, H, W), any H and W; 4·C² + 4·C + 98 parameters.

    Table 1: semantic-adaptive, any size, *not* channel-wise: the mask is the same for all channels. Both need the mask
    on Z itself; with ``mask_on='embedding'`` it is the other way round.

    No official code was found. Rebuilt from what the paper says (a spatial mask shared by the channels) and two
    re-implementations by others, which disagree: the embedding is needed for the 7.7 M printed, the mask on Z for
    Table 1. The batch norm's statistics belong to the size of map that they were trained at, as in :class:`FFC`.

    Args:
        embed_dims (int): Channels C.
        mask_on (str): 'input': the mask multiplies Z; 'embedding': it multiplies E, whose first half is then the real
            part of the result. Defaults to 'input'.
        norm_cfg (dict): Defaults to ``dict(type='BN')``.
        act_cfg (dict): Defaults to ``dict(type='ReLU')``.
        transform (str): 'auto', 'fft' or 'dft': how the transform is computed. Defaults to 'auto'.
        init_cfg (dict, optional): mmengine initialisation.

    Raises:
        ValueError: ``mask_on`` is unknown.

    Source: paper Sec. 3.3 and Table 5; Lin et al., "Deep Frequency Filtering for Domain Generalization".
    """

    def __init__(self,
                 embed_dims: int,
                 mask_on: str = 'input',
                 norm_cfg: dict | None = None,
                 act_cfg: dict | None = None,
                 transform: str = 'auto',
                 init_cfg: dict | None = None) -> None:
        super().__init__(transform, init_cfg)
        if mask_on not in ('input', 'embedding'):
            raise ValueError(f"mask_on must be 'input' or 'embedding', got {mask_on!r}")
        self.mask_on = mask_on
        self.embedding = build_embedding(embed_dims, norm_cfg, act_cfg)
        self.attention = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def filter(self, real: Tensor, imag: Tensor) -> tuple[Tensor, Tensor]:
        """The masked spectrum from its real and imaginary part (B, C, H, W // 2 + 1)."""
        embedded = embed(self.embedding, real, imag)
        mask = self.mask(embedded)
        if self.mask_on == 'embedding':
            real, imag = embedded.chunk(2, dim=1)
        return mask * real, mask * imag

    def mask(self, embedded: Tensor) -> Tensor:
        """The mask of an embedding (B, 2·C, H, W // 2 + 1), one map (B, 1, H, W // 2 + 1) of numbers in (0, 1)."""
        pooled = torch.cat((embedded.mean(1, keepdim=True), embedded.amax(1, keepdim=True)), dim=1)
        return F.conv2d(pooled, self.attention.weight.to(pooled.dtype), padding=self.attention.padding).sigmoid()

    def extra_repr(self) -> str:
        """Show what the parameters' shapes do not tell."""
        return f'mask_on={self.mask_on!r}, {super().extra_repr()}'
