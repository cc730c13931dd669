"""YOLOX: mmdet's detector and recipe on AFFNet, learnt on eight photographs, and in two processes."""
import json
import os
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

mmdet = pytest.importorskip('mmdet')

TOOLS = Path(__file__).resolve().parents[2] / 'tools'
WIDTHS = {'et': (64, 104, 144), 't': (96, 160, 192), 'base': (128, 256, 320)}

# The shipped detector on pictures of 128 px without Mosaic and without a change of size, by Adam: 80 iterations of all
# eight. BatchNorms forget faster than YOLOX's, whose averages would still hold a tenth of their initial values; for
# the same reason there is no average of weights. The last epochs have the L1 loss, as in the recipe.
EIGHT = """
_base_ = '{base}'
data_root = '{root}'
resize = dict(type='Resize', scale=(128, 128), keep_ratio=True)
train_pipeline = [resize, _base_.pad, dict(type='PackDetInputs')]
test_pipeline = [_base_.test_pipeline[0], resize, *_base_.test_pipeline[2:]]
train_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
fast = dict(momentum=0.1)
model = dict(data_preprocessor=dict(batch_augments=None), neck=dict(norm_cfg=fast), bbox_head=dict(norm_cfg=fast))
train_cfg = dict(max_epochs=80, val_interval=80)
param_scheduler = dict(warmup_epochs=5, num_last_epochs=5)
custom_hooks = [dict(_base_.custom_hooks[0], num_last_epochs=5)]
optim_wrapper = dict(
    _delete_=True, type='OptimWrapper', clip_grad=dict(max_norm=10),
    optimizer=dict(type='AdamW', lr=3e-3, weight_decay=5e-4))
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=70, save_best=None))
"""

PHOTOGRAPH = '000000000061.jpg'  # one of the eight, whose objects are not at its border: YOLOX does not clip its boxes

HOOK = '''
import json
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class SizesOfEachRank(Hook):
    """Notes the size of each training batch as the model gets it, and in the end its own weights' sum."""

    def before_train(self, runner):
        self.sizes = []
        runner.model.module.backbone.register_forward_pre_hook(
            lambda module, args: self.sizes.append(tuple(args[0].shape[-2:])) if module.training else None)

    def after_train(self, runner):
        weights = {name: value.double().sum().item() for name, value in runner.model.module.state_dict().items()}
        with open(f'{runner.work_dir}/rank{get_rank()}.json', 'w') as file:
            json.dump(dict(sizes=self.sizes, weights=weights, l1=runner.model.module.bbox_head.use_l1), file)
'''


@pytest.fixture
def load(config_root):
    """Read a shipped config: load('tiny') or load('et')."""
    def load(name):
        name = 'yolox-tiny' if name == 'tiny' else f'yolox_affnet-{name}'
        return Config.fromfile(config_root / 'yolox' / f'{name}_8xb8-300e_coco.py')

    return load


