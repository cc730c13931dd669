r"""The filter that a token mixer applies to a map, as mask in the spectrum and as kernel among the tokens (Eq. 6).

.. math::
    \mathcal F^{-1}[M \odot \mathcal F(X)] = k \circledast X, \qquad
    k = \frac{1}{\sqrt{HW}}\,\mathcal F^{-1}[M]

with the unitary transform: a circular depthwise convolution, for any M of the half spectrum's shape. Without the
factor the kernel would be too large by :math:`\sqrt{HW}`. What the inverse transform drops of a mask, the part of its
self-conjugate columns that is not Hermitian, no kernel and no result holds.

Mixers that have no kernel of each channel raise :class:`NoKernel`, which says why.

Source: paper Eq. 5 and 6, which hold as printed for transforms without a scale.
"""

from collections.abc import Sequence
from functools import singledispatch
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmaffnet.models.token_mixers import AFF, AFNO, DFF, FFC, FNO, GFN, ConvMixer, Identity, TruncatedFNO
from mmaffnet.models.token_mixers.ffc import embed
from mmaffnet.models.token_mixers.gfn import hermitian_half
from mmaffnet.models.token_mixers.spectral import hermitian_columns, irfft2, rfft2


class NoKernel(ValueError):
    """A mixer has no kernel of each channel; the sentence says why."""


class EquivalentKernel(NamedTuple):
    """What :func:`equivalent_kernel` returns, for N channels.

    Args:
        spectrum (Tensor): Z, complex half spectrum of the map, unitary scale, (B, N, H, W // 2 + 1).
        mask (Tensor): M, complex, of the same shape.
        kernel (Tensor): k, real, (B, N, H, W), its centre at token (0, 0).
        channels (tuple[int, ...]): Their numbers.
        shared (bool): Whether all channels of the mixer have one and the same mask.
    """

    spectrum: Tensor
    mask: Tensor
    kernel: Tensor
    channels: tuple[int, ...]
    shared: bool


@torch.no_grad()
def equivalent_kernel(mixer: nn.Module, x: Tensor, channels: Sequence[int] | None = None) -> EquivalentKernel:
    """The filter of a token mixer for a map, in evaluation mode.

    It is that of the filter alone: AFF's own skip (``with_skip``) and GFN's 1×1 convolution (``pointwise``), which
    stand around it, are left out.

    Args:
        mixer (nn.Module): A token mixer.
        x (Tensor): Its input, (B, C, H, W).
        channels (Sequence[int], optional): Numbers from 0 to C - 1. Defaults to None: all.

    Returns:
        EquivalentKernel: Spectrum, mask and kernel, in float32 or the wider dtype of map and parameters.

    Raises:
        NoKernel: The mixer is no filter of each channel.
        ValueError: A channel does not exist; the mixer is bound to another size of map.
    """
    channels = tuple(range(x.shape[1]) if channels is None else channels)
    unknown = [channel for channel in channels if not 0 <= channel < x.shape[1]]
    if unknown or not channels:
        raise ValueError(f'channels must be numbers from 0 to {x.shape[1] - 1}, got {list(channels)}')
    for tensor in (torch.empty(0), *mixer.parameters()):
        x = x.to(torch.promote_types(x.dtype, tensor.dtype))
    training = mixer.training
    mixer.eval()
    try:
        mask = transfer(mixer, x)
    finally:
        mixer.train(training)
    spectrum, (h, w) = rfft2(x), x.shape[-2:]
    shared = mask.shape[1] == 1
    spectrum, mask = (part[:, list(channels)] for part in (spectrum, mask.to(spectrum.dtype).expand_as(spectrum)))
    return EquivalentKernel(spectrum, mask, irfft2(mask, (h, w)) / (h * w)**0.5, channels, shared)


@singledispatch
def transfer(mixer: nn.Module, x: Tensor) -> Tensor:
    """The mask by which a mixer multiplies the half spectrum of a map.

    A mixer of one's own gets a line here in its own file: ``@transfer.register``, with its class at ``mixer``.

    Args:
        mixer (nn.Module): A token mixer, in evaluation mode.
        x (Tensor): Its input, (B, C, H, W).

    Returns:
        Tensor: Real or complex, (B or 1, C, H, W // 2 + 1), or of one channel where all share it.

    Raises:
        NoKernel: The mixer is no filter of each channel.
    """
    raise NoKernel(f'nothing is known of a filter in {type(mixer).__name__}: register a function of it with '
                   'mmaffnet.analysis.kernels.transfer')


