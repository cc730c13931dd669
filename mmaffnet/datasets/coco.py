"""mmdet's COCO data set with its annotation file checked."""
import logging
import os

from mmdet.datasets import CocoDataset as MMDetCocoDataset
from mmengine.logging import print_log

from mmaffnet.engine.errors import UserError
from mmaffnet.registry import DATASETS

from .coco_check import check_document
from .coco_file import read_coco
from .coco_findings import EXAMPLES, image_name
from .coco_pictures import missing_pictures

TOOL = 'python tools/dataset_converters/check_coco.py'


@DATASETS.register_module()
class CocoDataset(MMDetCocoDataset):
    """mmdet's COCO data set, which lacks a check of its file: it fails in the middle with a traceback, or leaves out or
    trains on what is wrong without a word.

    A file that cannot be used ends the run. In training, single bad annotations and pictures that are not on the disk
    are left out, counted and reported once; in evaluation (``test_mode``) what pycocotools would compute wrongly ends
    the run, and the rest counts as it counts it. Where nothing is wrong the data are mmdet's, to the last value.

    Args:
        *args: As for mmdet's.
        max_bad_share (float): In [0, 1]: the largest share of annotations, and of pictures, that may be bad; above it
            the run ends. Defaults to 0.05.
        require_annotations (bool): Whether a file without any annotation ends the run. False for COCO's own files of
            its test pictures, whose predictions are only written. Defaults to True.
        **kwargs: As for mmdet's.

    Raises:
        UserError: Naming the file, the first entries and what is wrong with them.
        ValueError: Where ``max_bad_share`` is out of range.
    """

    def __init__(self, *args, max_bad_share=0.05, require_annotations=True, **kwargs):
        if not isinstance(max_bad_share, int | float) or not 0 <= max_bad_share <= 1:
            raise ValueError(f'max_bad_share must lie in 0 to 1, got {max_bad_share!r}')
        self.max_bad_share = max_bad_share
        self.require_annotations = require_annotations
        super().__init__(*args, **kwargs)

    def COCOAPI(self, path):
        """Read and check the annotation file; mmdet's ``load_data_list`` calls this with a local copy of it.

        Args:
            path (str): The local file.

        Returns:
            mmdet.datasets.api_wrappers.COCO: With all that may be used.
        """
        document = read_coco(path, self.ann_file, self.require_annotations)
        # A pipeline that loads masks fails on an annotation without one.
        masks = any(getattr(step, 'with_mask', False) for step in self.pipeline.transforms)
        report = check_document(document, self.ann_file, masks=masks, require_annotations=self.require_annotations)
        use = 'evaluation' if self.test_mode else 'training'
        self._stop_at(report.select(**{use: 'stop'}))
        if self.test_mode:
            self._count(report, report.select(evaluation='count'), 'kept as COCO\'s evaluation counts them')
        else:
            self._count(report, report.select(training='skip'), 'left out of the training')
            _leave_out(document, report)
            self._leave_out_missing_pictures(document)
        for finding in report.select(**{use: 'say'}):
            _warn(f'{self.ann_file}: {finding}')
        return _index(super().COCOAPI(), document)

    def filter_data(self):
        """Filter as mmdet does, and end the run where no picture is left.

        Returns:
            list[dict]: The pictures.
        """
        data_list = super().filter_data()
        if not data_list and not self.test_mode:
            raise UserError(f'{self.ann_file} has no picture to train on: none of its {len(self.data_list)} has an '
                            'annotation of the classes that the config names, or filter_cfg leaves them all out')
        return data_list

    def _stop_at(self, findings):
        if findings:
            others = f', and {len(findings) - 1} more kinds of mistakes' if len(findings) > 1 else ''
            raise UserError(f'{self.ann_file} has {findings[0]}{others}; {self._how_to_list()}')

    def _count(self, report, findings, what):
        """Report each kind once, and end the run where their share is too large."""
        names = {finding.name for finding in findings}
        bad = sum(name in names for name in report.bad.values())
        self._check_share(bad, report.annotations, 'annotations', findings)
        for finding in findings:
            _warn(f'{self.ann_file}: {what}: {finding}')

    def _check_share(self, bad, total, what, details):
        if bad > self.max_bad_share * total:
            raise UserError(
                f'{self.ann_file}: {bad} of {total} {what} are bad, more than max_bad_share = {self.max_bad_share} of '
                f'the data set allows ({"; ".join(map(str, details))}); {self._how_to_list()}')

    def _leave_out_missing_pictures(self, document):
        folder = self.data_prefix.get('img') or ''
        if '://' in folder or self.backend_args:  # no folder of this machine: its loader finds them one by one
            return
        missing = missing_pictures(document['images'], folder)
        if not missing:
            return
        examples = [f'{image_name(image)}: {os.path.join(folder, image["file_name"])}' for image in missing[:EXAMPLES]]
        more = f'; and {len(missing) - EXAMPLES} more' if len(missing) > EXAMPLES else ''
        details = f'images that are not on the disk ({len(missing)}): {"; ".join(examples)}{more}'
        self._check_share(len(missing), len(document['images']), 'images', [details])
        _warn(f'{self.ann_file}: left out of the training: {details}')
        gone = {image['id'] for image in missing}
        document['images'] = [image for image in document['images'] if image['id'] not in gone]
        document['annotations'] = [a for a in document['annotations'] if a['image_id'] not in gone]

    def _how_to_list(self):
        return f'{TOOL} {self.ann_file} {self.data_prefix.get("img") or ""}'.rstrip() + ' lists everything'


def _leave_out(document, report):
    # mmdet leaves empty boxes out by itself, but keeps their picture: so do we, for the same list of pictures.
    bad = {index for index, name in report.bad.items() if name not in ('bbox_empty', 'area_zero')}
    if bad:
        document['annotations'] = [a for i, a in enumerate(document['annotations']) if i not in bad]


def _index(coco, document):
    """What mmdet's COCO does with a file, for a document that is read already."""
    coco.dataset = document
    coco.createIndex()
    coco.img_ann_map, coco.cat_img_map = coco.imgToAnns, coco.catToImgs
    return coco


def _warn(line):
    print_log(line, logger='current', level=logging.WARNING)
