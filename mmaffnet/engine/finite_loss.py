"""End a training whose loss is no number any more, before anything of it is saved."""
from pathlib import Path

import torch
from mmengine.dist import all_gather_object, all_reduce
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import find_latest_checkpoint

from mmaffnet.registry import HOOKS

from .errors import LossNotFinite

NAMED = 16  # pictures of the batch named in the sentence


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """End the run where a loss is infinite or not a number, or would be from here on.

    mmengine trains on with NaN for days and overwrites the good checkpoints with it. Looks after every iteration: on
    GPUs that waits for nothing new, since mmengine's ``RuntimeInfoHook`` has just read the same numbers. With several
    ranks, one flag is reduced for each iteration, so that all end together, with one sentence.

    A step that the scaler of mixed precision skips (gradients too large for float16, with a finite loss) is none of
    its business. Weights are looked at before they are saved: where a step spoilt them, no loss has shown it yet.
    """

    moment = 'loading'  # the last iteration looked at
    priority = 'HIGH'  # before the weights' average is taken, before anything is logged or saved

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        """Look at the losses.

        Args:
            runner (Runner): The run.
            batch_idx (int): Unused.
            data_batch (dict): What the data loader gave.
            outputs (dict): What ``train_step`` gave.

        Raises:
            LossNotFinite: With iteration, learning rate, losses and the batch's files.
        """
        self.moment = f'iteration {runner.iter + 1} (epoch {runner.epoch + 1})'
        losses = {key: _number(value) for key, value in (outputs or {}).items() if 'loss' in key}
        bad = not all(map(_is_finite, losses.values()))
        if runner.distributed:
            flag = torch.tensor([float(bad)], device=next(runner.model.parameters()).device)
            all_reduce(flag, op='max')
            if not flag.item():
                return
        elif not bad:
            return
        mine = (losses, files_of(data_batch)) if bad else None
        parts = all_gather_object(mine) if runner.distributed else [mine]
        bad_rank, (losses, files) = next((rank, part) for rank, part in enumerate(parts) if part)
        where = f' on rank {bad_rank}' if runner.distributed else ''
        shown = ', '.join(f'{key} {value:.4g}' for key, value in losses.items())
        raise LossNotFinite(
            f'the loss is not finite after {self.moment}{where} ({shown}) at learning rate {_rates(runner)}; the '
            f"batch's pictures: {_some(files)}; {_kept(runner)}; a lower learning rate, a longer warm-up or "
            'optim_wrapper.clip_grad may help')

    def before_save_checkpoint(self, runner, checkpoint):
        """Look at the weights.

        Args:
            runner (Runner): The run.
            checkpoint (dict): What will be saved.

        Raises:
            LossNotFinite: Naming the first weight that is not finite.
        """
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        for name, weight in model.named_parameters():  # buffers may hold an infinity on purpose (masks)
            if not torch.isfinite(weight).all():
                raise LossNotFinite(
                    f'the weight {name} is not finite after {self.moment}, though the loss was, at learning rate '
                    f'{_rates(runner)}; {_kept(runner)}; a lower learning rate, a longer warm-up or '
                    'optim_wrapper.clip_grad may help')


def files_of(data_batch):
    """List the pictures of a batch.

    Args:
        data_batch: What a data loader of the hosts gave: dicts and lists, nested at will, with data samples in them.

    Returns:
        list[str]: Paths of the pictures, where the pipeline's packing step kept them.
    """
    if isinstance(data_batch, dict):
        return [path for value in data_batch.values() for path in files_of(value)]
    if isinstance(data_batch, list | tuple):
        return [path for value in data_batch for path in files_of(value)]
    path = getattr(data_batch, 'img_path', None)
    return [str(path)] if path is not None else []


def _number(value):
    return value.item() if isinstance(value, torch.Tensor) else float(value)


def _is_finite(value):
    return value - value == 0  # neither infinite nor NaN


def _rates(runner):
    rates = runner.optim_wrapper.get_lr()
    groups = rates if isinstance(rates, dict) else {'': rates}
    different = {f'{rate:.4g}' for values in groups.values() for rate in values}
    return ', '.join(sorted(different))


def _some(files):
    if not files:
        return "not known (the packing step's meta_keys lack img_path)"
    return ', '.join(files[:NAMED]) + (f' and {len(files) - NAMED} more' if len(files) > NAMED else '')


def _kept(runner):
    last = find_latest_checkpoint(str(runner.work_dir)) if Path(runner.work_dir).is_dir() else None
    if last is None:
        return 'nothing was saved, and this run has no earlier checkpoint'
    return f'nothing was saved after it: the last good checkpoint is {last}'
