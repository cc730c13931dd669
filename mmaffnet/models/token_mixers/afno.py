"""AFNO, the adaptive Fourier neural operator, in the form of the paper's Table 5."""

from torch import Tensor

from mmaffnet.registry import TOKEN_MIXERS

from .aff import AFF
from .spectral_mixer import FORMS


@TOKEN_MIXERS.register_module()
class AFNO(AFF):
    r"""Put the spectrum through a small network, and transform what comes out.

    .. math::
        Y = \mathcal F^{-1}\left[\mathrm{SoftShrink}_\lambda(\mathcal M(\mathcal F(X)))\right]

    with AFF's network :math:`\mathcal M(Z) = W_2\,\mathrm{ReLU}(W_1 Z + b_1) + b_2`, hidden width C, at all
    frequencies. X and Y have the shape (B, C, H, W), any H and W; C²/2 + 4·C parameters with 8 groups, as many as AFF.
    What AFF multiplies the spectrum with is here the result itself.

    Table 1: not semantic-adaptive, any size, channel-wise. The first means that it is no mask on the spectrum. Its
    weights do depend on the input, through the kinks of ReLU and SoftShrink.

    Args:
        embed_dims (int): Channels C, a multiple of ``groups``.
        groups (int): Blocks of the two layers. Defaults to 8.
        act_cfg (dict): The activation, on real and imaginary part. Defaults to ``dict(type='ReLU')``.
        softshrink (float): Threshold λ of the soft shrinkage of real and imaginary part. Defaults to 0.01.
        transform (str): 'auto', 'fft' or 'dft': how the transform is computed, as in AFF. Defaults to 'auto'.
        init_std (float): Standard deviation of the initial weights and biases. Defaults to 0.02.
        init_cfg (dict, optional): mmengine initialisation.

    Raises:
        ValueError: An argument has a value that is not allowed.

    Source: paper Sec. 3.3 and Table 5; github.com/NVlabs/AFNO-transformer, with its hidden factor 1 and all modes kept.
    The skip that it has inside is the block's.
    """

    def __init__(self,
                 embed_dims: int,
                 groups: int = 8,
                 act_cfg: dict | None = None,
                 softshrink: float = 0.01,
                 transform: str = 'auto',
                 init_std: float = 0.02,
                 init_cfg: dict | None = None) -> None:
        if transform not in FORMS:
            raise ValueError(f'transform must be one of {FORMS}, got {transform!r}')
        super().__init__(embed_dims, groups, act_cfg, softshrink, transform=transform, init_std=init_std,
                         init_cfg=init_cfg)

    def _combine(self, mask: Tensor, spectrum: Tensor) -> Tensor:
        return mask

    def _combine_pair(self, mask: tuple[Tensor, Tensor], spectrum: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return mask
