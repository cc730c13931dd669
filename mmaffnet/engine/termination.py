"""End a training on SIGTERM after the running iteration, with everything saved."""
import functools

import torch
from mmengine.dist import barrier, get_comm_device, get_world_size
from mmengine.hooks import Hook

from mmaffnet.registry import HOOKS

from .checkpoint_hook import AtomicCheckpointHook
from .stop_request import start_worker, stop_request, terminated


@HOOKS.register_module()
class TerminationHook(Hook):
    """On SIGTERM save a checkpoint ``interrupted_iter_N.pth`` and end with exit code 143; ``--resume`` goes on from it.

    All ranks end after the same iteration, whichever of them got the signal. In a validation the process ends at once:
    the checkpoint before it stands, and the resumed run validates first. Before the first iteration likewise.
    """

    priority = 'LOWEST'  # after the regular checkpoint, which may be of the very same iteration

    def __init__(self):
        self._under_way = []

    def before_run(self, runner):
        """Handle SIGTERM from here on.

        Args:
            runner (Runner): The run.
        """
        if self._training(runner):
            stop_request.install()

    def before_train(self, runner):
        """Remember what a run that is stopped before its first checkpoint goes on from, and keep workers alive.

        Args:
            runner (Runner): The run.
        """
        for loop in (runner._train_loop, runner._val_loop):
            if loop is not None:
                loader = loop.dataloader
                loader.worker_init_fn = functools.partial(start_worker, loader.worker_init_fn)
        stop_request.last_saved = runner._load_from if runner._resume else None

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        """From here to the iteration's end a request is only noted.

        Args:
            runner (Runner): The run.
            batch_idx (int): Unused.
            data_batch: Unused.
        """
        stop_request.interruptible = False

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        """Save and end where any rank was asked to; several ranks act one iteration later, and wait for nothing.

        Args:
            runner (Runner): The run.
            batch_idx (int): Unused.
            data_batch: Unused.
            outputs: Unused.

        Raises:
            Terminated: On every rank.
        """
        if self._agreed(wait=False):
            self._end(runner, dict(epoch=runner.epoch, iter=runner.iter + 1))

    def before_val(self, runner):
        """Act on a request before a validation, and let one that comes during it end the run at once.

        Args:
            runner (Runner): The run.

        Raises:
            Terminated: On every rank.
        """
        if self._training(runner):
            if self._agreed(wait=True):
                self._end(runner, dict(epoch=runner.epoch, iter=runner.iter))
            stop_request.last_saved = _last_saved(runner) or stop_request.last_saved
            stop_request.interruptible = True

    def after_val(self, runner):
        """Act on a request that came while the best checkpoint was saved.

        Args:
            runner (Runner): The run.

        Raises:
            Terminated: On every rank.
        """
        if self._training(runner):
            stop_request.interruptible = False
            if self._agreed(wait=True):
                self._end(runner, dict(epoch=runner.epoch, iter=runner.iter))

    def after_run(self, runner):
        """Leave no collective under way, and give SIGTERM back.

        Args:
            runner (Runner): The run.
        """
        if self._training(runner):
            self._agreed(wait=True)
        stop_request.restore()

    def _training(self, runner):
        return runner._train_loop is not None and not isinstance(runner._train_loop, dict)

    def _agreed(self, wait):
        """Whether any rank was asked to end, as of the last call, or with ``wait`` as of this one.

        The ranks' flags are summed while the next iteration runs: waiting for the sum would cost each iteration the
        slowest rank's delay.
        """
        if get_world_size() == 1:
            return stop_request.received
        flag = torch.tensor(float(stop_request.received), device=get_comm_device())
        self._under_way.append((torch.distributed.all_reduce(flag, async_op=True), flag))
        ready = self._under_way if wait else self._under_way[:-1]
        self._under_way = [] if wait else self._under_way[-1:]
        for work, _ in ready:
            work.wait()
        return any(flag.item() > 0 for _, flag in ready)

    def _end(self, runner, meta):
        hooks = [hook for hook in runner.hooks if isinstance(hook, AtomicCheckpointHook)]
        if hooks and hooks[0].saved_iter != meta['iter']:
            saved = hooks[0].save_interrupted(runner, meta)
        else:
            saved = _last_saved(runner)
        # A rank that leaves before rank 0 has saved would make the launcher kill it.
        barrier()
        for work, _ in self._under_way:
            work.wait()
        raise terminated(saved or stop_request.last_saved)


def _last_saved(runner):
    return next((hook.last_ckpt for hook in runner.hooks if isinstance(hook, AtomicCheckpointHook)), None)
