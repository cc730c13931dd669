"""Look before a model is built whether the data that a config names is there, and whether its classes are."""
import json
import mmap
from pathlib import Path

from .check_labels import check_class_folders, check_masks
from .errors import UserError
from .own_data import data_path, leaf_datasets, metric_configs

# What to do where a set is missing; the folders below the root stand in each data set's config.
HOW_TO_GET = {
    'CocoDataset': 'get train2017, val2017 and annotations from cocodataset.org and unpack or link them there',
    'ImageNet': 'get ILSVRC 2012 from image-net.org and unpack or link it there',
    'ADE20KDataset': 'get ADEChallengeData2016 from sceneparsing.csail.mit.edu and unpack or link it there',
    'PascalVOCDataset': 'get VOC 2012 from host.robots.ox.ac.uk/pascal/VOC and unpack or link it there',
}
SELF_DOWNLOADING = ('CIFAR10', 'CIFAR100', 'MNIST', 'FashionMNIST')  # mmpretrain's data sets that fetch themselves


def check_data(cfg, parts):
    """Check that the data sets of a run are there; imports no host.

    Args:
        cfg (Config): With own data applied, see :func:`mmaffnet.engine.own_data.apply_own_data`.
        parts (Sequence[str]): Of 'train', 'val', 'test': those that the run will use.

    Raises:
        UserError: Naming what is missing, where it was looked for, and how to get it.
    """
    for part in parts:
        for dataset in leaf_datasets(cfg.get(f'{part}_dataloader')):
            if _type(dataset) in SELF_DOWNLOADING:
                continue
            for what, path in _paths(dataset):
                if '://' not in path and not Path(path).exists():
                    raise UserError(_missing(part, dataset, what, path))
        for metric in metric_configs(cfg, part) if part != 'train' else ():
            if metric.get('ann_file') and '://' not in metric['ann_file'] and not Path(metric['ann_file']).is_file():
                raise UserError(f"{part}_evaluator reads {metric['ann_file']}, which is not there: set its ann_file")


def check_classes(cfg, parts):
    """Check that annotation files, masks and class folders have the classes that the config names, in its order.

    Args:
        cfg (Config): As for :func:`check_data`; its host must have been imported.
        parts (Sequence[str]): Of 'train', 'val', 'test': those that the run will use.

    Raises:
        UserError: With the line that would mend it.
    """
    for part in parts:
        for dataset in leaf_datasets(cfg.get(f'{part}_dataloader')):
            _check_coco_classes(cfg, dataset)
            if (dataset.get('metainfo') or {}).get('classes') is not None:
                if cfg.get('default_scope') == 'mmseg':
                    check_masks(cfg, dataset)
                elif cfg.get('default_scope') == 'mmpretrain':
                    check_class_folders(dataset)


def use_checked_coco(cfg):
    """Let mmdet's COCO data sets be read by ours, which checks the file (:class:`mmaffnet.datasets.coco.CocoDataset`).

    The config's top-level ``max_bad_share`` goes into them.

    Args:
        cfg (Config): Changed in place; other data sets, and classes derived from mmdet's, stay.
    """
    if cfg.get('default_scope') != 'mmdet':
        return
    for part in ('train', 'val', 'test'):
        metrics = metric_configs(cfg, part) if part != 'train' else []
        # COCO's own files of its test pictures hold no annotations: their predictions are written for its server.
        only_written = bool(metrics) and all(metric.get('format_only') for metric in metrics)
        for dataset in leaf_datasets(cfg.get(f'{part}_dataloader')):
            if dataset.get('type') in ('CocoDataset', 'mmdet.CocoDataset'):
                dataset['type'] = 'mmaffnet.CocoDataset'
            if dataset.get('type') != 'mmaffnet.CocoDataset':
                continue
            if only_written:
                dataset.setdefault('require_annotations', False)
            if cfg.get('max_bad_share') is not None:
                dataset.setdefault('max_bad_share', cfg.max_bad_share)


