"""UPerNet as one short config: a segmentor that shares nothing with ours but the backbone."""
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.model import BaseModel, revert_sync_batchnorm
from mmengine.registry import init_default_scope

from mmaffnet.engine.runner import AFFNetRunner

pytest.importorskip('mmseg')

RECIPE = 'upernet_affnet-t_8xb2-160k_ade20k-512x512'


@pytest.fixture
def cfg(config_root):
    return Config.fromfile(config_root / 'upernet' / f'{RECIPE}.py')


def test_maps_of_strides_4_to_32_reach_the_head(cfg):
    init_default_scope('mmseg')
    from mmseg.registry import MODELS
    cfg.model.decode_head.channels = 32
    model = revert_sync_batchnorm(MODELS.build(cfg.model)).eval()
    seen = []
    model.decode_head.register_forward_pre_hook(lambda module, args: seen.extend(args[0]))
    with torch.no_grad():
        logits = model.decode_head(model.extract_feat(torch.rand(1, 3, 72, 104)))
    assert [tuple(m.shape[1:]) for m in seen] == [(48, 18, 26), (96, 9, 13), (160, 5, 7), (192, 3, 4)]
    assert logits.shape == (1, 150, 18, 26)


class _Model(BaseModel):

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, *args, **kwargs):
        raise NotImplementedError


class _Numbers(BaseDataset):

    def load_data_list(self):
        return [dict(index=i) for i in range(4)]


@pytest.mark.parametrize('length', [3000, 1000], ids=['', 'shorter than the warm-up'])
def test_learning_rate_follows_the_length_alone(cfg, length, tmp_path):
    cfg.train_cfg.max_iters = length
    runner = AFFNetRunner(
        model=_Model(), work_dir=str(tmp_path), train_cfg=cfg.train_cfg, experiment_name=tmp_path.name,
        optim_wrapper=dict(cfg.optim_wrapper, paramwise_cfg=None), param_scheduler=cfg.param_scheduler,
        train_dataloader=dict(batch_size=1, sampler=dict(type='InfiniteSampler'), dataset=_Numbers()))
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    schedulers = runner.build_param_scheduler(runner.param_schedulers)
    for i in range(length):
        expected = 6e-5 * min(1, 1e-6 + (1 - 1e-6) * i / 1500) * (1 - i / (length - 1))
        assert runner.optim_wrapper.get_lr()['lr'][0] == pytest.approx(expected, rel=1e-6, abs=1e-15), i
        runner.optim_wrapper.step()
        for scheduler in schedulers:
            scheduler.step()


@pytest.mark.slow
def test_few_masks_are_learnt_resumed_evaluated_and_predicted(overfit, small_segmentor, best_constant_miou, few_masks):
    text = small_segmentor(RECIPE, size=96, more=(
        "model['decode_head'].update(channels=64)\n"
        'train_cfg = dict(max_iters=40, val_interval=40)\n'
        'optim_wrapper = dict(optimizer=dict(lr=6e-3))\n'
        "param_scheduler = [dict(type='PolyLR', by_epoch=False)]  # the recipe's warm-up is longer than this run\n"
        'default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=34, save_best=None))'))
    picture = few_masks / 'images' / 'validation' / 'ADE_train_00004996.jpg'
    done = overfit(text, 'mIoU', max(15, 2 * best_constant_miou), picture)
    assert done.losses[-1] < 0.4 * done.losses[0]
    assert len(done.prediction['segments']) > 1
