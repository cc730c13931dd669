"""Training loops that go on exactly where a checkpoint was written, within an epoch too."""
import bisect

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.runner import EpochBasedTrainLoop as HostEpochLoop
from mmengine.runner import IterBasedTrainLoop as HostIterLoop
from torch.utils.data import DataLoader

from mmaffnet.registry import LOOPS

from .errors import UserError, say
from .randomness import Stream, seed_generators, seeded_loader
from .resume_hook import VALIDATED

BATCHES_DONE = 'batches_done'  # of the current epoch; in the message hub, which every checkpoint holds
BATCHES = 'batches_per_epoch'

# What a config calls the hosts' loops, and which of ours takes their place.
EXACT_LOOPS = {
    'EpochBasedTrainLoop': 'mmaffnet.EpochBasedTrainLoop',
    'IterBasedTrainLoop': 'mmaffnet.IterBasedTrainLoop',
}


def with_exact_loop(loop):
    """Put our loop where a config asks for one of mmengine's.

    Args:
        loop (dict): ``train_cfg`` of a config.

    Returns:
        dict: With ``type`` of our loop; as it was where it names a loop of another kind.
    """
    loop = dict(loop)
    if 'type' not in loop and 'by_epoch' in loop:
        loop['type'] = 'EpochBasedTrainLoop' if loop.pop('by_epoch') else 'IterBasedTrainLoop'
    name = loop.get('type')
    name = {HostEpochLoop: 'EpochBasedTrainLoop', HostIterLoop: 'IterBasedTrainLoop'}.get(name, name)
    if isinstance(name, str):
        loop['type'] = EXACT_LOOPS.get(name.removeprefix('mmengine.'), loop['type'])
    return loop


@LOOPS.register_module()
class EpochBasedTrainLoop(HostEpochLoop):
    """mmengine's loop by epochs, which resumes a checkpoint from within an epoch at the epoch's beginning, forgets a
    validation that was due when the run was killed, and hangs where ranks have different numbers of batches.

    Args:
        runner (Runner): The run.
        dataloader (DataLoader | dict): As in the config.
        max_epochs (int): Length of the training.
        **kwargs: Of mmengine's loop (``val_begin``, ``val_interval``, ``dynamic_intervals``).
    """

    def __init__(self, runner, dataloader, max_epochs, **kwargs):
        loader, self._batch_sampler = _build_loader(runner, dataloader)
        if self._batch_sampler is not None:
            agree_on_length(self._batch_sampler)  # before mmengine computes max_iters from it
        super().__init__(runner, loader, max_epochs, **kwargs)

    def run(self):
        """Train.

        Returns:
            torch.nn.Module: The model.
        """
        if self._batch_sampler is None:
            return super().run()
        self.runner.call_hook('before_train')
        done = self._batches_done()
        if self._iter and not done:
            hub = self.runner.message_hub  # as the validation would have found it
            hub.update_info_dict(dict(epoch=self._epoch - 1, iter=self._iter - 1))
            _validate_if_due(self, self._epoch, self._max_epochs)
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch(done)
            done = 0
            _validate_if_due(self, self._epoch, self._max_epochs)
        self.runner.call_hook('after_train')
        return self.runner.model

    def run_epoch(self, done=0):
        """Train one epoch.

        Args:
            done (int): How many of its batches were done before the run was interrupted.
        """
        hub = self.runner.message_hub
        agree_on_length(self._batch_sampler)
        hub.update_info(BATCHES, len(self.dataloader))
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        self._batch_sampler.start(self._epoch, done)
        if done < len(self.dataloader):
            for index, data_batch in enumerate(self.dataloader, start=done):
                hub.update_info(BATCHES_DONE, index + 1)
                self.run_iter(index, data_batch)
        hub.update_info(BATCHES_DONE, 0)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def _batches_done(self):
        """How many batches of the current epoch a checkpoint has behind it."""
        total = len(self.dataloader)
        info = self.runner.message_hub.runtime_info
        if not self._iter:
            return 0
        # mmengine's own checkpoints do not say it.
        done = info.get(BATCHES_DONE, self._iter - self._epoch * total)
        if done and info.get(BATCHES, total) != total or not 0 <= done <= total:
            say(f'resume: the checkpoint is from within an epoch of another length than the {total} batches of now '
                f'(other data, batch size or number of processes): epoch {self._epoch + 1} starts at its beginning')
            return 0
        return done


