"""The learning rate of the paper's classification and segmentation recipes."""
import contextlib
import math

from mmengine.optim import OptimWrapperDict, _ParamScheduler

from mmaffnet.registry import PARAM_SCHEDULERS

INF = int(1e9)  # mmengine's "no end"
FIXED_RATES = ('eta_min', 'warmup_lr')  # arguments that are learning rates, not shares of one


@PARAM_SCHEDULERS.register_module()
class WarmupCosineLR(_ParamScheduler):
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
        if by_epoch or not epoch_length or end == INF:
            raise ValueError('WarmupCosineLR needs by_epoch=True together with convert_to_iter_based=True, and an end '
                             'in epochs (mmengine and mmaffnet set it to max_epochs): it changes each iteration, and '
                             'its cosine each epoch')
        self.warmup_iters, self.warmup_lr, self.eta_min = warmup_iters, warmup_lr, eta_min
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
            WarmupCosineLR: Stepping by iteration.
        """
        return cls(*args, begin=begin * epoch_length, end=end if end == INF else end * epoch_length,
                   epoch_length=epoch_length, **kwargs)

    def _get_value(self):
        step = self.last_step
        if step < self.warmup_iters:
            share = step / self.warmup_iters
            return [self.warmup_lr + share * (peak - self.warmup_lr) for peak in self.base_values]
        epoch = step // self.epoch_length
        share = (1 + math.cos(math.pi * epoch / self.num_epochs)) / 2
        return [self.eta_min + share * (peak - self.eta_min) for peak in self.base_values]


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
