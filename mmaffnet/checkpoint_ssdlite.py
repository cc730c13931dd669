"""Conversion of the authors' released SSD detectors into ours."""

from collections.abc import Mapping

import torch
from torch import Tensor

from mmaffnet.checkpoint import convert_backbone_state

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
    # Levels are named by their stride, and stand in order: os_64, os_128, os_256, os_-1 (the pooled one).
    strides = list(dict.fromkeys(key.split('.')[1] for key in state if key.startswith(_EXTRA)))
    for key, value in state.items():
        if key.startswith(_EXTRA):
            _, stride, rest = key.split('.', 2)
            converted[f'neck.extra_layers.{strides.index(stride)}.{_rename(rest)}'] = value
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
