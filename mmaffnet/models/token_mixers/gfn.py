"""GFN, the global filter of GFNet."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmaffnet.registry import TOKEN_MIXERS

from .size_bound import SizeBoundMixer, resize_kernel, wide


@TOKEN_MIXERS.register_module()
class GFN(SizeBoundMixer):
    r"""Multiply the spectrum by learned numbers.

    .. math::
        Y = \mathcal F^{-1}\left[w \odot \mathcal F(X)\right], \qquad w \in \mathbb C^{C \times H \times (W/2 + 1)}

    X and Y have the shape (B, C, H, W) with (H, W) = ``map_size``; 2·C·H·(W // 2 + 1) parameters. By Eq. 6 this is a
    circular depthwise convolution as large as the map, with a learned kernel.

    Table 1: not semantic-adaptive (linear), one size only, channel-wise.

    ``weight`` is (C, H, W // 2 + 1, 2), real and imaginary part last; of a full spectrum (2, C, H, W).

    The half spectrum is the official definition; AFFNet has 5.91 M parameters with it where Table 5 prints 6.5 M. Two
    options come within 0.1 M: ``spectrum='full'``, 6.43 M, the real part of :math:`\mathcal F^{-1}[w \odot \mathcal
    F(X)]` with the full transform, of whose numbers half are redundant; and ``pointwise=True``, 6.51 M, which was
    chosen because it fits and is not in the paper.

    Args:
        embed_dims (int): Channels C.
        map_size (tuple[int, int]): (H, W) of the maps; AFFNet gives it where it is built with ``img_size``.
        spectrum (str): 'half' or 'full'. Defaults to 'half'.
        pointwise (bool): A dense 1×1 convolution without bias after the filter. Defaults to False.
        transform (str): 'auto', 'fft' or 'dft': how the transform is computed. Defaults to 'auto'.
        resize_on_load (bool): Convert loaded weights of another map size; see :class:`SizeBoundMixer`. Defaults to
            False.
        init_std (float): Standard deviation of the initial weights. Defaults to 0.02.
        init_cfg (dict, optional): mmengine initialisation.

    Raises:
        ValueError: ``map_size`` is missing; ``spectrum`` is unknown; the map has another size.

    Source: paper Sec. 3.3 and Table 5; github.com/raoyongming/GFNet.
    """

    def __init__(self,
                 embed_dims: int,
                 map_size: tuple[int, int] | None = None,
                 spectrum: str = 'half',
                 pointwise: bool = False,
                 transform: str = 'auto',
                 resize_on_load: bool = False,
                 init_std: float = 0.02,
                 init_cfg: dict | None = None) -> None:
        super().__init__(map_size, transform, resize_on_load, init_cfg)
        if spectrum not in ('half', 'full'):
            raise ValueError(f"spectrum must be 'half' or 'full', got {spectrum!r}")
        self.spectrum = spectrum
        self.init_std = init_std
        h, w = self.map_size
        if spectrum == 'half':
            self.weight = nn.Parameter(torch.empty(embed_dims, h, w // 2 + 1, 2))
        else:   # told apart by its axes, so that no checkpoint of one passes for the other
            self.weight = nn.Parameter(torch.empty(2, embed_dims, h, w))
            self.frequency_axes = (2, 3)
        self.pointwise = nn.Conv2d(embed_dims, embed_dims, 1, bias=False) if pointwise else None
        nn.init.normal_(self.weight, std=init_std)

    def init_weights(self) -> None:
        """Draw the filter from N(0, init_std²), then apply ``init_cfg``."""
        nn.init.normal_(self.weight, std=self.init_std)
        super().init_weights()

    def filter(self, real: Tensor, imag: Tensor) -> tuple[Tensor, Tensor]:
        """w ⊙ Z on real and imaginary part (B, C, H, W // 2 + 1)."""
        weight = self.weight.to(real.dtype)
        a, b = (weight if self.spectrum == 'half' else hermitian_half(weight)).unbind(-1)
        return real * a - imag * b, real * b + imag * a

    def mix(self, x: Tensor) -> Tensor:
        """Filter a map (B, C, H, W), and mix its channels where ``pointwise`` says so."""
        x = super().mix(x)
        return x if self.pointwise is None else F.conv2d(x, self.pointwise.weight.to(x.dtype))

    def resized(self, weight: Tensor) -> Tensor:
        """Weights of another map size as those of this one; a full spectrum becomes that of its, real, kernel."""
        if self.spectrum == 'half':
            return super().resized(weight)
        kernel = torch.fft.ifft2(torch.complex(*wide(weight))).real
        transfer = torch.fft.fft2(resize_kernel(kernel, self.map_size))
        return torch.view_as_real(transfer).movedim(-1, 0).to(weight.dtype)


def hermitian_half(weight: Tensor) -> Tensor:
    """The half spectrum that filters a real map as the real part of a full spectrum does.

    Args:
        weight (Tensor): Real and imaginary part of w, of shape (2, C, H, W).

    Returns:
        Tensor: (w(u, v) + conj w(-u, -v)) / 2, of shape (C, H, W // 2 + 1, 2).
    """
    mirrored = weight.flip((2, 3)).roll((1, 1), (2, 3))                 # (-u, -v) at (u, v)
    half = torch.stack((weight[0] + mirrored[0], weight[1] - mirrored[1]), dim=-1) / 2
    return half[:, :, :weight.shape[3] // 2 + 1]
