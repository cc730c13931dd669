"""Conversion of the authors' released DeepLabV3 segmentors into ours."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from .names import convert_backbone_state
from .shapes import Shapes, backbone_shapes, conv_shapes, has, tell_arch, width

_ENCODER, _ASPP, _AUX = 'encoder.', 'seg_head.aspp.aspp_layer.', 'seg_head.aux_head.'
_LEAF = r'(weight|bias|running_mean|running_var|num_batches_tracked)'
_PART = {'conv': 'conv', 'norm': 'bn'}
_RULES = [(re.compile(pattern), target) for pattern, target in [
    (rf'{re.escape(_ASPP)}convs\.([0-3])\.block\.(conv|norm)\.{_LEAF}',
     lambda m: f'decode_head.aspp_modules.{m[1]}.{_PART[m[2]]}.{m[3]}'),
    (rf'{re.escape(_ASPP)}convs\.4\.aspp_pool\.conv_1x1\.block\.(conv|norm)\.{_LEAF}',
     lambda m: f'decode_head.image_pool.1.{_PART[m[1]]}.{m[2]}'),
    (rf'{re.escape(_ASPP)}project\.block\.(conv|norm)\.{_LEAF}',
     lambda m: f'decode_head.bottleneck.{_PART[m[1]]}.{m[2]}'),
    (r'seg_head\.classifier\.block\.conv\.(weight|bias)', lambda m: f'decode_head.conv_seg.{m[1]}'),
    (rf'{re.escape(_AUX)}0\.block\.(conv|norm)\.{_LEAF}', lambda m: f'auxiliary_head.convs.0.{_PART[m[1]]}.{m[2]}'),
    (rf'{re.escape(_AUX)}2\.block\.conv\.(weight|bias)', lambda m: f'auxiliary_head.conv_seg.{m[1]}'),
]]


def convert_deeplabv3_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A released DeepLabV3's state dict in the names of an ``EncoderDecoder`` with our head.

    The release concatenates the pooled branch last, mmseg's head first: the projection's inputs are reordered.

    Args:
        state (Mapping[str, Tensor]): Released keys ``encoder.*`` and ``seg_head.*``, with or without ``aux_head``.

    Returns:
        dict[str, Tensor]: Keys ``backbone.*``, ``decode_head.*`` and, where it is there, ``auxiliary_head.*``.

    Raises:
        KeyError: A key is unknown, or the projection is missing.
    """
    encoder = {key.removeprefix(_ENCODER): value for key, value in state.items() if key.startswith(_ENCODER)}
    converted = {f'backbone.{key}': value for key, value in convert_backbone_state(encoder).items()}
    for key, value in state.items():
        if not key.startswith(_ENCODER):
            converted[_convert_head_key(key)] = value
    projection = 'decode_head.bottleneck.conv.weight'
    if projection not in converted:
        raise KeyError(f'{_ASPP}project.block.conv.weight is missing')
    branches = converted[projection].chunk(5, dim=1)
    converted[projection] = torch.cat([branches[-1], *branches[:-1]], dim=1)
    return converted


def tell_deeplabv3(state: Mapping[str, Tensor]) -> tuple[dict, dict, Shapes]:
    """Settings of a released DeepLabV3. Output stride and rates leave no trace in the tensors.

    Args:
        state (Mapping[str, Tensor]): Released keys.

    Returns:
        tuple[dict, dict, dict]: The backbone's settings, what the config of our segmentor must say of its heads, and
        the released shapes of such a segmentor.

    Raises:
        KeyError: A tensor is missing without which a width cannot be told.
    """
    arch = tell_arch({key.removeprefix(_ENCODER): value for key, value in state.items() if key.startswith(_ENCODER)})
    aux_channels, in_channels = arch['channels'][4:]
    channels = width(state, f'{_ASPP}convs.0')
    num_classes = width(state, 'seg_head.classifier')
    expected = {_ENCODER + key: shape for key, shape in backbone_shapes(arch, with_exp=False).items()}
    for k in range(4):
        expected |= conv_shapes(f'{_ASPP}convs.{k}', channels, in_channels, 3 if k else 1)
    expected |= conv_shapes(f'{_ASPP}convs.4.aspp_pool.conv_1x1', channels, in_channels)
    expected |= conv_shapes(f'{_ASPP}project', channels, 5 * channels)
    expected |= conv_shapes('seg_head.classifier', num_classes, channels, norm=False, bias=True)
    model = dict(decode_head=dict(in_channels=in_channels, channels=channels, num_classes=num_classes))
    if has(state, _AUX):
        aux_width = width(state, f'{_AUX}0')
        expected |= conv_shapes(f'{_AUX}0', aux_width, aux_channels, 3)
        expected |= conv_shapes(f'{_AUX}2', num_classes, aux_width, norm=False, bias=True)
        model['auxiliary_head'] = dict(in_channels=aux_channels, channels=aux_width, num_classes=num_classes)
    else:
        model['auxiliary_head'] = None
    return arch, model, expected


def _convert_head_key(key: str) -> str:
    for pattern, target in _RULES:
        if match := pattern.fullmatch(key):
            return target(match)
    raise KeyError(f'{key} is not a key of the released DeepLabV3 (encoder.*, seg_head.*).')
