"""Transforms that the hosts lack; those for detection are there where mmdet is."""

from importlib.util import find_spec

from .gaussian_blur import RandomGaussianBlur
from .loading import LoadImageFromFile
from .photometric import RandomPhotometricDistort

__all__ = ['LoadImageFromFile', 'RandomGaussianBlur', 'RandomPhotometricDistort']

if find_spec('mmdet') is not None:
    from .ssd_crop import SSDRandomCrop  # noqa: F401

    __all__ += ['SSDRandomCrop']
