"""Random numbers follow from a picture's place in the run, whoever loads it and whatever was drawn before."""
import copy
import pickle
import random

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, ConcatDataset, DataLoader, Dataset, IterableDataset, RandomSampler

from mmaffnet.engine.randomness import Draw, SeededBatchSampler, SeededDataset, Stream, seed_generators, seeded_loader


def drawn():
    """One number of each generator."""
    return random.random(), np.random.rand(), torch.rand(1).item()


class Draws(Dataset):
    """Gives an index with one draw of each generator."""

    metainfo = dict(classes=('one',))

    def __init__(self, length=10):
        self.length = length
        self.pipeline = 'first'

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        return index, *drawn()


class Shuffled:
    """mmengine's kind of sampler: the order follows from the epoch."""

    def __init__(self, dataset):
        self.dataset, self.epoch = dataset, 0

    def __len__(self):
        return len(self.dataset)

    def __iter__(self):
        return iter(np.random.RandomState(self.epoch).permutation(len(self.dataset)).tolist())

    def set_epoch(self, epoch):
        self.epoch = epoch


class Grouped:
    """Endless, and draws each group from NumPy's global generator, as mmdet's GroupMultiSourceSampler does."""

    def __iter__(self):
        while True:
            yield [int(np.random.choice(2)) * 5 + k for k in range(3)]


def loader(workers=0, seed=7, rank=0, batches=None, **settings):
    """A seeded loader of ten items in batches of four."""
    data = Draws()
    host = DataLoader(data, num_workers=workers, collate_fn=list,
                      batch_sampler=batches or BatchSampler(Shuffled(data), 4, drop_last=False), **settings)
    return seeded_loader(host, seed, rank)


def epoch_of(data, epoch, skip=0):
    """All batches of one epoch."""
    data.batch_sampler.set_epoch(epoch)
    data.batch_sampler.start(epoch, skip)
    return list(data)


def test_one_key_one_stream():
    keys = [(Stream.STEP, 1, 0, 5), (Stream.STEP, 1, 1, 5), (Stream.STEP, 1, 0, 6), (Stream.EPOCH_START, 1, 0, 5),
            (Stream.STEP, 2, 0, 5), (2**40, ), (0, )]
    seen = []
    for key in (*keys, *keys):
        seed_generators(*key)
        seen.append(drawn())
    assert seen[:len(keys)] == seen[len(keys):]
    for values in zip(*seen, strict=True):
        assert len(set(values)) == len(keys)


def test_pictures_do_not_depend_on_workers():
    expected = [epoch_of(loader(), epoch) for epoch in (0, 1)]
    for workers, persistent in ((1, False), (2, False), (2, True)):
        data = loader(workers, persistent_workers=persistent, prefetch_factor=1)
        assert [epoch_of(data, epoch) for epoch in (0, 1)] == expected
    assert [sorted(index for batch in epoch for index, *_ in batch) for epoch in expected] == [list(range(10))] * 2


def test_every_picture_of_every_epoch_and_rank_draws_anew():
    pictures = [item for data in (loader(), loader(rank=1), loader(seed=8))
                for epoch in (0, 1) for batch in epoch_of(data, epoch) for item in batch]
    for values in list(zip(*pictures, strict=True))[1:]:
        assert len(set(values)) == len(pictures) == 60


@pytest.mark.parametrize('workers', [0, 2])
def test_skipped_batches_leave_the_others_as_they_are(workers):
    data = loader(workers)
    whole = epoch_of(data, 3)
    for skip in range(4):
        np.random.seed(skip)  # what was drawn before does not matter
        assert epoch_of(data, 3, skip) == whole[skip:]
    assert data.batch_sampler.start(3, 9) == 3  # the epoch has no more


@pytest.mark.parametrize('workers', [0, 2])
def test_samplers_that_draw_from_the_global_generator(workers):
    def first(number, skip):
        data = loader(workers, batches=Grouped())
        data.batch_sampler.start(0, skip)
        batches = iter(data)
        return [next(batches) for _ in range(number)]

    whole = first(12, 0)
    assert len({batch[0][0] for batch in whole}) == 2  # both groups
    np.random.seed(1)
    assert first(7, 5) == whole[5:]


def test_limit_ends_an_epoch_and_loads_nothing_more():
    data = loader()
    whole = epoch_of(data, 0)
    data.batch_sampler.limit = 2
    assert len(data) == 2 and epoch_of(data, 0) == whole[:2] and epoch_of(data, 0, 1) == whole[1:2]
    data.batch_sampler.limit = 5
    assert len(data) == 3 and epoch_of(data, 0) == whole


def test_iterating_again_without_a_start_repeats_the_epoch():
    data = loader()
    assert epoch_of(data, 2, 1) == list(data)[1:]


def test_data_set_hands_everything_on():
    inner = Draws()
    data = SeededDataset(inner, 0, 0)
    assert data.metainfo is inner.metainfo and len(data) == 10
    data.pipeline = 'second'
    assert inner.pipeline == 'second'
    for twin in (pickle.loads(pickle.dumps(data)), copy.deepcopy(data)):
        assert twin.pipeline == 'second' and twin[Draw(3, (1, 2, 0))] == data[Draw(3, (1, 2, 0))]
    assert data[3] != data[3]  # without a key nothing is seeded
    with pytest.raises(AttributeError):
        data.__getitems__  # noqa: B018


def test_sampler_hands_everything_on():
    data = loader()
    assert data.batch_sampler.batch_size == 4 and data.batch_size is None and not data.batch_sampler.drop_last
    data.batch_sampler.set_epoch(5)
    assert data.batch_sampler.sampler.epoch == 5
    plain = seeded_loader(DataLoader(Draws(), batch_size=3, shuffle=True, drop_last=True), 0, 0)
    assert plain.batch_size == 3 and len(plain) == 3 and isinstance(plain.batch_sampler.sampler, RandomSampler)


def test_settings_of_the_loader_are_kept():
    host = DataLoader(Draws(), batch_size=2, num_workers=2, persistent_workers=True, prefetch_factor=3, timeout=9,
                      collate_fn=list, worker_init_fn=drawn, multiprocessing_context='spawn')
    mine = seeded_loader(host, 0, 0)
    for name in ('num_workers', 'persistent_workers', 'prefetch_factor', 'timeout', 'collate_fn', 'worker_init_fn',
                 'multiprocessing_context', 'pin_memory'):
        assert getattr(mine, name) == getattr(host, name), name


def test_data_without_indices_are_left_alone():
    class Stream(IterableDataset):
        def __iter__(self):
            return iter(range(3))

    assert seeded_loader(DataLoader(Stream()), 0, 0) is None
    assert seeded_loader(DataLoader(Draws(), batch_size=None), 0, 0) is None


def test_sampler_sees_the_data_set_itself():
    data = ConcatDataset([Draws(), Draws()])
    host = DataLoader(data, batch_sampler=BatchSampler(Shuffled(data), 4, drop_last=False))
    assert isinstance(seeded_loader(host, 0, 0).batch_sampler.sampler.dataset, ConcatDataset)  # mmdet asks


def test_batch_sampler_gives_keys():
    sampler = SeededBatchSampler([[3, 1], [(2, 5)]], seed=0)
    sampler.start(4)
    assert list(sampler) == [[Draw(3, (4, 0, 0)), Draw(1, (4, 0, 1))], [Draw((2, 5), (4, 1, 0))]]
