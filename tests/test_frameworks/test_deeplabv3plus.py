"""DeepLabV3+: mmseg's separable pyramid on AFFNet's layer_5 at output stride 16, low-level features from layer_2."""
import pytest
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope

pytest.importorskip('mmseg')

RECIPE = 'deeplabv3plus_affnet-{}_8xb2-120e_ade20k-512x512'


@pytest.mark.parametrize(('arch', 'widths'), [('t', (48, 160, 192)), ('base', (64, 256, 320))])
def test_low_level_and_deepest_maps_reach_the_head(config_root, arch, widths):
    init_default_scope('mmseg')
    from mmseg.registry import MODELS
    cfg = Config.fromfile(config_root / 'deeplabv3plus' / f'{RECIPE.format(arch)}.py')
    model = revert_sync_batchnorm(MODELS.build(cfg.model)).eval()
    seen = {}
    for name in ('layer_2', 'layer_4', 'layer_5'):
        model.backbone.get_submodule(name).register_forward_hook(
            lambda module, args, out, name=name: seen.update({name: out}))
    head = model.decode_head
    for name, part in (('low', head.c1_bottleneck), ('aspp', head.aspp_modules), ('decoder', head.sep_bottleneck),
                       ('auxiliary', model.auxiliary_head.convs)):
        part.register_forward_pre_hook(lambda module, args, name=name: seen.update({name: args[0]}))
    with torch.no_grad():
        maps = model.extract_feat(torch.rand(1, 3, 80, 112))
        logits = head(maps)
        model.auxiliary_head(maps)
    for part, layer in (('low', 'layer_2'), ('aspp', 'layer_5'), ('auxiliary', 'layer_4')):
        assert torch.equal(seen[part], seen[layer]), part
    assert [tuple(seen[name].shape) for name in ('low', 'auxiliary', 'aspp')] == [
        (1, widths[0], 20, 28), (1, widths[1], 5, 7), (1, widths[2], 5, 7)]  # strides 4, 16, 16
    assert seen['decoder'].shape == (1, 256 + 48, 20, 28) and logits.shape == (1, 150, 20, 28)
    rates = [conv.dilation[0] for branch in head.aspp_modules for conv in branch.modules()
             if isinstance(conv, torch.nn.Conv2d) and conv.kernel_size == (3, 3)]
    assert rates == [6, 12, 18]


def test_recipe_is_that_of_deeplabv3(config_root):
    ours = Config.fromfile(config_root / 'deeplabv3plus' / f'{RECIPE.format("base")}.py')
    other = Config.fromfile(config_root / 'deeplabv3' / 'deeplabv3_affnet-base_8xb2-120e_ade20k-512x512.py')
    assert set(ours) == set(other)
    for name in set(ours) - {'model'}:
        assert ours[name] == other[name], name
    assert ours.model.data_preprocessor == other.model.data_preprocessor


@pytest.mark.slow
def test_few_masks_are_learnt_resumed_evaluated_and_predicted(overfit, small_segmentor, best_constant_miou, few_masks):
    text = small_segmentor(RECIPE.format('t'), size=96, more=(
        'train_cfg = dict(max_epochs=40, val_interval=40)\n'
        'optim_wrapper = dict(optimizer=dict(lr=2e-3))\n'
        'param_scheduler = dict(warmup_iters=5, warmup_lr=1e-4)\n'
        'default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=34, save_best=None))'))
    picture = few_masks / 'images' / 'validation' / 'ADE_train_00004996.jpg'
    done = overfit(text, 'mIoU', max(20, 2 * best_constant_miou), picture)
    assert done.losses[-1] < 0.3 * done.losses[0]
    assert len(done.prediction['segments']) > 1
