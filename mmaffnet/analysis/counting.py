"""Parameters and multiply-adds of a model: fvcore's counter with handlers of ours for what it does not know.

What a number means (operators in the traced graph of one picture, the model in evaluation mode):

* **multiply-adds**: convolutions, linear layers and matrix products, one for each product of two numbers; 2 for each
  element of a batch norm, 5 of a group or layer norm, 1 of a pooled map, 4 of a bilinear enlargement; activations and
  other elementwise steps are free. This is what fvcore returns, and the convention in which the paper's figures come
  out. A product of the AFF mixer's complex layers counts as the four real products it stands for, which is what
  fvcore returns on the released code, where they are written as real ones; any other complex product (FNO's) counts
  as one, as fvcore does, and only so does the printed figure come out. A transform by real matrices (DCT) counts with
  the matrix products, one by sums (Haar) is free.
* **FFT**: real operations (additions too, so that they are no part of the multiply-adds), 5/2 · N · log2 N for the
  transform of one channel of N = H · W real numbers or its inverse; 5 · N · log2 N for a complex one. fvcore's and
  torch's own counters return 0.
"""

import math
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

import torch
from torch import nn

from mmaffnet.engine.errors import UserError
from mmaffnet.models.token_mixers.frequency_mixer import FrequencyMixer

COUNTERS = ('fvcore', 'mmengine')
NORMS = ('batch_norm', 'group_norm', 'layer_norm')


@dataclass(frozen=True)
class Complexity:
    """What one forward pass of one picture costs.

    Args:
        parameters (int): Numbers that are learned; a segmentor's auxiliary head is none of them.
        multiply_adds (int): Without the FFTs.
        fft (int): Real operations of the FFTs.
        by_operator (dict[str, int]): The multiply-adds by operator.
        in_mixers (dict[str, int]): Those of them that the token mixers of AFF blocks cost.
    """

    parameters: int
    multiply_adds: int
    fft: int
    by_operator: dict[str, int]
    in_mixers: dict[str, int] = field(default_factory=dict)

    @property
    def mixers(self) -> int:
        """Multiply-adds of the token mixers."""
        return sum(self.in_mixers.values())

    @property
    def norms(self) -> int:
        """Multiply-adds of all norms but those within a token mixer."""
        return sum(self.by_operator.get(name, 0) - self.in_mixers.get(name, 0) for name in NORMS)


def default_counter() -> str:
    """The counter that ``count`` uses: 'fvcore' where it is installed, else 'mmengine', which ships a copy of it."""
    try:
        import fvcore.nn  # noqa: F401
    except ImportError:
        return 'mmengine'
    return 'fvcore'


def describe_counter(counter: str) -> str:
    """A counter's name and version for a table's convention line."""
    if counter == 'fvcore':
        return label('fvcore')
    missing = '' if default_counter() == 'fvcore' else ', fvcore itself is not installed'
    return f'{label("mmengine")} (its copy of fvcore\'s counter{missing})'


def label(library: str) -> str:
    """The name and version of an installed library."""
    try:
        return f'{library} {version(library)}'
    except PackageNotFoundError:   # a host whose fork is installed under another name
        return f'{library} {import_module(library).__version__}'


def count_parameters(model: nn.Module) -> int:
    """Parameters of a model, without an auxiliary head, which serves in training only."""
    auxiliary = getattr(model, 'auxiliary_head', None)
    total = sum(p.numel() for p in model.parameters())
    return total - (sum(p.numel() for p in auxiliary.parameters()) if isinstance(auxiliary, nn.Module) else 0)


def count(model: nn.Module, size: int | tuple[int, int], counter: str | None = None, channels: int = 3) -> Complexity:
    """Count a model's parameters and the multiply-adds of one picture.

    Args:
        model (nn.Module): Takes a map (1, channels, H, W) as its only argument. Mixers are counted in the FFT form
            of the Fourier transform, whichever they compute in; the model is left as it was.
        size (int | tuple[int, int]): H and W of the input.
        counter (str, optional): 'fvcore' or 'mmengine'. Defaults to :func:`default_counter`.
        channels (int): Defaults to 3.

    Returns:
        Complexity: The counts.

    Raises:
        ValueError: ``counter`` is unknown.
        UserError: The counter is not installed.
    """
    height, width = (size, size) if isinstance(size, int) else size
    picture = torch.zeros(1, channels, height, width)
    with _evaluation(model), _fft_form(model), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter('ignore')   # of models that freeze their sizes in a trace, which is thrown away here
        analysis = _analysis(counter or default_counter())(model, (picture, ))
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings('none')
        analysis.set_op_handle(**HANDLERS)
        found = {name: int(number) for name, number in analysis.by_operator().items()}
        in_mixers = Counter()
        for name, operators in analysis.by_module_and_operator().items():
            if name.endswith('.token_mixer'):
                in_mixers.update({operator: int(number) for operator, number in operators.items()})
    fft = found.pop('fft', 0)
    in_mixers.pop('fft', None)
    return Complexity(count_parameters(model), sum(found.values()), fft, found, dict(in_mixers))


