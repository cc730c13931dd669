"""Steps of the learning rate that follow the length of the training."""
from collections.abc import Sequence

from mmengine.optim.scheduler import MultiStepLR

from mmaffnet.registry import PARAM_SCHEDULERS

from .schedulers import INF


@PARAM_SCHEDULERS.register_module()
class RelativeMultiStepLR(MultiStepLR):
    """mmengine's MultiStepLR, whose milestones are epochs and stay where they are when ``train_cfg.max_epochs``
    changes: a run of half the length would never step, one of twice the length train its second half at the last rate.

    Here they are shares of the schedule: a share s of n epochs steps behind floor(s · n) of them. Shares that meet in
    one epoch, as in short runs, step once; one that falls before the first epoch's end does not step.

    Args:
        optimizer (Optimizer | BaseOptimWrapper): Its groups' rates are changed.
        shares (Sequence[float]): Between 0 and 1.
        gamma (float): Factor of each step. Defaults to 0.1.
        begin (int): First epoch or iteration. Defaults to 0.
        end (int): The one behind the last; mmaffnet's runner sets it where the config does not.
        last_step (int): For resuming without a state. Defaults to -1.
        by_epoch (bool): Count epochs, else iterations. Defaults to True.
        verbose (bool): Print each change. Defaults to False.

    Raises:
        ValueError: A share does not lie between 0 and 1, or ``end`` is missing.
    """

    def __init__(self, optimizer, shares: Sequence[float], gamma: float = 0.1, begin: int = 0, end: int = INF,
                 last_step: int = -1, by_epoch: bool = True, verbose: bool = False) -> None:
        if not shares or not all(0 < share < 1 for share in shares):
            raise ValueError(f'RelativeMultiStepLR: shares must be numbers between 0 and 1, got {shares!r}')
        if end == INF:
            raise ValueError('RelativeMultiStepLR: end must be given (mmaffnet.AFFNetRunner sets it to max_epochs): '
                             'its steps are shares of the way from begin to end')
        # 11/12 of 12 is 11, whatever the last bit says. mmengine counts milestones from begin on.
        milestones = sorted({int(share * (end - begin) + 1e-6) for share in shares} - {0})
        super().__init__(optimizer, milestones=milestones, gamma=gamma, begin=begin, end=end, last_step=last_step,
                         by_epoch=by_epoch, verbose=verbose)

    @classmethod
    def build_iter_from_epoch(cls, *args, begin=0, end=INF, by_epoch=True, epoch_length=None, **kwargs):
        """Build from a config in epochs, for ``convert_to_iter_based``; see ``mmengine.optim``.

        Args:
            *args: Passed on.
            begin (int): First epoch.
            end (int): Epoch behind the last.
            by_epoch (bool): True.
            epoch_length (int): Iterations of an epoch.
            **kwargs: Passed on.

        Returns:
            RelativeMultiStepLR: Stepping by iteration.
        """
        return cls(*args, begin=begin * epoch_length, end=end if end == INF else end * epoch_length, by_epoch=False,
                   **kwargs)
