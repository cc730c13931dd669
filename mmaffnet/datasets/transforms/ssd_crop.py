"""Random crop of SSD, as the reference draws it."""

from collections.abc import Sequence

import numpy as np
from mmcv.transforms.utils import cache_randomness
from mmdet.datasets.transforms import MinIoURandomCrop
from mmdet.structures.bbox import HorizontalBoxes, autocast_box_type

from mmaffnet.registry import TRANSFORMS


@TRANSFORMS.register_module()
class SSDRandomCrop(MinIoURandomCrop):
    """Crops a patch that overlaps at least one box enough.

    mmdet's ``MinIoURandomCrop`` demands the IoU of **every** box, so that a picture with objects far apart is hardly
    ever cropped at high thresholds; it has no smallest patch, and tries 50 times where the reference tries 40.

    A threshold is drawn from keep (the picture stays), 0 if asked for in ``min_ious``, and ``min_ious``; then up to
    ``num_trials`` patches with sides of U(``min_crop_size``, 1) of the picture's, each drawn by itself. The first is
    taken whose h/w is in ``aspect_ratio_range``, whose IoU with some box reaches the threshold, which holds some
    box's centre, and whose sides have ``min_side`` pixels; where none is, another threshold is drawn. Boxes whose
    centre lies in the patch stay and are clipped to it. Boxes flagged as ignored (crowds) go along, but neither admit
    a patch nor refuse one; a picture with no other box stays as it is.

    Randomness is numpy's (``numpy.random.seed``; mmengine seeds it in every worker).

    Source: SSD (Liu et al., ECCV 2016, Sec. 2.2) as in ml-cvnets.

    Required and modified keys: those of ``MinIoURandomCrop`` (img, img_shape, gt_bboxes, and where present
    gt_bboxes_labels, gt_ignore_flags, gt_masks, gt_seg_map).

    Args:
        min_ious (Sequence[float]): Thresholds besides keep. Defaults to (0.1, 0.3, 0.5, 0.7, 0.9, 1.0).
        min_crop_size (float): Smallest side as a fraction of the picture's, in (0, 1]. Defaults to 0.3.
        aspect_ratio_range (Sequence[float]): Range of h/w. Defaults to (0.5, 2).
        min_side (int): Smallest side in pixels. Defaults to 100.
        num_trials (int): Patches tried for a threshold. Defaults to 40.
    """

    KEEP = None

    def __init__(
            self,
            min_ious: Sequence[float] = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0),
            min_crop_size: float = 0.3,
            aspect_ratio_range: Sequence[float] = (0.5, 2.0),
            min_side: int = 100,
            num_trials: int = 40,
    ) -> None:
        super().__init__(min_ious=min_ious, min_crop_size=min_crop_size)
        # In mmdet's list 1 means keep, which the reference's threshold of 1 does not.
        self.sample_mode = (self.KEEP, *min_ious)
        self.aspect_ratio_range = tuple(aspect_ratio_range)
        self.min_side = min_side
        self.num_trials = num_trials

    @cache_randomness
    def _random_mode(self) -> float | None:
        return self.sample_mode[np.random.randint(len(self.sample_mode))]

    @autocast_box_type()
    def transform(self, results: dict) -> dict:
        """Crop picture, boxes, masks and segmentation map.

        Args:
            results (dict): Result of the loading transforms.

        Returns:
            dict: The same, cropped; or untouched where the draw was to keep the picture.
        """
        boxes = results['gt_bboxes']
        ignored = results.get('gt_ignore_flags')
        admitting = boxes if ignored is None else boxes[~np.asarray(ignored, dtype=bool)]
        if len(admitting) == 0:
            return results
        height, width = results['img'].shape[:2]
        while (min_iou := self._random_mode()) is not self.KEEP:
            patch = self._find_patch(admitting, min_iou, height, width)
            if patch is not None:
                return self._crop(results, patch)
        return results

    def _find_patch(self, boxes: HorizontalBoxes, min_iou: float, height: int, width: int) -> np.ndarray | None:
        """Draw up to ``num_trials`` patches (x1, y1, x2, y2); return the first that fits, or None."""
        low, high = self.aspect_ratio_range
        for _ in range(self.num_trials):
            patch_w = int(np.random.uniform(self.min_crop_size * width, width))
            patch_h = int(np.random.uniform(self.min_crop_size * height, height))
            if min(patch_w, patch_h) < self.min_side or not low <= patch_h / patch_w <= high:
                continue
            left = int(np.random.uniform(0, width - patch_w))
            top = int(np.random.uniform(0, height - patch_h))
            patch = np.array([left, top, left + patch_w, top + patch_h])
            overlaps = boxes.overlaps(HorizontalBoxes(patch[None].astype(np.float32)), boxes)
            if overlaps.max() >= min_iou and _centres_inside(boxes, patch).any():
                return patch
        return None

    def _crop(self, results: dict, patch: np.ndarray) -> dict:
        """Cut the patch out of everything that ``results`` holds."""
        left, top, right, bottom = patch.tolist()
        inside = _centres_inside(results['gt_bboxes'], patch)
        boxes = results['gt_bboxes'][inside]
        boxes.translate_([-left, -top])
        boxes.clip_([bottom - top, right - left])
        results['gt_bboxes'] = boxes
        for key in ('gt_bboxes_labels', 'gt_ignore_flags'):
            if results.get(key) is not None:
                results[key] = results[key][inside]
        if results.get('gt_masks') is not None:
            results['gt_masks'] = results['gt_masks'][inside.nonzero()[0]].crop(patch)
        if results.get('gt_seg_map') is not None:
            results['gt_seg_map'] = results['gt_seg_map'][top:bottom, left:right]
        results['img'] = results['img'][top:bottom, left:right]
        results['img_shape'] = results['img'].shape[:2]
        return results

    def __repr__(self) -> str:
        return (f'{type(self).__name__}(min_ious={self.min_ious}, min_crop_size={self.min_crop_size}, '
                f'aspect_ratio_range={self.aspect_ratio_range}, min_side={self.min_side}, '
                f'num_trials={self.num_trials})')


def _centres_inside(boxes: HorizontalBoxes, patch: np.ndarray) -> np.ndarray:
    """Which boxes' centres lie strictly inside the patch (x1, y1, x2, y2)."""
    centres = boxes.centers.numpy()
    return ((centres > patch[:2]) & (centres < patch[2:])).all(axis=1)