def _analysis(counter: str) -> Callable:
    if counter not in COUNTERS:
        raise ValueError(f'counter must be one of {COUNTERS}, got {counter!r}')
    try:
        if counter == 'fvcore':
            from fvcore.nn import FlopCountAnalysis as Analysis
        else:
            from mmengine.analysis import FlopAnalyzer as Analysis
    except ImportError as error:
        raise UserError(f'counting needs {counter}, which cannot be imported ({error}): '
                        f'pip install {counter}') from error
    return Analysis


@contextmanager
def _evaluation(model: nn.Module):
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def _fft_form(model: nn.Module):
    """Let the mixers compute in the form of the Fourier transform that the count is of."""
    forms = [(module, module.transform) for module in model.modules()
             if isinstance(module, FrequencyMixer) and getattr(module, 'transform', None) in ('auto', 'dft')]
    for module, _ in forms:
        module.transform = 'fft'
    try:
        yield
    finally:
        for module, form in forms:
            module.transform = form


# Handlers: each takes the inputs and outputs of a node of the traced graph


def _shape(value) -> list[int]:
    return value.type().sizes()


def _is_complex(value) -> bool:
    return value.type().scalarType().startswith('Complex')


def _baddbmm(inputs, outputs) -> int:
    """bias + A·B with A (batch, n, m) and B (batch, m, p)."""
    batch, n, m = _shape(inputs[1])
    return batch * n * m * _shape(inputs[2])[-1] * (4 if _is_complex(inputs[1]) else 1)


def _attention(inputs, outputs) -> int:
    """softmax(Q·Kᵀ)·V with Q (…, n, d), K (…, m, d), V (…, m, e); as the products written out would be counted."""
    *batch, n, d = _shape(inputs[0])
    m, e = _shape(inputs[2])[-2:]
    return math.prod(batch) * n * m * (d + e)


def _ints(value) -> list[int] | None:
    """A list of constant integers, or None where the operator's default holds."""
    if value.node().kind() == 'prim::ListConstruct':
        return [int(item.toIValue()) for item in value.node().inputs()]
    return value.toIValue()


def _fft(real: bool, inverse: bool, dims: tuple[int, ...] | None) -> Callable:
    """Operations of a transform over ``dims`` where its own argument does not name others."""

    def handler(inputs, outputs):
        shape = _shape(outputs[0] if inverse else inputs[0])       # of the side that is real
        axes = _axis(inputs[2]) or dims or range(len(shape))
        points = math.prod(shape[axis] for axis in axes)
        return _operations(math.prod(shape), points) // (2 if real else 1)

    return handler


def _axis(value):
    axes = _ints(value)
    return [axes] if isinstance(axes, int) else axes


def _operations(numbers: int, points: int) -> int:
    """5 · N · log2 N for each of ``numbers / points`` transforms of N = ``points`` points."""
    return round(5 * numbers * math.log2(points))


def _fft_handlers() -> dict[str, Callable]:
    def named(handler):
        return lambda inputs, outputs: Counter(fft=handler(inputs, outputs))

    handlers = {}
    for suffix, dims in (('', (-1, )), ('2', (-2, -1)), ('n', None)):
        for prefix, real, inverse in (('rfft', True, False), ('irfft', True, True), ('fft', False, False),
                                      ('ifft', False, True)):
            handlers[f'aten::fft_{prefix}{suffix}'] = named(_fft(real, inverse, dims))
    return handlers


HANDLERS = {
    'aten::baddbmm': _baddbmm,
    'aten::scaled_dot_product_attention': _attention,
    **_fft_handlers(),
}
