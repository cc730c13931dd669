"""Anchors and matching of the detectors; imported only where mmdet is installed."""

from .iou_calculators import SmoothedBboxOverlaps2D
from .prior_generators import SSDLiteAnchorGenerator

__all__ = ['SSDLiteAnchorGenerator', 'SmoothedBboxOverlaps2D']
