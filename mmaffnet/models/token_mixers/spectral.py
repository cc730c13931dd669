"""Half-spectrum Fourier transforms of real maps, unitary ("ortho"), in two forms.

The complex form is torch's ``rfft2`` and ``irfft2``. The real form is a product with cosine and sine matrices: it
needs no complex tensor, works on channels-last maps as they lie, and exports. Both give the same numbers.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor, nn

# Up to this side one dense matrix over all tokens is cheaper than two passes (measured by benchmark_mixer.py).
DENSE_SIDE = 8
# Matrices are kept for this many (size, device, dtype) at most; multi-scale training meets a few dozen.
CACHE_ENTRIES = 256

_matrices: dict[tuple, tuple[Tensor, ...]] = {}


def rfft2(x: Tensor) -> Tensor:
    """Half spectrum of a real map.

    Args:
        x (Tensor): Real, of shape (B, C, H, W).

    Returns:
        Tensor: Complex, of shape (B, C, H, W // 2 + 1), scaled by 1 / sqrt(H · W).
    """
    # rfftn, since torch 2.4 cannot export rfft2: it stumbles over the default of dim in its schema.
    return torch.fft.rfftn(x, dim=(-2, -1), norm='ortho')


def irfft2(spectrum: Tensor, size: tuple[int, int]) -> Tensor:
    """Real map of a half spectrum, which need not be Hermitian in its self-conjugate columns.

    Column 0 and, for even W, column W / 2 pair with themselves: a real map needs S(-u, v) = conj S(u, v) there, which
    a masked spectrum does not fulfil. The inverse keeps the Hermitian part of these columns. Which part a library
    keeps by itself differs (pytorch issue 154496), so that away from an eager CPU, where torch is known to do this,
    the columns are made Hermitian first.

    Args:
        spectrum (Tensor): Complex, of shape (B, C, H, W // 2 + 1).
        size (tuple[int, int]): H and W; without it an odd W would come back even.

    Returns:
        Tensor: Real, of shape (B, C, H, W).
    """
    if spectrum.device.type != 'cpu' or is_traced():
        spectrum = hermitian_columns(spectrum, size[1])
    return torch.fft.irfftn(spectrum, s=size, dim=(-2, -1), norm='ortho')


def hermitian_columns(spectrum: Tensor, width: int) -> Tensor:
    """Replace the self-conjugate columns of a half spectrum by their Hermitian part (S(u) + conj S(-u)) / 2.

    Args:
        spectrum (Tensor): Complex, of shape (..., H, W // 2 + 1).
        width (int): W, whose parity the half spectrum does not tell.

    Returns:
        Tensor: Of the same shape.
    """
    def hermitian(column: Tensor) -> Tensor:
        mirrored = torch.cat((column[..., :1, :], column[..., 1:, :].flip(-2)), dim=-2)
        # written out, since torch 2.4 cannot export the lazy conjugate
        return (column + torch.complex(mirrored.real, -mirrored.imag)) / 2

    last = spectrum[..., 1:][..., -1:]       # empty where W is 1
    even = width % 2 == 0
    if isinstance(even, Tensor):             # a trace serves both parities
        last = torch.where(even, hermitian(last), last)
    elif even:
        last = hermitian(last)
    return torch.cat((hermitian(spectrum[..., :1]), spectrum[..., 1:-1], last), dim=-1)


def is_traced() -> bool:
    """Whether the running code is recorded (``torch.jit.trace``, ``torch.compile``, ``torch.export``)."""
    return torch.jit.is_tracing() or torch.compiler.is_compiling()


def rdft2(x: Tensor) -> tuple[Tensor, Tensor]:
    """Half spectrum of a real map by real matrices.

    Args:
        x (Tensor): Of shape (B, C, H, W), in either memory format.

    Returns:
        tuple[Tensor, Tensor]: Real and imaginary part, each (B, N, C) with N = H · (W // 2 + 1) frequencies.
    """
    b, c, h, w = _shape(x)
    if _is_dense(h, w):
        real, imag, _, _ = _dense_matrices(h, w, x)
        tokens = x.flatten(2).transpose(1, 2)                       # (B, H·W, C), a view in both formats
        return torch.bmm(_batch(real, b), tokens), torch.bmm(_batch(imag, b), tokens)
    rows, real, imag = _separable_matrices(h, w, x)[:3]
    x = x.permute(0, 2, 3, 1)                                       # (B, H, W, C)
    if torch.jit.is_tracing():
        y = torch.matmul(rows, x)                                   # refuses another W when the trace runs
    elif b == 1:
        y = torch.bmm(_batch(rows, h), x[0])                        # takes both formats as they lie
    else:
        y = torch.bmm(_batch(rows, b * h), x.reshape(b * h, w, c))
    # (B·H, 2·Wf, C): real and imaginary part of each row one under the other
    y = y.view(b, 2 * h, -1)
    return torch.bmm(_batch(real, b), y).view(b, -1, c), torch.bmm(_batch(imag, b), y).view(b, -1, c)


def irdft2(real: Tensor, imag: Tensor, size: tuple[int, int], channels_last: bool = True) -> Tensor:
    """Real map of a half spectrum by real matrices; the inverse of :func:`rdft2`.

    Args:
        real, imag (Tensor): Each (B, N, C) with N = H · (W // 2 + 1).
        size (tuple[int, int]): H and W.
        channels_last (bool): Memory format wished for; only small maps come out otherwise without a copy.

    Returns:
        Tensor: Of shape (B, C, H, W).
    """
    h, w = size
    b, _, c = real.shape
    if _is_dense(h, w):
        _, _, from_real, from_imag = _dense_matrices(h, w, real)
        if channels_last:
            x = torch.bmm(_batch(from_real, b), real).baddbmm_(_batch(from_imag, b), imag)
            return x.view(b, h, w, c).permute(0, 3, 1, 2)
        x = torch.bmm(real.transpose(1, 2), _batch(from_real.t(), b))
        return x.baddbmm_(imag.transpose(1, 2), _batch(from_imag.t(), b)).view(b, c, h, w)
    from_real, from_imag, rows = _separable_matrices(h, w, real)[3:]
    y = torch.bmm(_batch(from_real, b), real.view(b, h, -1))
    y = y.baddbmm_(_batch(from_imag, b), imag.view(b, h, -1))
    return torch.bmm(_batch(rows, b * h), y.view(b * h, -1, c)).view(b, h, w, c).permute(0, 3, 1, 2)


def _shape(x: Tensor) -> tuple[int, int, int, int]:
    """Shape of x with H and W as plain numbers, for the matrices are constants of a trace."""
    b, c, h, w = x.shape
    return b, c, int(h), int(w)


def _is_dense(h: int, w: int) -> bool:
    # A trace checks sizes only through the shapes of its products: with one matrix over h·w tokens a 4×16 map would
    # pass for an 8×8 one.
    return h <= DENSE_SIDE and w <= DENSE_SIDE and not torch.jit.is_tracing()


def _batch(matrix: Tensor, b: int) -> Tensor:
    return matrix.expand(b, -1, -1) if b != 1 else matrix.unsqueeze(0)


def _angles(n: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Cosine and sine of 2π·r·t/n, of shape (rows, n), over sqrt(n), in float64."""
    angle = 2 * np.pi / n * (np.outer(np.arange(rows), np.arange(n)) % n)
    return np.cos(angle) / np.sqrt(n), np.sin(angle) / np.sqrt(n)


def _column_weights(w: int) -> np.ndarray:
    """How often a column of the half spectrum stands in the full one: 1, 2, …, 2, and 1 again for even W."""
    weights = np.full((w // 2 + 1, 1), 2.)
    weights[0] = 1
    if w % 2 == 0:
        weights[-1] = 1
    return weights


def _build_dense(h: int, w: int) -> tuple[np.ndarray, ...]:
    """Matrices (N, H·W) to the real and imaginary part, and (H·W, N) back from each."""
    cos_h, sin_h = _angles(h, h)
    cos_w, sin_w = _angles(w, w // 2 + 1)
    real = np.kron(cos_h, cos_w) - np.kron(sin_h, sin_w)   # (H·Wf, H·W)
    imag = -np.kron(cos_h, sin_w) - np.kron(sin_h, cos_w)
    weights = np.tile(_column_weights(w), (h, 1))
    return real, imag, (weights * real).T, (weights * imag).T


def _build_separable(h: int, w: int) -> tuple[np.ndarray, ...]:
    """Row matrix, two column matrices, and the same three for the way back.

    Between the two passes the rows of a map stand as (H, [real, imaginary]), so that both passes are one product
    on the tensor as it lies.
    """
    cos_h, sin_h = _angles(h, h)
    cos_w, sin_w = _angles(w, w // 2 + 1)
    weights = _column_weights(w)
    rows = np.concatenate((cos_w, -sin_w))                              # (2·Wf, W)
    real = np.stack((cos_h, sin_h), axis=-1).reshape(h, 2 * h)          # (H, H·2)
    imag = np.stack((-sin_h, cos_h), axis=-1).reshape(h, 2 * h)
    from_real = np.stack((cos_h, sin_h), axis=1).reshape(2 * h, h)      # (H·2, H); cosine and sine are symmetric
    from_imag = np.stack((-sin_h, cos_h), axis=1).reshape(2 * h, h)
    back = np.concatenate((weights * cos_w, -weights * sin_w)).T        # (W, 2·Wf)
    return rows, real, imag, from_real, from_imag, back


def _dense_matrices(h: int, w: int, like: Tensor) -> tuple[Tensor, ...]:
    return cached_matrices(_build_dense, h, w, like)


def _separable_matrices(h: int, w: int, like: Tensor) -> tuple[Tensor, ...]:
    return cached_matrices(_build_separable, h, w, like)


def cached_matrices(build: Callable, h: int, w: int, like: Tensor) -> tuple[Tensor, ...]:
    """Matrices in the dtype and on the device of ``like``, from a cache that no module, state dict or copy holds."""
    # Fake tensors (torch.export, shape inference) must neither enter the cache nor meet its tensors.
    if type(like) not in (Tensor, nn.Parameter) or torch.compiler.is_compiling():
        return tuple(_tensor(m, like.dtype, like.device) for m in build(h, w))
    key = (build, h, w, like.device, like.dtype)
    matrices = _matrices.get(key)
    if matrices is None:
        # Inference mode, a trace and a fake-tensor mode belong to a thread. Made in another one, the matrices are
        # plain constants that serve later training steps.
        with ThreadPoolExecutor(1) as thread:
            matrices = thread.submit(lambda: tuple(_tensor(m, like.dtype, like.device) for m in build(h, w))).result()
        while len(_matrices) >= CACHE_ENTRIES:
            _matrices.pop(next(iter(_matrices)), None)
        _matrices[key] = matrices
    return matrices


def _tensor(matrix: np.ndarray, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(np.ascontiguousarray(matrix), dtype=dtype, device=device)
