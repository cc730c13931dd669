"""The experiments behind Table 1: what a token mixer is, found out by feeding it, without looking at its class.

A stand-alone mixer in float64 gets random parameters, and with it:

====================  =================================================================================================
measured              meaning
====================  =================================================================================================
``rho``               a coefficient of the input is zero, all others are not: how large the result's is there, over the
                      mean one; the largest of 12 coefficients. 0: the mixer multiplies its coefficients by a mask
``delta``             how much the derivative along one direction differs between two inputs. 0: the mixer is linear
``kappa``             the second derivative over the first. 0: the mixer is piecewise affine
``gamma``             the same map in all channels: how much the results of the channels differ. 0: the channels share
                      their mixing weights
``sizes``             what goes wrong, if anything, on maps of other sizes with the same parameters
``scope``             how many of the 256 tokens of a 16 × 16 map change as one of them does
``shift, flip``       how far the mixer is from commuting with a circular shift and with a flip
====================  =================================================================================================

**Semantic-adaptive** is ``rho = 0`` with ``delta ≠ 0``: a mask on the coefficients, which depends on the input.
**Variable-size** is no failure in ``sizes``. **Channel-wise** is ``gamma ≠ 0``. A number below 1e-10 is zero, one above
1e-3 is not; whatever lies between decides nothing.

Source: paper Table 1 and Sec. 3.3 for the three words, of which the paper gives no definitions; the measurements are
ours. Derivatives are exact, by forward-mode differentiation: difference quotients meet the kinks of ReLU and diverge.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product

import torch
from torch import Tensor, nn
from torch.func import jvp
from torch.nn.modules.batchnorm import _BatchNorm

from mmaffnet.models.layers.aff_block import build_mixer
from mmaffnet.models.token_mixers import spectral, transforms
from mmaffnet.registry import TOKEN_MIXERS

CHANNELS, SIZE, SEEDS = 16, (12, 12), 10
OTHER_SIZES = ((16, 10), (7, 9), (24, 24), (5, 4))
SCOPE_SIZE = (16, 16)
# One coefficient is not enough: ReLU on real and imaginary part returns an exact 0 one time in four.
COEFFICIENTS = tuple(product((3, 9), (1, 4, 10), (1, 3)))   # channel, row, column
ZERO, NONZERO = 1e-10, 1e-3
PARAMETER_STD = 0.3   # a fresh AFNO is shrunk to zero, and a fresh FNO nearly is


@dataclass
class Measured:
    """What the experiments returned, a number for each seed.

    Args:
        rho, delta, kappa, gamma, shift, flip (list[float]): See the module.
        scope (list[int]): Likewise.
        sizes (dict[tuple[int, int], str]): By (H, W) what went wrong there; empty where nothing did.
    """

    rho: list[float] = field(default_factory=list)
    delta: list[float] = field(default_factory=list)
    kappa: list[float] = field(default_factory=list)
    gamma: list[float] = field(default_factory=list)
    scope: list[int] = field(default_factory=list)
    shift: list[float] = field(default_factory=list)
    flip: list[float] = field(default_factory=list)
    sizes: dict[tuple[int, int], str] = field(default_factory=dict)

    @property
    def adaptive(self) -> bool | None:
        """Semantic-adaptive: a mask on the coefficients, and it depends on the input."""
        differs, depends = nonzero(self.rho), nonzero(self.delta)
        if differs is True or depends is False:
            return False
        return None if differs is None or depends is None else True

    @property
    def bends(self) -> bool | None:
        """The same question put to the curvature: is the mixer more than piecewise affine?"""
        return nonzero(self.kappa)

    @property
    def variable_size(self) -> bool:
        """Variable-size input."""
        return not any(self.sizes.values())

    @property
    def channel_wise(self) -> bool | None:
        """Channel-wise mix."""
        return nonzero(self.gamma)


def nonzero(values: Sequence[float]) -> bool | None:
    """Whether numbers of several seeds are all zero (False), all not (True), or decide nothing (None)."""
    if max(values) < ZERO:
        return False
    return True if min(values) > NONZERO else None


def measure(token_mixer: dict, seeds: int = SEEDS, domain: str | None = None) -> Measured:
    """Run all experiments on a token mixer.

    Args:
        token_mixer (dict): Its config, as AFFNet takes it.
        seeds (int): How often, with parameters and inputs drawn anew. Defaults to 10.
        domain (str, optional): Where ``rho`` looks for a mask: 'fourier', 'dct', 'haar' or 'none' (the tokens).
            Defaults to None: the mixer's own transform.

    Returns:
        Measured: The numbers.

    Raises:
        ValueError: Three levels of Haar or more: they do not fit a map of 12 × 12.
    """
    measured = Measured()
    with torch.random.fork_rng(devices=[]):
        for seed in range(seeds):
            mixer = random_mixer(token_mixer, SIZE, seed)
            forward, inverse = _transform(mixer, domain or own_domain(mixer))
            x1, x2, direction = (_randn(1) for _ in range(3))
            measured.rho.append(leak(mixer, forward, inverse))
            measured.delta.append(_ratio(_derivative(mixer, x1, direction) - _derivative(mixer, x2, direction),
                                         _derivative(mixer, x2, direction)))
            measured.kappa.append(curvature(mixer, x1, direction))
            with torch.no_grad():
                measured.gamma.append(channel_spread(mixer))
                measured.shift.append(commutes_with(mixer, x1, lambda x: x.roll((1, 3), (2, 3))))
                measured.flip.append(commutes_with(mixer, x1, lambda x: x.flip(3)))
                measured.scope.append(scope(random_mixer(token_mixer, SCOPE_SIZE, seed)))
                for size in OTHER_SIZES:
                    measured.sizes[size] = measured.sizes.get(size) or failure(mixer, size)
    return measured


def random_mixer(token_mixer: dict, size: tuple[int, int], seed: int) -> nn.Module:
    """A mixer in float64 and evaluation mode whose parameters are drawn from N(0, 0.3²), statistics of norms too.

    Args:
        token_mixer (dict): Its config.
        size (tuple[int, int]): H and W of the maps, for a mixer that is bound to one size.
        seed (int): Of torch's generator, which goes on to draw the inputs.

    Returns:
        nn.Module: In its FFT form, if it has one.
    """
    torch.manual_seed(seed)
    cfg = dict(token_mixer)
    if getattr(TOKEN_MIXERS.get(cfg['type']), 'needs_map_size', False):
        cfg.setdefault('map_size', size)
    mixer = build_mixer(cfg, CHANNELS).double().eval()
    for parameter in mixer.parameters():
        nn.init.normal_(parameter, std=PARAMETER_STD)
        parameter.requires_grad_(False)
    for norm in mixer.modules():
        if isinstance(norm, _BatchNorm):
            nn.init.normal_(norm.running_mean)
            nn.init.uniform_(norm.running_var, 0.5, 1.5)
    if getattr(mixer, 'transform', None) == 'auto':
        mixer.transform = 'fft'
    return mixer


def own_domain(mixer: nn.Module) -> str:
    """The domain that a mixer works in: its real transform, or Fourier's."""
    transform = getattr(mixer, 'transform', None)
    return transform if transform in transforms.REAL_TRANSFORMS else 'fourier'


