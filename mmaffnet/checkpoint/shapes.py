"""Tell a released backbone's arch from the shapes of its tensors, and say what any arch's tensors must look like."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from mmaffnet.models.backbones.affnet import ARCH_DEFAULTS, ARCH_SETTINGS, AFFNet
from mmaffnet.models.layers.mbconv import make_divisible

from .names import released_backbone_key

Shapes = dict[str, tuple[int, ...]]


def tell_arch(state: Mapping[str, Tensor]) -> dict:
    """All settings of a released backbone.

    A width is what most tensors of its convolution and norm say, so that a single tensor of another shape is found to
    be wrong, rather than all others.

    Args:
        state (Mapping[str, Tensor]): Released keys without ``encoder.``.

    Returns:
        dict: ``arch`` of :class:`mmaffnet.AFFNet`, with all its keys.

    Raises:
        KeyError: A tensor is missing without which a width cannot be told.
    """
    channels = (width(state, 'conv_1'), *(width(state, f'layer_{k}.0.block.red_1x1') for k in range(1, 6)))
    mbconvs = tuple(count(state, f'layer_{k}.{{}}.block.') for k in (1, 2))
    blocks = tuple(max(1, _num_blocks(state, k)) for k in (3, 4, 5))
    outer = [(channels[k - 1] if i == 0 else channels[k], f'layer_{k}.{i}.block')
             for k in range(1, 6) for i in range(mbconvs[k - 1] if k < 3 else 1)]
    inner = [(channels[k], f'layer_{k}.1.global_rep.{i}.mlp.block') for k in (3, 4, 5) for i in range(blocks[k - 3])]
    exp_channels = width(state, 'conv_1x1_exp') if has(state, 'conv_1x1_exp.') else None
    return dict(
        channels=channels, mbconvs=mbconvs, blocks=blocks, expand_ratio=_ratio(state, outer),
        mlp_ratio=_ratio(state, inner), fusion=tuple(has(state, f'layer_{k}.1.fusion.') for k in (3, 4, 5)),
        exp_channels=None if exp_channels == min(4 * channels[5], 960) else exp_channels)


def short_arch(settings: dict) -> str | dict:
    """The name of an arch that has one, else its settings without those that are the default."""
    for name, known in ARCH_SETTINGS.items():
        if settings == known:
            return name
    return {key: value for key, value in settings.items() if key not in ARCH_DEFAULTS or value != ARCH_DEFAULTS[key]}


def backbone_shapes(settings: dict, with_exp: bool) -> Shapes:
    """Released keys and shapes of a backbone, from an :class:`mmaffnet.AFFNet` without data.

    Args:
        settings (dict): See :func:`tell_arch`.
        with_exp (bool): Whether conv_1x1_exp is there, as it is in classifiers.

    Returns:
        dict[str, tuple[int, ...]]: In our order.
    """
    with torch.device('meta'):
        net = AFFNet(settings, variant='release', out_indices=5 if with_exp else 4)
    return {released_backbone_key(key, settings['blocks']): tuple(value.shape)
            for key, value in net.state_dict().items()}


def conv_shapes(prefix: str, out_channels: int, in_channels: int, kernel: int = 1, norm: bool = True,
                bias: bool = False) -> Shapes:
    """Released keys and shapes of one convolution with or without norm and bias."""
    shapes = {f'{prefix}.block.conv.weight': (out_channels, in_channels, kernel, kernel)}
    if bias:
        shapes[f'{prefix}.block.conv.bias'] = (out_channels, )
    if norm:
        shapes |= {f'{prefix}.block.norm.{leaf}': (out_channels, )
                   for leaf in ('weight', 'bias', 'running_mean', 'running_var')}
        shapes[f'{prefix}.block.norm.num_batches_tracked'] = ()
    return shapes


def check_shapes(state: Mapping[str, Tensor], expected: Shapes, what: str) -> None:
    """Compare names and shapes with what they must be.

    Args:
        state (Mapping[str, Tensor]): Released keys.
        expected (dict[str, tuple[int, ...]]): Released keys and shapes.
        what (str): What they should be of, for the message.

    Raises:
        KeyError: A key is missing or unknown; the message names these, and misshapen ones too.
        ValueError: A tensor has another shape.
    """
    missing = [key for key in expected if key not in state]
    unknown = [key for key in state if key not in expected]
    shapes = [f'{key} {tuple(state[key].shape)} instead of {shape}' for key, shape in expected.items()
              if key in state and tuple(state[key].shape) != shape]
    parts = [f'{len(names)} {kind}: {", ".join(names[:5])}{", …" if len(names) > 5 else ""}' for names, kind in (
        (missing, 'missing'), (unknown, 'unknown'), (shapes, 'of another shape')) if names]
    if parts:
        error = KeyError if missing or unknown else ValueError
        raise error(f'these tensors are not those of {what}: {"; ".join(parts)}')


def width(state: Mapping[str, Tensor], prefix: str) -> int:
    """Output channels of the convolution ``prefix``.block.conv and its norm, as most of their tensors have it.

    Raises:
        KeyError: None of them is there.
    """
    keys = [f'{prefix}.block.conv.weight', f'{prefix}.block.conv.bias', *(
        f'{prefix}.block.norm.{leaf}' for leaf in ('weight', 'bias', 'running_mean', 'running_var'))]
    widths = [len(state[key]) for key in keys if key in state and state[key].ndim]
    if not widths:
        raise KeyError(f'{keys[0]} is missing, and with it the size of the model cannot be told')
    return most_common(widths)


def most_common(values: Sequence):
    """The value that occurs most often, the first of several."""
    return Counter(values).most_common(1)[0][0]


def has(state: Mapping[str, Tensor], prefix: str) -> bool:
    """Whether any key starts with a prefix."""
    return any(key.startswith(prefix) for key in state)


def count(state: Mapping[str, Tensor], prefix: str) -> int:
    """How many of ``prefix.format(0)``, ``prefix.format(1)`` … are there without a gap."""
    number = 0
    while has(state, prefix.format(number)):
        number += 1
    return number


def _num_blocks(state: Mapping[str, Tensor], layer: int) -> int:
    # The entry behind the last block is the closing norm, which has no filter.
    number = 0
    while any(has(state, f'layer_{layer}.1.global_rep.{number}.{part}.') for part in ('filter', 'mlp', 'norm1')):
        number += 1
    return number


def _ratio(state: Mapping[str, Tensor], convs: Sequence[tuple[int, str]]) -> int | float:
    """The one expansion ratio that gives most of the MBConvs (channels in, prefix) their hidden width."""
    hidden = [(channels, width(state, f'{prefix}.exp_1x1')) for channels, prefix in convs
              if has(state, f'{prefix}.exp_1x1.')]
    if not hidden:
        return 1   # no expansion is there at all

    def fitting(ratio: float) -> int:
        return sum(make_divisible(round(ratio * channels)) == found for channels, found in hidden)

    return max(_candidates(hidden), key=fitting)   # the first of several


def _candidates(hidden: Sequence[tuple[int, int]]) -> Iterator[int | float]:
    yield from range(2, 13)
    # Widths are rounded to multiples of 8, so that a width over its input's may be another ratio than the one that
    # was set: quarters are tried before what the widths say.
    yield from (k / 4 for k in range(1, 49) if k % 4)
    yield from (found / channels for channels, found in hidden)
