"""``sync_bn = 'timm'``: the norms of a timm backbone are synchronised and keep the activation that lies in them."""

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from torch import nn

from mmaffnet.engine import runner as module

layers = pytest.importorskip('timm.layers')


@pytest.fixture
def runner(monkeypatch):
    """A distributed run of which nothing else exists; what mmengine would be told stands in ``told``."""
    def wrap_model(self, wrapper, model):
        self.told = self.cfg.get('sync_bn')
        return model

    monkeypatch.setattr(Runner, 'wrap_model', wrap_model)
    runner = object.__new__(module.AFFNetRunner)
    runner._distributed, runner.cfg = True, Config(dict(sync_bn='timm'))
    return runner


def norms():
    return nn.Sequential(layers.BatchNormAct2d(4, act_layer=nn.ReLU), nn.BatchNorm2d(4), nn.SyncBatchNorm(4))


def test_norms_keep_their_activation(runner, monkeypatch):
    monkeypatch.setattr(module, 'on_cpu', lambda: False)
    model = norms()
    weight = model[0].weight
    wrapped = runner.wrap_model(None, model)
    assert all(isinstance(norm, nn.SyncBatchNorm) for norm in wrapped)
    assert isinstance(wrapped[0].act, nn.ReLU) and wrapped[0].weight is weight
    assert runner.told is None and runner.cfg.sync_bn == 'timm'


def test_torchs_own_conversion_would_lose_it():
    negative = -torch.ones(2, 4, 3, 3)
    assert (nn.SyncBatchNorm.convert_sync_batchnorm(norms())[0].eval()(negative) < 0).all()
    assert (layers.convert_sync_batchnorm(norms())[0].eval()(negative) == 0).all()


def test_cpus_keep_plain_norms(runner, monkeypatch):
    monkeypatch.setattr(module, 'on_cpu', lambda: True)
    wrapped = runner.wrap_model(None, norms())
    assert not [norm for norm in wrapped if isinstance(norm, nn.SyncBatchNorm)]
    assert (wrapped[0](-torch.ones(2, 4, 3, 3)) >= 0).all() and runner.told is None