# The experiments


def leak(mixer: nn.Module, forward: Callable[[Tensor], Tensor], inverse: Callable[[Tensor], Tensor]) -> float:
    """rho: what comes out at a coefficient into which nothing went."""
    coefficients = forward(_randn(len(COEFFICIENTS)))
    where = torch.arange(len(COEFFICIENTS)), *torch.tensor(COEFFICIENTS).t()
    coefficients[where] = 0
    with torch.no_grad():
        out = forward(mixer(inverse(coefficients))).abs()
    return (out[where] / out.mean((1, 2, 3))).max().item()


def curvature(mixer: nn.Module, x: Tensor, direction: Tensor) -> float:
    """kappa: ‖d²T(X + tV)/dt²‖ / ‖dT(X + tV)/dt‖ at t = 0."""
    first, second = jvp(lambda point: _derivative(mixer, point, direction), (x, ), (direction, ))
    return _ratio(second, first)


def channel_spread(mixer: nn.Module) -> float:
    """gamma: ‖Y - mean of Y over the channels‖ / ‖Y‖ for the same map in all channels."""
    out = mixer(_randn(1)[:, :1].expand(-1, CHANNELS, -1, -1))
    return _ratio(out - out.mean(1, keepdim=True), out)


def failure(mixer: nn.Module, size: tuple[int, int]) -> str:
    """What goes wrong on a map of another size; an empty text where nothing does."""
    try:
        out = mixer(_randn(1, size))
    except (ValueError, RuntimeError, IndexError) as error:
        return str(error)
    if out.shape != (1, CHANNELS, *size):
        return f'a map of shape {(1, CHANNELS, *size)} came back as {tuple(out.shape)}'
    return '' if out.isfinite().all() else 'the result is not finite'


