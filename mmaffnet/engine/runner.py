"""A runner that adapts a run to the machine and to the few top-level keys that mmaffnet's configs add."""
import copy

import torch
from mmengine.device import get_device
from mmengine.dist import is_distributed
from mmengine.hooks import CheckpointHook
from mmengine.model import is_model_wrapper, revert_sync_batchnorm
from mmengine.runner import Runner

from mmaffnet.registry import RUNNERS

from .bad_pictures import MAX_BAD_SHARE, log_path, use_checked_loading
from .check_data import use_checked_coco
from .errors import UserError, say
from .evaluator import CheckedEvaluator
from .loops import with_exact_loop
from .own_data import apply_own_data
from .process_group import left_in_order
from .resume_hook import keep_input_size, keep_seed
from .safe_load import register_safe_schemes
from .samplers import FullBatchSampler, with_full_batches
from .schedulers import schedule_scaled
from .stop_request import stop_request
from .weights import load_backbone, unwrap
from .workers import no_workers_left


@RUNNERS.register_module()
class AFFNetRunner(Runner):
    """mmengine's runner, which lacks:

    - on CPUs: distributed runs (it asks for CUDA before it opens a process group, and gives DDP a device number),
      SyncBN reverted in them, and configs with mixed precision;
    - schedulers that follow ``train_cfg.max_epochs``: one without ``end`` ends with the training;
    - the top-level keys ``data_root``, ``classes`` and file names (:mod:`mmaffnet.engine.own_data`) and ``pretrained``;
    - a check of loaded weights (:class:`mmaffnet.engine.hooks.CheckpointFitHook`) and of the loss
      (:class:`mmaffnet.engine.finite_loss.FiniteLossHook`);
    - pictures that cannot be read left out of training and evaluated as nothing found
      (:mod:`mmaffnet.engine.bad_pictures`, :mod:`mmaffnet.engine.evaluator`);
    - the same metrics from one process and from several (:mod:`mmaffnet.engine.samplers`);
    - a watchdog over hanging ranks (:mod:`mmaffnet.engine.watchdog`);
    - exact resuming (:mod:`mmaffnet.engine.loops`, :mod:`mmaffnet.engine.randomness`).

    Used by ``runner_type = 'mmaffnet.AFFNetRunner'`` in a config, also with the hosts' own tools.
    """

    @classmethod
    def from_cfg(cls, cfg):
        """Build a runner from a config.

        Args:
            cfg (Config): Left unchanged.

        Returns:
            AFFNetRunner: The runner.
        """
        register_safe_schemes()
        cfg = copy.deepcopy(cfg)
        apply_own_data(cfg)
        use_checked_coco(cfg)
        keep_input_size(cfg)
        keep_seed(cfg)
        runner = super().from_cfg(cfg)
        use_checked_loading(runner)
        return runner

    def setup_env(self, env_cfg):
        """Open the process group on CPUs by gloo; all else is mmengine's.

        Args:
            env_cfg (dict): ``env_cfg`` of the config.
        """
        if self.distributed and on_cpu() and not is_distributed():
            if self.launcher != 'pytorch':
                raise UserError(f'--launcher {self.launcher} needs GPUs, and this machine shows none: '
                                'tools/dist_train.sh starts several processes on CPUs')
            torch.distributed.init_process_group('gloo')
        super().setup_env(env_cfg)

    def wrap_model(self, model_wrapper_cfg, model):
        """Wrap the model for distributed runs, on CPUs without SyncBN and without a device number.

        ``sync_bn = 'timm'`` in a config (beside mmengine's 'torch' and 'mmcv') is for backbones of timm.

        Args:
            model_wrapper_cfg (dict | None): ``model_wrapper_cfg`` of the config.
            model (torch.nn.Module): The model.

        Returns:
            torch.nn.Module: The model, wrapped in distributed runs.
        """
        if self.distributed and on_cpu() and not is_model_wrapper(model):
            model = revert_sync_batchnorm(model)
            self.cfg.pop('sync_bn', None)  # would turn BatchNorm into SyncBN, which no CPU runs
            model_wrapper_cfg = dict(model_wrapper_cfg or dict(
                broadcast_buffers=False, find_unused_parameters=self.cfg.get('find_unused_parameters', False)))
            model_wrapper_cfg['device_ids'] = None
        elif self.distributed and self.cfg.get('sync_bn') == 'timm' and not is_model_wrapper(model):
            from timm.layers import convert_sync_batchnorm  # torch's would lose the activation inside timm's norms
            model = convert_sync_batchnorm(model)
            self.cfg.sync_bn = None
            model = super().wrap_model(model_wrapper_cfg, model)
            self.cfg.sync_bn = 'timm'  # for the config that is written into the work directory
            return model
        return super().wrap_model(model_wrapper_cfg, model)

    def build_optim_wrapper(self, optim_wrapper):
        """Build the optimiser, without mixed precision on CPUs.

        Args:
            optim_wrapper (OptimWrapper | dict): As in the config.

        Returns:
            OptimWrapper: The optimiser's wrapper.
        """
        if isinstance(optim_wrapper, dict) and on_cpu() and optim_wrapper.get('type') == 'AmpOptimWrapper':
            say('no GPU: training in float32 instead of mixed precision')
            amp_only = ('loss_scale', 'dtype', 'use_fsdp')
            optim_wrapper = {key: value for key, value in optim_wrapper.items() if key not in amp_only}
            optim_wrapper['type'] = 'OptimWrapper'
        return super().build_optim_wrapper(optim_wrapper)

    def scale_lr(self, optim_wrapper, auto_scale_lr=None):
        """Scale the learning rate with the batch, and with it the rates that a schedule names by themselves.

        Args:
            optim_wrapper (OptimWrapper): Changed in place.
            auto_scale_lr (dict | None): ``auto_scale_lr`` of the config.
        """
        with schedule_scaled(self, optim_wrapper):
            super().scale_lr(optim_wrapper, auto_scale_lr)

    def build_param_scheduler(self, scheduler):
        """Build the schedulers; one that names no end ends with the training.

        Args:
            scheduler (dict | list | object): As in the config, or built.

        Returns:
            list | dict: The schedulers.
        """
        return super().build_param_scheduler(self._with_ends(scheduler))

    def build_train_loop(self, loop):
        """Build the training loop; ours where the config asks for one of mmengine's.

        Args:
            loop (BaseLoop | dict): As in the config, or built.

        Returns:
            BaseLoop: The loop.
        """
        return super().build_train_loop(with_exact_loop(loop) if isinstance(loop, dict) else loop)

    def build_val_loop(self, loop):
        """Build the validation loop, with full batches.

        Args:
            loop (BaseLoop | dict): As in the config, or built.

        Returns:
            BaseLoop: The loop.
        """
        if isinstance(self._val_evaluator, dict | list):  # one that is built already does not know of them
            self._val_dataloader = with_full_batches(self._val_dataloader)
        return _told_batch_size(super().build_val_loop(loop))

    def build_test_loop(self, loop):
        """Build the test loop, with full batches.

        Args:
            loop (BaseLoop | dict): As in the config, or built.

        Returns:
            BaseLoop: The loop.
        """
        if isinstance(self._test_evaluator, dict | list):  # one that is built already does not know of them
            self._test_dataloader = with_full_batches(self._test_dataloader)
        return _told_batch_size(super().build_test_loop(loop))

    def build_evaluator(self, evaluator):
        """Build an evaluator to which pictures that cannot be read count as nothing found.

        Args:
            evaluator (Evaluator | dict | list): As in the config, or built.

        Returns:
            CheckedEvaluator: The evaluator.
        """
        evaluator = super().build_evaluator(evaluator)
        if isinstance(evaluator, CheckedEvaluator):
            return evaluator
        return CheckedEvaluator(evaluator, [log_path(self, part) for part in ('val', 'test')], self.log_dir)

    def build_visualizer(self, visualizer=None):
        """Build a visualizer of this run's own.

        mmengine keeps one object for each name, and the hosts' configs all say 'visualizer': a second run in one
        process (a notebook, the demo) would log into the first one's folder.

        Args:
            visualizer (Visualizer | dict | None): As in the config.

        Returns:
            Visualizer: The visualizer.
        """
        if isinstance(visualizer, dict):
            visualizer = dict(visualizer, name=self._experiment_name)
        return super().build_visualizer(visualizer)

    def register_hooks(self, default_hooks=None, custom_hooks=None):
        """Register the config's hooks and ours.

        Args:
            default_hooks (dict | None): As in the config.
            custom_hooks (list | None): As in the config.
        """
        self.register_hook(dict(type='mmaffnet.RestoreCheckpointHook'))  # before any other of its priority
        super().register_hooks(default_hooks, custom_hooks)
        self.register_hook(dict(type='mmaffnet.CheckpointFitHook'))
        self.register_hook(dict(type='mmaffnet.FiniteLossHook'))
        self.register_hook(dict(type='mmaffnet.BadPictureHook',
                                max_bad_share=self.cfg.get('max_bad_share', MAX_BAD_SHARE)))
        self.register_hook(dict(type='mmaffnet.TerminationHook'))
        self.register_hook(dict(type='mmaffnet.PlainCheckpointHook'))
        self.register_hook(dict(type='mmaffnet.ExactResumeHook'))
        if self.distributed:
            self.register_hook(dict(type='mmaffnet.SyncNormBuffersHook'))
            self.register_hook(dict(self.cfg.get('watchdog') or {}, type='mmaffnet.WatchdogHook'))

    def register_hook(self, hook, priority=None):
        """Register a hook; mmengine's checkpoint hook becomes ours, which loses no checkpoint when a run is killed.

        Args:
            hook (Hook | dict): As in the config.
            priority (int | str | Priority | None): Of the hook.
        """
        if isinstance(hook, dict) and hook.get('type') in ('CheckpointHook', 'mmengine.CheckpointHook', CheckpointHook):
            hook = dict(hook, type='mmaffnet.AtomicCheckpointHook')
        super().register_hook(hook, priority)

    def train(self):
        """Train; SIGTERM has its former meaning again however the training ends.

        Returns:
            torch.nn.Module: The trained model.
        """
        try:
            with left_in_order(), no_workers_left(self):
                return super().train()
        finally:
            stop_request.restore()

    def test(self):
        """Evaluate.

        Returns:
            dict: The metrics.
        """
        with left_in_order(), no_workers_left(self):
            return super().test()

    def _init_model_weights(self):
        super()._init_model_weights()
        path = self.cfg.get('pretrained')
        if path and not self._resume:
            load_backbone(unwrap(self.model).backbone, path)

    def _with_ends(self, scheduler):
        if isinstance(scheduler, list | tuple):
            return [self._with_ends(item) for item in scheduler]
        if not isinstance(scheduler, dict):
            return scheduler
        if 'type' not in scheduler:  # one entry for each of several optimisers
            return {name: self._with_ends(item) for name, item in scheduler.items()}
        by_epoch = scheduler.get('by_epoch', True)
        last = self.max_epochs if by_epoch else self.max_iters
        if 'end' not in scheduler:
            return dict(scheduler, end=last)
        if scheduler['end'] > last:
            say(f'{scheduler["type"]} ends at {"epoch" if by_epoch else "iteration"} {scheduler["end"]}, but this run '
                f'has {last}: shorten it (--cfg-options param_scheduler.0.end=N)')
        return scheduler


def _told_batch_size(loop):
    """Tell a loop's evaluator the batch size where the samples are dealt out by batches."""
    if isinstance(loop.dataloader.sampler, FullBatchSampler):
        loop.evaluator.batch_size = loop.dataloader.sampler.batch_size
    return loop


def on_cpu():
    """bool: Whether this machine has no accelerator that mmengine would train on."""
    return get_device() == 'cpu'