def plain(value):
    """A config with lists for tuples, and without what is ours in the place of the host's."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value.removeprefix('mmaffnet.') if isinstance(value, str) else value


def test_the_origin_is_mmdets_yolox_tiny(load):
    path = Path(mmdet.__file__).parent / '.mim' / 'configs' / 'yolox' / 'yolox_tiny_8xb8-300e_coco.py'
    if not path.is_file():
        pytest.skip('mmdet was installed without its configs')
    ours, theirs = load('tiny'), Config.fromfile(path)
    for name in ('model', 'val_dataloader', 'val_evaluator', 'train_cfg', 'train_dataloader', 'tta_model',
                 'tta_pipeline'):
        assert plain(ours[name]) == plain(theirs[name]), name
    paramwise = dict(ours.optim_wrapper.paramwise_cfg)
    assert all('token_mixer' in name for name in paramwise.pop('custom_keys'))  # nothing of the origin
    assert plain(dict(ours.optim_wrapper, paramwise_cfg=paramwise)) == plain(theirs.optim_wrapper)
    assert plain(ours.custom_hooks) == plain(theirs.custom_hooks)
    assert ours.auto_scale_lr.base_batch_size == theirs.auto_scale_lr.base_batch_size


@pytest.mark.parametrize('arch', WIDTHS)
def test_only_backbone_feeding_and_the_necks_input_differ(load, arch):
    ours, origin = load(arch), load('tiny')
    for name in set(origin) - {'model'}:
        assert ours[name] == origin[name], name
    assert ours.model.neck.in_channels == WIDTHS[arch] and ours.model.backbone.out_indices == (2, 3, 4)
    for part in set(origin.model) - {'backbone', 'data_preprocessor', 'neck'}:
        assert ours.model[part] == origin.model[part], part
    assert dict(ours.model.neck, in_channels=None) == dict(origin.model.neck, in_channels=None)
    assert ours.model.data_preprocessor.batch_augments == origin.model.data_preprocessor.batch_augments


@pytest.mark.parametrize(('name', 'scale', 'channels'), [('tiny', 1, (0, 1, 2)), ('base', 255, (2, 1, 0))])
def test_affnet_is_fed_rgb_in_0_to_1_and_the_origin_bgr_in_0_to_255(load, name, scale, channels):
    init_default_scope('mmdet')
    from mmdet.registry import MODELS
    from mmdet.structures import DetDataSample
    preprocessor = MODELS.build(dict(load(name).model.data_preprocessor, batch_augments=None))
    picture = torch.full((3, 40, 64), 114, dtype=torch.uint8)  # 40 is no multiple of 32: it is padded to 64
    picture[:, 0, 0] = torch.tensor([10, 20, 30])
    sample = DetDataSample(metainfo=dict(img_shape=(40, 64)))
    fed = preprocessor(dict(inputs=[picture], data_samples=[sample]))['inputs'][0]
    assert fed.shape == (3, 64, 64)
    assert torch.equal(fed[:, 0, 0] * scale, torch.tensor([10., 20., 30.])[list(channels)])
    if name != 'tiny':  # what is padded is the grey that Mosaic and Pad draw
        assert fed[:, 1:].unique().tolist() == [pytest.approx(114 / 255)]


@pytest.mark.slow
def test_eight_photographs(load, config_root, eight, overfit):
    text = EIGHT.format(base=config_root / 'yolox' / 'yolox_affnet-et_8xb8-300e_coco.py', root=eight)
    found = overfit(text, 'coco/bbox_mAP_50', 0.5, eight / 'train2017' / PHOTOGRAPH)
    assert found.losses[-1] < 0.3 * found.losses[0]
    assert max(found.rates) == pytest.approx(3e-3) and found.rates[-1] < 0.1 * 3e-3


@pytest.mark.slow
def test_two_processes_have_one_size_and_one_model(data_root, config_root, tmp_path):
    """Sizes are drawn by one rank for both, both switch, and weights and statistics of both are the same."""
    spec = spec_from_file_location('small', config_root.parent / 'tests/test_engine/small_recipes_yolox.py')
    small = module_from_spec(spec)
    spec.loader.exec_module(small)
    (tmp_path / 'hook_of_the_test.py').write_text(HOOK)
    config = tmp_path / 'config.py'
    config.write_text(small.small_yolox(config_root, data_root / 'coco', epochs=3, data='indices=16', more="""
custom_imports = dict(imports=['mmaffnet', 'hook_of_the_test'], allow_failed_imports=False)
custom_hooks = [*custom_hooks, dict(type='SizesOfEachRank')]
"""))
    env = dict(os.environ, PYTHON=sys.executable, OMP_NUM_THREADS='1', PYTHONPATH=f'{tmp_path}:{TOOLS.parent}')
    env.pop('PORT', None)
    done = subprocess.run([TOOLS / 'dist_train.sh', config, '2', '--work-dir', tmp_path / 'run', '--seed', '3'],
                          cwd=tmp_path, env=env, text=True, capture_output=True, timeout=600)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    one, two = (json.loads((tmp_path / 'run' / f'rank{rank}.json').read_text()) for rank in (0, 1))
    assert one == two and one['l1'] is True
    sizes = [tuple(size) for size in one['sizes']]  # two batches of each rank's eight pictures in each epoch
    assert len(sizes) == 6 and sizes[0] == sizes[1] == (96, 96) and len(set(sizes)) > 1, sizes
    assert sizes[2] == sizes[3] and sizes[4] == sizes[5]
