"""Put a config's top-level ``data_root``, ``classes`` and file names where data sets, metrics and heads read them.

mmengine copies a variable's value into the data sets while it reads the file that uses it, so that a config that
inherits and changes the variable, or ``--cfg-options data_root=…``, would change nothing. The functions here
carry such changes on. What is written out in a data set itself always wins.
"""
import os

from .config import import_host
from .errors import UserError
from .image_size import apply_image_size
from .paths import assigned_value, config_chain

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def apply_own_data(cfg):
    """Carry ``data_root``, ``classes``, ``{train,val}_{ann_file,image_dir,mask_dir}``, suffixes,
    ``reduce_zero_label`` and ``image_size`` on; idempotent.

    Args:
        cfg (Config): Changed in place.

    Raises:
        UserError: Where ``classes`` is no list of different names, ``reduce_zero_label`` stands without them, or
            ``image_size`` is no number of pixels.
    """
    apply_image_size(cfg, _former_values(cfg, 'image_size'))
    for loader in LOADERS:
        for dataset in leaf_datasets(cfg.get(loader)):
            _apply_files(cfg, dataset, 'train' if loader == 'train_dataloader' else 'val')
            _apply_root(cfg, dataset)
    if cfg.get('default_scope') == 'mmseg':
        _apply_own_masks(cfg)
    if cfg.get('classes'):
        apply_classes(cfg, cfg.classes)
    for part in ('val', 'test'):
        _apply_metric_files(cfg, part)


def apply_classes(cfg, classes):
    """Give the classes to all data sets, and their number to all heads.

    Args:
        cfg (Config): Changed in place.
        classes (Sequence[str] | str): Their names; one string is one class.

    Raises:
        UserError: Where it is no list of different names.
    """
    classes = (classes,) if isinstance(classes, str) else tuple(classes)
    if not all(isinstance(name, str) and name for name in classes) or len(set(classes)) != len(classes):
        raise UserError(f"classes is {classes!r}; it must be a list of different names, such as ('cat', 'dog')")
    for loader in LOADERS:
        for dataset in leaf_datasets(cfg.get(loader)):
            dataset.metainfo = dict(dataset.get('metainfo') or {}, classes=classes)
            _drop_palette_of_other_classes(dataset.metainfo, len(classes))
    for part in ('model', 'data_preprocessor'):
        _change_everywhere(cfg.get(part), 'num_classes', lambda _: len(classes))
    for part in ('model', 'val_evaluator', 'test_evaluator'):
        _change_everywhere(cfg.get(part), 'topk', lambda topk: _possible_topk(topk, len(classes)))


def leaf_datasets(dataloader):
    """Find the data sets proper below wrappers (repeated, concatenated, mosaic).

    Args:
        dataloader (dict | None): Config of a data loader.

    Returns:
        list[dict]: Their configs, to be read or changed in place.
    """
    found, todo = [], [dataloader.get('dataset')] if dataloader else []
    while todo:
        node = todo.pop(0)
        if isinstance(node, list | tuple):
            todo.extend(node)
        elif isinstance(node, dict):
            inner = [node[key] for key in ('dataset', 'datasets') if key in node]
            todo.extend(inner)
            if not inner:
                found.append(node)
    return found


def data_path(dataset, path):
    """Join a path of a data set with its root, as ``mmengine.dataset.BaseDataset`` does.

    Args:
        dataset (dict): Config of a data set.
        path (str): Absolute, or relative to ``data_root``.

    Returns:
        str: The joined path.
    """
    root = dataset.get('data_root')
    return path if not root or os.path.isabs(path) or '://' in path else os.path.join(root, path)


def metric_configs(cfg, part):
    """list[dict]: Metrics of ``val_evaluator`` or ``test_evaluator`` (``part``: 'val' or 'test')."""
    evaluator = cfg.get(f'{part}_evaluator') or []
    return [evaluator] if isinstance(evaluator, dict) else list(evaluator)


def _apply_root(cfg, dataset):
    wanted = cfg.get('data_root')
    current = dataset.get('data_root')
    # A root that stood in the variable in this config or one of its bases was put there by the variable.
    if wanted and (current is None or (current != wanted and current in _former_values(cfg, 'data_root'))):
        dataset.data_root = wanted


