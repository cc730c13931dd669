"""Data sets that mix pictures (Mosaic, MixUp): random numbers, the switch to plain ones, bad pictures, own classes."""
import importlib.util
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import DATASETS, DefaultScope

pytest.importorskip('mmdet')

from mmdet.engine.hooks import YOLOXModeSwitchHook  # noqa: E402
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler  # noqa: E402

from mmaffnet.engine.bad_pictures import num_pictures  # noqa: E402
from mmaffnet.engine.cli import train_main  # noqa: E402
from mmaffnet.engine.randomness import seeded_loader  # noqa: E402

spec = importlib.util.spec_from_file_location('small_recipes_yolox', Path(__file__).with_name('small_recipes_yolox.py'))
small_recipes_yolox = importlib.util.module_from_spec(spec)
spec.loader.exec_module(small_recipes_yolox)

THREE = ('bolt', 'nut', 'washer')
MOSAIC = dict(type='Mosaic', img_scale=(64, 64), pad_val=114.0)  # gives 128x128
MIX_UP = dict(type='MixUp', img_scale=(64, 64), ratio_range=(0.8, 1.6), pad_val=114.0)


def loader(root, pipeline, workers=0, num=8):
    """The loader of a training, with our seeds, over 100x80 pictures."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = DATASETS.build(dict(
            type='MultiImageMixDataset', pipeline=[*pipeline, dict(type='PackDetInputs')], dataset=dict(
                type='mmaffnet.CocoDataset', data_root=str(root), ann_file='annotations/instances_train2017.json',
                data_prefix=dict(img='train2017/'), metainfo=dict(classes=THREE),
                pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True)])))
    assert len(dataset) == num
    plain = DataLoader(dataset, batch_sampler=BatchSampler(SequentialSampler(dataset), 4, drop_last=False),
                       num_workers=workers, persistent_workers=workers > 0, collate_fn=list)
    return seeded_loader(plain, seed=0, rank=0)


def epoch(batches, number, skip=0):
    """Pictures of an epoch from a batch on."""
    batches.batch_sampler.start(number, skip)
    return [item['inputs'] for batch in batches for item in batch]


def same(one, other):
    return len(one) == len(other) and all(map(torch.equal, one, other))


def test_mixed_pictures_depend_on_the_position_alone(own_set):
    root = own_set(THREE)
    first, second = loader(root, [MOSAIC, MIX_UP]), loader(root, [MOSAIC, MIX_UP], workers=2)
    straight = epoch(first, 0), epoch(first, 1)
    assert not same(*straight)
    np.random.seed(9)  # Mosaic and MixUp draw from NumPy's generator, here and in the workers
    assert same(epoch(second, 1), straight[1])
    assert same(epoch(second, 0, skip=1), straight[0][4:])


@pytest.mark.parametrize('workers', [0, 2])
def test_the_switch_reaches_the_data_of_running_workers(own_set, workers):
    batches = loader(own_set(THREE), [MOSAIC, MIX_UP], workers)
    assert batches.dataset.metainfo['classes'] == THREE and num_pictures(batches.dataset) == 8
    head = SimpleNamespace(use_l1=False)
    runner = SimpleNamespace(
        train_dataloader=batches, model=SimpleNamespace(bbox_head=head), max_epochs=5, epoch=0,
        logger=MMLogger.get_current_instance())

    def trained(hook, number):
        runner.epoch = number
        hook.before_train_epoch(runner)
        return {tuple(picture.shape) for picture in epoch(batches, number)}, head.use_l1

    hook = YOLOXModeSwitchHook(num_last_epochs=1)
    mixed, plain = ({(3, 128, 128)}, False), ({(3, 80, 100)}, True)
    # In front of the last epoch and of the one before, as in the authors' code.
    assert [trained(hook, number) for number in range(5)] == [mixed, mixed, mixed, plain, plain]
    # A resumed run has a new hook and a new loader, also for an epoch that is under way.
    batches = runner.train_dataloader = loader(Path(batches.dataset.dataset.data_root), [MOSAIC, MIX_UP], workers)
    head.use_l1 = False
    assert trained(YOLOXModeSwitchHook(num_last_epochs=1), 4) == plain


@pytest.fixture
def quick(monkeypatch):
    """The config's text, which mmengine formats for each checkpoint in a second, is left out."""
    monkeypatch.setattr(Config, 'pretty_text', property(lambda cfg: ''))


@pytest.mark.slow
def test_a_mosaic_goes_on_without_a_bad_picture_and_names_it(own_set, config_root, tmp_path, capfd, quick):
    """The shipped recipe by its own keys: data_root, classes; the data set is a level deeper than in others."""
    root = own_set(THREE, num=12)
    for number, content in ((3, b''), (7, b'no picture')):
        (root / 'train2017' / f'{number}.png').write_bytes(content)
    config = tmp_path / 'mosaic.py'
    config.write_text(small_recipes_yolox.small_yolox(
        config_root, root, epochs=3, workers=2, more=f'classes = {THREE}'))
    train_main([str(config), '--work-dir', str(tmp_path / 'run'), '--seed', '0', '--no-validate', '--cfg-options',
                'max_bad_share=0.2'])
    said = capfd.readouterr().out
    named = re.findall(r'picture (\S+) is left out of training: .* \(\d of 12 so far\)', said)
    assert sorted(named) == [f'{root}/train2017/3.png', f'{root}/train2017/7.png']
    assert '2 of 12 training pictures were left out' in said
    state = torch.load(tmp_path / 'run' / 'epoch_3.pth', weights_only=True)
    assert state['state_dict']['bbox_head.multi_level_conv_cls.0.weight'].shape[0] == 3
    assert tuple(state['meta']['dataset_meta']['classes']) == THREE and state['meta']['iter'] == 9


@pytest.mark.parametrize('change, sentence', [
    (lambda root: (root / 'annotations' / 'instances_train2017.json').unlink(), 'annotation file .* is missing'),
    (lambda root: [path.write_bytes(b'') for path in (root / 'train2017').iterdir()], '12 of 12|100 times in a row'),
], ids=['no annotations', 'all bad'])
def test_what_cannot_be_mixed_ends_with_one_sentence(own_set, config_root, tmp_path, capsys, quick, change, sentence):
    root = own_set(THREE, num=12)
    change(root)
    config = tmp_path / 'mosaic.py'
    config.write_text(small_recipes_yolox.small_yolox(config_root, root, epochs=3, more=f'classes = {THREE}'))
    with pytest.raises(SystemExit) as stop:
        train_main([str(config), '--work-dir', str(tmp_path / 'run'), '--no-validate'])
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert stop.value.code == 2 and re.match(f'error: .*({sentence})', error), error
