"""Evaluate a checkpoint: one entry for all three hosts."""
import copy
import json
from pathlib import Path

from mmengine.config import ConfigDict
from mmengine.dist import is_main_process
from mmengine.evaluator import DumpResults
from mmengine.registry import RUNNERS

from .check_data import check_classes, check_data
from .config import apply_common_arguments, import_host, load_config
from .config_checks import check_config
from .config_types import config_mistakes
from .errors import UserError, say
from .evaluator import UNREADABLE
from .own_data import apply_own_data
from .weights import check_file


def add_test_arguments(parser):
    """Add what only testing takes.

    Args:
        parser (argparse.ArgumentParser): Changed in place.
    """
    parser.add_argument('config', help='config file, or the name of a shipped one (mmaffnet-config list)')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--out', help='write the metrics (FILE.json) or all predictions (FILE.pkl)')
    parser.add_argument('--show-dir', help='write pictures with the predictions drawn on them into this folder')
    parser.add_argument('--tta', action='store_true',
                        help='test-time augmentation as tta_model and tta_pipeline of the config say; where they are '
                             'missing, flipped and unflipped (detection, classification)')


def test(args):
    """Evaluate as the arguments of ``tools/test.py`` say.

    Args:
        args (argparse.Namespace): See :func:`add_test_arguments` and
            :func:`mmaffnet.engine.config.add_common_arguments`.

    Returns:
        dict[str, float]: The metrics, and ``unreadable_pictures``, their number, where there are some.

    Raises:
        UserError: Where something that the user gave is missing or wrong.
    """
    out = Path(args.out) if args.out else None
    if out and out.suffix not in ('.json', '.pkl', '.pickle'):
        raise UserError(f'--out {out}: write the metrics to a .json file or the predictions to a .pkl file')
    cfg = load_config(args.config, args.cfg_options)
    apply_common_arguments(cfg, args)
    apply_own_data(cfg)
    check_file(args.checkpoint, 'checkpoint')
    cfg.load_from, cfg.resume = args.checkpoint, False
    if not cfg.get('test_dataloader') or not cfg.get('test_evaluator'):
        raise UserError(f'config {cfg.filename} has no test_dataloader or no test_evaluator: it cannot be tested')
    check_data(cfg, ('test',))
    host = import_host(cfg)
    check_classes(cfg, ('test',))
    check_config(cfg, ('test',))
    if args.show_dir:
        draw_predictions(cfg, host, args.show_dir)
    if args.tta:
        add_tta(cfg, host)
    with config_mistakes(cfg):
        runner = RUNNERS.build(cfg)
        if out and out.suffix != '.json':
            runner.test_evaluator.metrics.append(_dump_metric(host)(out_file_path=str(out)))
        metrics = runner.test()
    if out and out.suffix == '.json' and is_main_process():
        out.parent.mkdir(parents=True, exist_ok=True)
        plain = {key: float(value) for key, value in metrics.items()}
        plain[UNREADABLE] = int(plain.get(UNREADABLE, 0))
        out.write_text(json.dumps(plain, indent=2) + '\n')
    if out:
        say(f'written: {out}')
    return metrics


def draw_predictions(cfg, host, folder):
    """Let the host's visualisation hook write every picture with its predictions.

    Args:
        cfg (Config): Changed in place.
        host (str): 'mmdet', 'mmseg' or 'mmpretrain'.
        folder (str): Where the pictures go.
    """
    types = dict(mmdet='DetVisualizationHook', mmseg='SegVisualizationHook', mmpretrain='VisualizationHook')
    options = dict(
        mmdet=dict(draw=True, test_out_dir=str(Path(folder).absolute())),  # joined with the work directory if relative
        mmseg=dict(draw=True, interval=1),  # written by the visualizer
        mmpretrain=dict(enable=True, interval=1, out_dir=folder))
    hooks = cfg.get('default_hooks') or {}
    cfg.default_hooks = dict(hooks, visualization=dict(
        hooks.get('visualization') or dict(type=types[host]), **options[host]))
    if host == 'mmseg':
        cfg.visualizer = dict(cfg.get('visualizer') or dict(type='SegLocalVisualizer'), save_dir=folder,
                              vis_backends=[dict(type='LocalVisBackend')])


def add_tta(cfg, host):
    """Wrap the model for test-time augmentation.

    Args:
        cfg (Config): Changed in place; its own ``tta_model`` and ``tta_pipeline`` are used where it has them.
        host (str): 'mmdet', 'mmseg' or 'mmpretrain'.

    Raises:
        UserError: Without them, for segmentation and instance masks, for which the hosts have no default.
    """
    dataset = cfg.test_dataloader.dataset
    while 'dataset' in dataset:
        dataset = dataset.dataset
    if 'tta_model' not in cfg or 'tta_pipeline' not in cfg:
        if host == 'mmseg':
            raise UserError(f'--tta needs tta_model and tta_pipeline in {cfg.filename}: mmseg has no default for them')
        pack = copy.deepcopy(dataset.pipeline[-1])
        if 'mask_head' in cfg.model or 'mask_head' in (cfg.model.get('roi_head') or {}):
            raise UserError(f'--tta needs tta_model and tta_pipeline in {cfg.filename}: mmdet has no default that '
                            'merges instance masks')
        if host == 'mmdet':
            own = cfg.model.get('test_cfg') or {}
            cfg.tta_model = dict(type='DetTTAModel', tta_cfg=dict(
                nms=own.get('nms', dict(type='nms', iou_threshold=0.5)), max_per_img=own.get('max_per_img', 100)))
            pack.meta_keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'flip', 'flip_direction')
        else:
            cfg.tta_model = dict(type='AverageClsScoreTTA')
        flips = [dict(type='RandomFlip', prob=1.0), dict(type='RandomFlip', prob=0.0)]
        cfg.tta_pipeline = [*dataset.pipeline[:-1], dict(type='TestTimeAug', transforms=[flips, [pack]])]
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
    dataset.pipeline = cfg.tta_pipeline


def _dump_metric(host):
    if host == 'mmdet':  # masks are encoded before they are written
        from mmdet.evaluation import DumpDetResults
        return DumpDetResults
    return DumpResults