def _apply_files(cfg, dataset, part):
    if cfg.get(f'{part}_ann_file') is not None:
        dataset.ann_file = cfg[f'{part}_ann_file']
    prefix = dataset.get('data_prefix')
    prefix = dict(prefix) if isinstance(prefix, dict) else {}
    if cfg.get(f'{part}_image_dir') is not None:
        key = 'img_path' if 'img_path' in prefix or cfg.get('default_scope') in ('mmseg', 'mmpretrain') else 'img'
        dataset.data_prefix = prefix = dict(prefix, **{key: cfg[f'{part}_image_dir']})
    if cfg.get(f'{part}_mask_dir') is not None:
        dataset.data_prefix = dict(prefix, seg_map_path=cfg[f'{part}_mask_dir'])
    for key in ('img_suffix', 'seg_map_suffix'):
        if cfg.get(key) is not None:
            dataset[key] = cfg[key]


def _apply_own_masks(cfg):
    """Read masks of classes of one's own by mmseg's general data set: ADE20K's and VOC's know their own classes only.

    Where the classes are some of the host data set's own, they choose among its labels, as mmseg has it; with
    ``reduce_zero_label`` the masks are one's own whatever the names.
    """
    reduce_zero_label = cfg.get('reduce_zero_label')
    if not cfg.get('classes'):
        if reduce_zero_label is not None:
            raise UserError(f'reduce_zero_label = {reduce_zero_label} is for masks of your own, but classes is not '
                            'set: name them, or leave reduce_zero_label out')
        return
    for dataset in [dataset for loader in LOADERS for dataset in leaf_datasets(cfg.get(loader))]:
        known = host_classes(cfg, dataset)
        own = bool(known) and (reduce_zero_label is not None or not set(cfg.classes) <= set(known))
        if own:
            dataset.type = 'BaseSegDataset'
        if own or reduce_zero_label is not None:
            dataset.reduce_zero_label = bool(reduce_zero_label)
            for node in (dataset, cfg.get('tta_pipeline')):  # pipelines may say it a second time
                _change_everywhere(node, 'reduce_zero_label', lambda _: bool(reduce_zero_label))


def host_classes(cfg, dataset):
    """Find the classes that a data set of mmseg knows by itself.

    Args:
        cfg (Config): With ``default_scope`` 'mmseg'.
        dataset (dict): Config of a data set.

    Returns:
        tuple[str] | None: ADE20K's for ``ADE20KDataset``, and so on; None where the masks' meaning is the config's.

    Raises:
        UserError: Where mmseg cannot be imported.
    """
    import_host(cfg)
    from mmseg.registry import DATASETS
    found = DATASETS.get(dataset['type']) if isinstance(dataset['type'], str) else dataset['type']
    return getattr(found, 'METAINFO', {}).get('classes')


def _apply_metric_files(cfg, part):
    """CocoMetric reads the ground truth by itself: from the data set's own file, or the two would disagree."""
    datasets = leaf_datasets(cfg.get(f'{part}_dataloader'))
    if len(datasets) != 1 or not datasets[0].get('ann_file'):
        return
    for metric in metric_configs(cfg, part):
        if metric['type'].rsplit('.', 1)[-1] == 'CocoMetric':
            metric['ann_file'] = data_path(datasets[0], datasets[0].ann_file)


def _former_values(cfg, name):
    if not cfg.filename or not str(cfg.filename).endswith('.py'):
        return set()
    return {assigned_value(path, name) for path in config_chain(cfg.filename)}


def _drop_palette_of_other_classes(metainfo, num_classes):
    if isinstance(metainfo.get('palette'), list | tuple) and len(metainfo['palette']) != num_classes:
        del metainfo['palette']


def _possible_topk(topk, num_classes):
    """Leave out what so few classes do not allow: five guesses among three names are always right."""
    if isinstance(topk, int):
        return min(topk, num_classes)
    return tuple(k for k in topk if k <= num_classes) or (1, )


def _change_everywhere(node, key, change):
    if isinstance(node, dict):
        if key in node:
            node[key] = change(node[key])
        node = list(node.values())
    if isinstance(node, list | tuple):
        for child in node:
            _change_everywhere(child, key, change)
