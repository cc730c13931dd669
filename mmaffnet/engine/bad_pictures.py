"""Go on without pictures that cannot be read: leave them out of training, name each once, stop where they are many."""
from pathlib import Path

import mmcv.transforms
from mmengine.dist import all_gather_object, get_rank
from mmengine.hooks import Hook

from mmaffnet.picture_log import PictureLog
from mmaffnet.registry import HOOKS

from .errors import UserError, is_main_process

# The names under which configs ask for mmcv's loader, and ours, whose options this run sets anew.
LOADERS = ('LoadImageFromFile', 'mmcv.LoadImageFromFile', 'mmengine.LoadImageFromFile', 'mmdet.LoadImageFromFile',
           'mmseg.LoadImageFromFile', 'mmpretrain.LoadImageFromFile', 'mmaffnet.LoadImageFromFile',
           mmcv.transforms.LoadImageFromFile)
MAX_BAD_SHARE = 0.05


def use_checked_loading(runner):
    """Let a run's data loaders read pictures by :class:`mmaffnet.datasets.transforms.LoadImageFromFile`.

    What they cannot read is left out of training, and replaced by a black picture in evaluation. The config that the
    run writes down keeps the host's name, so that it works elsewhere as before. Idempotent.

    Args:
        runner (Runner): Built, but none of its loops yet.
    """
    for part, on_bad in (('train', 'skip'), ('val', 'black'), ('test', 'black')):
        name = f'_{part}_dataloader'  # where the loop that will be built reads it
        loader = getattr(runner, name)
        if isinstance(loader, dict):
            options = dict(on_bad=on_bad, log=str(log_path(runner, part)))
            setattr(runner, name, with_checked_loading(loader, **options))


def with_checked_loading(dataloader, **options):
    """Exchange the transform that loads pictures, wherever it stands in the pipelines of a data loader's data sets.

    Other loaders (arrays, multi-channel pictures, a user's own) stay.

    Args:
        dataloader (dict): Config of a data loader; left unchanged.
        **options: ``on_bad`` and ``log`` of :class:`mmaffnet.datasets.transforms.LoadImageFromFile`.

    Returns:
        dict: A config of the same type.
    """
    options['label_maps'] = _reads_label_maps(dataloader.get('dataset'))
    return type(dataloader)({**dataloader, 'dataset': _exchanged(dataloader.get('dataset'), options)})


def log_path(runner, part):
    """Name the file in which this process's data loaders list bad pictures.

    Args:
        runner (Runner): The run.
        part (str): 'train', 'val' or 'test'.

    Returns:
        Path: In the run's own folder, so that a later run in the same work directory starts anew.
    """
    return Path(runner.log_dir) / f'bad_pictures_{part}_rank{get_rank()}.jsonl'


@HOOKS.register_module()
class BadPictureHook(Hook):
    """Report each picture left out of training once, and end the run where their share is too large.

    The share is that of different bad pictures found so far among all of the training set, on all ranks together. One
    rank alone looks after each iteration; several look together after the first, after each ``interval``, and at the
    end of an epoch.

    Args:
        max_bad_share (float): In [0, 1]: above it the run ends. 0 ends it at the first bad picture, 1 never. The
            top-level key ``max_bad_share`` of a config sets it. Defaults to 0.05.
        interval (int): Iterations between two looks of several ranks. Defaults to 50.

    Raises:
        UserError: If ``max_bad_share`` is out of range.
    """

    priority = 'HIGH'  # before anything is saved

    def __init__(self, max_bad_share=MAX_BAD_SHARE, interval=50):
        if not isinstance(max_bad_share, int | float) or not 0 <= max_bad_share <= 1:
            raise UserError(f'max_bad_share is {max_bad_share!r}; it must be a number from 0 (none may be bad) to 1')
        self.max_bad_share = max_bad_share
        self.interval = interval
        self.seen = {}

    def before_train(self, runner):
        """Count the pictures of the training set.

        Args:
            runner (Runner): The run.
        """
        self.log = PictureLog(log_path(runner, 'train'))
        self.total = num_pictures(runner.train_dataloader.dataset)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        """Look for new entries.

        Args:
            runner (Runner): The run.
            batch_idx (int): Unused.
            data_batch: Unused.
            outputs: Unused.
        """
        if not runner.distributed or runner.iter == 0 or self.every_n_train_iters(runner, self.interval):
            self._look(runner)

    def after_train_epoch(self, runner):
        """Look for new entries.

        Args:
            runner (Runner): The run.
        """
        self._look(runner)

    def after_train(self, runner):
        """Print how many were left out.

        Args:
            runner (Runner): The run.
        """
        if self.seen:
            runner.logger.warning(f'{len(self.seen)} of {self.total} training pictures were left out: they could not '
                                  f'be used (listed in {_listing(self.log.path)})')

    def _look(self, runner):
        found = self.log.new()
        parts = all_gather_object(found) if runner.distributed else [found]
        for picture, reason in (item for part in parts for item in part.items()):
            if picture in self.seen:
                continue
            self.seen[picture] = reason
            if is_main_process():
                runner.logger.warning(f'picture {picture} is left out of training: {reason} ({len(self.seen)} of '
                                      f'{self.total} so far)')
        share = len(self.seen) / self.total
        if share > self.max_bad_share:
            picture, reason = next(iter(self.seen.items()))
            raise UserError(f'{len(self.seen)} of {self.total} training pictures cannot be used ({share:.1%}, allowed: '
                            f'{self.max_bad_share:.1%}), such as {picture}: {reason}; all found so far are listed in '
                            f'{_listing(self.log.path)}: mend them or take them out, or allow more by --cfg-options '
                            'max_bad_share=SHARE')


def num_pictures(dataset):
    """Count the samples of a data set, each once where a wrapper repeats them.

    Args:
        dataset (torch.utils.data.Dataset): A data set, or a wrapper of mmengine's kind (``dataset``, ``datasets``).

    Returns:
        int: The number.
    """
    while hasattr(dataset, 'dataset'):
        dataset = dataset.dataset
    if hasattr(dataset, 'datasets'):
        return sum(map(num_pictures, dataset.datasets))
    return len(dataset)


def _listing(path):
    return path.with_name(path.name.replace(f'rank{get_rank()}', 'rank*'))


def _exchanged(node, options):
    if isinstance(node, dict):
        new = {key: _exchanged(value, options) for key, value in node.items()}
        if node.get('type') in LOADERS:
            new.update(options, type='mmaffnet.LoadImageFromFile')
        return type(node)(new)
    if isinstance(node, list | tuple):
        return type(node)(_exchanged(value, options) for value in node)
    return node


def _reads_label_maps(node):
    """Whether mmseg's or mmcv's transform that reads a label map stands in a config."""
    if isinstance(node, dict):
        name = str(node.get('type', '')).rsplit('.', 1)[-1]
        # Detection asks for boxes, or names the maps: its data sets name maps that nothing reads.
        if name == 'LoadAnnotations' and not node.get('with_bbox') and not node.get('with_mask'):
            return True
        return any(_reads_label_maps(value) for value in node.values())
    return isinstance(node, list | tuple) and any(map(_reads_label_maps, node))
