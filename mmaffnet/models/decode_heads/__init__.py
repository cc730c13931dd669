"""Segmentation heads. Imported only where mmseg is installed, see :mod:`mmaffnet.models.segmentation`."""

from .deeplabv3_head import DeepLabV3Head

__all__ = ['DeepLabV3Head']
