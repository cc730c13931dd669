"""Necks for the detectors; imported only where mmdet is installed."""

from .bifpn import BiFPN
from .ssdlite_neck import SSDLiteNeck

__all__ = ['BiFPN', 'SSDLiteNeck']
