"""Random numbers as a function of where a run stands, not of what it drew before.

    picture:        f(seed, rank, epoch, batch, position in the batch)
    order of data:  f(seed, epoch, batch)
    training step:  f(seed, rank, iteration)
    epoch's start and end, validation: f(seed, rank, epoch or iteration)

so that a resumed run draws what the undisturbed one drew, however many workers load the pictures and whether or not
there was a validation in between. mmengine seeds each worker once when it starts: without persistent workers every
epoch draws the same augmentations, with them a resumed run draws others.
"""
import random
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset


class Stream(IntEnum):
    """What a random stream is for; keeps streams with equal numbers apart."""

    PICTURE = 0
    ORDER = 1
    STEP = 2
    EPOCH_START = 3
    EPOCH_END = 4
    VALIDATION = 5


class Draw(NamedTuple):
    """An index into a data set together with the key of its random stream.

    Args:
        index (int | tuple): What the sampler gave.
        key (tuple[int, ...]): Epoch, batch, position in the batch.
    """

    index: object
    key: tuple


def seed_generators(*key, cuda=False):
    """Seed Python's, NumPy's and torch's global generators from a few numbers.

    Args:
        *key (int): Non-negative numbers; any difference gives unrelated streams (``numpy.random.SeedSequence``).
        cuda (bool): Whether to seed the current CUDA device too, where one is in use.
    """
    words = np.random.SeedSequence(key).generate_state(6)
    random.seed(int(words[0]) << 32 | int(words[1]))
    np.random.seed(words[2:4])
    value = int(words[4]) << 31 | int(words[5]) >> 1  # 63 bits: torch takes signed numbers
    # Not torch.manual_seed: it would queue a call with a stack trace for every backend that has not started yet.
    torch.default_generator.manual_seed(value)
    if cuda and torch.cuda.is_initialized():
        torch.cuda.manual_seed(value)


class SeededDataset(Dataset):
    """A data set that seeds the random numbers of each picture before it loads it.

    Reading and setting attributes goes to the wrapped data set: hooks of the hosts read ``metainfo`` and replace
    ``pipeline`` through the loader.

    Args:
        dataset (Dataset): The data set; plain indices are handed on without seeding.
        seed (int): Seed of the run.
        rank (int): Of this process.
    """

    OWN = ('_dataset', '_prefix')

    def __init__(self, dataset, seed, rank):
        self._dataset = dataset
        self._prefix = (Stream.PICTURE, seed, rank)

    def __len__(self):
        return len(self._dataset)

    def __getitem__(self, draw):
        if not isinstance(draw, Draw):
            return self._dataset[draw]
        seed_generators(*self._prefix, *draw.key)
        return self._dataset[draw.index]

    def __getattr__(self, name):
        # Special names stay here: torch asks for __getitems__, and pickle for __setstate__ before _dataset is set.
        if name.startswith('__') or name in self.OWN:
            raise AttributeError(f'{type(self).__name__} has no attribute {name}')
        return getattr(self._dataset, name)

    def __setattr__(self, name, value):
        if name in self.OWN:
            super().__setattr__(name, value)
        else:
            setattr(self._dataset, name, value)


class SeededBatchSampler:
    """A batch sampler that gives every index the key of its random stream and can begin within an epoch.

    Args:
        batch_sampler (Iterable[list]): Any batch sampler; other attributes (``sampler``, ``batch_size``) are its own.
        seed (int): Seed of the run. The order is seeded on all ranks alike, as samplers that draw from NumPy's global
            generator (mmdet's ``GroupMultiSourceSampler``) expect it.
    """

    def __init__(self, batch_sampler, seed):
        self._inner = batch_sampler
        self._seed = seed
        self._epoch, self._batch, self._started = 0, 0, None
        self.limit = None  # batches in an epoch, where other ranks have fewer than this one

    def __len__(self):
        return len(self._inner) if self.limit is None else min(self.limit, len(self._inner))

    def __iter__(self):
        # A generator, so that nothing is taken before the first batch is: torch's loader with workers makes two
        # iterators and uses the second.
        if self._started is None:
            self.start(self._epoch)
        batches, self._started = self._started, None
        yield from batches

    def __getattr__(self, name):
        if name.startswith('__') or name == '_inner':
            raise AttributeError(f'{type(self).__name__} has no attribute {name}')
        return getattr(self._inner, name)

    def set_epoch(self, epoch):
        """Tell the samplers inside which epoch begins, as mmengine's ``DistSamplerSeedHook`` does.

        Args:
            epoch (int): Counted from 0.
        """
        for sampler in (self._inner, getattr(self._inner, 'sampler', None)):
            if hasattr(sampler, 'set_epoch'):
                sampler.set_epoch(epoch)

    def start(self, epoch, skip=0):
        """Make the next iteration begin within an epoch. Indices are drawn, nothing is loaded.

        Args:
            epoch (int): Counted from 0.
            skip (int): How many of its batches to leave out.

        Returns:
            int: How many were left out: fewer where the epoch ended before.
        """
        self._epoch, self._batch = epoch, 0
        self._started = self._batches()
        while self._batch < skip and next(self._started, None) is not None:
            pass
        return self._batch

    def _batches(self):
        indices = None
        while self.limit is None or self._batch < self.limit:
            seed_generators(Stream.ORDER, self._seed, self._epoch, self._batch)
            indices = iter(self._inner) if indices is None else indices
            batch = next(indices, None)
            if batch is None:
                return
            key = self._epoch, self._batch
            self._batch += 1
            yield [Draw(index, (*key, position)) for position, index in enumerate(batch)]


def seeded_loader(loader, seed, rank):
    """Give a loader random numbers that depend on position alone.

    Args:
        loader (DataLoader): As the host built it; nothing has been loaded with it yet.
        seed (int): Seed of the run.
        rank (int): Of this process.

    Returns:
        DataLoader | None: A loader with the same settings; None where the data have no indices (``IterableDataset``,
        or no batches), so that nothing can be skipped.
    """
    if isinstance(loader.dataset, IterableDataset) or loader.batch_sampler is None:
        return None
    settings = {name: getattr(loader, name) for name in (
        'num_workers', 'collate_fn', 'pin_memory', 'timeout', 'worker_init_fn', 'multiprocessing_context', 'generator',
        'prefetch_factor', 'persistent_workers')}
    for name in ('pin_memory_device', 'in_order'):  # not in every torch
        if getattr(loader, name, None):
            settings[name] = getattr(loader, name)
    seeded = DataLoader(SeededDataset(loader.dataset, seed, rank),
                        batch_sampler=SeededBatchSampler(loader.batch_sampler, seed), **settings)
    # torch leaves it None beside a batch sampler and lets nobody set it; mmpretrain's PreciseBNHook reads it.
    vars(seeded)['batch_size'] = loader.batch_size
    return seeded
