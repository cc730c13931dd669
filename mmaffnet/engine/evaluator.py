"""Evaluate sets in which some pictures cannot be read: they count as nothing found, and are listed."""
import json
from pathlib import Path

import mmcv
import numpy as np
import torch
from mmengine.dist import all_gather_object, collect_results, get_world_size, is_main_process
from mmengine.evaluator import Evaluator
from mmengine.logging import print_log

from mmaffnet.picture_log import PictureLog

from .errors import UserError

NO_CLASS = -1  # a label that no ground truth has, and that histograms of classes leave out
UNREADABLE = 'unreadable_pictures'
NAMED = 10  # pictures named in the log; the file has all


class CheckedEvaluator(Evaluator):
    """Another evaluator, whose predictions on pictures that could not be read are taken away before it sees them.

    mmengine has no word for a picture without pixels: its test data sets raise. Here a black picture went through the
    model in its place, so that all ranks have as many samples as the sampler says; what was found on it is emptied:

    - detection: no instances, so that its ground truth counts as missed;
    - segmentation: a label that is no class, so that no pixel is right and none is predicted as another class;
    - classification: the lowest score for the true classes, zero for the others, so that it is wrong among any top k
      and positive above no threshold.

    Args:
        evaluator (Evaluator): Whose metrics are computed.
        logs (Sequence[str | Path]): Files of the data loaders' logs (:class:`mmaffnet.picture_log.PictureLog`).
        folder (str | Path): Where the list and stand-ins for drawing go.
    """

    def __init__(self, evaluator, logs, folder):
        super().__init__([])
        self.evaluator = evaluator
        self.metrics = evaluator.metrics  # the same list: callers add metrics to it
        self.logs = [PictureLog(log) for log in logs]
        self.folder = Path(folder)
        self.batch_size = None  # where mmaffnet.engine.samplers.FullBatchSampler deals out the samples
        self._unreadable, self._met = {}, {}

    @property
    def dataset_meta(self):
        """dict | None: Meta information of the data set."""
        return self.evaluator.dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, dataset_meta):
        self.evaluator.dataset_meta = dataset_meta

    def process(self, data_samples, data_batch=None):
        """Hand predictions to the metrics, emptied where the picture could not be read.

        Args:
            data_samples (Sequence[BaseDataElement]): Predictions and ground truth; changed in place.
            data_batch: The batch.
        """
        for log in self.logs:
            self._unreadable.update(log.new())
        emptied = []
        for sample in data_samples if self._unreadable else ():
            path = sample.get('img_path')
            if path is None:
                raise UserError("the test pipeline's packing step must keep 'img_path' in meta_keys: it tells which "
                                'predictions belong to the pictures that cannot be read '
                                f'({next(iter(self._unreadable))})')
            if path in self._unreadable:
                self._met[path] = self._unreadable[path]
                empty_prediction(sample)
                emptied.append(sample)
        self.evaluator.process(data_samples, data_batch)
        for sample in emptied:
            self._give_picture(sample)

    def evaluate(self, size):
        """Compute the metrics, and list the pictures that could not be read.

        Args:
            size (int): Number of samples of the data set.

        Returns:
            dict: The metrics, and ``unreadable_pictures``, their number, where there are some.
        """
        if self.batch_size and get_world_size() > 1:
            for metric in self.metrics:
                metric.results = in_dataset_order(metric, size, self.batch_size)
        metrics = self.evaluator.evaluate(size)
        unreadable = {path: reason for part in all_gather_object(self._met) for path, reason in part.items()}
        self._unreadable, self._met = {}, {}  # the next evaluation reads all pictures again
        if unreadable:
            metrics[UNREADABLE] = len(unreadable)
            if is_main_process():
                self._report(dict(sorted(unreadable.items())), size)
        return metrics

    def _report(self, unreadable, size):
        out = self.folder / f'{UNREADABLE}.json'
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(unreadable, indent=2) + '\n')
        lines = [f'{path}: {reason}' for path, reason in unreadable.items()]
        more = [f'… and {len(lines) - NAMED} more'] if len(lines) > NAMED else []
        # Not as a warning: mmengine's logger prints a warning once, and the next evaluation may say the same.
        print_log('\n    '.join([f'{len(lines)} of {size} pictures could not be read and count as nothing found '
                                 f'(listed in {out}):', *lines[:NAMED], *more]), logger='current')

    def _give_picture(self, sample):
        """Let the hosts' hooks, which read the file again to draw on it, find a black one."""
        if 'pred_score' in sample:  # mmpretrain's draws on the model's input
            return
        stand_in = self.folder / UNREADABLE / f'{Path(sample.img_path).name}.png'
        mmcv.imwrite(np.zeros((*sample.ori_shape[:2], 3), np.uint8), str(stand_in))
        sample.set_metainfo(dict(img_path=str(stand_in)))


def in_dataset_order(metric, size, batch_size):
    """Collect what a metric holds for each sample, in the data set's order; mmengine collects single samples by turns.

    Args:
        metric (BaseMetric): Its results are those of the batches that
            :class:`mmaffnet.engine.samplers.FullBatchSampler` gave to this rank.
        size (int): Number of samples of the data set.
        batch_size (int): Of the data loader.

    Returns:
        list: All results on rank 0, none on the others: what mmengine's own collecting then leaves as it is.
    """
    world_size = get_world_size()
    mixed = collect_results(metric.results, len(metric.results) * world_size, metric.collect_device)
    if mixed is None:  # not rank 0
        return []
    parts = [mixed[rank::world_size] for rank in range(world_size)]
    ordered = [result for start in range(0, len(parts[0]), batch_size) for part in parts
               for result in part[start:start + batch_size]]
    return ordered[:size]


def empty_prediction(sample):
    """Take a prediction away, in place.

    Args:
        sample (BaseDataElement): With the prediction of a detector, segmentor or classifier of the hosts.

    Raises:
        UserError: Where it has a prediction of another kind.
    """
    known = False
    if 'pred_instances' in sample:
        sample.pred_instances = sample.pred_instances[:0]
        known = True
    if 'pred_sem_seg' in sample:
        data = sample.pred_sem_seg.data
        # Unsigned maps have no -1; 255 is no class either.
        sample.pred_sem_seg.data = torch.full_like(data, 255 if data.dtype == torch.uint8 else NO_CLASS)
        known = True
    if 'pred_score' in sample:
        scores = torch.zeros_like(sample.pred_score)
        scores[sample.gt_label] = -1
        sample.set_pred_score(scores)
        sample.set_pred_label(scores.argmax().reshape(1))
        known = True
    if not known:
        kinds = [key for key in sample.keys() if key.startswith('pred')]
        raise UserError(f'{sample.img_path} cannot be read, and how predictions of the kind {", ".join(kinds)} count '
                        'as nothing found is not known: take the picture out of the set')
