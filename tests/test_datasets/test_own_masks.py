"""Own masks and own class folders: the configs of docs/own_data.md, their data sets, and what is checked before."""
import argparse
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import RUNNERS
from PIL import Image

from mmaffnet.engine.config import load_config
from mmaffnet.engine.errors import UserError
from mmaffnet.engine.own_data import apply_own_data, leaf_datasets
from mmaffnet.engine.train import prepare

PAGE = (Path(__file__).resolve().parents[2] / 'docs' / 'own_data.md').read_text()
QUICK = {'train_dataloader.num_workers': 0, 'train_dataloader.persistent_workers': False,
         'train_dataloader.batch_size': 2, 'val_dataloader.num_workers': 0, 'val_dataloader.persistent_workers': False,
         'val_dataloader.batch_size': 1, 'custom_hooks': [], 'train_cfg.max_epochs': 1, 'param_scheduler': []}
SMALL = {'train_dataloader.dataset.pipeline.4.crop_size': (64, 64), 'model.data_preprocessor.size': (64, 64),
         'train_dataloader.dataset.pipeline.5.size': (64, 64), 'val_dataloader.dataset.pipeline.1.scale': (256, 64)}


@pytest.fixture
def checkout(tmp_path, monkeypatch, config_root):
    """A working directory with configs/, as on the page."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'configs').symlink_to(config_root)
    return tmp_path


@pytest.fixture
def yard(checkout):
    """Three classes as pictures with masks: value k is class k; the upper half is 0, the lower 1 and 2."""
    for part in ('training', 'validation'):
        for folder in ('images', 'annotations'):
            (checkout / 'data/yard' / folder / part).mkdir(parents=True)
        for number in range(3):
            picture, mask = yard_files(checkout, part, number)
            Image.fromarray(np.random.default_rng(number).integers(0, 256, (60, 80, 3), np.uint8)).save(picture)
            values = np.zeros((60, 80), np.uint8)
            values[30:, :40], values[30:, 40:] = 1, 2
            Image.fromarray(values).save(mask)
    return checkout / 'data/yard'


def yard_files(checkout, part, number):
    yard = checkout / 'data/yard'
    return yard / 'images' / part / f'{number}.jpg', yard / 'annotations' / part / f'{number}.png'


@pytest.fixture
def flowers(checkout):
    """Three classes as folders of pictures of one brightness each."""
    for part in ('train', 'val'):
        for label, name in enumerate(('daisy', 'rose', 'tulip')):
            (checkout / 'data/flowers' / part / name).mkdir(parents=True)
            for number in range(2):
                Image.new('RGB', (80, 60), (80 * label, ) * 3).save(
                    checkout / 'data/flowers' / part / name / f'{number}.png')
    return checkout / 'data/flowers'


def page_config(base):
    """The config of five lines on the page that inherits from ``base``."""
    text = next(text for text in re.findall(r'```python\n(_base_.*?)```', PAGE, re.DOTALL) if base in text)
    assert len(text.splitlines()) == 5
    return text


def prepared(text, **options):
    Path('mine.py').write_text(text)
    return prepare(argparse.Namespace(
        config='mine.py', cfg_options={**QUICK, **options}, work_dir='run', launcher='none', resume=None, amp=False,
        auto_scale_lr=False, seed=0, deterministic=False, no_validate=False, tensorboard=False))


def prepared_masks(**options):
    return prepared(page_config('deeplabv3'), **options)


def prepared_folders(**options):
    return prepared(page_config('imagenet'), **options)


def dataset_of(cfg, loader, pipeline=None):
    """A data set as mmengine builds it."""
    from mmseg.registry import DATASETS
    config = leaf_datasets(cfg[loader])[0]
    return DATASETS.build(dict(config, pipeline=pipeline) if pipeline else config)


def forward_one_batch(cfg):
    """Build the run and put one batch through the loss, one through the evaluation."""
    from mmengine.model import revert_sync_batchnorm
    runner = RUNNERS.build(cfg)
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    runner._val_loop = runner.build_val_loop(runner._val_loop)
    model = revert_sync_batchnorm(runner.model)
    batch = model.data_preprocessor(next(iter(runner.train_dataloader)), training=True)
    losses = model(batch['inputs'], batch['data_samples'], mode='loss')
    model.eval()
    with torch.no_grad():
        for batch in runner.val_dataloader:
            runner.val_evaluator.process(model.val_step(batch), batch)
    return losses, batch, runner.val_evaluator.evaluate(len(runner.val_dataloader.dataset)), runner


# --- masks -----------------------------------------------------------------------------------------------------------


def test_masks_of_other_classes_train_by_five_lines(yard):
    cfg = prepared_masks(**SMALL)
    # label 0 is a class: nothing of it is ignored, and nothing is shifted
    values = dataset_of(cfg, 'val_dataloader', [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')])[0]
    np.testing.assert_array_equal(values['gt_seg_map'], np.array(Image.open(yard / 'annotations/validation/0.png')))
    losses, batch, metrics, runner = forward_one_batch(cfg)
    assert np.isfinite(losses['decode.loss_ce'].item())
    assert runner.model.decode_head.num_classes == runner.model.auxiliary_head.num_classes == 3
    assert runner.train_dataloader.dataset.metainfo['classes'] == ('ground', 'stone', 'weed')
    assert set(np.unique(batch['data_samples'][0].gt_sem_seg.data)) == {0, 1, 2}
    assert 0 <= metrics['mIoU'] <= 100


def test_zero_can_be_no_class(yard):
    cfg = prepared_masks(reduce_zero_label=True, classes=['stone', 'weed'])
    assert all(loader.dataset.reduce_zero_label is True for loader in (cfg.train_dataloader, cfg.val_dataloader))
    pair = dataset_of(cfg, 'val_dataloader', [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')])[0]
    assert [set(np.unique(half)) for half in np.split(pair['gt_seg_map'], 2)] == [{255}, {0, 1}]


def test_test_time_augmentation_reads_the_same_masks(yard):
    cfg = prepared_masks()
    assert "'reduce_zero_label': True" not in str(cfg.tta_pipeline)


def test_other_folders_and_suffixes(yard):
    for part, short in (('training', 'a'), ('validation', 'b')):
        (yard / 'images' / part).rename(yard / f'pictures_{short}')
        (yard / 'annotations' / part).rename(yard / f'masks_{short}')
        for file in (yard / f'masks_{short}').iterdir():
            file.rename(file.with_name(f'{file.stem}_labels.png'))
        for file in (yard / f'pictures_{short}').iterdir():
            file.rename(file.with_suffix('.jpeg'))
    cfg = prepared_masks(train_image_dir='pictures_a', train_mask_dir='masks_a', val_image_dir='pictures_b',
                         val_mask_dir='masks_b', img_suffix='.jpeg', seg_map_suffix='_labels.png')
    assert [len(dataset_of(cfg, loader)) for loader in ('train_dataloader', 'val_dataloader')] == [3, 3]


def test_names_that_ade20k_has_choose_among_its_labels_and_it_says_so(yard, capsys):
    """mmseg's meaning of classes stays; masks of one's own under such names are not silently misread."""
    for number in range(3):
        for part in ('training', 'validation'):
            Image.new('L', (80, 60), 5).save(yard_files(yard.parents[1], part, number)[1])  # 5 is ADE20K's tree
    cfg = prepared_masks(classes=['wall', 'tree'])
    assert cfg.train_dataloader.dataset.type == 'ADE20KDataset'
    assert 'classes are 2 of the 150 of ADE20KDataset' in capsys.readouterr().out
    pair = dataset_of(cfg, 'val_dataloader', [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')])[0]
    assert set(np.unique(pair['gt_seg_map'])) == {1}
    with pytest.raises(UserError, match='holds one of the 2 classes, read as ADE20KDataset.*reduce_zero_label = False'):
        prepared_masks(classes=['tree', 'sky'], **{'data_root': str(rewritten(yard, {5: 1}))})
    cfg = prepared_masks(classes=['tree', 'sky'], reduce_zero_label=False)
    assert cfg.train_dataloader.dataset.type == 'BaseSegDataset'


def rewritten(yard, values):
    """Give all masks other values."""
    for file in yard.glob('annotations/*/*.png'):
        mask = np.array(Image.open(file))
        for old, new in values.items():
            mask[mask == old] = new
        Image.fromarray(mask).save(file)
    return yard


def test_vocs_config_takes_folders_without_lists(yard):
    text = page_config('deeplabv3').replace('8xb2-120e_ade20k', '8xb16-50e_voc12aug-coco')
    cfg = prepared(text, train_ann_file='', val_ann_file='', train_image_dir='images/training',
                   train_mask_dir='annotations/training', val_image_dir='images/validation',
                   val_mask_dir='annotations/validation')
    assert len(dataset_of(cfg, 'train_dataloader')) == 3 and cfg.train_dataloader.dataset.type == 'BaseSegDataset'


def test_masks_are_checked_before_a_model_is_built(yard):
    picture, mask = yard_files(yard.parents[1], 'training', 1)
    with pytest.raises(UserError, match=r'holds the value 2, but 2 classes have 0 to 1 .*reduce_zero_label = True'):
        prepared_masks(classes=['ground', 'stone'])
    with pytest.raises(UserError, match=r'holds the value 2, but 1 classes have 1 to 1 .*reduce_zero_label = False'):
        prepared_masks(classes=['stone'], reduce_zero_label=True)
    with pytest.raises(UserError, match=r'no picture \*.bmp in .*: set img_suffix'):
        prepared_masks(img_suffix='.bmp')
    Image.new('RGB', (80, 60)).save(mask)
    with pytest.raises(UserError, match=r'1\.png is a colour picture'):
        prepared_masks()
    mask.write_bytes(mask.read_bytes()[:60])
    with pytest.raises(UserError, match=r'mask .*1\.png cannot be decoded'):
        prepared_masks()
    mask.unlink()
    with pytest.raises(UserError, match=r'1\.png is missing: each picture'):
        prepared_masks()


def test_reduce_zero_label_needs_classes(config_root):
    cfg = load_config('deeplabv3_affnet-et_8xb2-120e_ade20k-512x512', dict(reduce_zero_label=False))
    with pytest.raises(UserError, match='classes is not set'):
        apply_own_data(cfg)


def test_without_own_classes_nothing_changes():
    cfg = load_config('deeplabv3_affnet-et_8xb2-120e_ade20k-512x512')
    before = cfg.pretty_text
    apply_own_data(cfg)
    assert cfg.pretty_text == before


# --- class folders ---------------------------------------------------------------------------------------------------


def test_folders_of_pictures_train_by_five_lines(flowers):
    losses, batch, metrics, runner = forward_one_batch(prepared_folders())
    assert np.isfinite(losses['loss'].item())
    assert runner.model.head.fc.out_features == 3
    data = runner.train_dataloader.dataset
    assert data.metainfo['classes'] == ('daisy', 'rose', 'tulip')
    for index in range(6):  # each picture's brightness tells its folder
        assert data.get_data_info(index)['gt_label'] == np.array(Image.open(
            data.get_data_info(index)['img_path']))[0, 0, 0] // 80
    assert list(metrics) == ['accuracy/top1']  # five guesses among three names say nothing


def test_other_names_than_the_folders_and_other_folders(flowers):
    (flowers / 'train').rename(flowers / 'a')
    (flowers / 'val').rename(flowers / 'b')
    cfg = prepared_folders(classes=['Bellis', 'Rosa', 'Tulipa'], train_image_dir='a', val_image_dir='b')
    assert cfg.train_dataloader.dataset.data_prefix == dict(img_path='a')


def test_a_list_numbers_the_classes(flowers):
    (flowers / 'meta').mkdir()
    (flowers / 'meta/train.txt').write_text('daisy/0.png 2\nrose/0.png 0\n')
    prepared_folders()
    (flowers / 'meta/train.txt').write_text('daisy/0.png 2\nrose/0.png 3\n')
    with pytest.raises(UserError, match=r"train\.txt, line 2: 'rose/0.png 3' .* number from 0 to 2"):
        prepared_folders()


@pytest.mark.parametrize('classes', [('rose', 'daisy', 'tulip'), ('daisy', 'rose'), ('daisy', 'rose', 'tulip', 'lily'),
                                     ('lily', 'daisy', 'rose')])
def test_other_classes_than_the_folders_are_named(flowers, classes):
    with pytest.raises(UserError, match=r"has the 3 folders .*classes = \('daisy', 'rose', 'tulip'\)"):
        prepared_folders(classes=list(classes))


def test_a_missing_folder_is_named(flowers):
    (flowers / 'val').rename(flowers / 'away')
    with pytest.raises(UserError, match='folder data/flowers/val of the validation data is missing'):
        prepared_folders()


def test_topk_follows_the_number_of_classes():
    cfg = load_config('affnet-et_8xb128-300e_in1k-256px', dict(classes=['a', 'b', 'c']))
    apply_own_data(cfg)
    assert cfg.model.head.topk == cfg.val_evaluator.topk == cfg.test_evaluator.topk == (1, )
    cfg = Config(dict(model=dict(topk=5), val_evaluator=[dict(type='Accuracy', topk=(5, ))], classes=('a', 'b')))
    apply_own_data(cfg)
    assert cfg.model.topk == 2 and cfg.val_evaluator[0]['topk'] == (1, )
