"""Compare the parts of a config that must agree: widths of maps, numbers of classes."""
import inspect

from mmengine.registry import DATASETS, MODELS

import mmaffnet.registry

from .config_types import config_mistakes, look_up, our_class
from .errors import UserError

GIVES_CHANNELS_ON = ('GlobalAveragePooling', 'GeneralizedMeanPooling')  # necks of mmpretrain


def check_channels(cfg):
    """Compare the widths of AFFNet's maps with what the next part of the model is built for.

    Args:
        cfg (Config): Its host must have been imported.

    Raises:
        UserError: Naming both, or what AFFNet refuses.
    """
    model = cfg.get('model')
    config = model.get('backbone') if isinstance(model, dict) else None
    kind = our_class(config.get('type'), 'model.backbone') if isinstance(config, dict) else None
    if kind is not mmaffnet.AFFNet:
        return
    with config_mistakes(cfg):
        backbone = mmaffnet.registry.MODELS.build(dict(config, type='mmaffnet.AFFNet'))
    widths = (*backbone.arch['channels'][1:], backbone.conv_1x1_exp.out_channels if 5 in backbone.out_indices else None)
    channels = [widths[index] for index in backbone.out_indices]
    gives = f'backbone gives {channels} (arch and out_indices {list(backbone.out_indices)})'
    for path, expected, index in _consumers(model):
        if isinstance(expected, list | tuple) and index is None:
            fits = list(expected) == channels
        else:  # mmseg's heads and mmpretrain's read the last map where they do not say which
            indices = list(index) if isinstance(index, list | tuple) else [-1 if index is None else index]
            wanted = list(expected) if isinstance(expected, list | tuple) else [expected]
            fits = all(isinstance(i, int) and -len(channels) <= i < len(channels) for i in indices) \
                and [channels[i] for i in indices] == wanted
        if not fits:
            at = '' if index is None else f' at in_index {index}'
            raise UserError(f'config {cfg.filename}: {path}.in_channels is {_plain(expected)}{at}, but the {gives}: '
                            'make them agree')


def _consumers(model):
    """Yield (path, in_channels, in_index) of what reads the backbone's maps."""
    neck = model.get('neck')
    if isinstance(neck, dict) and 'in_channels' in neck:
        if isinstance(neck['in_channels'], list | tuple):
            yield 'model.neck', neck['in_channels'], None
        return
    passes_on = not neck or (isinstance(neck, dict) and str(neck.get('type')).split('.')[-1] in GIVES_CHANNELS_ON)
    if not passes_on:
        return
    for name in ('decode_head', 'auxiliary_head', 'bbox_head', 'head'):
        heads = model.get(name)
        for path, head in _numbered(f'model.{name}', heads):
            channels = head.get('in_channels')
            if channels is None or (name == 'bbox_head' and not isinstance(channels, list | tuple)):
                continue
            yield path, channels, head.get('in_index')


def _numbered(path, heads):
    if isinstance(heads, dict):
        yield path, heads
    elif isinstance(heads, list | tuple):
        yield from ((f'{path}.{i}', head) for i, head in enumerate(heads) if isinstance(head, dict))


def _plain(value):
    return list(value) if isinstance(value, list | tuple) else value


def check_num_classes(cfg, part, dataset):
    """Compare the number of classes of the heads with that of the data.

    Args:
        cfg (Config): Its host must have been imported.
        part (str): 'train', 'val' or 'test', for the message.
        dataset (dict): Config of a data set; one whose classes only its files know is not looked at, nor is one whose
            classes are given to the model as a text.

    Raises:
        UserError: Naming the head, both numbers and the line that mends it.
    """
    if dataset.get('return_classes'):
        return
    classes = _classes_of(cfg, dataset)
    if classes is None or not isinstance(cfg.get('model'), dict):
        return
    for path, number in _heads(cfg):
        if number != len(classes):
            names = ', '.join(map(str, classes[:5])) + (', …' if len(classes) > 5 else '')
            raise UserError(
                f'config {cfg.filename}: {path}.num_classes is {number}, but the {part} data have {len(classes)} '
                f'classes ({names}): set {path}.num_classes = {len(classes)}, or give the classes once for all by '
                'classes = (…) at the top of the config (docs/own_data.md)')


def _classes_of(cfg, dataset):
    """Classes of a data set by its config, None where only its files know them."""
    given = (dataset.get('metainfo') or {}).get('classes')
    if given is None and isinstance(dataset.get('type'), str):
        given = (getattr(look_up(DATASETS, cfg, dataset['type']), 'METAINFO', None) or {}).get('classes')
    return None if given is None or isinstance(given, str) else list(given)  # a text is a file of names


def _heads(cfg):
    """Yield (path, num_classes) of all heads that tell the data's classes apart."""
    model = cfg.model
    places = [(f'model.{name}', model.get(name)) for name in ('bbox_head', 'mask_head', 'decode_head',
                                                              'auxiliary_head', 'head')]
    roi = model.get('roi_head')
    if isinstance(roi, dict):
        places += [(f'model.roi_head.{name}', roi.get(name)) for name in ('bbox_head', 'mask_head')]
    for place, heads in places:
        for path, head in _numbered(place, heads):
            number = head.get('num_classes', _default_num_classes(cfg, head))
            if isinstance(number, int):
                yield path, number


def _default_num_classes(cfg, head):
    target = look_up(MODELS, cfg, head['type']) if isinstance(head.get('type'), str) else head.get('type')
    for base in inspect.getmro(target) if inspect.isclass(target) else ():
        parameter = inspect.signature(base.__init__).parameters.get('num_classes')
        if parameter is not None:
            return parameter.default
    return None
