"""Every shipped config builds; the SSDLite recipe is what the paper's Table 9 says."""

import math
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.model import BaseModel
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

ROOT = Path(__file__).resolve().parents[1] / 'configs'
LEAVES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob('*.py') if '_base_' not in path.parts)
ABLATED = 'imagenet/affnet-base_8xb128-300e_in1k-256px.py'
STUDIED = 'cifar10/affnet-et_1xb64-18e_cifar10.py'
BLOCKS = ((2, 64, 8), (4, 104, 4), (3, 144, 2))   # of et at 64 pixels: number, channels, side of the map
SSDLITE = [f'ssdlite/ssdlite_affnet-{arch}_8xb16-200e_coco.py' for arch in ('et', 't', 'base')]


def registry(scope, name):
    """A host's registry, with the host's scope as the default one, in which it builds."""
    init_default_scope(scope)
    if scope == 'mmdet':
        import mmdet.registry as module
    elif scope == 'mmseg':
        import mmseg.registry as module
    else:
        import mmpretrain.registry as module
    return getattr(module, name)


@pytest.mark.parametrize('path', LEAVES)
def test_config_builds(config_root, path):
    cfg = Config.fromfile(config_root / path)
    scope = cfg.default_scope
    pytest.importorskip(scope)
    if 'TIMMBackbone' in str(cfg.model):
        pytest.importorskip('timm')
    model = registry(scope, 'MODELS').build(cfg.model)
    assert sum(p.numel() for p in model.parameters()) > 500_000
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        for step in cfg[loader].dataset.get('pipeline', []):
            registry(scope, 'TRANSFORMS').build(step)
    assert cfg.get('pretrained') is None, 'no weights exist yet, so that none can be the default'
    # A config that survives being printed and read again has no variable that only Python holds.
    assert Config.fromstring(cfg.pretty_text, '.py').model == cfg.model


@pytest.mark.parametrize('path', LEAVES)
def test_bases_are_our_own(config_root, path):
    # "mmdet::…" looks for a distribution of that name, which the onedl forks are not.
    assert '::' not in (config_root / path).read_text()


def test_alias_is_the_base_model(config_root):
    alias, base = (Config.fromfile(config_root / path) for path in ('ssdlite_affnet_coco.py', SSDLITE[2]))
    assert alias.to_dict() == base.to_dict()


@pytest.mark.parametrize('path', SSDLITE)
def test_recipe(config_root, path):
    cfg = Config.fromfile(config_root / path)
    assert cfg.train_cfg.max_epochs == 200
    assert 8 * cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == 128
    assert cfg.optim_wrapper.to_dict() == dict(
        type='AmpOptimWrapper',
        optimizer=dict(type='AdamW', lr=0.0007, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05))
    ema, = cfg.custom_hooks
    assert (ema.type, ema.ema_type, ema.momentum, ema.update_buffers) == (
        'EMAHook', 'ExponentialMovingAverage', 0.0005, True)
    assert cfg.data_root == 'data/coco/' and cfg.classes is None
    for part, split in (('train', 'train2017'), ('val', 'val2017'), ('test', 'val2017')):
        dataset = cfg[f'{part}_dataloader'].dataset
        assert dataset.data_root == cfg.data_root
        assert dataset.ann_file == f'annotations/instances_{split}.json' and dataset.data_prefix.img == f'{split}/'
    assert cfg.test_evaluator.ann_file == 'data/coco/annotations/instances_val2017.json'


@pytest.mark.parametrize('path', SSDLITE)
def test_what_users_change_most_stands_first(config_root, path):
    code = (config_root / path).read_text().split('_base_ = ')[1]
    names = [line.split(' = ')[0] for line in code.splitlines() if ' = ' in line and line[0].isalpha()]
    assert names[:6] == ['data_root', 'classes', 'pretrained', 'train_dataloader', 'train_cfg', 'optim_wrapper']


@pytest.mark.parametrize('path', [path for path in LEAVES if path.startswith('comparisons/')])
def test_comparisons_have_our_recipe(config_root, path):
    cfg = Config.fromfile(config_root / path)
    head, _, rest = Path(path).stem.split('_', 2)
    base = Config.fromfile(config_root / head / f'{head}_affnet-base_{rest}.py')
    for name in set(cfg) - {'model', 'sync_bn'}:
        assert cfg[name] == base[name], name
    for part in ('data_preprocessor', 'train_cfg', 'test_cfg'):
        assert cfg.model[part] == base.model[part]


@pytest.mark.parametrize('path', [path for path in LEAVES if path.startswith('ablations/')])
def test_ablations_differ_from_their_recipe_in_the_blocks_alone(config_root, path):
    cfg = Config.fromfile(config_root / path)
    base = Config.fromfile(config_root / (STUDIED if path.startswith('ablations/cifar10/') else ABLATED))
    options = ('token_mixer', 'img_size', 'order', 'channel_mixer', 'variant', 'token_norm_cfg')
    assert cfg.model.backbone.to_dict() != base.model.backbone.to_dict()
    assert {key: value for key, value in cfg.model.backbone.items() if key not in options} == base.model.backbone
    cfg.model.backbone = base.model.backbone
    assert cfg.to_dict() == base.to_dict()


