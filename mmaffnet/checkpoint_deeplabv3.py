"""Kept for those who import it from here; see :mod:`mmaffnet.checkpoint.deeplabv3`."""

from .checkpoint.deeplabv3 import convert_deeplabv3_state

__all__ = ['convert_deeplabv3_state']
