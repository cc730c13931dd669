"""Transforms of real maps to real coefficients, which AFF can take in the Fourier transform's place (Table 12).

==========  =====================================================  =====================================
name        coefficients                                           a token reaches
==========  =====================================================  =====================================
``'dct'``   cosine transform, one map                              all tokens
``'haar'``  Haar wavelets, the subbands of each level as samples   its block of 2^levels × 2^levels
``'none'``  the map itself                                         itself
==========  =====================================================  =====================================
"""

import torch
from torch import Tensor

from .dct import dct2, idct2
from .haar import haar2, ihaar2

REAL_TRANSFORMS = ('dct', 'haar', 'none')


def to_coefficients(x: Tensor, transform: str, levels: int = 1) -> tuple[Tensor, ...]:
    """Transform a map.

    Subbands of one size stand one after the other in the batch, so that a network over channels, or over neighbours
    too, treats all alike and no pixel of one meets another.

    Args:
        x (Tensor): Real, of shape (B, C, H, W).
        transform (str): 'dct', 'haar' or 'none'.
        levels (int): Of 'haar': how often its LL is transformed again. Defaults to 1.

    Returns:
        tuple[Tensor, ...]: One map (B, C, H, W), or of 'haar' one for each level, the finest first: (3·B, C, h, w) with
        cH, cV, cD, and for the last (4·B, C, h, w) with LL before them.
    """
    if transform == 'none':
        return (x, )
    if transform == 'dct':
        return (dct2(x), )
    parts = []
    for _ in range(levels - 1):
        x, *details = haar2(x)
        parts.append(torch.cat(details))
    return (*parts, torch.cat(haar2(x)))


def from_coefficients(parts: tuple[Tensor, ...], transform: str, size: tuple[int, int]) -> Tensor:
    """Inverse of :func:`to_coefficients`.

    Args:
        parts (tuple[Tensor, ...]): What it returned.
        transform (str): The same name.
        size (tuple[int, int]): H and W of the map.

    Returns:
        Tensor: Of shape (B, C, H, W).
    """
    if transform == 'none':
        return parts[0]
    if transform == 'dct':
        return idct2(parts[0])
    *finer, last = parts
    sizes = [size, *(part.shape[-2:] for part in finer)]
    x = ihaar2(*last.chunk(4), sizes.pop())
    for part in reversed(finer):
        x = ihaar2(x, *part.chunk(3), sizes.pop())
    return x
