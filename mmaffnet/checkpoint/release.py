"""From whatever the authors' trainer wrote to the state dict of the host model of our config."""

from collections.abc import Mapping
from dataclasses import dataclass

from mmengine.logging import print_log
from torch import Tensor

from .deeplabv3 import convert_deeplabv3_state, tell_deeplabv3
from .names import convert_classifier_state
from .shapes import Shapes, backbone_shapes, check_shapes, short_arch, tell_arch
from .ssdlite import convert_ssdlite_state, tell_ssdlite

# Entries that hold a model, the preferred ones first: the release validates, and reports, its average.
AVERAGED = ('ema_state_dict', 'ema_model_state_dict')
CONTAINERS = (*AVERAGED, 'model_state_dict', 'state_dict')
# What the keys of a task start with, and no other task's do.
TASKS = {'detection': ('ssd_heads.', 'extra_layers.'), 'segmentation': ('seg_head.', ),
         'classification': ('classifier.', 'conv_1.', 'conv_1x1_exp.')}
NORMS = {'gn': dict(type='GN', num_groups=1), 'channel': dict(type='mmaffnet.ChannelNorm')}
ACTIVATIONS = {'silu': dict(type='SiLU'), 'relu': dict(type='ReLU')}


@dataclass(frozen=True)
class ReleasedWeights:
    """A converted checkpoint and what could be told of it.

    Attributes:
        state_dict (dict[str, Tensor]): Loads strictly into the host model of ``model``.
        task (str): 'classification', 'detection' or 'segmentation'.
        arch (str | dict): ``arch`` of :class:`mmaffnet.AFFNet`.
        num_classes (int): Without a detector's background; a segmentor's background is one of them.
        part (str): Entry of the file that was taken, '' where the file is a bare state dict.
        left (tuple[str, ...]): Entries with another model that were not taken.
        model (dict): What the config of our model must say of the sizes: ``backbone.arch``, neck and heads.
    """

    state_dict: dict[str, Tensor]
    task: str
    arch: str | dict
    num_classes: int
    part: str
    left: tuple[str, ...]
    model: dict


def convert_release_state_dict(state_dict: Mapping) -> dict[str, Tensor]:
    """A released checkpoint in the names of the host model of our config with ``variant='release'``.

    Task and size are told from keys and shapes. Where the averaged model (EMA) stands beside the trained one it is
    taken, and a printed line says so.

    Args:
        state_dict (Mapping): Classifier, SSD or DeepLabV3: a state dict, or a dict that holds one under
            ``ema_state_dict``, ``ema_model_state_dict`` or ``model_state_dict``; keys with or without ``module.``.

    Returns:
        dict[str, Tensor]: Of an mmpretrain ``ImageClassifier``, an mmdet ``SingleStageDetector`` or an mmseg
        ``EncoderDecoder``.

    Raises:
        KeyError: A key is missing or unknown.
        ValueError: A tensor has another shape than such a model's, or there is no state dict.
    """
    weights = convert_release(state_dict)
    if weights.left:
        print_log(chosen(weights))
    return weights.state_dict


def convert_release(checkpoint: Mapping) -> ReleasedWeights:
    """Convert a released checkpoint and tell what it is of; see :func:`convert_release_state_dict`.

    Args:
        checkpoint (Mapping): As read from a file.

    Returns:
        ReleasedWeights: The converted state dict, task, arch and config.

    Raises:
        KeyError: A key is missing or unknown.
        ValueError: A tensor has another shape than such a model's, or there is no state dict.
    """
    state, part, left = select_state(checkpoint)
    task = tell_task(state)
    arch, heads, expected = _TELL[task](state)
    named = short_arch(arch)
    check_shapes(state, expected, f'the {task} model that the others make, AFFNet {named}')
    if task == 'detection':
        num_classes = heads['bbox_head']['num_classes']
        converted = convert_ssdlite_state(state, num_classes)
    elif task == 'segmentation':
        num_classes = heads['decode_head']['num_classes']
        converted = convert_deeplabv3_state(state)
    else:
        num_classes = heads['head']['num_classes']
        converted = convert_classifier_state(state)
    return ReleasedWeights(converted, task, named, num_classes, part, left, dict(backbone=dict(arch=named), **heads))