def scope(mixer: nn.Module) -> int:
    """How many tokens of a 16 × 16 map change as one of them does."""
    x = _randn(1, SCOPE_SIZE)
    moved = x.clone()
    moved[:, :, 5, 7] += _randn(1, (1, 1))[:, :, 0, 0]
    out = mixer(x)
    changed = (mixer(moved) - out).abs().amax((0, 1)) > ZERO * out.abs().max()
    return changed.sum().item()


def commutes_with(mixer: nn.Module, x: Tensor, operation: Callable[[Tensor], Tensor]) -> float:
    """‖T(operation(X)) - operation(T(X))‖ / ‖T(X)‖."""
    out = mixer(x)
    return _ratio(mixer(operation(x)) - operation(out), out)


def _derivative(mixer: nn.Module, x: Tensor, direction: Tensor) -> Tensor:
    return jvp(mixer, (x, ), (direction, ))[1]


def _ratio(part: Tensor, whole: Tensor) -> float:
    return (part.norm() / whole.norm()).item()


def _randn(batch: int, size: tuple[int, int] = SIZE) -> Tensor:
    return torch.randn(batch, CHANNELS, *size, dtype=torch.float64)


def _transform(mixer: nn.Module, domain: str) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """A domain's transform from a 12 × 12 map to one map of coefficients, and its inverse."""
    if domain == 'fourier':
        return spectral.rfft2, lambda z: spectral.irfft2(z, SIZE)
    levels = getattr(mixer, 'levels', 1) if domain == 'haar' else 1
    shapes = [part.shape for part in transforms.to_coefficients(_randn(1)[:, :1], domain, levels)]
    if sum(shape.numel() for shape in shapes) != SIZE[0] * SIZE[1]:
        raise ValueError(f'levels={levels} repeat rows of an odd side on maps of {SIZE[0]} x {SIZE[1]}, where rho is '
                         'measured: their coefficients cannot be chosen; take 1 or 2')

    def forward(x: Tensor) -> Tensor:
        parts = transforms.to_coefficients(x, domain, levels)   # a part's subbands lie one after the other in the batch
        flat = [part.unflatten(0, (-1, len(x))).movedim(0, 2).flatten(2) for part in parts]
        return torch.cat(flat, dim=2).unflatten(2, SIZE)

    def inverse(z: Tensor) -> Tensor:
        parts = z.flatten(2).split([shape.numel() for shape in shapes], dim=2)
        parts = [part.unflatten(2, (shape[0], *shape[2:])).movedim(2, 0).flatten(0, 1)
                 for part, shape in zip(parts, shapes, strict=True)]
        return transforms.from_coefficients(tuple(parts), domain, SIZE)

    return forward, inverse