@transfer.register
def _(mixer: AFF, x: Tensor) -> Tensor:
    reason = {
        'dct': 'its mask multiplies cosine coefficients: a symmetric convolution, which no circular kernel is',
        'haar': 'its mask multiplies wavelet coefficients, each of its own place: no convolution',
        'none': 'its mask multiplies the tokens themselves: it has no transform, and no token reaches another',
    }.get(mixer.transform)
    if mixer.combine == 'sum':
        reason = 'its mask is added to the spectrum and multiplies nothing'
    if reason:
        raise NoKernel(reason)
    return mixer.mask(rfft2(x))


@transfer.register
def _(mixer: GFN, x: Tensor) -> Tensor:
    mixer.check_size(x)
    weight = mixer.weight if mixer.spectrum == 'half' else hermitian_half(mixer.weight)
    return torch.complex(*weight.to(x.dtype).unbind(-1)).unsqueeze(0)


@transfer.register
def _(mixer: DFF, x: Tensor) -> Tensor:
    if mixer.mask_on == 'embedding':
        raise NoKernel('its mask multiplies an embedding of the spectrum, in which the channels are mixed')
    spectrum = rfft2(x)
    return mixer.mask(embed(mixer.embedding, spectrum.real, spectrum.imag))


@transfer.register
def _(mixer: Identity, x: Tensor) -> Tensor:
    return x.new_ones(1, 1, x.shape[2], x.shape[3] // 2 + 1)


@transfer.register
def _(mixer: AFNO, x: Tensor) -> Tensor:
    raise NoKernel("its network's result stands in the spectrum's place and multiplies nothing; each coefficient mixes "
                   'the channels of its group')


@transfer.register
def _(mixer: FFC, x: Tensor) -> Tensor:
    raise NoKernel('each coefficient mixes all channels, real and imaginary parts apart, and passes a ReLU: nothing is '
                   'multiplied')


@transfer.register(FNO)
@transfer.register(TruncatedFNO)
def _(mixer: nn.Module, x: Tensor) -> Tensor:
    raise NoKernel('each frequency has a matrix over the channels: C × C kernels, one from each channel to each, in '
                   'the place of C')


@transfer.register
def _(mixer: ConvMixer, x: Tensor) -> Tensor:
    k = mixer.conv.kernel_size[0]
    raise NoKernel(f'a dense convolution has C × C kernels of {k} × {k}, one from each channel to each, and zeros '
                   'beyond the border: no circular one')


def full_plane(half: Tensor, width: int) -> Tensor:
    """The full plane of frequencies of a half spectrum: S(-u, -v) = conj S(u, v).

    The self-conjugate columns, which a mask need not have so, become their Hermitian part: what acts on real maps.

    Args:
        half (Tensor): Complex, of shape (..., H, W // 2 + 1).
        width (int): W.

    Returns:
        Tensor: Complex, of shape (..., H, W), the frequency (0, 0) at its first element.
    """
    half = hermitian_columns(half, width)
    others = half[..., 1:width - half.shape[-1] + 1].flip((-2, -1)).roll(1, -2)
    return torch.cat((half, others.conj()), dim=-1)


def centred(plane: Tensor) -> Tensor:
    """Move the first element of the last two axes (..., H, W) to (H // 2, W // 2), for drawing."""
    return torch.fft.fftshift(plane, dim=(-2, -1))


def strongest_channels(found: EquivalentKernel, count: int) -> list[int]:
    """Numbers of the channels whose filtered maps have the largest energy, the largest first.

    Args:
        found (EquivalentKernel): Of all channels, or of those to choose from.
        count (int): How many at most.

    Returns:
        list[int]: Channel numbers.
    """
    filtered = irfft2(found.mask * found.spectrum, found.kernel.shape[-2:])
    energy = filtered.square().sum((0, 2, 3))
    return [found.channels[i] for i in energy.argsort(descending=True)[:count].tolist()]


def pick(found: EquivalentKernel, channels: Sequence[int]) -> EquivalentKernel:
    """The same of some of its channels, in this order."""
    rows = [found.channels.index(channel) for channel in channels]
    return found._replace(spectrum=found.spectrum[:, rows], mask=found.mask[:, rows], kernel=found.kernel[:, rows],
                          channels=tuple(channels))


def kernel_difference(first: Tensor, second: Tensor) -> Tensor:
    """How much kernels differ: the norm of their difference over the larger one of their norms.

    Args:
        first, second (Tensor): Each (..., H, W).

    Returns:
        Tensor: Of shape (...): 0 for equal kernels, 1 where one of them is zero, 2 for opposite ones.
    """
    norms = torch.stack([torch.linalg.vector_norm(part, dim=(-2, -1)) for part in (first, second, first - second)])
    largest = norms[:2].amax(0)
    return torch.where(largest > 0, norms[2] / largest.clamp_min(torch.finfo(norms.dtype).tiny), 0.)
