"""The learning rates of recipes that mmengine's schedulers do not give."""
import contextlib
import math

from mmengine.optim import OptimWrapperDict, _ParamScheduler

from mmaffnet.registry import PARAM_SCHEDULERS

from .errors import UserError, say

INF = int(1e9)  # mmengine's "no end"
FIXED_RATES = ('eta_min', 'warmup_lr')  # arguments that are learning rates, not shares of one


class _ByEpochsAndIterations(_ParamScheduler):
    """A learning rate that changes each iteration and knows how long an epoch is.

    Used in a config with ``by_epoch=True, convert_to_iter_based=True``: ``begin``, ``end`` in epochs.

    Args:
        optimizer (Optimizer | BaseOptimWrapper): Its groups' rates are changed; each group's initial one is its peak.
        epoch_length (int): Iterations of an epoch. Given by ``convert_to_iter_based``.
        begin (int): First iteration.
        end (int): Iteration behind the last. It gives the number of epochs.
        last_step (int): For resuming without a state.
        by_epoch (bool): False; the builder from epochs has taken it out.
        verbose (bool): Print each change.

    Raises:
        ValueError: Without ``convert_to_iter_based``, where the length of an epoch is not known.
    """

    def __init__(self, optimizer, epoch_length, begin, end, last_step, by_epoch, verbose):
        if by_epoch or not epoch_length or end == INF:
            raise ValueError(f'{type(self).__name__} needs by_epoch=True together with convert_to_iter_based=True, and '
                             'an end in epochs (mmengine and mmaffnet set it to max_epochs): it changes each '
                             'iteration, and counts in epochs')
        self.epoch_length = epoch_length
        self.num_epochs = -(-(end - begin) // epoch_length)
        super().__init__(optimizer, 'lr', begin=begin, end=end, last_step=last_step, by_epoch=False, verbose=verbose)

    @classmethod
    def build_iter_from_epoch(cls, *args, begin=0, end=INF, by_epoch=True, epoch_length=None, **kwargs):
        """Build from a config in epochs; see ``mmengine.optim``.

        Args:
            *args: Passed on.
            begin (int): First epoch.
            end (int): Epoch behind the last.
            by_epoch (bool): True.
            epoch_length (int): Iterations of an epoch.
            **kwargs: Passed on.

        Returns:
            _ParamScheduler: Stepping by iteration.
        """
        return cls(*args, begin=begin * epoch_length, end=end if end == INF else end * epoch_length,
                   epoch_length=epoch_length, **kwargs)


@PARAM_SCHEDULERS.register_module()
class WarmupCosineLR(_ByEpochsAndIterations):
    """Linear warm-up by iteration, then a cosine that changes once an epoch, both in closed form.

    Iteration i < ``warmup_iters``: ``warmup_lr + i · (lr - warmup_lr) / warmup_iters``; after it, in epoch e:
    ``eta_min + (lr - eta_min)(1 + cos(π · e / epochs)) / 2``.

    What mmengine lacks: its LinearLR and CosineAnnealingLR change the rate step by step from its last value, so that
    where the warm-up is longer than an epoch they act on one another and miss the recipe's peak.

    Used in a config with ``by_epoch=True, convert_to_iter_based=True``: ``begin``, ``end`` in epochs.

    Args:
        optimizer (Optimizer | BaseOptimWrapper): Its groups' rates are changed; each group's initial one is its peak.
        warmup_iters (int): Iterations of the warm-up, 0 for none.
        warmup_lr (float): Rate at iteration 0.
        eta_min (float): Rate that the cosine ends at.
        epoch_length (int): Iterations of an epoch. Given by ``convert_to_iter_based``.
        begin (int): First iteration. Defaults to 0.
        end (int): Iteration behind the last. It gives the number of epochs.
        last_step (int): For resuming without a state. Defaults to -1.
        verbose (bool): Print each change. Defaults to False.

    Raises:
        ValueError: Without ``convert_to_iter_based``, where the length of an epoch is not known.

    Source: paper Table 9; the closed form is ml-cvnets'.
    """

    def __init__(self, optimizer, warmup_iters, warmup_lr, eta_min, epoch_length=None, begin=0, end=INF, last_step=-1,
                 by_epoch=False, verbose=False):
        self.warmup_iters, self.warmup_lr, self.eta_min = warmup_iters, warmup_lr, eta_min
        super().__init__(optimizer, epoch_length, begin, end, last_step, by_epoch, verbose)

    def _get_value(self):
        step = self.last_step
        if step < self.warmup_iters:
            share = step / self.warmup_iters
            return [self.warmup_lr + share * (peak - self.warmup_lr) for peak in self.base_values]
        epoch = step // self.epoch_length
        share = (1 + math.cos(math.pi * epoch / self.num_epochs)) / 2
        return [self.eta_min + share * (peak - self.eta_min) for peak in self.base_values]


@PARAM_SCHEDULERS.register_module()
class EpochWarmupCosineLR(_ByEpochsAndIterations):
    """Linear warm-up over epochs, then a cosine, both by iteration and in closed form, in shares of a group's own rate.

    With W iterations of warm-up of N in all, and lr the group's initial rate; iteration i < W:
    ``lr (r + (1 - r) i / W)`` with r the ``warmup_ratio``; after it:
    ``lr (m + (1 - m)(1 + cos(π (i - W) / (N - W))) / 2)`` with m the ``eta_min_ratio``.

    What mmengine lacks: with its LinearLR and CosineAnnealingLR one after the other, a run no longer than the warm-up
    ends in an error, and a data set of one batch stays at the warm-up's first rate for ever.

    Used in a config with ``by_epoch=True, convert_to_iter_based=True``: ``begin``, ``end`` in epochs.

    Args:
        optimizer (Optimizer | BaseOptimWrapper): Its groups' rates are changed; each group's initial one is its peak.
        warmup_epochs (float): Epochs of the warm-up, 0 for none. Where the run is shorter, it ends on its way up.
            Defaults to 1.
        warmup_ratio (float): First rate over the peak. Defaults to 0.1.
        eta_min_ratio (float): Rate that the cosine ends at over the peak. Defaults to 0.
        epoch_length (int): Iterations of an epoch. Given by ``convert_to_iter_based``.
        begin (int): First iteration. Defaults to 0.
        end (int): Iteration behind the last.
        last_step (int): For resuming without a state. Defaults to -1.
        by_epoch (bool): False; the builder from epochs has taken it out.
        verbose (bool): Print each change. Defaults to False.

    Raises:
        ValueError: Without ``convert_to_iter_based``, where the length of an epoch is not known; for a negative
            ``warmup_epochs``.

    Source: Tan, Pang, Le: EfficientDet, CVPR 2020, Sec. 5.1.
    """

    def __init__(self, optimizer, warmup_epochs=1, warmup_ratio=0.1, eta_min_ratio=0., epoch_length=None, begin=0,
                 end=INF, last_step=-1, by_epoch=False, verbose=False):
        if warmup_epochs < 0:
            raise ValueError(f'EpochWarmupCosineLR: warmup_epochs must be a number from 0 on, got {warmup_epochs}')
        self.warmup_iters = round(warmup_epochs * (epoch_length or 0))
        if 0 < end - begin <= self.warmup_iters:
            say(f'EpochWarmupCosineLR: {warmup_epochs} epochs of warm-up are all of this run or more, so that it never '
                'has its peak rate: shorten it (--cfg-options param_scheduler.warmup_epochs=N)')
        self.warmup_ratio, self.eta_min_ratio = warmup_ratio, eta_min_ratio
        super().__init__(optimizer, epoch_length, begin, end, last_step, by_epoch, verbose)

    def _get_value(self):
        step, warmup = self.last_step, self.warmup_iters
        if step < warmup:
            share = self.warmup_ratio + (1 - self.warmup_ratio) * step / warmup
        else:
            cosine = (1 + math.cos(math.pi * (step - warmup) / (self.end - self.begin - warmup))) / 2
            share = self.eta_min_ratio + (1 - self.eta_min_ratio) * cosine
        return [share * peak for peak in self.base_values]


@PARAM_SCHEDULERS.register_module()
class QuadraticWarmupCosineLR(_ByEpochsAndIterations):
    """YOLOX's learning rate: quadratic warm-up, cosine by iteration, and for the last epochs what it ended at.

    With W iterations of warm-up and T in front of the last epochs, iteration i < W has ``lr (i + 1)² / W²``; from there
    ``lr (m + (1 - m)(1 + cos(π (i - W) / T)) / 2)`` with m the ``eta_min_ratio``; and from T on what i = T - 1 had: at
    the recipe's 300 epochs 0.0507 lr, since the period of mmdet's cosine is T, not T - W.

    What mmdet lacks: it chains three schedulers whose ends are numbers in the config, so that a run of another length
    needs five of them changed.

    Used in a config with ``by_epoch=True, convert_to_iter_based=True``: ``begin``, ``end`` in epochs.

    Args:
        optimizer (Optimizer | BaseOptimWrapper): Its groups' rates are changed; each group's initial one is its peak.
        warmup_epochs (int): Epochs of the warm-up, 0 for none. Defaults to 5.
        num_last_epochs (int): Epochs at the last rate. Defaults to 15.
        eta_min_ratio (float): What the cosine falls to over the peak. Defaults to 0.05.
        epoch_length (int): Iterations of an epoch. Given by ``convert_to_iter_based``.
        begin (int): First iteration. Defaults to 0.
        end (int): Iteration behind the last. It gives the number of epochs.
        last_step (int): For resuming without a state. Defaults to -1.
        by_epoch (bool): False; the builder from epochs has taken it out.
        verbose (bool): Print each change. Defaults to False.

    Raises:
        ValueError: Without ``convert_to_iter_based``, where the length of an epoch is not known.
        UserError: Where the training has no epoch between warm-up and last epochs.

    Source: mmdet's ``yolox_s_8xb8-300e_coco.py``.
    """

    def __init__(self, optimizer, warmup_epochs=5, num_last_epochs=15, eta_min_ratio=0.05, epoch_length=None, begin=0,
                 end=INF, last_step=-1, by_epoch=False, verbose=False):
        if epoch_length and end - begin <= (warmup_epochs + num_last_epochs) * epoch_length:
            raise UserError(
                f'{(end - begin) // epoch_length} epochs are too few for {warmup_epochs} of warm-up and '
                f'{num_last_epochs} at the last learning rate: raise train_cfg.max_epochs, or shorten them by '
                '--cfg-options param_scheduler.warmup_epochs=N param_scheduler.num_last_epochs=N '
                'custom_hooks.0.num_last_epochs=N')
        self.warmup_epochs, self.num_last_epochs, self.eta_min_ratio = warmup_epochs, num_last_epochs, eta_min_ratio
        super().__init__(optimizer, epoch_length, begin, end, last_step, by_epoch, verbose)

    def _get_value(self):
        step, warmup = self.last_step, self.warmup_epochs * self.epoch_length
        last = (self.num_epochs - self.num_last_epochs) * self.epoch_length
        if step < warmup:
            share = ((step + 1) / warmup)**2
        else:
            cosine = (1 + math.cos(math.pi * (min(step, last - 1) - warmup) / last)) / 2
            share = self.eta_min_ratio + (1 - self.eta_min_ratio) * cosine
        return [share * peak for peak in self.base_values]


@contextlib.contextmanager
def schedule_scaled(runner, optim_wrapper):
    """Scale a runner's schedules as the block scales the optimiser's learning rate.

    Args:
        runner (Runner): Its ``param_schedulers`` are not built yet; they are replaced.
        optim_wrapper (OptimWrapper | OptimWrapperDict): What the block scales.

    Yields:
        None
    """
    wrappers = list(optim_wrapper.values()) if isinstance(optim_wrapper, OptimWrapperDict) else [optim_wrapper]
    before = wrappers[0].param_groups[0]['lr']
    yield
    ratio = wrappers[0].param_groups[0]['lr'] / before if before else 1
    if ratio == 1:
        return
    runner.param_schedulers = scale_fixed_rates(runner.param_schedulers, ratio)
    for wrapper in wrappers:
        if wrapper.base_param_settings is not None:  # logged as base_lr
            wrapper.base_param_settings['lr'] *= ratio


def scale_fixed_rates(scheduler, ratio):
    """Multiply the rates that a schedule's config names by themselves, as the optimiser's is multiplied.

    mmengine scales the optimiser's rate alone. With a batch much smaller than the recipe's the peak would lie below the
    rate that the cosine is to end at, and training would get faster towards its end.

    Args:
        scheduler (dict | list | None): ``param_scheduler`` of a config; left unchanged.
        ratio (float): Actual batch over the recipe's.

    Returns:
        dict | list | None: The same with ``eta_min`` and ``warmup_lr`` multiplied.
    """
    if isinstance(scheduler, list | tuple):
        return [scale_fixed_rates(item, ratio) for item in scheduler]
    if not isinstance(scheduler, dict):
        return scheduler
    if 'type' not in scheduler:  # one entry for each of several optimisers
        return {name: scale_fixed_rates(item, ratio) for name, item in scheduler.items()}
    return dict(scheduler, **{key: scheduler[key] * ratio for key in FIXED_RATES if scheduler.get(key) is not None})
