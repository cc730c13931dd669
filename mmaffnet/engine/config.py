"""Read a config for a tool: file, overrides from the command line, and the flags that change it."""
import difflib
import inspect
from pathlib import Path

from mmengine.config import Config, DictAction
from mmengine.runner import Runner

from .errors import UserError, say
from .paths import find_config
from .safe_load import register_safe_schemes

# Top-level keys that mmengine, the hosts or this package read although a config need not name them.
OPTIONAL_KEYS = (set(inspect.signature(Runner.__init__).parameters) - {'self', 'cfg'}) | {
    'activation_checkpointing', 'classes', 'compile', 'custom_imports', 'data_root', 'efficient_conv_bn_eval',
    'find_unused_parameters', 'img_suffix', 'max_bad_share', 'model_wrapper_cfg', 'pretrained', 'reduce_zero_label',
    'runner_type', 'seg_map_suffix', 'sync_bn', 'train_ann_file', 'train_image_dir', 'train_mask_dir', 'tta_model',
    'tta_pipeline', 'val_ann_file', 'val_image_dir', 'val_mask_dir', 'watchdog'}

HOSTS = {'mmdet': 'detection', 'mmseg': 'segmentation', 'mmpretrain': 'classification'}


def load_config(name, cfg_options=None):
    """Read a config file and put the overrides of ``--cfg-options`` into it.

    Args:
        name (str): Path or shipped name, see :func:`mmaffnet.engine.paths.find_config`.
        cfg_options (dict | None): Dotted keys and values.

    Returns:
        Config: The merged config; the modules named in its ``custom_imports`` have been imported.

    Raises:
        UserError: Where the file is missing or cannot be run, a base is missing, or an override names nothing.
    """
    path = find_config(name)
    register_safe_schemes()  # whatever tool reads a config goes on to load checkpoints
    try:
        cfg = Config.fromfile(path)
    except Exception as error:  # a config is the user's program: whatever it raises is about that file
        raise UserError(f'config {path} cannot be read: {type(error).__name__}: {_one_line(error)}') from error
    for key, value in (cfg_options or {}).items():
        check_option(cfg, key)
        try:
            cfg.merge_from_dict({key: value})
        except (KeyError, TypeError, IndexError) as error:
            raise UserError(f'--cfg-options {key}={value} does not fit config {path}: {_one_line(error)}') from error
    return cfg


def check_option(cfg, key):
    """Refuse an override that would change nothing because its key is misspelt.

    An unknown key on the top level or along the way is refused. A new last key is allowed, since many options have
    defaults that no config names, unless it looks like a key that is there.

    Args:
        cfg (Config): The config that will be changed.
        key (str): Dotted key; items of lists by number (``param_scheduler.0.end``).

    Raises:
        UserError: Naming the key and what is close to it.
    """
    parts = key.split('.')
    if parts[0] not in cfg and parts[0] not in OPTIONAL_KEYS:
        raise _unknown(key, parts[0], set(cfg) | OPTIONAL_KEYS, 'this config')
    if parts[0] not in cfg or len(parts) == 1:
        return
    node = cfg[parts[0]]
    for depth, part in enumerate(parts[1:], start=1):
        here = '.'.join(parts[:depth])
        if isinstance(node, list | tuple):
            if not (part.isdigit() and int(part) < len(node)):
                raise UserError(f'--cfg-options {key}: {here} is a list of {len(node)}, and {part!r} is none of '
                                f'its numbers 0 to {len(node) - 1}')
            node = node[int(part)]
        elif isinstance(node, dict):
            last = depth == len(parts) - 1
            if part not in node:
                if not last or difflib.get_close_matches(part, list(node), n=1, cutoff=0.85):
                    raise _unknown(key, part, set(node), here)
                return
            node = node[part]
        elif node is None:
            return
        else:
            raise UserError(f'--cfg-options {key}: {here} is {node!r} and has nothing below it')


