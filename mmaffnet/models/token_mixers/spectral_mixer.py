"""What most operators beside AFF share: a Fourier transform, something at each frequency, and the way back."""

import torch
from torch import Tensor

from .frequency_mixer import FrequencyMixer
from .spectral import DENSE_SIDE, irdft2, irfft2, is_traced, rdft2, rfft2

FORMS = ('auto', 'fft', 'dft')


class SpectralMixer(FrequencyMixer):
    r"""Base of token mixers that act on the half spectrum of their map: a subclass writes :meth:`filter`.

    .. math:: Y = \mathcal F^{-1}\left[f(\mathcal F(X))\right]

    with the unitary transform :math:`\mathcal F` of a real map. :meth:`filter` is the operator :math:`f`, on the real
    and the imaginary part; the transform in its two forms is dealt with here, precision in :class:`FrequencyMixer`.

    Args:
        transform (str): How the transform is computed, never what: 'fft' by a complex FFT; 'dft' by real matrices,
            which exports to formats without complex numbers and is bound to one size in a trace; 'auto' by matrices
            for maps up to 8 × 8 on an eager CPU, else by FFT. Defaults to 'auto'.
        init_cfg (dict, optional): mmengine initialisation.

    Raises:
        ValueError: ``transform`` is unknown.
    """

    # Whether the backbone must tell the operator the size of its maps: see SizeBoundMixer.
    needs_map_size = False

    def __init__(self, transform: str = 'auto', init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        if transform not in FORMS:
            raise ValueError(f'transform must be one of {FORMS}, got {transform!r}')
        self.transform = transform

    def filter(self, real: Tensor, imag: Tensor) -> tuple[Tensor, Tensor]:
        """The operator at each frequency.

        Args:
            real, imag (Tensor): The spectrum's parts, each (B, C, H, W // 2 + 1), unitary scale, in float32 or wider.
                Parameters are to be cast to their dtype, which in a half-precision model is another.

        Returns:
            tuple[Tensor, Tensor]: Those of the filtered spectrum, of the same shape.
        """
        raise NotImplementedError(f'{type(self).__name__} must define filter(real, imag)')

    def filter_spectrum(self, spectrum: Tensor) -> Tensor:
        """The same on a complex spectrum; a subclass writes it anew where one complex product is the faster form.

        Args:
            spectrum (Tensor): Complex, of shape (B, C, H, W // 2 + 1), unitary scale.

        Returns:
            Tensor: Complex, of the same shape.
        """
        return torch.complex(*self.filter(spectrum.real, spectrum.imag))

    def mix(self, x: Tensor) -> Tensor:
        """Mix a map (B, C, H, W), in the dtype of its own."""
        if self._form(x) == 'fft':
            return irfft2(self.filter_spectrum(rfft2(x)), x.shape[-2:])
        b, c = x.shape[:2]
        h, w = int(x.shape[2]), int(x.shape[3])                  # constants of a trace, as the matrices are
        parts = (part.view(b, h, w // 2 + 1, c).permute(0, 3, 1, 2) for part in rdft2(x))
        parts = (part.permute(0, 2, 3, 1).flatten(1, 2).contiguous() for part in self.filter(*parts))
        return irdft2(*parts, (h, w), channels_last=not x.is_contiguous())

    def _form(self, x: Tensor) -> str:
        """Which form computes this map."""
        if self.transform != 'auto':
            return self.transform
        small = not is_traced() and x.device.type == 'cpu' and max(x.shape[-2:]) <= DENSE_SIDE
        return 'dft' if small else 'fft'

    def extra_repr(self) -> str:
        """Show what the parameters' shapes do not tell."""
        return f'transform={self.transform!r}'
