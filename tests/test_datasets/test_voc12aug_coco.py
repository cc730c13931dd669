"""VOC 2012 + SBD + COCO as one training set: lists, going on after an interruption, broken sources, the real data."""
import argparse
import json
import os
import shutil

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image
from scipy.io import savemat

from mmaffnet.dataset_converters import sources as sources_module
from mmaffnet.dataset_converters.voc12aug_coco import add_merge_arguments, merge_voc
from mmaffnet.dataset_converters.voc_masks import COCO_IDS, COCO_NAMES, read_voc_mask, voc_palette
from mmaffnet.engine.errors import UserError

PERSON, DOG, ZEBRA = 1, 18, 24  # COCO's ids; VOC's are 15 and 12, and zebras it has none


def box(category, left, top, right, bottom, **more):
    """An annotation whose polygon covers the pixels left … right - 1, top … bottom - 1."""
    return dict(category_id=category, iscrowd=0,
                segmentation=[[left, top, right, top, right, bottom, left, bottom]], **more)


class Sources:
    """Small sources: VOC's a (train), v (val); SBD's v, s; COCO's 1 (a person), 2 (few pixels), 3 (a zebra)."""

    def __init__(self, root):
        self.root, self.out = root, root / 'out'
        self.voc, self.sbd, self.coco = root / 'VOC2012', root / 'sbd', root / 'coco'
        for folder in ('ImageSets/Segmentation', 'JPEGImages', 'SegmentationClass'):
            (self.voc / folder).mkdir(parents=True)
        for folder in (self.sbd / 'cls', self.coco / 'train2017', self.coco / 'annotations'):
            folder.mkdir(parents=True)
        for name in 'avs':
            self.picture(self.voc / 'JPEGImages' / f'{name}.jpg')
        for name in 'av':
            (self.voc / 'ImageSets/Segmentation' / ('train.txt' if name == 'a' else 'val.txt')).write_text(f'{name}\n')
            Image.fromarray(np.full((40, 60), 3, np.uint8)).save(self.voc / 'SegmentationClass' / f'{name}.png')
        for name in 'vs':
            savemat(self.sbd / 'cls' / f'{name}.mat', dict(GTcls=dict(Segmentation=np.full((40, 60), 7, np.uint8))))
        (self.sbd / 'train.txt').write_text('v\n')
        (self.sbd / 'val.txt').write_text('s\n')
        for number in (1, 2, 3):
            self.picture(self.coco / 'train2017' / f'{number}.jpg')
        self.annotate({1: [box(PERSON, 0, 0, 50, 30)], 2: [box(DOG, 0, 0, 10, 10)], 3: [box(ZEBRA, 0, 0, 50, 30)]})

    def picture(self, path):
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)).save(path)

    def annotate(self, annotations):
        """Write COCO's file: annotations of each picture's number."""
        (self.coco / 'annotations' / 'instances_train2017.json').write_text(json.dumps(dict(
            images=[dict(id=i, file_name=f'{i}.jpg', height=40, width=60) for i in annotations],
            annotations=[dict(a, image_id=i, id=10 * i + k) for i, of in annotations.items() for k, a in enumerate(of)],
            categories=[dict(id=i, name=n) for i, n in zip(COCO_IDS[1:], COCO_NAMES[1:], strict=True)])))

    def merge(self, *more):
        """Run the command in this process; returns its exit code."""
        parser = argparse.ArgumentParser()
        add_merge_arguments(parser)
        given = ['--voc', self.voc, '--sbd', self.sbd, '--coco', self.coco, '--out', self.out, '--workers', 1, *more]
        return merge_voc(parser.parse_args([str(value) for value in given]))

    def list(self, name):
        return (self.out / 'ImageSets' / 'Segmentation' / f'{name}.txt').read_text().split()

    def made(self):
        return sorted(path.stem for path in (self.out / 'SegmentationClass').iterdir())


@pytest.fixture
def sources(tmp_path):
    return Sources(tmp_path)


@pytest.fixture
def count_masks(monkeypatch):
    """Names of the items whose masks are made, in order."""
    made = []
    for kind in (sources_module.VocItem, sources_module.SbdItem, sources_module.CocoItem):
        monkeypatch.setattr(kind, 'mask', lambda self, mask=kind.mask: made.append(self.name) or mask(self))
    return made


