"""Dense heads of the detectors; imported only where mmdet is installed."""

from .efficientdet_head import EfficientDetHead
from .ssdlite_head import SSDLiteHead

__all__ = ['EfficientDetHead', 'SSDLiteHead']
