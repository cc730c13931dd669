"""Train a detector, segmentor or classifier: one entry for all three hosts."""
from mmengine.registry import RUNNERS

from .check_data import check_classes, check_data
from .config import add_tensorboard, apply_common_arguments, import_host, load_config
from .config_checks import check_config
from .config_types import config_mistakes
from .errors import UserError, say
from .own_data import apply_own_data
from .resume_file import check_resume, find_resume
from .weights import check_file


def add_train_arguments(parser):
    """Add what only training takes.

    Args:
        parser (argparse.ArgumentParser): Changed in place.
    """
    parser.add_argument('config', help='config file, or the name of a shipped one (mmaffnet-config list)')
    parser.add_argument('--resume', nargs='?', const='auto', metavar='CHECKPOINT',
                        help='go on from a checkpoint; without one from the newest in the work directory')
    parser.add_argument('--amp', action='store_true', help='mixed precision, where the config does not say it already')
    parser.add_argument('--auto-scale-lr', action='store_true',
                        help='scale the learning rate with the batch over all processes (auto_scale_lr of the config)')
    parser.add_argument('--seed', type=int, help='seed of all random numbers (default: a new one for each run)')
    parser.add_argument('--deterministic', action='store_true', help='deterministic algorithms only; slower')
    parser.add_argument('--no-validate', action='store_true', help='do not evaluate during training')
    parser.add_argument('--tensorboard', action='store_true', help='write TensorBoard files into the work directory')


def train(args):
    """Train as the arguments of ``tools/train.py`` say.

    Args:
        args (argparse.Namespace): See :func:`add_train_arguments` and
            :func:`mmaffnet.engine.config.add_common_arguments`.

    Returns:
        Runner: After training.

    Raises:
        UserError: Where something that the user gave is missing or wrong; found before a model is built.
    """
    cfg = prepare(args)
    with config_mistakes(cfg):
        runner = RUNNERS.build(cfg)
        runner.train()
    return runner


def prepare(args):
    """Make the config of a training run, and check everything that can be checked before a model is built.

    Args:
        args (argparse.Namespace): See :func:`train`.

    Returns:
        Config: Ready for ``RUNNERS.build``.

    Raises:
        UserError: See :func:`train`.
    """
    cfg = load_config(args.config, args.cfg_options)
    apply_common_arguments(cfg, args)
    _apply_train_arguments(cfg, args)
    apply_own_data(cfg)
    _apply_resume(cfg, args)
    if cfg.get('load_from'):
        check_file(cfg.load_from, 'resume' if cfg.get('resume') else 'load_from')
    elif cfg.get('pretrained'):
        check_file(cfg.pretrained, 'pretrained')
    parts = used_parts(cfg)
    check_data(cfg, parts)
    import_host(cfg)
    check_classes(cfg, parts)
    check_config(cfg, parts)
    if 'pretrained' in cfg and not cfg.pretrained and not cfg.get('load_from'):
        say('pretrained = None: training starts from scratch. A backbone of your own goes in by '
            '--cfg-options pretrained=FILE, a whole checkpoint by load_from=FILE (tools/train.py writes both)')
    return cfg


def used_parts(cfg):
    """Parts of the data that a training uses.

    Args:
        cfg (Config): Of a training run.

    Returns:
        tuple[str, ...]: 'train', and 'val' where it is evaluated.
    """
    return ('train', ) if cfg.get('val_cfg') is None else ('train', 'val')


def _apply_train_arguments(cfg, args):
    for key in ('train_dataloader', 'train_cfg', 'optim_wrapper'):
        if not cfg.get(key):
            raise UserError(f'config {cfg.filename} has no {key}: it cannot be trained')
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if args.amp and cfg.optim_wrapper.get('type', 'OptimWrapper') != 'AmpOptimWrapper':
        if cfg.optim_wrapper.get('type', 'OptimWrapper') != 'OptimWrapper':
            raise UserError(f'--amp needs optim_wrapper.type OptimWrapper, but it is {cfg.optim_wrapper.type}')
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    if args.auto_scale_lr:
        if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
            raise UserError(f'--auto-scale-lr needs auto_scale_lr = dict(base_batch_size=N) in {cfg.filename}, N being '
                            'the batch that its learning rate is meant for')
        cfg.auto_scale_lr.enable = True
    randomness = dict(cfg.get('randomness') or dict(seed=None))
    if args.seed is not None:
        randomness['seed'] = args.seed
    if args.deterministic:
        randomness['deterministic'] = True
    cfg.randomness = randomness
    if args.tensorboard:
        add_tensorboard(cfg)


def _apply_resume(cfg, args):
    """Choose the checkpoint to go on from; ``resume = True`` in a config counts as ``--resume``."""
    path = args.resume or ((cfg.get('load_from') or 'auto') if cfg.get('resume') else None)
    if path is None:
        return
    if path == 'auto':
        hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
        path = find_resume(cfg.work_dir, hook.get('out_dir'))
    else:
        check_resume(path)
    if path is None:
        say(f'--resume: {cfg.work_dir} holds no checkpoint yet, so training starts at the beginning')
        cfg.resume = False
        return
    cfg.resume, cfg.load_from = True, path
