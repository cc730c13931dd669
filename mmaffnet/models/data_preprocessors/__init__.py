"""What detectors do to a whole batch; imported only where mmdet is installed."""

from .batch_resize import BatchSyncRandomResize

__all__ = ['BatchSyncRandomResize']
