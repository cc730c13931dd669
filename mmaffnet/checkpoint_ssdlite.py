"""Kept for those who import it from here; see :mod:`mmaffnet.checkpoint.ssdlite`."""

from .checkpoint.ssdlite import convert_ssdlite_state

__all__ = ['convert_ssdlite_state']