def select_state(checkpoint: Mapping) -> tuple[dict[str, Tensor], str, tuple[str, ...]]:
    """The state dict inside a checkpoint.

    Args:
        checkpoint (Mapping): A state dict, or a dict that holds one or several.

    Returns:
        tuple[dict[str, Tensor], str, tuple[str, ...]]: The state dict without ``module.``, the entry that it was in
        ('' for a bare one), and the entries with another model that were left.

    Raises:
        ValueError: There is no state dict, or it holds something else than tensors.
    """
    if not isinstance(checkpoint, Mapping):
        raise ValueError(f'a checkpoint is a dict of tensors, or holds one under {", ".join(CONTAINERS)}; '
                         f'got a {type(checkpoint).__name__}')
    held = [name for name in CONTAINERS if isinstance(checkpoint.get(name), Mapping) and checkpoint[name]]
    part = held[0] if held else ''
    state = dict(checkpoint[part] if held else checkpoint)
    while state and all(key.startswith('module.') for key in state):   # of a wrapper for several GPUs
        state = {key.removeprefix('module.'): value for key, value in state.items()}
    wrong = [key for key, value in state.items() if not isinstance(value, Tensor)]
    if wrong or not state:
        what = f'{", ".join(map(str, wrong[:5]))} are no tensors' if wrong else 'it is empty'
        raise ValueError(f'no state dict found{f" under {part}" if part else ""}: {what}. A released checkpoint is a '
                         f'dict of tensors, or holds one under {", ".join(CONTAINERS)}')
    return state, part, tuple(held[1:])


def tell_task(state: Mapping[str, Tensor]) -> str:
    """The task of a released state dict, told from its keys.

    Args:
        state (Mapping[str, Tensor]): Released keys.

    Returns:
        str: 'classification', 'detection' or 'segmentation'.

    Raises:
        KeyError: The keys are those of no task.
    """
    found = [task for task, prefixes in TASKS.items() if any(key.startswith(prefixes) for key in state)]
    if len(found) > 1 and 'classification' in found and any(key.startswith('encoder.') for key in state):
        found.remove('classification')   # a stray key, to be named as unknown
    if len(found) == 1:
        return found[0]
    if any(key.startswith('backbone.') for key in state):
        raise KeyError(f'the keys are in our layout already ({next(iter(state))} …): nothing is left to convert')
    which = 'of several tasks' if found else 'of no released model'
    raise KeyError(f'the keys are those {which} ({", ".join(list(state)[:3])} …): a classifier has classifier.fc.*, '
                   'a detector ssd_heads.* and encoder.*, a segmentor seg_head.* and encoder.*')


def chosen(weights: ReleasedWeights) -> str:
    """One line about the entry that was taken where there were several."""
    averaged = ' (the averaged model, EMA)' if weights.part in AVERAGED else ''
    return f'taken: {weights.part}{averaged}; left: {", ".join(weights.left)}'


def _tell_classifier(state: Mapping[str, Tensor]) -> tuple[dict, dict, Shapes]:
    arch = tell_arch(state)
    expected = backbone_shapes(arch, with_exp=True)
    in_channels = expected['conv_1x1_exp.block.conv.weight'][0]
    rows = [len(state[key]) for key in ('classifier.fc.bias', 'classifier.fc.weight') if key in state]
    num_classes = rows[0] if rows else 1000
    expected |= {'classifier.fc.weight': (num_classes, in_channels), 'classifier.fc.bias': (num_classes, )}
    return arch, dict(head=dict(num_classes=num_classes, in_channels=in_channels)), expected


_TELL = {'classification': _tell_classifier, 'detection': tell_ssdlite, 'segmentation': tell_deeplabv3}