def test_lists_hold_what_they_say(sources):
    assert sources.merge() == 0
    assert sources.list('train') == ['a']
    assert sources.list('val') == ['v']
    assert sources.list('train_aug') == ['a', 's']
    assert sources.list('train_aug_coco') == ['a', 's', 'coco_1']
    assert sources.made() == ['a', 'coco_1', 's', 'v']
    assert sorted(path.stem for path in (sources.out / 'JPEGImages').iterdir()) == sources.made()
    mask = Image.open(sources.out / 'SegmentationClass' / 'coco_1.png')
    assert mask.mode == 'P' and mask.getpalette() == voc_palette()
    expected = np.zeros((40, 60), np.uint8)
    expected[:30, :50] = 15
    np.testing.assert_array_equal(np.array(mask), expected)


def test_names_of_vocs_val_are_in_no_training_list(sources, capsys):
    (sources.voc / 'ImageSets/Segmentation/train.txt').write_text('a\nv\n')
    (sources.sbd / 'val.txt').write_text('s\nv\n')
    assert sources.merge() == 1
    assert 'v is in val.txt too' in capsys.readouterr().out
    assert not {'v'} & {*sources.list('train'), *sources.list('train_aug'), *sources.list('train_aug_coco')}
    # VOC's own mask, not SBD's
    assert set(np.unique(read_voc_mask(sources.out / 'SegmentationClass/v.png'))) == {3}


def test_what_vocs_train_has_keeps_vocs_mask(sources):
    (sources.sbd / 'train.txt').write_text('a\n')
    assert sources.merge() == 0
    assert sources.list('train_aug') == ['a', 's']
    assert set(np.unique(read_voc_mask(sources.out / 'SegmentationClass/a.png'))) == {3}


def test_the_threshold_counts_foreground_only(sources):
    crowd = dict(category_id=PERSON, iscrowd=1, segmentation=dict(size=[40, 60], counts=[1200, 1200]))
    sources.annotate({1: [box(DOG, 0, 0, 10, 10), crowd], 2: [box(DOG, 0, 0, 11, 9), crowd]})
    assert sources.merge('--min-pixels', 100) == 0
    assert sources.list('train_aug_coco')[2:] == ['coco_1']
    assert (sources.out / 'coco_dropped.txt').read_text() == 'coco_2 has 99 foreground pixels\n'


def test_sources_can_be_left_out(sources, capsys):
    parser = argparse.ArgumentParser()
    add_merge_arguments(parser)
    arguments = ['--voc', str(sources.voc), '--out', str(sources.out), '--workers', '1']
    assert merge_voc(parser.parse_args(arguments)) == 0
    assert 'train_ann_file=ImageSets/Segmentation/train.txt' in capsys.readouterr().out
    assert merge_voc(parser.parse_args([*arguments, '--coco', str(sources.coco)])) == 0
    assert sources.list('train_coco') == ['a', 'coco_1']
    assert not (sources.out / 'ImageSets/Segmentation/train_aug_coco.txt').exists()


@pytest.mark.parametrize('placing', ['symlink', 'hardlink', 'copy'])
def test_pictures_are_placed(sources, placing):
    assert sources.merge('--images', placing) == 0
    target, source = sources.out / 'JPEGImages' / 's.jpg', sources.voc / 'JPEGImages' / 's.jpg'
    assert target.read_bytes() == source.read_bytes()
    assert target.is_symlink() == (placing == 'symlink')
    assert target.samefile(source) == (placing != 'copy')
    if placing == 'symlink':  # both can be moved together
        assert not os.path.isabs(os.readlink(target))


def test_pictures_are_copied_where_links_are_refused(sources, monkeypatch, capsys):
    def refuse(*_):
        raise OSError('no links here')

    monkeypatch.setattr(os, 'symlink', refuse)
    assert sources.merge() == 0
    assert not (sources.out / 'JPEGImages' / 's.jpg').is_symlink()
    assert '4 pictures were copied: no symlink' in capsys.readouterr().out


# --- going on --------------------------------------------------------------------------------------------------------


