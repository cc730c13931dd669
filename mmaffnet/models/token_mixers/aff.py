"""AFF, the adaptive frequency filter: the token mixer of AFFNet (paper Sec. 3.2), and what its ablations vary."""

import torch
from torch import Tensor

from mmaffnet.registry import TOKEN_MIXERS

from .frequency_mixer import HALF
from .mask_network import MaskNetwork
from .spectral import irdft2, irfft2, is_traced, rdft2, rfft2
from .transforms import REAL_TRANSFORMS, from_coefficients, to_coefficients

TRANSFORMS = ('auto', 'fft', 'dft', *REAL_TRANSFORMS)


@TOKEN_MIXERS.register_module()
class AFF(MaskNetwork):
    r"""Mix all tokens of a map by a filter that is learned from the map's own spectrum.

    .. math::
        \mathrm{AFF}(X) = \mathcal F^{-1}\left[\mathcal M(\mathcal F(X)) \odot \mathcal F(X)\right]
        \qquad \text{(paper Eq. 4)}

    with the mask network :math:`\mathcal M(Z) = W_2\,\sigma(W_1 Z + b_1) + b_2` of
    :class:`~mmaffnet.models.token_mixers.mask_network.MaskNetwork`: two complex linear layers over the channels,
    block-diagonal in ``groups`` blocks, at each frequency. :math:`\mathcal F` is the unitary transform of a real map,
    of which the half spectrum is kept. By the convolution theorem (Eq. 6) this is a circular depthwise convolution as
    large as the map, with a kernel made from the map. In Table 1: semantic-adaptive, takes any size, mixes each
    channel by its own weights.

    ``transform`` names the transform and, for Fourier's, the form in which it is computed:

    ==========  ====================  ==========================================================================
    value       transform             computed
    ==========  ====================  ==========================================================================
    ``'auto'``  Fourier               in the faster of the next two where that was measured (CPU); 'fft' under tracing
                                      and export, 'dft' for half-precision models
    ``'fft'``   Fourier               by ``rfft2`` and complex products; any size in a trace
    ``'dft'``   Fourier               by real matrices, without complex tensors, so that it exports to formats that have
                                      none; a trace is bound to its size
    ``'dct'``   cosine (DCT-II)       by real matrices; a trace is bound to its size
    ``'haar'``  Haar wavelets         by sums and differences of neighbours; the subbands share the mask network
    ``'none'``  none                  the mask acts on the tokens themselves: "AFF w/o FFT" of Table 4
    ==========  ====================  ==========================================================================

    The first three have the same numbers. The last three (Tables 4 and 12) have real coefficients: the network is fed
    with an imaginary part of zero, and the real part of its mask is used. The imaginary half of ``b2`` then gets a
    gradient of zero, and Eq. 6 does not hold.

    Under autocast the mixer computes in float32 and returns the dtype of its input.

    Args:
        embed_dims (int): Channels C, a multiple of ``groups``.
        groups (int | str): Blocks of the two layers, or 'channels': one for each channel. Defaults to 8 (Table 7).
        kernel_size (int): Odd; above 1 the two layers are convolutions over neighbouring frequencies, with zeros beyond
            the border. Defaults to 1 (Table 7).
        combine (str): 'product', or 'sum' of mask and spectrum (Table 5). Defaults to 'product'.
        mask (str): 'channel': C×H×W; 'spatial': 1×H×W, the complex mean of the mask over the channels, for all channels
            (Table 6). Defaults to 'channel'.
        transform (str): See above (Table 12). Defaults to 'auto'.
        levels (int): Of the Haar transform, 1 or more. Defaults to 1; the paper says nothing.
        act_cfg (dict): The activation :math:`\sigma`, on real and imaginary part. Defaults to ``dict(type='ReLU')``.
        softshrink (float): Threshold of a soft shrinkage of the mask's real and imaginary part; the release has 0.01.
            Defaults to 0: none, as in the paper.
        with_skip (bool): Add the input to the output, as the release does inside its mixer. Defaults to False.
        init_std (float): Standard deviation of the initial weights and biases. Defaults to 0.02.
        init_cfg (dict, optional): mmengine initialisation.

    Raises:
        ValueError: ``embed_dims`` is no multiple of ``groups``; another argument has a value that is not allowed.

    Source: paper Eq. 4, Fig. 2 and Tables 4 to 7 and 12; layout of the parameters as released.
    """

    def __init__(self,
                 embed_dims: int,
                 groups: int | str = 8,
                 act_cfg: dict | None = None,
                 softshrink: float = 0.,
                 with_skip: bool = False,
                 transform: str = 'auto',
                 init_std: float = 0.02,
                 kernel_size: int = 1,
                 combine: str = 'product',
                 mask: str = 'channel',
                 levels: int = 1,
                 init_cfg: dict | None = None) -> None:
        for name, value, allowed in (('transform', transform, TRANSFORMS), ('combine', combine, ('product', 'sum')),
                                     ('mask', mask, ('channel', 'spatial'))):
            if value not in allowed:
                raise ValueError(f'{name} must be one of {allowed}, got {value!r}')
        if not isinstance(levels, int) or levels < 1 or (levels > 1 and transform != 'haar'):
            raise ValueError(f"levels must be 1, or with transform='haar' 1 or more; got levels={levels!r} with "
                             f'transform={transform!r}')
        super().__init__(embed_dims, groups, kernel_size, act_cfg, softshrink, init_std, init_cfg)
        self.combine = combine
        self.mask_kind = mask
        self.transform = transform
        self.levels = levels
        self.with_skip = with_skip

    def extra_repr(self) -> str:
        """Show what the parameters' shapes do not tell."""
        levels = f', levels={self.levels}' if self.transform == 'haar' else ''
        return (f'groups={self.groups}, transform={self.transform!r}{levels}, combine={self.combine!r}, '
                f'mask={self.mask_kind!r}, with_skip={self.with_skip}')

    def computes_in(self, x: Tensor) -> torch.dtype:
        """The wider dtype of map and parameters: half precision is left to the form (:meth:`mix`)."""
        return x.dtype if x.dtype == self.w1.dtype else torch.promote_types(x.dtype, self.w1.dtype)

    def mix(self, x: Tensor) -> Tensor:
        """Filter a map (B, C, H, W) of any H and W."""
        form = self._form(x)
        if form == 'dft':
            out = self._filter_dft(x)
        else:
            filtered = self._filter_fft if form == 'fft' else self._filter_real
            # no FFT library serves half precision at all sizes
            out = filtered(x.float()).to(x.dtype) if x.dtype in HALF else filtered(x)
        return x + out if self.with_skip else out

    def _form(self, x: Tensor) -> str:
        """Which transform, in which form, serves this map."""
        if self.transform != 'auto':
            return self.transform
        if is_traced():
            return 'fft'
        if x.dtype in HALF:
            return 'dft'
        if x.device.type != 'cpu':
            return 'fft'
        # Measured by benchmark_mixer.py: a channels-last map needs a copy before an FFT, and none before a product.
        side = max(x.shape[-2:])
        copied = x.shape[0] == 1 and side <= 16 and not x.is_contiguous()
        return 'dft' if side <= 8 or copied else 'fft'

    def mask(self, spectrum: Tensor) -> Tensor:
        """The filter's mask at each channel and frequency.

        Args:
            spectrum (Tensor): Complex half spectrum (B, C, H, W // 2 + 1) of unitary scale, or real coefficients
                (B, C, H, W) of the other transforms.

        Returns:
            Tensor: Of the same dtype and shape, with ``mask='spatial'`` of one channel.
        """
        mask = self.complex_mask(spectrum) if spectrum.is_complex() else self.real_mask(spectrum)
        return mask if self.mask_kind == 'channel' else mask.mean(1, keepdim=True)

    def _combine(self, mask: Tensor, spectrum: Tensor) -> Tensor:
        return mask * spectrum if self.combine == 'product' else mask + spectrum

    def _filter_fft(self, x: Tensor) -> Tensor:
        spectrum = rfft2(x)
        return irfft2(self._combine(self.mask(spectrum), spectrum), x.shape[-2:])

    def _filter_real(self, x: Tensor) -> Tensor:
        parts = to_coefficients(x, self.transform, self.levels)
        parts = tuple(self._combine(self.mask(part), part) for part in parts)
        return from_coefficients(parts, self.transform, x.shape[-2:])

    def _filter_dft(self, x: Tensor) -> Tensor:
        real, imag = rdft2(x)                                            # (B, N, C)
        shape, size = real.shape, (int(x.shape[2]), int(x.shape[3]))
        grouped = (-1, self.groups, shape[-1] // self.groups)
        spectrum = real.view(grouped), imag.view(grouped)                # (B·N, g, C/g)
        mask = self.token_mask(*spectrum, shape[0], size[0])
        if self.mask_kind == 'spatial':
            mask = tuple(part.mean((1, 2), keepdim=True) for part in mask)
        real, imag = self._combine_pair(mask, spectrum)
        return irdft2(real.reshape(shape), imag.reshape(shape), size, channels_last=not x.is_contiguous())

    def _combine_pair(self, mask: tuple[Tensor, Tensor], spectrum: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """:meth:`_combine` on real and imaginary part."""
        (r, i), (real, imag) = mask, spectrum
        # The spectrum stands first: an elementwise operation takes the layout of its first operand.
        if self.combine == 'sum':
            return real + r, imag + i
        return torch.addcmul(real * r, imag, i, value=-1), torch.addcmul(imag * r, real, i)
