"""Operators with numbers of their own for each frequency, bound to one size of map; how their weights change size."""

import torch
from torch import Tensor

from .spectral import hermitian_columns
from .spectral_mixer import SpectralMixer


class SizeBoundMixer(SpectralMixer):
    """Base of spectral mixers whose parameter ``weight`` holds transfer functions of maps of one size.

    A map of another size is an error, never an interpolation. Weights of another size can be converted once, as they
    are loaded: with ``resize_on_load=True`` each transfer function becomes that of the same spatial kernel
    (:func:`resize_transfer`).

    Args:
        map_size (tuple[int, int]): (H, W) of the maps. The backbone gives it where it is built with ``img_size``.
        transform (str): 'auto', 'fft' or 'dft': see :class:`SpectralMixer`. Defaults to 'auto'.
        resize_on_load (bool): Convert loaded weights of another map size. A half spectrum does not tell its map's
            width: the map is taken for square where that fits, else for one of even width. Defaults to False.
        init_cfg (dict, optional): mmengine initialisation.

    Raises:
        ValueError: ``map_size`` is missing, or not two positive numbers.
    """

    needs_map_size = True
    frequency_axes = (1, 2)   # of ``weight``

    def __init__(self,
                 map_size: tuple[int, int] | None,
                 transform: str = 'auto',
                 resize_on_load: bool = False,
                 init_cfg: dict | None = None) -> None:
        super().__init__(transform, init_cfg)
        numbers = tuple(map_size) if isinstance(map_size, tuple | list) else ()
        if len(numbers) != 2 or not all(isinstance(n, int) and n >= 1 for n in numbers):
            raise ValueError(f'map_size must be (H, W) of the maps, both 1 or more, got {map_size!r}; a backbone that '
                             'is built with img_size gives it')
        self.map_size = numbers
        self.resize_on_load = resize_on_load

    def forward(self, x: Tensor) -> Tensor:
        """Mix the tokens of a map.

        Args:
            x (Tensor): Of shape (B, C, H, W) with (H, W) = ``map_size``.

        Returns:
            Tensor: Of the same shape and dtype.

        Raises:
            ValueError: The map has another size.
        """
        self.check_size(x)
        if torch.jit.is_tracing():  # where the check runs once; a view that a trace cannot take of another size
            x = x.expand(-1, -1, *self.map_size)
        return super().forward(x)

    def check_size(self, x: Tensor) -> None:
        """Raise a ValueError that names both sizes where a map (B, C, H, W) is not of ``map_size``."""
        h, w = int(x.shape[2]), int(x.shape[3])
        if (h, w) != self.map_size:
            name, (height, width) = type(self).__name__, self.map_size
            raise ValueError(
                f'{name} was built for maps of {height} x {width} (map_size) and takes no others, got a map of '
                f'{h} x {w}. Feed pictures of the img_size of the backbone; or build it with the img_size of these '
                f'pictures, and load weights with token_mixer=dict(type={name!r}, resize_on_load=True)')

    def resized(self, weight: Tensor) -> Tensor:
        """Weights of another map size as those of this one.

        Args:
            weight (Tensor): In the layout of ``self.weight``; here that of half spectra, (…, H, W // 2 + 1, 2).

        Returns:
            Tensor: Of the shape of ``self.weight``.
        """
        return resize_transfer(weight, guess_size(*weight.shape[-3:-1]), self.map_size)

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        weight = state_dict.get(f'{prefix}weight')
        if weight is not None and self._is_of_another_size(weight):
            if not self.resize_on_load:
                name, (h, w) = type(self).__name__, self.map_size
                raise ValueError(
                    f'{prefix}weight of shape {tuple(weight.shape)} belongs to maps of another size than the {h} x {w} '
                    f'that this {name} was built for, whose shape is {tuple(self.weight.shape)}. Build the backbone '
                    'with the img_size that the weights were trained at, or have them converted: '
                    f'token_mixer=dict(type={name!r}, resize_on_load=True)')
            state_dict[f'{prefix}weight'] = self.resized(weight)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def _is_of_another_size(self, weight: Tensor) -> bool:
        """Whether weights differ from ours in frequencies, and in nothing else."""
        if weight.dim() != self.weight.dim():
            return False
        differing = {axis for axis in range(weight.dim()) if weight.shape[axis] != self.weight.shape[axis]}
        return bool(differing) and differing <= set(self.frequency_axes)

    def extra_repr(self) -> str:
        """Show what the parameters' shapes do not tell."""
        return f'map_size={self.map_size}, {super().extra_repr()}'


def resize_transfer(weight: Tensor, size: tuple[int, int], new_size: tuple[int, int]) -> Tensor:
    r"""Transfer functions of the same spatial kernels for maps of another size.

    By Eq. 6 a transfer function M on maps H × W is the circular convolution with the kernel
    :math:`\mathcal F^{-1}[M] / \sqrt{HW}`. That kernel is kept: around its centre at token (0, 0) it gets zeros on a
    larger map and loses its margin on a smaller one. A kernel that fits into both sizes so filters both alike, and
    enlarging followed by shrinking changes nothing. To interpolate M itself would multiply the kernel by a window.

    Args:
        weight (Tensor): Real and imaginary part of half spectra, of shape (…, H, W // 2 + 1, 2).
        size (tuple[int, int]): H and W.
        new_size (tuple[int, int]): H' and W'.

    Returns:
        Tensor: Of shape (…, H', W' // 2 + 1, 2) and the same dtype.

    Source: this line of argument. The official code of GFN resizes position embeddings and no filters.
    """
    # what is learned has no Hermitian columns, and FFT libraries differ in what they make of them
    spectrum = hermitian_columns(torch.complex(*wide(weight).unbind(-1)), size[1])
    kernel = torch.fft.irfft2(spectrum, s=size)
    return torch.view_as_real(torch.fft.rfft2(resize_kernel(kernel, new_size))).to(weight.dtype)


def resize_kernel(kernel: Tensor, size: tuple[int, int]) -> Tensor:
    """Pad or cut circular kernels (…, H, W) around their centre at token (0, 0), to (…, H', W')."""
    for dim in (-2, -1):
        kernel = _fit(kernel.movedim(dim, -1), size[dim]).movedim(-1, dim)
    return kernel


def wide(weight: Tensor) -> Tensor:
    """Weights in at least float32: no FFT library serves half precision."""
    return weight.to(torch.promote_types(weight.dtype, torch.float32))


def guess_size(rows: int, columns: int) -> tuple[int, int]:
    """H and W of a half spectrum: square where that fits, else the even width."""
    return rows, rows if rows // 2 + 1 == columns else max(1, 2 * (columns - 1))


def _fit(kernel: Tensor, length: int) -> Tensor:
    """Pad or cut the last axis of a kernel whose centre is at index 0 and whose other half wraps around."""
    n = kernel.shape[-1]
    out = kernel.new_zeros(*kernel.shape[:-1], length)
    for offset in range(-((n - 1) // 2), n // 2 + 1):
        # On n tokens, n even, n/2 and -n/2 are one and the same; on more they are two, and each gets half of it.
        twins = (offset, -offset) if 2 * offset == n < length else (offset, )
        for twin in twins:
            if abs(2 * twin) <= length:
                out[..., twin % length] += kernel[..., offset % n] / len(twins)
    return out
