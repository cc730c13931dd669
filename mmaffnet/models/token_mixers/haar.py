"""The orthonormal Haar wavelet transform of real maps.

On each 2×2 block [a b; c d]

    LL = (a + b + c + d) / 2      cV = (a − b + c − d) / 2
    cH = (a + b − c − d) / 2      cD = (a − b − c + d) / 2

a symmetric matrix that is its own inverse. An odd side repeats its last row or column, which is dropped again on the
way back. Names and order are PyWavelets'; ``pywt.dwt2(x, 'haar', mode='symmetric')`` has the same numbers.
"""

import torch
from torch import Tensor


def haar2(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One level of the transform over the last two axes.

    Args:
        x (Tensor): Real, of shape (B, C, H, W).

    Returns:
        tuple[Tensor, Tensor, Tensor, Tensor]: LL, cH, cV, cD, each of shape (B, C, ceil(H / 2), ceil(W / 2)).
    """
    low, high = _sum_and_difference(x)
    (ll, ch), (cv, cd) = (_sum_and_difference(half.mT) for half in (low, high))
    return tuple(band.mT / 2 for band in (ll, ch, cv, cd))


def ihaar2(ll: Tensor, ch: Tensor, cv: Tensor, cd: Tensor, size: tuple[int, int]) -> Tensor:
    """Inverse of :func:`haar2`.

    Args:
        ll, ch, cv, cd (Tensor): Each of shape (B, C, ceil(H / 2), ceil(W / 2)).
        size (tuple[int, int]): H and W, whose parity the subbands do not tell.

    Returns:
        Tensor: Of shape (B, C, H, W).
    """
    low, high = (_interleave(total.mT, difference.mT)[..., :size[0]].mT for total, difference in ((ll, ch), (cv, cd)))
    return _interleave(low, high)[..., :size[1]] / 2


def _sum_and_difference(x: Tensor) -> tuple[Tensor, Tensor]:
    """Of neighbours along the last axis; the last number is its own neighbour where their number is odd."""
    first = x[..., ::2]
    second = torch.cat((x, x[..., -1:]), dim=-1)[..., 1::2]   # no question of parity: a trace serves both
    return first + second, first - second


def _interleave(total: Tensor, difference: Tensor) -> Tensor:
    """Twice the neighbours that these are sum and difference of."""
    return torch.stack((total + difference, total - difference), dim=-1).flatten(-2)
