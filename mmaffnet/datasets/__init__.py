"""Data sets and transforms that the hosts lack."""

from . import transforms  # noqa: F401
