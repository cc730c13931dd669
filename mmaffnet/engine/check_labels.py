"""Look before a model is built whether masks and class folders have the classes that a config names."""
import os
from pathlib import Path

import numpy as np

from .errors import UserError, say
from .own_data import data_path, host_classes

SAMPLES = 16  # masks that are read of each data set, over its whole length
IGNORED = 255


def check_masks(cfg, dataset):
    """Check that each picture has a mask, and that some masks hold the classes' values and no others.

    Args:
        cfg (Config): With own data applied.
        dataset (dict): Config of a data set of mmseg that names its classes.

    Raises:
        UserError: Naming the file, and the key that would mend it.
    """
    from mmseg.registry import DATASETS
    classes, known = dataset.metainfo.classes, host_classes(cfg, dataset)
    if known and set(classes) < set(known):
        say(f'classes are {len(classes)} of the {len(known)} of {dataset.type}, whose numbers the masks have; for '
            'masks of your own, where value k is classes[k], set reduce_zero_label = False')
    built = DATASETS.build(dict(dataset, pipeline=[], serialize_data=False))
    folder = built.data_prefix['img_path']
    if not len(built):
        raise UserError(f'no picture *{built.img_suffix} in {folder}: set img_suffix to the suffix that they have')
    for info in built.data_list:
        for path in (info['img_path'], info['seg_map_path']):
            if '://' not in path and not os.path.exists(path):
                raise UserError(f'{path} is missing: each picture *{built.img_suffix} of {folder} needs a mask of its '
                                f'name and {built.seg_map_suffix!r}; seg_map_suffix sets another suffix')
    numbers = np.linspace(0, len(built) - 1, min(SAMPLES, len(built))).round().astype(int)
    if not any([_holds_classes(dict(built.data_list[number]), len(classes)) for number in numbers]):
        raise UserError(f'none of {len(numbers)} masks of {built.data_prefix["seg_map_path"]} holds one of the '
                        f'{len(classes)} classes' + (
                            f', read as {dataset.type}: for masks of your own, where value k is classes[k], set '
                            'reduce_zero_label = False' if known else ''))


def check_class_folders(dataset):
    """Check that the folders of the classes, or the numbers of an annotation file, are those of the classes.

    mmpretrain numbers the folders in the order of their names, whatever the order of ``classes``.

    Args:
        dataset (dict): Config of a data set of mmpretrain that names its classes.

    Raises:
        UserError: With the line that would mend it.
    """
    if str(dataset.type).rsplit('.', 1)[-1] not in ('ImageNet', 'CustomDataset') or not dataset.get('with_label', True):
        return
    classes, split = tuple(dataset.metainfo.classes), dataset.get('split')
    listed = dataset.get('ann_file') or (split and f'meta/{split}.txt')  # ImageNet takes the second by itself
    if listed and ('://' in data_path(dataset, listed) or Path(data_path(dataset, listed)).is_file()):
        _check_listed_labels(data_path(dataset, listed), classes)
        return
    prefix = dataset.get('data_prefix') or split or ''
    folder = data_path(dataset, prefix.get('img_path', '') if isinstance(prefix, dict) else prefix)
    if '://' in folder:
        return
    from mmpretrain.datasets.custom import find_folders
    names = tuple(find_folders(folder)[0])
    moved = [name for name in classes if name in names and names.index(name) != classes.index(name)]
    if len(names) != len(classes) or moved:
        raise UserError(f'{folder} has the {len(names)} folders {_some(names)}, but classes are the {len(classes)} '
                        f'{_some(classes)}; they must be the folders in the order of their names, or other names in '
                        f'that order: classes = {_some(names)}')


def _holds_classes(info, num_classes):
    """bool: Whether the mask holds a class, after a check that it holds nothing else."""
    from mmseg.datasets.transforms import LoadAnnotations
    path = info['seg_map_path']
    try:
        mask = LoadAnnotations()(dict(info, seg_fields=[]))['gt_seg_map']
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises on damaged files
        raise UserError(f'mask {path} cannot be decoded ({error})') from error
    if mask.ndim != 2:
        raise UserError(f'mask {path} is a colour picture; a mask holds one number a pixel (grey or palette PNG)')
    values = np.unique(mask[mask != IGNORED])
    if len(values) and values[-1] >= num_classes:
        shift = int(info['reduce_zero_label'])
        hint = 'False where 0 is the first class' if shift else 'True where 0 is no class and 1 the first'
        raise UserError(f'mask {path} holds the value {values[-1] + shift}, but {num_classes} classes have {shift} to '
                        f'{num_classes - 1 + shift} ({IGNORED} is ignored): name all classes, or set '
                        f'reduce_zero_label = {hint}')
    return len(values) > 0


def _check_listed_labels(path, classes):
    from mmengine.fileio import list_from_file
    for number, line in enumerate(list_from_file(path), 1):
        label = line.strip().rsplit(' ', 1)[-1]
        if not label.isdigit() or int(label) >= len(classes):
            raise UserError(f'{path}, line {number}: {line.strip()!r} should be a file and a number from 0 to '
                            f'{len(classes) - 1}, the classes being {_some(classes)}')


def _some(names, shown=20):
    return repr(names) if len(names) <= shown else f'({", ".join(map(repr, names[:shown]))}, …)'
