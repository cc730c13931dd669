"""Find mistakes in a config before its first iteration: keys, values and numbers that do not fit each other."""
import difflib
import inspect

from mmengine.registry import MODELS
from mmengine.runner import Runner

from .config_fit import check_channels, check_num_classes
from .config_types import accepted_keys, look_up, our_class
from .errors import UserError
from .own_data import leaf_datasets

# What the hosts take out of a config before they build ours, by the name of what the dict is found under.
CONSUMED = {'type', '_scope_', '_delete_', 'priority'}
# Parts of a config that are built; a pipeline or model that stands in a variable beside them is looked at where it is
# used.
BUILT = (set(inspect.signature(Runner.__init__).parameters) - {'self', 'cfg'}) | {'tta_model', 'tta_pipeline'}


def check_config(cfg, parts):
    """Check what can be checked without the data's content.

    Args:
        cfg (Config): With own data applied; its host must have been imported.
        parts (Sequence[str]): Of 'train', 'val', 'test': those that the run will use.

    Raises:
        UserError: Naming the key by its dotted path, what it was, and what is allowed.
    """
    for name in sorted(BUILT & set(cfg)):
        _check_keys(cfg, cfg[name], name)
    _check_numbers(cfg, parts)
    check_channels(cfg)
    for part in parts:
        for dataset in leaf_datasets(cfg.get(f'{part}_dataloader')):
            check_num_classes(cfg, part, dataset)


def _check_keys(cfg, node, path):
    if isinstance(node, list | tuple):
        for index, child in enumerate(node):
            _check_keys(cfg, child, f'{path}.{index}')
    if not isinstance(node, dict):
        return
    target = our_class(node.get('type'), path)
    if target is not None:
        allowed = accepted_keys(target)
        if hasattr(target, 'build_iter_from_epoch'):  # mmengine's builder of schedulers takes this one out
            allowed = allowed | {'convert_to_iter_based'}
        for key in node:
            if key not in allowed | CONSUMED and not (key == 'requires_grad' and 'norm_cfg' in path):
                close = difflib.get_close_matches(str(key), sorted(allowed), n=3, cutoff=0.6)
                hint = f'did you mean {" or ".join(close)}?' if close else f'allowed: {", ".join(sorted(allowed))}'
                raise UserError(f'config {cfg.filename}: {path} ({target.__name__}) has no {key!r}; {hint}')
    for key, child in node.items():
        if str(key).endswith('norm_cfg'):
            _check_norm(cfg, child, f'{path}.{key}')
        _check_keys(cfg, child, f'{path}.{key}')


def _check_norm(cfg, node, path):
    """mmcv answers an unknown norm with "Cannot find None"."""
    kind = node.get('type') if isinstance(node, dict) else None
    if isinstance(kind, str) and look_up(MODELS, cfg, kind) is None:
        raise UserError(f'config {cfg.filename}: {path}.type is {kind!r}, which is no known norm; usual '
                        'ones: BN, SyncBN, GN, LN, IN')


def _check_numbers(cfg, parts):
    for part in parts:
        name = f'{part}_dataloader'
        loader = cfg.get(name)
        if not isinstance(loader, dict):
            continue
        _check_integer(cfg, f'{name}.batch_size', loader.get('batch_size'), 1)
        _check_integer(cfg, f'{name}.num_workers', loader.get('num_workers'), 0)
        if loader.get('num_workers') == 0 and loader.get('persistent_workers'):
            raise UserError(f'config {cfg.filename}: {name}.persistent_workers needs workers, but num_workers is 0: '
                            f'set it to False too (--cfg-options {name}.persistent_workers=False)')
    if 'train' in parts:
        for key in ('max_epochs', 'max_iters', 'val_interval'):
            _check_integer(cfg, f'train_cfg.{key}', (cfg.get('train_cfg') or {}).get(key), 1)
        optimizer = (cfg.get('optim_wrapper') or {}).get('optimizer')
        rate = optimizer.get('lr') if isinstance(optimizer, dict) else None
        if rate is not None and not (_is_number(rate) and 0 <= rate < float('inf')):
            raise UserError(f'config {cfg.filename}: optim_wrapper.optimizer.lr must be a number from 0 on, but is '
                            f'{rate!r}')


def _check_integer(cfg, path, value, least):
    if value is not None and not (isinstance(value, int) and not isinstance(value, bool) and value >= least):
        raise UserError(f'config {cfg.filename}: {path} must be a whole number from {least} on, but is {value!r}')


def _is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool)
