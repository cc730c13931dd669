"""Every token mixer in a classifier's, detector's and segmentor's training step and prediction, at 96 x 96 pixels."""

import importlib.util
from pathlib import Path

import pytest
import torch
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData, PixelData

from mmaffnet.analysis.models import build as build_model
from mmaffnet.analysis.models import read_config

_spec = importlib.util.spec_from_file_location('mixers', Path(__file__).with_name('mixers.py'))
table = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(table)
MIXERS = table.MIXERS
SIDE = 96
CONFIGS = {
    'mmpretrain': 'imagenet/affnet-et_8xb128-300e_in1k-256px',
    'mmdet': 'ssdlite/ssdlite_affnet-et_8xb16-200e_coco',
    'mmseg': 'deeplabv3/deeplabv3_affnet-et_8xb2-120e_ade20k-512x512',
}


def sample(host: str, side: int):
    """What a data set of this host gives for one picture."""
    meta = dict(img_shape=(side, side), ori_shape=(side, side), scale_factor=(1, 1))
    if host == 'mmpretrain':
        from mmpretrain.structures import DataSample
        return DataSample(metainfo=meta).set_gt_label(3)
    if host == 'mmdet':
        from mmdet.structures import DetDataSample
        found = DetDataSample(metainfo=meta)
        found.gt_instances = InstanceData(bboxes=torch.tensor([[2., 3., 60., 70.]]), labels=torch.tensor([4]))
        return found
    from mmseg.structures import SegDataSample
    found = SegDataSample(metainfo=meta)
    found.gt_sem_seg = PixelData(data=torch.randint(0, 150, (1, side, side)))
    return found


def batch(model, host, side, training):
    return model.data_preprocessor(dict(
        inputs=[torch.randint(0, 256, (3, side, side), dtype=torch.uint8) for _ in range(2)],
        data_samples=[sample(host, side) for _ in range(2)]), training)


@pytest.mark.parametrize('host', CONFIGS)
@pytest.mark.parametrize('name', MIXERS)
def test_training_step_and_prediction(name, host):
    pytest.importorskip(host)
    cfg, scope = read_config(CONFIGS[host])
    cfg.model.backbone.update(token_mixer=MIXERS[name].cfg, img_size=SIDE)
    if host == 'mmseg':
        cfg.model.data_preprocessor.size = (SIDE, SIDE)
    model = build_model(cfg, scope).train()
    with DefaultScope.overwrite_default_scope(scope):
        loss, _ = model.parse_losses(model(**batch(model, host, SIDE, True), mode='loss'))
        loss.backward()
        assert torch.isfinite(loss) and all(p.grad is not None for p in model.parameters())
        with torch.no_grad():
            assert len(model.eval()(**batch(model, host, SIDE, False), mode='predict')) == 2
            if table.is_bound(name):
                with pytest.raises(ValueError, match='12 x 12.*16 x 16'):
                    model(**batch(model, host, 128, False), mode='predict')
