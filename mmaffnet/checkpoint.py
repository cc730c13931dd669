"""Conversion of the authors' released state dicts into ours.

Released keys follow ml-cvnets; ours keep their stage names. Every key must be known: a checkpoint that does not fit
is named, never half loaded.
"""

import re
from collections.abc import Mapping

from torch import Tensor

_CONV = {'conv': 'conv', 'norm': 'bn'}
_MBCONV = {'exp_1x1': 'expand_conv', 'conv_3x3': 'depthwise_conv', 'red_1x1': 'linear_conv'}
_BN_LEAF = r'(weight|bias|running_mean|running_var|num_batches_tracked)'
_CONV_MODULE = rf'\.block\.(conv|norm)\.{_BN_LEAF}'
_RULES = [
    # the stem and the closing convolution
    (rf'(conv_1|conv_1x1_exp){_CONV_MODULE}', lambda m: f'{m[1]}.{_CONV[m[2]]}.{m[3]}'),
    # an MBConv of a layer
    (rf'(layer_\d\.\d+)\.block\.(exp_1x1|conv_3x3|red_1x1){_CONV_MODULE}',
     lambda m: f'{m[1]}.{_MBCONV[m[2]]}.{_CONV[m[3]]}.{m[4]}'),
    # an AFF block
    (r'(layer_\d\.1)\.global_rep\.(\d+)\.filter\.(w1|b1|w2|b2)',
     lambda m: f'{m[1]}.blocks.{m[2]}.token_mixer.{m[3]}'),
    (r'(layer_\d\.1)\.global_rep\.(\d+)\.(norm1|norm2)\.(weight|bias)',
     lambda m: f'{m[1]}.blocks.{m[2]}.{m[3]}.{m[4]}'),
    (rf'(layer_\d\.1)\.global_rep\.(\d+)\.mlp\.block\.(exp_1x1|conv_3x3|red_1x1){_CONV_MODULE}',
     lambda m: f'{m[1]}.blocks.{m[2]}.mlp.{_MBCONV[m[3]]}.{_CONV[m[4]]}.{m[5]}'),
    # the end of a stage
    (r'(layer_\d\.1)\.global_rep\.\d+\.(weight|bias)', lambda m: f'{m[1]}.norm.{m[2]}'),
    (rf'(layer_\d\.1)\.(conv_proj|fusion){_CONV_MODULE}', lambda m: f'{m[1]}.{m[2]}.{_CONV[m[3]]}.{m[4]}'),
]
_RULES = [(re.compile(pattern), target) for pattern, target in _RULES]


def convert_backbone_key(key: str) -> str | None:
    """Our name of a released backbone key, or None where the key is no backbone key.

    Args:
        key (str): Without the prefix ``encoder.`` that detectors and segmentors put before it.

    Returns:
        str | None: The key in an :class:`mmaffnet.AFFNet` state dict.
    """
    for pattern, target in _RULES:
        if match := pattern.fullmatch(key):
            return target(match)
    return None


def convert_backbone_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Backbone part of a released state dict in our names.

    Args:
        state (Mapping[str, Tensor]): Released keys of the backbone only, with or without conv_1x1_exp.

    Returns:
        dict[str, Tensor]: Loads strictly into an :class:`mmaffnet.AFFNet` of the same size.

    Raises:
        KeyError: A key is not a key of the released backbone.
    """
    converted = {convert_backbone_key(key): value for key, value in state.items()}
    if None in converted:
        unknown = [key for key in state if convert_backbone_key(key) is None]
        raise KeyError(f'{len(unknown)} of {len(state)} keys are not keys of the released AFFNet backbone: '
                       f'{", ".join(unknown[:5])}{" …" if len(unknown) > 5 else ""}')
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
