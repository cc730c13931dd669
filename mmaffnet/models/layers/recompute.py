"""Gradient checkpointing that leaves the running statistics of batch norms as they would be without it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch.utils.checkpoint as cp
from mmengine.utils.dl_utils.parrots_wrapper import _BatchNorm
from torch import Tensor, nn


def recomputed(module: nn.Module, forward: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Call a module's forward function so that its activations are computed anew in the backward pass.

    torch's checkpoint runs the function twice, and batch norms would take each batch into their running statistics
    twice: a momentum of 0.1 would act as 0.19.

    Args:
        module (nn.Module): Whose batch norms the function uses.
        forward (Callable): From x to the output.
        x (Tensor): Of any shape; where it needs no gradient, nothing is recomputed.

    Returns:
        Tensor: ``forward(x)``.
    """
    if not x.requires_grad:
        return forward(x)
    return cp.checkpoint(forward, x, use_reentrant=False,
                         context_fn=lambda: (nullcontext(), _statistics_kept(module)))


@contextmanager
def _statistics_kept(module: nn.Module) -> Iterator[None]:
    """Let batch norms take a batch into their running statistics with a weight of 0, and not count it."""
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.training and m.track_running_stats]
    kept = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm, _, counter in kept:
        norm.momentum = 0.
        norm.num_batches_tracked = None if counter is None else counter.clone()  # SyncBN must have one
    try:
        yield
    finally:
        for norm, momentum, num_batches_tracked in kept:
            norm.momentum, norm.num_batches_tracked = momentum, num_batches_tracked
