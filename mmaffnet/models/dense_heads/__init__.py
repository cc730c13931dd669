"""Dense heads of the detectors; imported only where mmdet is installed."""

from .ssdlite_head import SSDLiteHead

__all__ = ['SSDLiteHead']
