"""FNO, the Fourier neural operator: a matrix of its own at each frequency."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmaffnet.registry import TOKEN_MIXERS

from .size_bound import SizeBoundMixer, guess_size, resize_transfer
from .spectral_mixer import SpectralMixer


class Matrices(SpectralMixer):
    """What both have in common: ``weight`` (rows, columns, 2·C, C), at each frequency Re R, (in, out), above Im R."""

    def init_weights(self) -> None:
        """Draw R from U[0, 1) / C², as the source does, then apply ``init_cfg``."""
        self._reset_parameters()
        super().init_weights()

    def _reset_parameters(self) -> None:
        nn.init.uniform_(self.weight, 0, self.weight.shape[-1]**-2)

    def _apply(self, fn, *args, **kwargs):
        super()._apply(fn, *args, **kwargs)
        self.weight.data = self.weight.data.contiguous()   # channels-last takes four axes for those of an image
        return self


@TOKEN_MIXERS.register_module()
class FNO(Matrices, SizeBoundMixer):
    r"""Mix the channels at each frequency by learned numbers of that frequency, all modes kept.

    .. math::
        Y = \mathcal F^{-1}\left[\textstyle\sum_i R_{io}(u, v)\, \mathcal F(X)_i(u, v)\right]

    X and Y have the shape (B, C, H, W) with (H, W) = ``map_size``; 2·C²·H·(W // 2 + 1) parameters, at 256 × 256 pixels
    141 M in AFFNet, which is the print.

    Table 1: not semantic-adaptive (linear), one size only, channel-wise. The second holds for all modes, as here;
    with the operator's published truncation it is a matter of the map being large enough: :class:`TruncatedFNO`.

    ``weight`` is (H, W // 2 + 1, 2·C, C): at each frequency the real part of R, (in, out), above the imaginary one.

    Args:
        embed_dims (int): Channels C.
        map_size (tuple[int, int]): (H, W) of the maps; AFFNet gives it where it is built with ``img_size``.
        transform (str): 'auto', 'fft' or 'dft': how the transform is computed. Defaults to 'auto'.
        resize_on_load (bool): Convert loaded weights of another map size; see :class:`SizeBoundMixer`. Defaults to
            False.
        init_cfg (dict, optional): mmengine initialisation.

    Raises:
        ValueError: ``map_size`` is missing; the map has another size.

    Source: paper Sec. 4.4 ("unshared fully connected layers for each frequency"), Table 5;
    github.com/zongyi-li/fourier_neural_operator, of which the parallel 1×1 convolution and the activation stay out.
    """

    frequency_axes = (0, 1)

    def __init__(self,
                 embed_dims: int,
                 map_size: tuple[int, int] | None = None,
                 transform: str = 'auto',
                 resize_on_load: bool = False,
                 init_cfg: dict | None = None) -> None:
        super().__init__(map_size, transform, resize_on_load, init_cfg)
        h, w = self.map_size
        self.weight = nn.Parameter(torch.empty(h, w // 2 + 1, 2 * embed_dims, embed_dims))
        self._reset_parameters()

    def filter(self, real: Tensor, imag: Tensor) -> tuple[Tensor, Tensor]:
        """R·Z on real and imaginary part (B, C, H, W // 2 + 1), in real products."""
        return mix_real(real, imag, self.weight)

    def filter_spectrum(self, spectrum: Tensor) -> Tensor:
        """The same in one complex product, as the source has it."""
        return mix_complex(spectrum, self.weight)

    def resized(self, weight: Tensor) -> Tensor:
        """Weights of another map size as those of this one."""
        c = weight.shape[-1]
        transfer = weight.unflatten(2, (2, c)).permute(3, 4, 0, 1, 2)       # (in, out, H, W // 2 + 1, 2)
        transfer = resize_transfer(transfer, guess_size(*weight.shape[:2]), self.map_size)
        return transfer.permute(2, 3, 4, 0, 1).flatten(2, 3)


@TOKEN_MIXERS.register_module()
class TruncatedFNO(Matrices):
    """FNO as published: matrices at the low frequencies only, zero at all others.

    Kept are the rows u = 0 … m₁ - 1 and -m₁ … -1 in the columns v = 0 … m₂ - 1; ``weight`` (2·m₁, m₂, 2·C, C) has them
    in this order. Any map that has these frequencies will do, with the same parameters: Table 1's cross at
    "variable-size input" is not for this one. X and Y have the shape (B, C, H, W); 4·C²·m₁·m₂ parameters.

    Args:
        embed_dims (int): Channels C.
        modes (tuple[int, int]): m₁ and m₂. On a map of H < 2·m₁ rows the negative ones win, as in the source.
        transform (str): 'auto', 'fft' or 'dft': how the transform is computed. Defaults to 'auto'.
        init_cfg (dict, optional): mmengine initialisation.

    Raises:
        ValueError: ``modes`` are not two positive numbers; a map is too small for them.

    Source: github.com/zongyi-li/fourier_neural_operator. No row of the paper: its 141.0 M are those of all modes.
    """

    def __init__(self,
                 embed_dims: int,
                 modes: tuple[int, int],
                 transform: str = 'auto',
                 init_cfg: dict | None = None) -> None:
        super().__init__(transform, init_cfg)
        if len(modes) != 2 or min(modes) < 1:
            raise ValueError(f'modes must be (rows, columns), both 1 or more, got {modes!r}')
        self.modes = tuple(modes)
        self.weight = nn.Parameter(torch.empty(2 * modes[0], modes[1], 2 * embed_dims, embed_dims))
        self._reset_parameters()

    def filter(self, real: Tensor, imag: Tensor) -> tuple[Tensor, Tensor]:
        """R·Z at the low frequencies of (B, C, H, W // 2 + 1), in real products."""
        parts = mix_real(self._kept(real), self._kept(imag), self.weight)
        return tuple(self._placed(part, real.shape) for part in parts)

    def filter_spectrum(self, spectrum: Tensor) -> Tensor:
        """The same in one complex product, as the source has it."""
        return self._placed(mix_complex(self._kept(spectrum), self.weight), spectrum.shape)

    def _kept(self, part: Tensor) -> Tensor:
        """The low frequencies, (B, C, 2·m₁, m₂)."""
        (m1, m2), (h, columns) = self.modes, part.shape[-2:]
        if h < m1 or columns < m2:
            raise ValueError(f'modes={self.modes} need maps of {m1} x {2 * (m2 - 1)} or more, got one of {int(h)} rows '
                             f'whose spectrum has {int(columns)} columns: take fewer modes or larger pictures')
        return torch.cat((part[..., :m1, :m2], part[..., -m1:, :m2]), dim=-2)

    def _placed(self, part: Tensor, shape: torch.Size) -> Tensor:
        """They and zeros, (B, C, H, W // 2 + 1); a negative padding cuts the rows that the negative ones replace."""
        (m1, m2), (h, columns) = self.modes, shape[-2:]
        positive, negative = part.chunk(2, dim=-2)
        positive = F.pad(positive, (0, columns - m2, 0, h - 2 * m1))
        return torch.cat((positive, F.pad(negative, (0, columns - m2))), dim=-2)

    def extra_repr(self) -> str:
        """Show what the parameters' shapes do not tell."""
        return f'modes={self.modes}, {super().extra_repr()}'


def mix_complex(spectrum: Tensor, weight: Tensor) -> Tensor:
    """Σ_i R_io Z_i at each frequency.

    Args:
        spectrum (Tensor): Z, complex, of shape (B, C, H, V).
        weight (Tensor): R, of shape (H, V, 2·C, C), real part above imaginary part.

    Returns:
        Tensor: Complex, of shape (B, C, H, V).
    """
    matrices = torch.complex(*weight.to(spectrum.real.dtype).chunk(2, dim=2))     # (H, V, C in, C out)
    return torch.matmul(spectrum.permute(2, 3, 0, 1), matrices).permute(2, 3, 0, 1)


def mix_real(real: Tensor, imag: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """:func:`mix_complex` on real and imaginary part (B, C, H, V): [Re, -Im] and [Im, Re] times R's two parts."""
    z = torch.stack((torch.cat((real, -imag), dim=1), torch.cat((imag, real), dim=1)))     # (2, B, 2·C, H, V)
    z = torch.matmul(z.flatten(0, 1).permute(2, 3, 0, 1), weight.to(real.dtype))           # (H, V, 2·B, C)
    return z.permute(2, 3, 0, 1).chunk(2)