class OptionAction(DictAction):
    """mmengine's action for ``--cfg-options``, which answers a malformed option with a traceback."""

    def __call__(self, parser, namespace, values, option_string=None):
        """Read ``KEY=VALUE`` pairs into a dict.

        Args:
            parser (argparse.ArgumentParser): Ends with exit code 2 where a pair is malformed.
            namespace (argparse.Namespace): Changed in place.
            values (Sequence[str]): The pairs.
            option_string (str | None): The flag.
        """
        for value in values:
            key, equals, _ = value.partition('=')
            if not key or not equals:
                parser.error(f'{option_string} {value}: must be KEY=VALUE')
        try:
            super().__call__(parser, namespace, values, option_string)
        except AssertionError as error:  # unbalanced brackets
            parser.error(f'{option_string}: {error}')


def add_option_argument(parser):
    """Add ``--cfg-options``.

    Args:
        parser (argparse.ArgumentParser): Changed in place.
    """
    parser.add_argument('--cfg-options', nargs='+', action=OptionAction, metavar='KEY=VALUE',
                        help='change the config: dotted.key=value, lists as key="[a,b]" or key=a,b')


def add_common_arguments(parser):
    """Add the arguments that training and testing share.

    Args:
        parser (argparse.ArgumentParser): Changed in place.
    """
    parser.add_argument('--work-dir', help='where logs and checkpoints go (default: work_dirs/NAME_OF_CONFIG)')
    add_option_argument(parser)
    parser.add_argument('--launcher', choices=('none', 'pytorch', 'slurm', 'mpi'), default='none',
                        help='how several processes were started (tools/dist_train.sh: pytorch)')
    # torch.distributed.launch passes this; torchrun sets the environment variable only.
    parser.add_argument('--local_rank', '--local-rank', type=int, help='set by old launchers')


def apply_common_arguments(cfg, args):
    """Put launcher and work directory into the config.

    Args:
        cfg (Config): Changed in place.
        args (argparse.Namespace): With ``config``, ``work_dir``, ``launcher``.
    """
    cfg.launcher = args.launcher
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / Path(args.config).stem)
    # Ours knows CPUs without SyncBN or NCCL, short schedules, classes and pretrained weights.
    cfg.setdefault('runner_type', 'mmaffnet.AFFNetRunner')


def import_host(cfg):
    """Import the one host whose scope the config names, so that its modules are registered.

    Args:
        cfg (Config): Its ``default_scope`` decides.

    Returns:
        str: The host's name.

    Raises:
        UserError: Where the scope is none of the three hosts, or that host cannot be imported.
    """
    scope = cfg.get('default_scope')
    if scope not in HOSTS:
        raise UserError(f'default_scope of {cfg.filename} is {scope!r}; allowed: {", ".join(map(repr, HOSTS))}')
    try:
        # Written out, since importing more than one host would cost seconds and need all three.
        if scope == 'mmdet':
            from mmdet.utils import register_all_modules
        elif scope == 'mmseg':
            from mmseg.utils import register_all_modules
        else:
            from mmpretrain.utils import register_all_modules
    except ImportError as error:
        raise UserError(f'{HOSTS[scope]} needs {scope}, which cannot be imported ({_one_line(error)}): '
                        'python tools/doctor.py shows what is missing and how to mend it') from error
    register_all_modules(init_default_scope=True)
    return scope


def add_tensorboard(cfg):
    """Let the run's visualizer write TensorBoard files too.

    Args:
        cfg (Config): Changed in place.

    Raises:
        UserError: Where the package is missing.
    """
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        raise UserError('--tensorboard needs the package tensorboard: pip install tensorboard') from error
    cfg.setdefault('visualizer', dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')]))
    backends = list(cfg.visualizer.get('vis_backends') or [])
    if not any(backend['type'] == 'TensorboardVisBackend' for backend in backends):
        cfg.visualizer.vis_backends = [*backends, dict(type='TensorboardVisBackend')]
    say(f'TensorBoard: tensorboard --logdir {cfg.work_dir}')


def _unknown(key, part, known, where):
    close = difflib.get_close_matches(part, sorted(known), n=3, cutoff=0.6)
    hint = f'did you mean {" or ".join(close)}?' if close else f'there are: {", ".join(sorted(known))}'
    return UserError(f'--cfg-options {key}: {where} has no {part!r}; {hint}')


def _one_line(error):
    return ' '.join(str(error).split())
