"""Starting runs: training, testing, predicting. What the scripts under ``tools/`` and the console commands call."""
from .errors import UserError
from .hooks import CheckpointFitHook, SyncNormBuffersHook
from .runner import AFFNetRunner

__all__ = ['AFFNetRunner', 'CheckpointFitHook', 'SyncNormBuffersHook', 'UserError']
