"""Names of the released backbone's tensors and ours, in both directions.

Released keys follow ml-cvnets; ours keep their stage names. Every key must be known: a checkpoint that does not fit
is named, never half loaded.
"""

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

_NORM_LEAVES = ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked')
# What may stand in a field of a row below: released word -> ours.
_FIELDS = {
    'conv': {'conv': 'conv', 'norm': 'bn'},
    'part': {'exp_1x1': 'expand_conv', 'conv_3x3': 'depthwise_conv', 'red_1x1': 'linear_conv'},
    'leaf': {leaf: leaf for leaf in _NORM_LEAVES},
    'affine': {leaf: leaf for leaf in ('weight', 'bias')},
    'end': {name: name for name in ('conv_1', 'conv_1x1_exp')},
    'mask': {name: name for name in ('w1', 'b1', 'w2', 'b2')},
    'norm': {name: name for name in ('norm1', 'norm2')},
    'unit': {name: name for name in ('conv_proj', 'fusion')},
    'num': None,   # two numbers, which stay
    'index': None,
}
_WORDS = {field: words or {} for field, words in _FIELDS.items()}
_WORDS_BACK = {field: {ours: released for released, ours in words.items()} for field, words in _WORDS.items()}


class KeyTable:
    """Rows of (released name, our name) with fields in braces, applied in either direction.

    Args:
        rows (Sequence[tuple[str, str]]): ``'conv_1.{conv}.{leaf}'`` and the like; the fields are those above, and a
            field of our name must stand in the released one too.
    """

    def __init__(self, rows: Sequence[tuple[str, str]]) -> None:
        self._to_ours = [(_pattern(released, 0), ours) for released, ours in rows]
        self._to_released = [(_pattern(ours, 1), released) for released, ours in rows]

    def to_ours(self, key: str) -> str | None:
        """Our name of a released key, None where no row fits."""
        return _translate(self._to_ours, key, _WORDS)

    def to_released(self, key: str) -> str | None:
        """The released name of one of our keys, None where no row fits."""
        return _translate(self._to_released, key, _WORDS_BACK)


def _pattern(template: str, side: int) -> re.Pattern:
    def group(match: re.Match) -> str:
        words = _FIELDS[match[1]]
        allowed = r'\d+' if words is None else '|'.join(pair[side] for pair in words.items())
        return f'(?P<{match[1]}>{allowed})'

    return re.compile(re.sub(r'\\\{(\w+)\\\}', group, re.escape(template)))


def _translate(rows: Sequence[tuple[re.Pattern, str]], key: str, words: Mapping[str, Mapping]) -> str | None:
    for pattern, target in rows:
        if match := pattern.fullmatch(key):
            return target.format(**{field: words[field].get(value, value)
                                    for field, value in match.groupdict().items()})
    return None


_BACKBONE = KeyTable([
    # the stem and the closing convolution
    ('{end}.block.{conv}.{leaf}', '{end}.{conv}.{leaf}'),
    # an MBConv of a layer
    ('layer_{num}.{index}.block.{part}.block.{conv}.{leaf}', 'layer_{num}.{index}.{part}.{conv}.{leaf}'),
    # an AFF block
    ('layer_{num}.1.global_rep.{index}.filter.{mask}', 'layer_{num}.1.blocks.{index}.token_mixer.{mask}'),
    ('layer_{num}.1.global_rep.{index}.{norm}.{affine}', 'layer_{num}.1.blocks.{index}.{norm}.{affine}'),
    ('layer_{num}.1.global_rep.{index}.mlp.block.{part}.block.{conv}.{leaf}',
     'layer_{num}.1.blocks.{index}.mlp.{part}.{conv}.{leaf}'),
    # the end of a stage
    ('layer_{num}.1.{unit}.block.{conv}.{leaf}', 'layer_{num}.1.{unit}.{conv}.{leaf}'),
])
# The closing norm is the entry behind the last block in the release's list: its number says how many blocks there are.
_RELEASED_CLOSING_NORM = re.compile(r'(layer_\d\.1)\.global_rep\.\d+\.(weight|bias)')
_CLOSING_NORM = re.compile(r'layer_(\d)\.1\.norm\.(weight|bias)')


def convert_backbone_key(key: str) -> str | None:
    """Our name of a released backbone key, or None where the key is no backbone key.

    Args:
        key (str): Without the prefix ``encoder.`` that detectors and segmentors put before it.

    Returns:
        str | None: The key in an :class:`mmaffnet.AFFNet` state dict.
    """
    if match := _RELEASED_CLOSING_NORM.fullmatch(key):
        return f'{match[1]}.norm.{match[2]}'
    return _BACKBONE.to_ours(key)


def released_backbone_key(key: str, blocks: Sequence[int]) -> str:
    """The released name of one of our backbone's keys.

    Args:
        key (str): A key in an :class:`mmaffnet.AFFNet` state dict.
        blocks (Sequence[int]): Number of AFF blocks in layer_3, layer_4 and layer_5.

    Returns:
        str: Without the prefix ``encoder.``.

    Raises:
        KeyError: The key is no key of our backbone.
    """
    if match := _CLOSING_NORM.fullmatch(key):
        return f'layer_{match[1]}.1.global_rep.{blocks[int(match[1]) - 3]}.{match[2]}'
    released = _BACKBONE.to_released(key)
    if released is None:
        raise KeyError(f'{key} is not a key of AFFNet')
    return released


def convert_backbone_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Backbone part of a released state dict in our names.

    Args:
        state (Mapping[str, Tensor]): Released keys of the backbone only, with or without conv_1x1_exp.

    Returns:
        dict[str, Tensor]: Loads strictly into an :class:`mmaffnet.AFFNet` of the same size.

    Raises:
        KeyError: A key is not a key of the released backbone, or two keys stand for the same tensor.
    """
    converted = {convert_backbone_key(key): value for key, value in state.items()}
    if None in converted:
        unknown = [key for key in state if convert_backbone_key(key) is None]
        raise KeyError(f'{len(unknown)} of {len(state)} keys are not keys of the released AFFNet backbone: '
                       f'{", ".join(unknown[:5])}{" …" if len(unknown) > 5 else ""}')
    if len(converted) < len(state):   # only the closing norm has a number that ours has not
        norms = [key for key in state if _RELEASED_CLOSING_NORM.fullmatch(key)]
        raise KeyError(f'more than one closing norm in a stage: {", ".join(norms)}')
    return converted


def convert_classifier_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A released classifier's state dict in the names of an mmpretrain ``ImageClassifier``.

    Args:
        state (Mapping[str, Tensor]): Released keys, ``classifier.fc.*`` among them.

    Returns:
        dict[str, Tensor]: Keys ``backbone.*`` and ``head.fc.*``.

    Raises:
        KeyError: A key is unknown.
    """
    head = {key: value for key, value in state.items() if key.startswith('classifier.fc.')}
    backbone = convert_backbone_state({key: value for key, value in state.items() if key not in head})
    return {
        **{f'backbone.{key}': value for key, value in backbone.items()},
        **{f'head.{key.removeprefix("classifier.")}': value for key, value in head.items()},
    }
