"""Starting runs: training, testing, predicting. What the scripts under ``tools/`` and the console commands call."""
from .bad_pictures import BadPictureHook
from .checkpoint_hook import AtomicCheckpointHook
from .errors import UserError
from .finite_loss import FiniteLossHook
from .hooks import CheckpointFitHook, SyncNormBuffersHook
from .loops import EpochBasedTrainLoop, IterBasedTrainLoop
from .multistep import RelativeMultiStepLR
from .plain import PlainCheckpointHook, RestoreCheckpointHook
from .resume_hook import ExactResumeHook
from .runner import AFFNetRunner
from .samplers import FullBatchSampler
from .schedulers import EpochWarmupCosineLR, QuadraticWarmupCosineLR, WarmupCosineLR
from .termination import TerminationHook
from .watchdog import WatchdogHook

__all__ = [
    'AFFNetRunner', 'AtomicCheckpointHook', 'BadPictureHook', 'CheckpointFitHook', 'EpochBasedTrainLoop',
    'EpochWarmupCosineLR', 'ExactResumeHook', 'FiniteLossHook', 'FullBatchSampler', 'IterBasedTrainLoop',
    'PlainCheckpointHook', 'QuadraticWarmupCosineLR', 'RelativeMultiStepLR', 'RestoreCheckpointHook',
    'SyncNormBuffersHook', 'TerminationHook', 'UserError', 'WarmupCosineLR', 'WatchdogHook']
