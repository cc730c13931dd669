"""Necks for the detectors; imported only where mmdet is installed."""

from .ssdlite_neck import SSDLiteNeck

__all__ = ['SSDLiteNeck']