@pytest.mark.parametrize('path', [path for path in LEAVES if path.startswith('ablations/cifar10/table')])
def test_rows_on_cifar_are_those_of_imagenet(config_root, path):
    row = Path(path).name.split('_')[1].removeprefix('affnet-et-')
    of_base = Path(path).name.split('_')[0] + f'_affnet-base-{row}_8xb128-300e_in1k-256px.py'
    cfg, base = (Config.fromfile(config_root / 'ablations' / name) for name in (f'cifar10/{Path(path).name}', of_base))
    sides = [other.model.backbone.pop('img_size', None) for other in (cfg, base)]
    assert sides in ([64, 256], [None, None])
    cfg_arch, base_arch = (other.model.backbone.pop('arch') for other in (cfg, base))
    assert (cfg_arch, base_arch) == ('et', 'base') and cfg.model.backbone == base.model.backbone
    described = [(config_root / 'ablations' / name).read_text().split('"""')[1].split('"')[:2] for name in (
        f'cifar10/{Path(path).name}', of_base)]
    assert described[0] == described[1]   # the table and the name of the row


@pytest.mark.parametrize(('row', 'parameters'), [
    # blocks of 2 × 64, 4 × 104 and 3 × 144 channels on maps of 8, 4 and 2: the formulas of docs/operators.md
    ('table5_affnet-et-gfn', 804298 + sum(n * 2 * c * s * (s // 2 + 1) for n, c, s in BLOCKS)),
    ('table5_affnet-et-fno', 804298 + sum(n * 2 * c * c * s * (s // 2 + 1) for n, c, s in BLOCKS))])
def test_parameters_of_rows_that_are_bound_to_the_size_of_cifar(config_root, row, parameters):
    pytest.importorskip('mmpretrain')
    path = config_root / 'ablations' / 'cifar10' / f'{row}_1xb64-18e_cifar10.py'
    model = registry('mmpretrain', 'MODELS').build(Config.fromfile(path).model)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert f'{parameters:,} parameters' in path.read_text()


@pytest.mark.parametrize('path', [path for path in LEAVES if path.startswith('deeplabv3/')])
def test_segmentation_loss_is_torchs_mean_over_labelled_pixels(config_root, path):
    pytest.importorskip('mmseg')
    cfg = Config.fromfile(config_root / path)
    logits, mask = torch.randn(2, 21, 8, 8), torch.randint(21, (2, 8, 8))
    mask[:, :3] = 255
    expected = torch.nn.functional.cross_entropy(logits, mask, ignore_index=255).item()
    for head, weight in ((cfg.model.decode_head, 1.0), (cfg.model.auxiliary_head, 0.4)):
        loss = registry('mmseg', 'MODELS').build(head.loss_decode)
        assert loss(logits, mask, ignore_index=255).item() == pytest.approx(weight * expected, rel=1e-5)


# The learning rate in closed form


class _Model(BaseModel):

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, *args, **kwargs):
        raise NotImplementedError


class _Numbers(BaseDataset):

    def load_data_list(self):
        # One entry for each batch of an epoch of COCO: 117,266 pictures with annotations in batches of 128.
        return [dict(index=i) for i in range(917)]


def schedule(cfg, tmp_path):
    """Learning rates (epoch, iteration) -> lr as mmengine's runner and hook step the config's schedulers."""
    cfg.optim_wrapper.type = 'OptimWrapper'
    runner = Runner(
        model=_Model(), work_dir=str(tmp_path), train_cfg=cfg.train_cfg, optim_wrapper=cfg.optim_wrapper,
        train_dataloader=dict(batch_size=1, sampler=dict(type='DefaultSampler', shuffle=False), dataset=_Numbers()),
        param_scheduler=cfg.param_scheduler, experiment_name=tmp_path.name)
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    schedulers = runner.build_param_scheduler(runner.param_schedulers)
    iteration_wise, = (s for s in schedulers if not s.by_epoch)
    epoch_wise, = (s for s in schedulers if s.by_epoch)
    rates = {}
    for epoch in range(cfg.train_cfg.max_epochs):
        for iteration in range(917 if epoch == 0 else 1):
            rates[epoch, iteration] = runner.optim_wrapper.get_lr()['lr'][0]
            runner.optim_wrapper.step()
            iteration_wise.step()
        epoch_wise.step()
    return rates


def closed_form(epoch, iteration, epochs, high=7e-4, low=7e-5, warm_up=500):
    if epoch == 0 and iteration < warm_up:
        return 0.1 * high + iteration * 0.9 * high / warm_up
    return low + 0.5 * (high - low) * (1 + math.cos(math.pi * epoch / epochs))


def test_learning_rate(config_root, tmp_path):
    rates = schedule(Config.fromfile(config_root / SSDLITE[0]), tmp_path)
    for at, printed in (((0, 0), 7e-5), ((0, 250), 3.85e-4), ((0, 500), 7e-4), ((100, 0), 3.85e-4), ((199, 0), 7e-5)):
        assert rates[at] == pytest.approx(closed_form(*at, epochs=200), rel=1e-6)
        assert rates[at] == pytest.approx(printed, rel=1e-3)
    assert all(rate == pytest.approx(closed_form(*at, epochs=200), rel=1e-6) for at, rate in rates.items())


def test_learning_rate_follows_epochs_and_base_rate(config_root, tmp_path):
    cfg = Config.fromfile(config_root / SSDLITE[0])
    cfg.merge_from_dict({'train_cfg.max_epochs': 4, 'optim_wrapper.optimizer.lr': 1e-3})
    rates = schedule(cfg, tmp_path)
    for epoch in range(4):
        at = (epoch, 600 if epoch == 0 else 0)
        assert rates[at] == pytest.approx(closed_form(*at, epochs=4, high=1e-3, low=1e-4), rel=1e-6)
