"""FFC, fast Fourier convolution: its Fourier unit, which is all of it that fits the paper's count."""

import torch
from mmcv.cnn import ConvModule
from torch import Tensor, nn

from mmaffnet.registry import TOKEN_MIXERS

from .spectral_mixer import SpectralMixer


@TOKEN_MIXERS.register_module()
class FFC(SpectralMixer):
    r"""Mix the channels of the spectrum, real and imaginary parts together, by one convolution, norm and ReLU.

    .. math::
        Y = \mathcal F^{-1}\left[\mathrm{ReLU}(\mathrm{BN}(P\,[\mathrm{Re} Z; \mathrm{Im} Z]))\right], \qquad
        Z = \mathcal F(X),\quad P \in \mathbb R^{2C \times 2C}

    the first C channels of the result being the real part. X and Y have the shape (B, C, H, W), any H and W; 4·C² + 4·C
    parameters. ReLU leaves a spectrum without negative numbers: part of every result lies at token (0, 0).

    Table 1: not semantic-adaptive, any size, channel-wise. The first means that it is no mask on the spectrum. Its
    weights do depend on the input, through the kink of ReLU.

    The batch norm's statistics are those of a spectrum, whose mean coefficient grows with √(H·W): they belong to the
    size of map that they were trained at.

    Args:
        embed_dims (int): Channels C.
        norm_cfg (dict): Defaults to ``dict(type='BN')``.
        act_cfg (dict): Defaults to ``dict(type='ReLU')``.
        transform (str): 'auto', 'fft' or 'dft': how the transform is computed. Defaults to 'auto'.
        init_cfg (dict, optional): mmengine initialisation.

    Source: paper Sec. 3.3 and Table 5; github.com/pkumivision/FFC, its ``FourierUnit``. The source interleaves real and
    imaginary parts, which permutes the rows and columns of P. Its split into a local and a global branch, and the
    convolutions around the unit, miss the 7.7 M printed.
    """

    def __init__(self,
                 embed_dims: int,
                 norm_cfg: dict | None = None,
                 act_cfg: dict | None = None,
                 transform: str = 'auto',
                 init_cfg: dict | None = None) -> None:
        super().__init__(transform, init_cfg)
        self.embedding = build_embedding(embed_dims, norm_cfg, act_cfg)

    def filter(self, real: Tensor, imag: Tensor) -> tuple[Tensor, Tensor]:
        """ReLU(BN(P·[Re; Im])) of real and imaginary part (B, C, H, W // 2 + 1)."""
        return embed(self.embedding, real, imag).chunk(2, dim=1)


def build_embedding(embed_dims: int, norm_cfg: dict | None = None, act_cfg: dict | None = None) -> ConvModule:
    """P, BN and ReLU on the 2·C real numbers of each frequency."""
    return ConvModule(2 * embed_dims, 2 * embed_dims, 1, bias=False, norm_cfg=norm_cfg or dict(type='BN'),
                      act_cfg=act_cfg or dict(type='ReLU'))


def embed(embedding: nn.Module, real: Tensor, imag: Tensor) -> Tensor:
    """Apply :func:`build_embedding`'s module, in its own dtype, which in a half-precision model is half.

    Args:
        embedding (nn.Module): On (B, 2·C, H, V).
        real, imag (Tensor): Each (B, C, H, V).

    Returns:
        Tensor: Of shape (B, 2·C, H, V) and the dtype of ``real``.
    """
    dtype = next(embedding.parameters()).dtype
    return embedding(torch.cat((real, imag), dim=1).to(dtype)).to(real.dtype)
