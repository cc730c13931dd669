"""Multi-scale training of whole batches that goes on with its size when a run is resumed."""
from mmdet.models.data_preprocessors import BatchSyncRandomResize as MMDetBatchSyncRandomResize
from mmengine.logging import MessageHub

from mmaffnet.registry import MODELS

INPUT_SIZE = 'batch_input_size'  # in the message hub, which every checkpoint holds


@MODELS.register_module()
class BatchSyncRandomResize(MMDetBatchSyncRandomResize):
    """mmdet's batch augmentation, which draws a size every ``interval`` iterations and lacks a memory of it: a resumed
    run would train at the pipeline's size until the next draw.

    Here the size stands in the message hub. All ranks have the same: rank 0 draws and broadcasts it, and in a resumed
    run all read the same checkpoint.

    Args:
        *args: As for mmdet's: ``random_size_range``, ``interval``, ``size_divisor``.
        **kwargs: As for mmdet's.
    """

    def forward(self, inputs, data_samples):
        """Resize a batch and its boxes.

        Args:
            inputs (Tensor): (B, C, H, W).
            data_samples (list[DetDataSample]): Changed in place.

        Returns:
            tuple[Tensor, list[DetDataSample]]: (B, C, h, w) at the current size, and the samples.
        """
        hub = MessageHub.get_current_instance()
        if self._input_size is None and hub.get_info(INPUT_SIZE) is not None:
            self._input_size = tuple(hub.get_info(INPUT_SIZE))
        inputs, data_samples = super().forward(inputs, data_samples)
        hub.update_info(INPUT_SIZE, self._input_size)
        return inputs, data_samples
