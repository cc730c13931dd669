"""Masks in VOC's format from SBD's files and COCO's instances, against the reference files and pycocotools."""
import json

import numpy as np
import pytest
from PIL import Image

from mmaffnet.dataset_converters import voc_masks
from mmaffnet.dataset_converters.sources import coco_items
from mmaffnet.dataset_converters.voc_masks import COCO_IDS, COCO_NAMES, SourceError, coco_mask, picture_shape

PERSON, DOG, ZEBRA = 1, 18, 24  # COCO's ids; VOC's are 15 and 12, and zebras it has none


def box(category, left, top, right, bottom, **more):
    """An annotation whose polygon covers the pixels left … right - 1, top … bottom - 1."""
    return dict(category_id=category, iscrowd=0,
                segmentation=[[left, top, right, top, right, bottom, left, bottom]], **more)


def crowd(category, covered):
    """A crowd with uncompressed RLE, as COCO has them: runs down the columns, the first of zeros."""
    flat = np.concatenate([[0], covered.T.reshape(-1), [2]])
    edges = np.flatnonzero(np.diff(flat[:-1]))
    runs = np.diff(np.concatenate([[0], edges, [covered.size]])).tolist()
    return dict(category_id=category, iscrowd=1, segmentation=dict(size=list(covered.shape), counts=runs))


def test_sbd_equals_the_reference(data_root):
    files = sorted((data_root / 'VOCdevkit/VOCaug/dataset/cls').glob('*.mat'))
    assert len(files) == 10
    for file in files:
        expected = np.array(Image.open(data_root / 'voc_aug_reference/SegmentationClassAug' / f'{file.stem}.png'))
        np.testing.assert_array_equal(voc_masks.read_sbd_mask(file), expected)


def test_the_palette_is_vocs_own(data_root):
    picture = Image.open(data_root / 'VOCdevkit/VOC2012/SegmentationClass/2007_000032.png')
    assert picture.mode == 'P' and picture.getpalette() == voc_masks.voc_palette()


def test_the_classes_of_both_sets_pair(data_root):
    from mmseg.datasets import PascalVOCDataset
    file = json.loads((data_root / 'coco/annotations/instances_val2017.json').read_text())
    names = {category['id']: category['name'] for category in file['categories']}
    assert tuple(names[coco_id] for coco_id in COCO_IDS[1:]) == COCO_NAMES[1:]
    other_words = dict(airplane='aeroplane', motorcycle='motorbike', couch='sofa', tv='tvmonitor')
    assert tuple(other_words.get(name, name).replace(' ', '')
                 for name in COCO_NAMES[1:]) == PascalVOCDataset.METAINFO['classes'][1:]


@pytest.mark.parametrize('split', ['train2017', 'val2017'])
def test_coco_masks_agree_with_pycocotools(data_root, split):
    """Pixel by pixel: the first instance of the 20 classes that covers it; void where only crowds do."""
    from pycocotools.coco import COCO
    coco = COCO(data_root / 'coco' / 'annotations' / f'instances_{split}.json')
    items, number = coco_items(data_root / 'coco', split)
    assert number == len(coco.imgs)
    wanted = [coco_id for coco_id in COCO_IDS if coco_id]
    assert {item.name for item in items} == {
        f'coco_{coco.imgs[i]["file_name"][:-4]}' for c in wanted for i in coco.getImgIds(catIds=[c])}
    voids = 0
    for item in items:
        image_id = int(item.name.removeprefix('coco_'))
        annotations = [a for a in coco.loadAnns(coco.getAnnIds(imgIds=image_id)) if a['category_id'] in wanted]
        layers = np.stack([coco.annToMask(a) for a in annotations if not a['iscrowd']] or
                          [np.zeros((coco.imgs[image_id]['height'], coco.imgs[image_id]['width']), np.uint8)])
        labels = np.array([COCO_IDS.index(a['category_id']) for a in annotations if not a['iscrowd']] or [0])
        expected = np.where(layers.any(axis=0), labels[layers.argmax(axis=0)], 0)
        for a in annotations:
            if a['iscrowd']:
                expected = np.where((expected == 0) & (coco.annToMask(a) == 1), 255, expected)
        np.testing.assert_array_equal(item.mask(), expected, err_msg=item.name)
        voids += (expected == 255).sum()
    assert voids > 0


def test_the_first_instance_wins_and_crowds_come_last():
    left, all_over = np.zeros((10, 20), np.uint8), np.ones((10, 20), np.uint8)
    left[:, :8] = 1
    mask = coco_mask([crowd(PERSON, left), box(ZEBRA, 0, 0, 20, 10), box(DOG, 5, 0, 12, 10), box(PERSON, 10, 0, 20, 10),
                      crowd(ZEBRA, all_over)], 10, 20)
    expected = [255] * 5 + [12] * 7 + [15] * 8
    np.testing.assert_array_equal(mask, [expected] * 10)


def test_compressed_rle_is_read_as_pycocotools_does():
    from pycocotools import mask as rle
    covered = np.random.default_rng(0).random((97, 103)) < 0.3
    covered[20:60] = True  # long runs, and differences of both signs
    counts = rle.encode(np.asfortranarray(covered.astype(np.uint8)))['counts'].decode()
    mask = coco_mask([dict(category_id=DOG, segmentation=dict(size=[97, 103], counts=counts))], 97, 103)
    np.testing.assert_array_equal(mask, 12 * covered)


@pytest.mark.parametrize('segmentation', [
    [], [[1, 1, 2, 2]], [[1, 1, 2, 2, 3]], [[1, 1, 9, 9, float('nan'), 3]], [[0, 0, 1e12, 0, 5, 5]], [['a'] * 6], None,
    dict(size=[10, 20], counts=[3, 5]), dict(size=[10, 20], counts=[300, 5]), dict(size=[10, 20], counts=[-5, 205]),
    dict(size=[20, 10], counts=[100, 100]), dict(size=[10, 20], counts='zzz'), dict(size=[10, 20], counts='é'),
    dict(size=[10, 20], counts=5), dict(counts=[200]),
])
def test_what_pycocotools_would_overrun_is_named(segmentation):
    with pytest.raises(SourceError, match='annotation 77: its segmentation cannot be decoded'):
        coco_mask([dict(id=77, category_id=DOG, segmentation=segmentation)], 10, 20)


def test_pictures_have_the_size_that_the_loader_sees(tmp_path):
    import mmcv
    image = Image.new('RGB', (30, 20))
    exif = image.getexif()
    exif[0x0112] = 6  # a quarter to the right
    image.save(tmp_path / 'turned.jpg', exif=exif)
    assert picture_shape(tmp_path / 'turned.jpg') == mmcv.imread(tmp_path / 'turned.jpg').shape[:2] == (30, 20)
