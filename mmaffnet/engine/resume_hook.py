"""What a run must remember or renew so that it resumes exactly, beside the loops of :mod:`mmaffnet.engine.loops`."""
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, find_latest_checkpoint

from mmaffnet.registry import HOOKS

from .errors import say
from .randomness import Stream, seed_generators
from .weights import read_checkpoint, unwrap

VALIDATED = 'last_validated_iter'  # in the message hub: the iteration after which the last validation ran
GRADIENTS = 'accumulated_gradients'  # in a checkpoint from within an accumulation window


def keep_seed(cfg):
    """Let a resumed run have its checkpoint's seed from the start.

    mmengine takes the seed over only after it has built the loader, so that a run without ``randomness.seed`` would
    resume with another order of its data.

    Args:
        cfg (Config): Changed in place.
    """
    if not cfg.get('resume'):
        return
    path = cfg.get('load_from') or find_latest_checkpoint(cfg.work_dir)
    if path is None:
        return
    seed = read_checkpoint(path, 'resume')['meta'].get('seed')
    if seed is None:
        return
    randomness = dict(cfg.get('randomness') or {})
    if randomness.get('seed') not in (None, seed):
        say(f'resume: seed {seed} of {path} is kept, not {randomness["seed"]}: another one is for a new run')
    cfg.randomness = dict(randomness, seed=seed)


def keep_input_size(cfg):
    """Let mmdet's multi-scale training of batches be done by ours, whose size survives a resume.

    Args:
        cfg (Config): Changed in place.
    """
    if cfg.get('default_scope') != 'mmdet' or not isinstance(cfg.get('model'), dict):
        return
    todo = [cfg.model.get('data_preprocessor')]
    while todo:  # semi-supervised detectors have a preprocessor in theirs
        node = todo.pop()
        if isinstance(node, dict):
            if node.get('type') in ('BatchSyncRandomResize', 'mmdet.BatchSyncRandomResize'):
                node['type'] = 'mmaffnet.BatchSyncRandomResize'
            node = list(node.values())
        if isinstance(node, list | tuple):
            todo.extend(node)


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """Seed every step, epoch and validation, note validations, and keep accumulated gradients.

    mmengine seeds once, so that a resumed run goes on with the random numbers of a new one; saves before it validates
    without noting which of both was done; and loses the gradients of a window that a checkpoint cuts
    (``optim_wrapper.accumulative_counts``).
    """

    priority = 'HIGHEST'  # before any hook that draws, and before those that write or convert a checkpoint

    def before_run(self, runner):
        """Say what several ranks cannot keep.

        Args:
            runner (Runner): The run.
        """
        counts = (runner.cfg.get('optim_wrapper') or {}).get('accumulative_counts', 1)
        if counts > 1 and runner.distributed:
            say(f'accumulative_counts = {counts} on several ranks: a checkpoint within a window of {counts} iterations '
                'holds the gradients of rank 0 only, so resume from iterations that are multiples of it')

    def before_train_epoch(self, runner):
        """Seed what hooks draw at an epoch's start.

        Args:
            runner (Runner): The run.
        """
        _seed(runner, Stream.EPOCH_START, runner.epoch)

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        """Seed the step: augmentation on the device, dropped paths, dropout.

        Args:
            runner (Runner): The run.
            batch_idx (int): Unused.
            data_batch: Unused.
        """
        _seed(runner, Stream.STEP, runner.iter)

    def after_train_epoch(self, runner):
        """Seed what hooks draw at an epoch's end.

        Args:
            runner (Runner): The run.
        """
        _seed(runner, Stream.EPOCH_END, runner.epoch)

    def before_val_epoch(self, runner):
        """Seed the validation.

        Args:
            runner (Runner): The run.
        """
        _seed(runner, Stream.VALIDATION, runner.iter)

    def after_val_epoch(self, runner, metrics=None):
        """Note the validation in the message hub, which checkpoints hold.

        Args:
            runner (Runner): The run.
            metrics (dict | None): Unused.
        """
        if _trains(runner):
            runner.message_hub.update_info(VALIDATED, runner.iter)

    def before_save_checkpoint(self, runner, checkpoint):
        """Add gradients that wait for the end of their accumulation window.

        Args:
            runner (Runner): The run.
            checkpoint (dict): Changed in place.
        """
        if 'optimizer' not in checkpoint:  # a file for use, not for resuming
            return
        gradients = {name: parameter.grad.detach().cpu() for name, parameter in unwrap(runner.model).named_parameters()
                     if parameter.grad is not None}  # None behind each step of the optimiser
        if gradients:
            checkpoint[GRADIENTS] = gradients

    def after_load_checkpoint(self, runner, checkpoint):
        """Put accumulated gradients back.

        Args:
            runner (Runner): The run.
            checkpoint (dict): Left unchanged.
        """
        if not runner._resume:
            return
        gradients = checkpoint.get(GRADIENTS) or {}
        for name, parameter in unwrap(runner.model).named_parameters():
            if name in gradients:
                parameter.grad = gradients[name].to(parameter.device, parameter.dtype)


def _trains(runner):
    """Whether a validation happens within a training (Runner.val alone has no built training loop)."""
    return isinstance(runner._train_loop, BaseLoop)


def _seed(runner, stream, number):
    seed_generators(stream, runner.seed, runner.rank, number, cuda=True)
