"""Conversion of the authors' released SSD detectors into ours."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from .names import convert_backbone_state
from .shapes import Shapes, backbone_shapes, conv_shapes, count, has, most_common, tell_arch, width

_ENCODER, _EXTRA, _HEADS = 'encoder.', 'extra_layers.', 'ssd_heads.'
_RENAMED = (('dw_conv', 'depthwise_conv'), ('pw_conv', 'pointwise_conv'), ('block.conv', 'conv'), ('block.norm', 'bn'))


def convert_ssdlite_state(state: Mapping[str, Tensor], num_classes: int = 80) -> dict[str, Tensor]:
    """A released SSD's state dict in the names of a ``SingleStageDetector`` with our neck and head.

    The release predicts, for each anchor, 4 box values and then 1 + num_classes class values, background first;
    ``SSDLiteHead`` predicts the class values of all anchors, background last, and then their box values.

    Args:
        state (Mapping[str, Tensor]): Released keys ``encoder.*``, ``extra_layers.*`` and ``ssd_heads.*``.
        num_classes (int): Classes without background. Defaults to 80.

    Returns:
        dict[str, Tensor]: Keys ``backbone.*``, ``neck.*`` and ``bbox_head.*``.

    Raises:
        KeyError: A key is unknown.
        ValueError: A prediction layer does not fit ``num_classes``.
    """
    encoder = {key.removeprefix(_ENCODER): value for key, value in state.items() if key.startswith(_ENCODER)}
    converted = {f'backbone.{key}': value for key, value in convert_backbone_state(encoder).items()}
    levels = _extra_levels(state)
    for key, value in state.items():
        if key.startswith(_EXTRA):
            _, level, rest = key.split('.', 2)
            converted[f'neck.extra_layers.{levels.index(level)}.{_rename(rest)}'] = value
        elif key.startswith(_HEADS):
            _, level, layer, rest = key.split('.', 3)
            if layer == 'proj_layer':
                converted[f'bbox_head.proj_convs.{level}.{_rename(rest)}'] = value
                continue
            if not rest.startswith('dw_conv'):
                value = _reorder_predictions(value, num_classes, key)
            converted[f'bbox_head.pred_convs.{level}.{_rename(rest)}'] = value
        elif not key.startswith(_ENCODER):
            raise KeyError(f'{key} is not a key of the released SSD (encoder.*, extra_layers.*, ssd_heads.*).')
    return converted


def tell_ssdlite(state: Mapping[str, Tensor]) -> tuple[dict, dict, Shapes]:
    """Settings of a released SSD.

    The release's anchors are taken for granted: 6 at each place of a map, 4 on the pooled one.

    Args:
        state (Mapping[str, Tensor]): Released keys.

    Returns:
        tuple[dict, dict, dict]: The backbone's settings, what the config of our detector must say of neck and head,
        and the released shapes of such a detector.

    Raises:
        KeyError: A tensor is missing without which a width cannot be told.
    """
    arch = tell_arch({key.removeprefix(_ENCODER): value for key, value in state.items() if key.startswith(_ENCODER)})
    # Two levels are the backbone's; what is longer counts, so that an end that is missing is named.
    levels = max(count(state, _HEADS + '{}.'), 2 + len(_extra_levels(state)), 3)
    extra, last = [*(f'os_{64 << k}' for k in range(levels - 3)), 'os_-1'], levels - 1
    feats = [width(state, f'{_HEADS}{k}.loc_cls_layer.dw_conv') for k in range(last)]
    feats.append(_shape(state, f'{_HEADS}{last}.loc_cls_layer.block.conv.weight')[1])
    channels = list(arch['channels'][4:]) + [
        width(state, f'{_EXTRA}{level}.{"1" if level == "os_-1" else "pw_conv"}') for level in extra]
    # Where a level of its own has no projection the two widths agree, and the head's has more witnesses.
    channels = [channels[k] if k < 2 or has(state, f'{_HEADS}{k}.proj_layer.') else feats[k] for k in range(levels)]
    outputs = [width(state, _prediction(k, last)) for k in range(levels)]
    anchors = [6] * last + [4]
    per_anchor = most_common([out // num for out, num in zip(outputs, anchors, strict=True)])

    expected = {_ENCODER + key: shape for key, shape in backbone_shapes(arch, with_exp=False).items()}
    for k, level in enumerate(extra, start=2):
        expected |= _extra_shapes(f'{_EXTRA}{level}', channels[k], channels[k - 1])
    for k in range(levels):
        if channels[k] != feats[k]:
            expected |= conv_shapes(f'{_HEADS}{k}.proj_layer', feats[k], channels[k])
        if k < last:
            expected |= conv_shapes(f'{_HEADS}{k}.loc_cls_layer.dw_conv', feats[k], 1, 3)
        expected |= conv_shapes(_prediction(k, last), anchors[k] * per_anchor, feats[k], norm=False, bias=True)
    num_classes = per_anchor - 5
    model = dict(
        neck=dict(in_channels=tuple(channels[:2]), out_channels=tuple(channels)),
        bbox_head=dict(num_classes=num_classes, in_channels=tuple(channels), feat_channels=tuple(feats)))
    if levels != 6:
        model['bbox_head']['anchor_generator'] = dict(ratios=((2, 3), ) * last + ((2, ), ))
    return arch, model, expected


def _extra_levels(state: Mapping[str, Tensor]) -> list[str]:
    """Names of the levels below the backbone's: by stride ('os_64' …), the pooled one ('os_-1') last."""
    levels = {key.split('.')[1] for key in state if key.startswith(_EXTRA)}
    for level in levels:
        if not re.fullmatch(r'os_(-1|\d+)', level):
            raise KeyError(f'{_EXTRA}{level} is not a level of the released SSD (os_64, os_128, os_256, os_-1)')
    return sorted(levels, key=lambda level: (level == 'os_-1', int(level.removeprefix('os_'))))


def _extra_shapes(prefix: str, out_channels: int, in_channels: int) -> Shapes:
    if prefix.endswith('os_-1'):   # behind the pooling, which is the entry 0
        return conv_shapes(f'{prefix}.1', out_channels, in_channels, norm=False)
    return conv_shapes(f'{prefix}.dw_conv', in_channels, 1, 3) | conv_shapes(
        f'{prefix}.pw_conv', out_channels, in_channels)


def _prediction(level: int, last: int) -> str:
    return f'{_HEADS}{level}.loc_cls_layer' + ('' if level == last else '.pw_conv')


def _shape(state: Mapping[str, Tensor], key: str) -> tuple[int, ...]:
    if key not in state or state[key].ndim != 4:
        raise KeyError(f'{key} is missing or no convolution, and with it the size of the model cannot be told')
    return tuple(state[key].shape)


def _rename(key: str) -> str:
    for released, ours in _RENAMED:
        key = key.replace(released, ours)
    return key


def _reorder_predictions(value: Tensor, num_classes: int, key: str) -> Tensor:
    per_anchor = 4 + 1 + num_classes
    if len(value) % per_anchor:
        raise ValueError(f'{key} has {len(value)} outputs, which is no multiple of 4 + 1 + {num_classes} (box, '
                         f'background, classes): give the num_classes that the checkpoint was trained with.')
    boxes, background, classes = value.unflatten(0, (-1, per_anchor)).split([4, 1, num_classes], dim=1)
    return torch.cat([torch.cat([classes, background], dim=1).flatten(0, 1), boxes.flatten(0, 1)])