@LOOPS.register_module()
class IterBasedTrainLoop(HostIterLoop):
    """mmengine's loop by iterations, which repeats or replays data after resuming, depending on its version, and
    forgets a validation that was due when the run was killed.

    Args:
        runner (Runner): The run.
        dataloader (DataLoader | dict): As in the config.
        max_iters (int): Length of the training.
        **kwargs: Of mmengine's loop (``val_begin``, ``val_interval``, ``dynamic_intervals``).
    """

    def __init__(self, runner, dataloader, max_iters, **kwargs):
        loader, self._batch_sampler = _build_loader(runner, dataloader)
        # mmengine 0.10.7 starts the workers here; with an empty sampler it loads nothing of what may be skipped.
        idle = loader if self._batch_sampler is None else DataLoader(loader.dataset, sampler=())
        super().__init__(runner, idle, max_iters, **kwargs)
        self.dataloader = loader

    def run(self):
        """Train.

        Returns:
            torch.nn.Module: The model.
        """
        if self._batch_sampler is None:
            return super().run()
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')  # the whole training counts as one epoch
        if self._iter:
            self.runner.message_hub.update_info('iter', self._iter - 1)  # as the validation would have found it
            _validate_if_due(self, self._iter, self._max_iters)
        batches = self._endless_batches()
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(batches))
            _validate_if_due(self, self._iter, self._max_iters)
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model

    def _endless_batches(self):
        """Batches from the one that follows those done; passes over the data are counted, not replayed."""
        number, left = 0, self._iter
        while True:
            seen = self._batch_sampler.start(number, left)
            left -= seen
            if not left:
                for data_batch in self.dataloader:
                    seen += 1
                    yield data_batch
            if not seen:
                raise UserError(f'train_dataloader gave no batch in pass {number + 1} over its data: it needs more '
                                'pictures than one batch where drop_last is set, and a sampler that can start again')
            number += 1
            self._batch_sampler.set_epoch(number)


def agree_on_length(batch_sampler):
    """Let all ranks run as many batches an epoch as the rank with the fewest: one more would wait for ever.

    Args:
        batch_sampler (SeededBatchSampler): Its ``limit`` is set where ranks differ.
    """
    if get_world_size() == 1:
        return
    own = len(batch_sampler._inner)
    extremes = torch.tensor([own, -own])
    all_reduce(extremes, 'min')
    least, most = int(extremes[0]), -int(extremes[1])
    if least < most and batch_sampler.limit != least:
        say(f'ranks have between {least} and {most} batches an epoch: every rank runs {least}, the rest is left out '
            '(round_up=True of the sampler gives all ranks the same number)')
    batch_sampler.limit = least if least < most else None


def _build_loader(runner, dataloader):
    """Build the loader as mmengine does and make it resumable; (loader, None) where that cannot be."""
    diff_rank_seed = runner._randomness_cfg.get('diff_rank_seed', False)
    seed_generators(Stream.ORDER, runner.seed)  # of samplers that get no seed (diff_rank_seed)
    loader = runner.build_dataloader(dataloader, seed=runner.seed, diff_rank_seed=diff_rank_seed)
    seeded = seeded_loader(loader, runner.seed, runner.rank)
    if seeded is None:
        say(f'{type(loader.dataset).__name__} has no indices, or train_dataloader no batches: a resumed run will not '
            'see the same data as an undisturbed one')
        return loader, None
    return seeded, seeded.batch_sampler


def _validate_if_due(loop, position, last):
    """Validate where mmengine would, unless the checkpoint says that it was done."""
    runner = loop.runner
    # position + 1 as in mmengine: the interval of the step that comes next.
    loop.val_interval = loop.dynamic_intervals[bisect.bisect(loop.dynamic_milestones, position + 1) - 1]
    due = position >= loop.val_begin and (position % loop.val_interval == 0 or position == last)
    if runner.val_loop is not None and due and runner.message_hub.runtime_info.get(VALIDATED) != loop.iter:
        runner.val_loop.run()
