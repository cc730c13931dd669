"""Segmentations: run lengths read as pycocotools writes them, and what would break a training or evaluation named."""
import json

import numpy as np
import pytest
from mmengine.registry import init_default_scope
from pycocotools import mask as coco_mask

pytest.importorskip('mmdet')
from mmdet.registry import DATASETS  # noqa: E402

import mmaffnet.datasets.coco as module  # noqa: E402
from mmaffnet.datasets.coco_masks import run_lengths  # noqa: E402
from mmaffnet.engine.errors import UserError  # noqa: E402

NAN = float('nan')
LOAD = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True, with_mask=True)]


def runs_of(mask):
    """Lengths of equal neighbours, column by column, the first one of zeros: counted one by one."""
    runs, value = [0], 0
    for pixel in mask.T.ravel():
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    return runs


@pytest.mark.parametrize('density', [0.02, 0.5, 0.98])
@pytest.mark.parametrize('shape', [(7, 5), (33, 47), (300, 1)])
def test_run_lengths_are_those_that_pycocotools_wrote(shape, density):
    mask = (np.random.default_rng(0).random(shape) < density).astype(np.uint8)
    text = coco_mask.encode(np.asfortranarray(mask))['counts'].decode()
    assert run_lengths(text) == run_lengths(runs_of(mask)) == runs_of(mask)


def test_long_runs_and_both_signs():
    counts = [1_000_000, 5, 31, 32, 600_000, 1, 368_931]
    text = coco_mask.frPyObjects(dict(size=[1000, 1969], counts=counts), 1000, 1969)['counts'].decode()
    assert run_lengths(text) == counts


@pytest.mark.parametrize(('counts', 'says'), [
    ([5, -1, 9], 'no whole number'), ([5, 2.5], 'no whole number'), ([5, '7'], 'no whole number'),
    ([1 << 32], 'no whole number'), ('5 5', "' ' is no part"), ('ée', "'é' is no part"), ('~~~~~~~~~', 'is no part'),
    ('Pf', 'cut short'), ('o' * 40, 'is no part')])
def test_no_run_lengths(counts, says):
    with pytest.raises(ValueError, match=says):
        run_lengths(counts)


# In a data set


@pytest.fixture(scope='module')
def original(data_root):
    return (data_root / 'coco' / 'annotations' / 'instances_train2017.json').read_text()


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(module, 'print_log', lambda line, **options: lines.append(line))
    return lines


@pytest.fixture
def build(original, data_root, tmp_path):
    """The real file with another segmentation of its first annotation: build(segmentation, …) -> data set."""
    def make(segmentation, kind='mmaffnet.CocoDataset', **options):
        init_default_scope('mmdet')
        document = json.loads(original)
        image = next(image for image in document['images'] if image['id'] == document['annotations'][0]['image_id'])
        document['annotations'][0]['segmentation'] = segmentation(image['height'], image['width'])
        (tmp_path / 'damaged.json').write_text(json.dumps(document))
        return DATASETS.build(dict(dict(
            type=kind, ann_file=str(tmp_path / 'damaged.json'), pipeline=LOAD, serialize_data=False,
            data_prefix=dict(img=str(data_root / 'coco' / 'train2017'))), **options))

    return make


def polygons(*points):
    return lambda height, width: list(points)


def runs(counts, **size):
    return lambda height, width: dict(dict(size=[height, width], counts=counts(height * width)), **size)


TRIANGLE = [10, 10, 40, 10, 10, 40]
DAMAGED = {
    'nan': (polygons(TRIANGLE, [1, NAN, 3, 4, 5, 6]), 'points that are not numbers'),
    'text': (polygons(TRIANGLE, [1, '2', 3, 4, 5, 6]), 'points that are not numbers'),
    'flat': (polygons(*TRIANGLE), 'without a polygon of three points'),
    'too few runs': (runs(lambda pixels: [5, 5]), 'run lengths that are not those'),
    'too many runs': (runs(lambda pixels: [5, pixels]), 'run lengths that are not those'),
    'negative run': (runs(lambda pixels: [5, -5, pixels]), 'a run is no whole number'),
    'text cut short': (runs(lambda pixels: 'n11k11O1O1N'), 'run lengths that are not those'),
    'no text of runs': (runs(lambda pixels: 'a mask'), "' ' is no part of a run"),
    'another size': (runs(lambda pixels: [15], size=[3, 5]), 'for (height, width) [3, 5] instead of')}


@pytest.mark.parametrize('name', DAMAGED)
def test_left_out_of_a_training_and_the_end_of_an_evaluation(build, said, name):
    change, says = DAMAGED[name]
    dataset = build(change)
    assert sum(len(entry['instances']) for entry in dataset.data_list) == 938  # of 939
    line, = said
    assert 'damaged.json: left out of the training: ' in line and says in line and ' (1): annotation ' in line
    with pytest.raises(UserError, match=r'damaged\.json has .*\(1\): annotation \d+'):
        build(change, test_mode=True)


def test_what_is_sound_decodes_to_its_pixels(build, said):
    for change, pixels in ((runs(lambda pixels: [pixels - 77, 77]), 77), (polygons(TRIANGLE), 30 * 30 / 2)):
        dataset = build(change)
        entry = next(entry for entry in dataset.data_list if len(entry['instances'])
                     and entry['instances'][0]['mask'] == change(entry['height'], entry['width']))
        loaded = dataset[dataset.data_list.index(entry)]['gt_masks']
        assert loaded.masks[0].sum() == pytest.approx(pixels, rel=0.05)
        assert len(loaded) == len(entry['instances'])
    assert said == []


def test_single_polygons_that_mmdet_leaves_out_are_said(build, said):
    change = polygons([1, 2, 3, 4], TRIANGLE)
    assert sum(len(entry['instances']) for entry in build(change).data_list) == 939
    assert len(said) == 1 and 'fewer than three points (mmdet leaves these polygons out) (1): annotation ' in said[0]
    # pycocotools takes a first polygon of four numbers for a box, and fails on the others
    with pytest.raises(UserError, match=r'first polygon has fewer than three points .*\[1, 2, 3, 4\]'):
        build(change, test_mode=True)
    assert len(build(polygons(TRIANGLE, [1, 2, 3, 4]), test_mode=True)) == 128


def test_without_masks_nothing_of_it_matters(build, said):
    boxes = [LOAD[0], dict(type='LoadAnnotations', with_bbox=True)]
    for name, test_mode in (('nan', False), ('nan', True), ('too few runs', False), ('too few runs', True)):
        dataset = build(DAMAGED[name][0], pipeline=boxes, test_mode=test_mode)
        assert sum(len(entry['instances']) for entry in dataset.data_list) == 939
    assert said == []
