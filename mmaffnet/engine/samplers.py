"""The order in which an evaluation goes through its data."""
import math

from mmengine.dataset import DefaultSampler

from mmaffnet.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class FullBatchSampler(DefaultSampler):
    """Full batches of neighbouring samples, the same ones for any number of ranks; mmengine deals out single samples.

    The last bits of a convolution depend on the batch size and on a picture's place in the batch (measured on a CPU,
    SSDLite at 320 px: logits differ by 1e-6 between the first and the second place), so metrics of one process and of
    several agree to the last digit only where the batches do. Rank r takes batches r, r + ranks, …; the last ones are
    filled up with samples from the beginning, whose results are cut off
    (:func:`mmaffnet.engine.evaluator.in_dataset_order`).

    Args:
        dataset (Sized): The data set.
        batch_size (int): Of the data loader.
        seed (int | None): Unused: the order is that of the data set.
    """

    def __init__(self, dataset, batch_size, seed=None):
        super().__init__(dataset, shuffle=False, seed=0)
        self.batch_size = batch_size
        batches = math.ceil(len(dataset) / batch_size)
        self.num_samples = math.ceil(batches / self.world_size) * batch_size
        self.total_size = self.num_samples * self.world_size

    def __iter__(self):
        """Iterate over this rank's samples.

        Yields:
            int: Index into the data set.
        """
        step = self.world_size * self.batch_size
        for start in range(self.rank * self.batch_size, self.total_size, step):
            yield from (index % len(self.dataset) for index in range(start, start + self.batch_size))


def with_full_batches(dataloader):
    """Let a data loader for evaluation make full batches only.

    Args:
        dataloader (DataLoader | dict | None): As in a config, or built.

    Returns:
        DataLoader | dict | None: The config with our sampler where it asks for mmengine's in the data set's order; one
        with ``round_up=False``, or of another kind, is kept.
    """
    if not isinstance(dataloader, dict) or not isinstance(dataloader.get('sampler'), dict):
        return dataloader
    sampler = dict(dataloader['sampler'])
    if sampler.pop('type') not in ('DefaultSampler', 'mmengine.DefaultSampler', DefaultSampler):
        return dataloader
    if sampler.pop('shuffle', True) or not sampler.pop('round_up', True) or sampler:
        return dataloader
    full = dict(type='mmaffnet.FullBatchSampler', batch_size=dataloader['batch_size'])
    return type(dataloader)(dataloader, sampler=full)
