"""A training that is over in milliseconds but goes through the whole of mmengine and our runner: to be killed."""
import time

import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from torch import nn
from torch.utils.data import Dataset

from mmaffnet.engine.runner import AFFNetRunner
from mmaffnet.registry import DATASETS, METRICS, MODELS, RUNNERS


@MODELS.register_module()
class ToyModel(BaseModel):
    """A perceptron whose weights fill checkpoints of a chosen size.

    Args:
        width (int): Of the hidden layer.
    """

    def __init__(self, width=64):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, width), nn.BatchNorm1d(width), nn.SiLU(), nn.Linear(width, 1))

    def forward(self, inputs, mode='tensor'):
        """Loss or predictions for a list of N inputs (4, )."""
        inputs = torch.stack(inputs)
        outputs = self.layers(inputs)
        return dict(loss=(outputs - inputs.sum(1, keepdim=True)).square().mean()) if mode == 'loss' else list(outputs)


@DATASETS.register_module()
class ToyData(Dataset):
    """Eight fixed vectors."""

    metainfo = dict(classes=('toy', ), palette=[(1, 2, 3)])

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return dict(inputs=torch.sin(torch.arange(4) + index))


@METRICS.register_module()
class ToyScore(BaseMetric):
    """A score that mostly grows with the iterations, so that new best checkpoints come often but not always."""

    default_prefix = 'toy'

    def process(self, data_batch, data_samples):
        """Count pictures."""
        self.results += [1] * len(data_samples)

    def compute_metrics(self, results):
        """dict: The score."""
        # Not the hub's "iter", which a validation right after resuming finds one ahead.
        losses = MessageHub.get_current_instance().log_scalars.get('train/loss')
        done = 0 if losses is None else len(losses.data[0])
        return dict(score=float(done if done % 10 else 0), lost=1 / (1 + done))


@RUNNERS.register_module()
class ToyRunner(AFFNetRunner):
    """Does not spend a second of each run on asking compilers for their versions."""

    def _log_env(self, env_cfg):
        pass


def toy_config(work_dir, **changes):
    """Make a config: 4 iterations an epoch, a checkpoint and a validation after each, one kept, the best kept.

    Args:
        work_dir (str | Path): Of the run.
        **changes: Top-level keys that differ.

    Returns:
        Config: For ``RUNNERS.build``.
    """
    loader = dict(batch_size=2, num_workers=0, dataset=dict(type='mmaffnet.ToyData'),
                  sampler=dict(type='DefaultSampler', shuffle=True))
    config = dict(
        runner_type='mmaffnet.ToyRunner', default_scope='mmaffnet', work_dir=str(work_dir), log_level='ERROR',
        experiment_name=f'toy-{time.monotonic_ns()}',  # mmengine's names are equal within a second, and share state
        model=dict(type='ToyModel'), train_dataloader=loader, val_dataloader=loader,
        train_cfg=dict(by_epoch=True, max_epochs=3), val_cfg=dict(), val_evaluator=dict(type='ToyScore'),
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.01)),
        param_scheduler=[dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=6),
                         dict(type='CosineAnnealingLR', by_epoch=True, begin=0)],
        default_hooks=dict(logger=dict(type='LoggerHook', interval=1),
                           checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=1, save_best='toy/score',
                                           rule='greater')),
        custom_hooks=[dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=0.1)],
        visualizer=dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')]), randomness=dict(seed=0))
    config.update(changes)
    return Config(config, format_python_code=False)  # formatting it would be half of the run
