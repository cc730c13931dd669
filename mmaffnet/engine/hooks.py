"""Hooks that the runner adds by itself."""
import torch
from mmengine.dist import all_reduce_params
from mmengine.hooks import Hook

from mmaffnet.registry import HOOKS

from .errors import say
from .weights import fit_checkpoint, normalised, unwrap


@HOOKS.register_module()
class CheckpointFitHook(Hook):
    """Check what is loaded against the model; mmengine would skip what does not fit with a line in the log.

    Fine-tuning (``load_from``) may change the number of classes; resuming and testing may not.
    """

    priority = 'VERY_HIGH'  # before EMAHook copies the state dict

    def after_load_checkpoint(self, runner, checkpoint):
        """Fit the checkpoint to the model, in place, and print what was taken.

        Args:
            runner (Runner): The run.
            checkpoint (dict): As read from the file.
        """
        path = runner._load_from or 'of the run'
        normalised(checkpoint, path, 'checkpoint')
        # A loop that has not been built yet is a dict: only training builds its loop before it loads weights.
        training = runner._train_loop is not None and not isinstance(runner._train_loop, dict)
        num_old = num_classes_of(checkpoint)
        num_new = _num_classes(unwrap(runner.model))
        fresh = fit_checkpoint(runner.model, checkpoint, path, training and not runner._resume, num_old, num_new)
        if training and not runner._resume:
            total = len(checkpoint['state_dict'])
            say(f'load_from: {total - len(fresh)} of {total} tensors loaded from {path}')
            if fresh:
                say(f'load_from: initialised anew for {num_new} instead of {num_old or "another number of"} classes '
                    f'(box rows kept where a layer has both): {", ".join(fresh)}')


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Keep the model's weights in channels-last order; the maps follow. Faster on CPUs, the numbers stay the same."""

    def before_run(self, runner):
        """Turn the model.

        Args:
            runner (Runner): The run.
        """
        runner.model.to(memory_format=torch.channels_last)


@HOOKS.register_module()
class SyncNormBuffersHook(Hook):
    """Average the running statistics of normalisation layers over all ranks after each iteration.

    On CPUs it stands in for SyncBN's statistics; on GPUs it is for plain batch norms, as YOLOX has them. Without it a
    checkpoint would hold the statistics of rank 0 alone. mmengine's ``SyncBuffersHook`` averages once an epoch, which
    would let the EMA model's averaged buffers differ between ranks.
    """

    priority = 'ABOVE_NORMAL'  # before EMAHook reads the buffers

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        """Average floating-point buffers.

        Args:
            runner (Runner): The run.
            batch_idx (int): Unused.
            data_batch: Unused.
            outputs: Unused.
        """
        norms = (m for m in runner.model.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)
                 and not isinstance(m, torch.nn.SyncBatchNorm))  # whose ranks have the same
        buffers = [b for norm in norms if norm.training for b in norm.buffers() if b.is_floating_point()]
        if buffers:
            all_reduce_params(buffers, op='mean')


def num_classes_of(checkpoint):
    """int | None: Number of classes that a checkpoint's meta names."""
    classes = classes_of(checkpoint)
    return len(classes) if classes else None


def classes_of(checkpoint):
    """tuple[str] | None: Classes that a checkpoint's meta names."""
    meta = checkpoint.get('meta', {}).get('dataset_meta') or {}
    classes = meta.get('classes', meta.get('CLASSES'))
    return tuple(classes) if classes else None


def _num_classes(model):
    # Two-stage detectors have theirs one deeper, and several in a cascade.
    stages = getattr(getattr(model, 'roi_head', None), 'bbox_head', None)
    heads = [getattr(model, name, None) for name in ('bbox_head', 'decode_head', 'head')]
    heads += stages if isinstance(stages, torch.nn.ModuleList) else [stages]
    return next((head.num_classes for head in heads if hasattr(head, 'num_classes')), None)