def test_a_second_run_makes_only_what_is_missing(sources, count_masks, capsys):
    sources.merge()
    assert sorted(count_masks) == ['a', 'coco_1', 'coco_2', 's', 'v']
    before = {path.name: path.stat().st_mtime_ns for path in (sources.out / 'SegmentationClass').iterdir()}
    masks = sources.out / 'SegmentationClass'
    (masks / 'a.png').unlink()
    whole = (masks / 's.png').read_bytes()
    (masks / 's.png').write_bytes(whole[:len(whole) // 2])  # cut short by another program
    (masks / '.v.png.1.draft').write_bytes(whole[:9])  # of a run that was killed
    (sources.out / 'JPEGImages' / 'v.jpg').unlink()
    count_masks.clear()
    assert sources.merge() == 0
    assert sorted(count_masks) == ['a', 's', 'v']
    assert '3 made, 1 kept from an earlier run, 1 dropped' in capsys.readouterr().out
    assert (masks / 's.png').read_bytes() == whole
    assert (masks / 'coco_1.png').stat().st_mtime_ns == before['coco_1.png']
    assert sources.made() == ['a', 'coco_1', 's', 'v']


def test_an_interrupted_run_leaves_no_half_masks_and_no_lists(sources, count_masks, monkeypatch):
    save = Image.Image.save

    def interrupted(self, path, *args, **kwargs):
        save(self, path, *args, **kwargs)
        if len(count_masks) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, 'save', interrupted)
    with pytest.raises(KeyboardInterrupt):
        sources.merge()
    assert sources.made() == ['a', 'v']
    assert not (sources.out / 'ImageSets').exists()
    monkeypatch.setattr(Image.Image, 'save', save)
    count_masks.clear()
    assert sources.merge() == 0
    assert sorted(count_masks) == ['coco_1', 'coco_2', 's']


def test_another_threshold_makes_what_was_dropped_and_drops_what_was_made(sources, count_masks):
    sources.merge()
    count_masks.clear()
    assert sources.merge('--min-pixels', 50) == 0
    assert count_masks == ['coco_2']
    assert sources.list('train_aug_coco')[2:] == ['coco_1', 'coco_2']
    assert sources.merge('--min-pixels', 1501) == 0
    assert sources.list('train_aug_coco')[2:] == []


def test_a_note_that_was_cut_short_does_not_count(sources, count_masks):
    sources.merge()
    (sources.out / 'coco_dropped.txt').write_text('coco_2 has 10')
    count_masks.clear()
    sources.merge()
    assert count_masks == ['coco_2']
    assert (sources.out / 'coco_dropped.txt').read_text().endswith('\ncoco_2 has 100 foreground pixels\n')


# --- broken sources --------------------------------------------------------------------------------------------------


def test_broken_sources_are_named_and_the_rest_goes_on(sources, capsys):
    """Also in several processes, and mended sources are made by the next run."""
    mat = (sources.sbd / 'cls' / 's.mat').read_bytes()
    (sources.sbd / 'cls' / 's.mat').write_bytes(mat[:len(mat) // 2])
    picture = sources.voc / 'JPEGImages' / 'v.jpg'
    jpeg = picture.read_bytes()
    picture.write_bytes(jpeg[:len(jpeg) // 2])
    sources.annotate({1: [box(PERSON, 0, 0, 50, 30)],
                      2: [dict(category_id=DOG, segmentation=dict(size=[40, 60], counts=[7]))]})
    assert sources.merge('--workers', 2) == 1
    said = capsys.readouterr().out
    assert f'left out: {sources.sbd}/cls/s.mat: no MATLAB file' in said
    assert f'left out: {picture}: cannot be decoded' in said
    assert f'left out: {sources.coco}/train2017/2.jpg: annotation 20: its segmentation' in said
    assert len((sources.out / 'left_out.txt').read_text().splitlines()) == 3
    assert sources.list('train_aug_coco') == ['a', 'coco_1']
    assert sources.list('val') == []
    assert sources.made() == ['a', 'coco_1']
    picture.write_bytes(jpeg)
    (sources.sbd / 'cls' / 's.mat').write_bytes(mat)
    sources.annotate({1: [box(PERSON, 0, 0, 50, 30)]})
    assert sources.merge() == 0
    assert sources.list('train_aug_coco') == ['a', 's', 'coco_1']
    assert (sources.out / 'left_out.txt').read_text() == ''


def test_a_killed_process_is_told(sources, monkeypatch):
    monkeypatch.setattr(sources_module.SbdItem, 'mask', lambda self: os._exit(9))
    with pytest.raises(UserError, match='a process was killed.*the same command goes on'):
        sources.merge('--workers', 2)
    assert not (sources.out / 'ImageSets').exists()


def test_pairs_of_different_size_are_left_out(sources, capsys):
    Image.new('RGB', (61, 40)).save(sources.voc / 'JPEGImages' / 's.jpg')
    assert sources.merge() == 1
    assert 's.jpg: 40 x 61 pixels (height x width), but its mask has 40 x 60' in capsys.readouterr().out
    assert sources.list('train_aug') == ['a']


@pytest.mark.parametrize('mode, value', [('RGB', (1, 1, 1)), ('L', 21)])
def test_masks_that_are_none_are_named(sources, capsys, mode, value):
    Image.new(mode, (60, 40), value).save(sources.voc / 'SegmentationClass' / 'a.png')
    assert sources.merge() == 1
    assert 'SegmentationClass/a.png: ' in capsys.readouterr().out
    assert sources.list('train') == []


def test_a_second_picture_of_one_name_is_named(sources, capsys):
    shutil.copytree(sources.coco / 'train2017', sources.coco / 'val2017')
    annotations = sources.coco / 'annotations'
    shutil.copy(annotations / 'instances_train2017.json', annotations / 'instances_val2017.json')
    assert sources.merge('--coco-splits', 'train2017', 'val2017') == 1
    assert 'val2017/1.jpg: a second coco_1; the first is taken' in capsys.readouterr().out
    assert sources.list('train_aug_coco') == ['a', 's', 'coco_1']


@pytest.mark.parametrize('path, message', [
    ('VOC2012/ImageSets/Segmentation/val.txt', r'val\.txt: cannot be read'),
    ('sbd/val.txt', r'val\.txt: cannot be read'),
    ('coco/annotations/instances_train2017.json', r'instances_train2017\.json: cannot be read'),
    ('coco', '--coco .* is no folder'),
])
def test_missing_sources_are_mistakes(sources, path, message):
    (sources.root / path).rename(sources.root / 'away')
    with pytest.raises(UserError, match=message):
        sources.merge()


@pytest.mark.parametrize('text, message', [
    ('{"images": [', 'cut short'), ('[]', 'no file of COCO'),
    ('{"images": [], "annotations": [], "categories": [{"id": 5, "name": "bolt"}]}', "category 5 is 'bolt'"),
])
def test_another_json_is_a_mistake(sources, text, message):
    (sources.coco / 'annotations' / 'instances_train2017.json').write_text(text)
    with pytest.raises(UserError, match=message):
        sources.merge()


# --- the whole, on real data -----------------------------------------------------------------------------------------


def test_the_merged_real_set_loads_by_the_shipped_config(data_root, config_root, tmp_path, run_tool):
    from mmseg.registry import DATASETS
    from mmseg.utils import register_all_modules
    register_all_modules()
    voc = data_root / 'VOCdevkit'
    done = run_tool(['dataset_converters/voc12aug_coco.py', '--voc', voc / 'VOC2012', '--sbd', voc / 'VOCaug/dataset',
                     '--coco', data_root / 'coco', '--out', tmp_path / 'merged', '--workers', '2'])
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'COCO train2017: 97 of 128 pictures hold one of the 20 classes' in done.stdout
    assert '144 made, 0 kept from an earlier run, 3 dropped with fewer than 1000 foreground pixels' in done.stdout
    assert '\x1b' not in done.stdout + done.stderr and 'Merging' not in done.stderr  # no bar without a terminal
    cfg = Config.fromfile(config_root / '_base_' / 'datasets' / 'voc12aug_coco_512x512.py')
    for loader, number in (('train_dataloader', 24 + 10 + 94), ('val_dataloader', 16)):
        dataset = DATASETS.build(dict(cfg[loader].dataset, data_root=str(tmp_path / 'merged'),
                                      pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]))
        assert len(dataset) == number
        for index in range(len(dataset)):
            pair = dataset[index]
            assert pair['img'].shape[:2] == pair['gt_seg_map'].shape
            assert set(np.unique(pair['gt_seg_map'])) <= {*range(21), 255}


def test_a_mistake_is_one_line(tmp_path, run_tool):
    done = run_tool(['dataset_converters/voc12aug_coco.py', '--voc', tmp_path / 'none', '--out', tmp_path / 'out'])
    assert done.returncode == 2
    assert done.stderr.startswith('error: --voc ') and len(done.stderr.splitlines()) == 1