def coco_categories(path):
    """Read the categories of a COCO annotation file without reading its annotations.

    COCO's training file has 450 MB and takes ten seconds to parse; this takes what one search for the key takes.

    Args:
        path (str | Path): The file.

    Returns:
        list[str]: The categories' names in the order of the file, which is the order of mmdet's labels.

    Raises:
        UserError: Where the file is no JSON object with a list of categories.
    """
    if not Path(path).is_file():
        raise UserError(f'{path} is no file; it should be a COCO annotation file')
    if not Path(path).stat().st_size:
        raise UserError(f'{path} is empty; it should be a COCO annotation file')
    with open(path, 'rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        key = b'"categories"'
        found = data.rfind(key)
        tail = data[found + len(key):] if found >= 0 else b''
    try:
        # raw_decode stops behind the list: what follows it (annotations, where they come last) is not parsed.
        categories, _ = json.JSONDecoder().raw_decode(tail.decode().lstrip().removeprefix(':').lstrip())
        return [category['name'] for category in categories]
    except (ValueError, TypeError, KeyError) as error:
        from mmaffnet.datasets.coco_file import read_coco  # here, since it brings the hosts of the data sets along
        read_coco(path)  # says where the file breaks off, if it does
        raise UserError(f'{path} has no list "categories" of objects with a "name": it is no COCO annotation file, '
                        'or it is cut short') from error


def _check_coco_classes(cfg, dataset):
    if _type(dataset) != 'CocoDataset' or not dataset.get('ann_file'):
        return
    path = data_path(dataset, dataset.ann_file)
    if '://' in path:
        return
    names = coco_categories(path)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f'{path} has the category {twice[0]!r} more than once: give each class one category')
    classes = (dataset.get('metainfo') or {}).get('classes')
    if classes is None:
        from mmdet.datasets import CocoDataset
        classes = CocoDataset.METAINFO['classes']
    missing = [name for name in classes if name not in names]
    suggestion = f'classes = {tuple(names)!r}'
    if missing:
        raise UserError(f'{path} has no category {", ".join(map(repr, missing[:3]))}'
                        f'{f" and {len(missing) - 3} more" if len(missing) > 3 else ""} of the {len(classes)} classes '
                        f'in {cfg.filename}; all categories of the file are asked for by {_shorten(suggestion)}')
    # mmdet numbers labels in the order of the file whatever the order of classes: other orders would swap names.
    in_file_order = tuple(name for name in names if name in classes)
    if in_file_order != tuple(classes):
        raise UserError(f'classes must stand in the order of the categories in {path}, since mmdet numbers them so: '
                        f'{_shorten(f"classes = {in_file_order!r}")}')


def _paths(dataset):
    """Yield (what it is, path) of all that a data set's config names."""
    if dataset.get('data_root'):
        yield 'data root', dataset.data_root
    if dataset.get('ann_file'):
        yield 'annotation file', data_path(dataset, dataset.ann_file)
    prefix = dataset.get('data_prefix') or {}
    for folder in prefix.values() if isinstance(prefix, dict) else [prefix]:
        if folder:
            yield 'folder', data_path(dataset, folder)
    if dataset.get('split') and not prefix:  # mmpretrain's ImageNet
        yield 'folder', data_path(dataset, dataset.split)


def _missing(part, dataset, what, path):
    how = HOW_TO_GET.get(_type(dataset), 'put the data there')
    return (f'{what} {path} of the {"training" if part == "train" else "validation"} data is missing '
            f'(looked for {Path(path).absolute()}): {how}, or name where it is: --cfg-options data_root=FOLDER '
            '(docs/own_data.md tells more)')


def _type(dataset):
    return str(dataset.get('type')).rsplit('.', 1)[-1]


def _shorten(text, limit=400):
    return text if len(text) <= limit else text[:limit] + '…'
