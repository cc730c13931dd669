"""The checked COCO data set: mmdet's data where the file is sound, one sentence where it is not."""
import contextlib
import io
import json

import numpy as np
import pytest
from mmengine.registry import init_default_scope
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

pytest.importorskip('mmdet')
from mmdet.registry import DATASETS  # noqa: E402

import mmaffnet.datasets.coco as module  # noqa: E402
from mmaffnet.engine.errors import UserError  # noqa: E402

NAN, INF = float('nan'), float('inf')
LOAD = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True)]


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
    """Build a data set on the real file after a change: build(change, type=…, …) -> data set."""
    def make(change=lambda document: None, kind='mmaffnet.CocoDataset', **options):
        init_default_scope('mmdet')
        document = json.loads(original)
        change(document)
        path = tmp_path / 'damaged.json'
        path.write_text(json.dumps(document))
        options = dict(dict(data_prefix=dict(img=str(data_root / 'coco' / 'train2017')), serialize_data=False,
                            pipeline=LOAD), **options)
        return DATASETS.build(dict(type=kind, ann_file=str(path), **options))

    return make


def first(**values):
    """Change the first annotation; None takes the key away."""
    def change(document):
        for key, value in values.items():
            if value is None:
                del document['annotations'][0][key]
            else:
                document['annotations'][0][key] = value
    return change


def instances(dataset):
    return sum(len(entry['instances']) for entry in dataset.data_list)


@pytest.mark.parametrize('part', ['train2017', 'val2017'])
@pytest.mark.parametrize('options', [dict(), dict(filter_cfg=dict(filter_empty_gt=True, min_size=32)),
                                     dict(test_mode=True), dict(metainfo=dict(classes=('person', 'dog')))])
def test_sound_data_are_mmdets(data_root, said, part, options):
    init_default_scope('mmdet')
    options = dict(data_root=str(data_root / 'coco'), ann_file=f'annotations/instances_{part}.json',
                   data_prefix=dict(img=f'{part}/'), serialize_data=False, **options)
    host, ours = (DATASETS.build(dict(type=kind, **options)) for kind in ('CocoDataset', 'mmaffnet.CocoDataset'))
    assert ours.data_list == host.data_list and len(host) > 10
    assert ours.cat_ids == host.cat_ids and ours.cat_img_map == host.cat_img_map
    assert any(box['ignore_flag'] for entry in host.data_list for box in entry['instances'])  # crowds are among them
    assert said == []


# Training: a bad annotation is left out, counted, and reported once


SKIPPED = {
    'nan': (first(bbox=[1, 2, NAN, 4]), 'not finite', 'bbox [1, 2, nan, 4]'),
    'infinite': (first(bbox=[1, 2, INF, 4]), 'not finite', 'bbox [1, 2, inf, 4]'),
    'negative': (first(bbox=[90, 90, -30, 40]), 'negative width', 'bbox [90, 90, -30, 40]'),
    'zero': (first(bbox=[90, 90, 30, 0]), 'no width or height', 'bbox [90, 90, 30, 0]'),
    'outside': (first(bbox=[-90, 9, 30, 40]), 'outside their image', 'bbox [-90, 9, 30, 40] in '),
    'no box': (first(bbox=None), 'bbox is missing', 'no bbox'),
    'no area': (first(area=None), 'area is missing', 'no area'),
    'unknown category': (first(category_id=4711), 'category_id that no category has', 'category_id 4711'),
    'no category': (first(category_id=None), 'without a usable id', 'no category_id'),
    'unknown image': (first(image_id=10**9), 'image_id that no image has', 'image_id 1000000000'),
    'no image': (first(image_id=None), 'without a usable id', 'no image_id')}


@pytest.mark.parametrize('name', SKIPPED)
def test_bad_annotation_in_training(build, original, said, name):
    change, kind, detail = SKIPPED[name]
    whole, dataset = build(), build(change)
    # 10 crowds among 939 annotations; none of the file is thinner than 1 px.
    assert (instances(whole), instances(dataset)) == (939, 938)
    line, = said
    key = json.loads(original)['annotations'][0]['id']
    assert 'damaged.json: left out of the training: ' in line and ' (1): ' in line and f'annotation {key}' in line
    assert kind in line and detail in line
    boxes = np.array([box['bbox'] for entry in dataset.data_list for box in entry['instances']])
    assert np.isfinite(boxes).all() and (boxes[:, 2:] > boxes[:, :2]).all()


def test_annotation_twice_in_training(build, said):
    dataset = build(lambda d: d['annotations'].append(dict(d['annotations'][0], bbox=[0, 0, 5, 5])))
    assert dataset.data_list == build().data_list
    assert 'id of another one' in said[0] and len(said) == 1


def test_annotation_that_is_no_object(build, said):
    dataset = build(lambda d: d['annotations'].insert(3, 'a text'))
    assert instances(dataset) == 939 and 'entry 3 of the list: not an object' in said[0]


def test_each_kind_is_reported_once(build, said):
    def change(document):
        for index in range(8):
            document['annotations'][index]['bbox'] = [0, 0, 5, NAN if index % 2 else 0]

    assert instances(build(change)) == 931
    assert len(said) == 2
    assert all('left out of the training: box' in line and '(4): ' in line and '; and 1 more' in line for line in said)


def test_too_large_a_share_ends_the_run(build, said):
    def change(document, number):
        for annotation in document['annotations'][:number]:
            annotation['bbox'] = [1, 1, -5, 5]

    assert instances(build(lambda d: change(d, 46))) == 893  # 46 of 939 are 4.9 %
    with pytest.raises(UserError, match=r'damaged\.json: 47 of 939 annotations are bad, more than max_bad_share = 0\.05'
                                        r'.*annotation \d+ of image .*check_coco\.py .*damaged\.json .*train2017'):
        build(lambda d: change(d, 47))
    assert instances(build(lambda d: change(d, 47), max_bad_share=0.06)) == 892
    with pytest.raises(UserError, match='more than max_bad_share = 0 '):
        build(lambda d: change(d, 1), max_bad_share=0)
    for share in (5, -0.1, 'all'):
        with pytest.raises(ValueError, match=f'max_bad_share must lie in 0 to 1, got {share!r}'):
            build(max_bad_share=share)


def test_what_mmdet_leaves_out_by_itself_is_counted(build, said):
    dataset = build(first(bbox=[9, 9, 0.5, 40]))
    assert instances(dataset) == 938
    assert 'boxes thinner than 1 px (mmdet leaves them out of the training) (1): annotation' in said[0]


def test_boxes_over_the_edge_are_kept_as_they_are(build, said):
    # The data set hands on what the file says; mmdet's Resize clips.
    pipeline = [*LOAD, dict(type='Resize', scale=(320, 320), keep_ratio=False)]
    dataset = build(first(bbox=[-20, 5, 40, 40]), pipeline=pipeline)
    boxes = [box['bbox'] for entry in dataset.data_list for box in entry['instances']]
    assert [-20, 5, 20, 45] in boxes and instances(dataset) == 939 and said == []
    index = next(i for i, entry in enumerate(dataset.data_list)
                 if [-20, 5, 20, 45] in [box['bbox'] for box in entry['instances']])
    width, height = dataset.data_list[index]['width'], dataset.data_list[index]['height']
    clipped = [0, 5 * 320 / height, 20 * 320 / width, 45 * 320 / height]
    assert np.isclose(dataset[index]['gt_bboxes'].tensor.numpy(), clipped).all(axis=1).sum() == 1


def test_masks(build, said):
    masks = [LOAD[0], dict(type='LoadAnnotations', with_bbox=True, with_mask=True)]
    change = first(segmentation=None)
    assert instances(build(change)) == 939 and said == []
    dataset = build(change, pipeline=masks)
    assert instances(dataset) == 938 and 'annotations without segmentation' in said[0]
    assert all('mask' in box for entry in dataset.data_list for box in entry['instances'])
    with pytest.raises(UserError, match='annotations without segmentation'):
        build(change, pipeline=masks, test_mode=True)


def test_pictures_that_are_not_there(build, data_root, tmp_path, said):
    names = sorted(path.name for path in (data_root / 'coco' / 'train2017').iterdir())
    folder = tmp_path / 'pictures'
    folder.mkdir()
    for name in names[6:]:
        (folder / name).symlink_to(data_root / 'coco' / 'train2017' / name)
    whole = build()
    dataset = build(data_prefix=dict(img=str(folder)))
    assert len(whole) - len(dataset) == 6  # 4.7 % of 128
    assert {entry['img_path'].rsplit('/')[-1] for entry in dataset.data_list} == set(names[6:])
    line, = said
    assert 'images that are not on the disk (6): image ' in line and str(folder / names[0]) in line
    (folder / names[6]).unlink()
    with pytest.raises(UserError, match=r'7 of 128 images are bad, more than max_bad_share.*not on the disk'):
        build(data_prefix=dict(img=str(folder)))
    # In evaluation each counts as a picture without detections, which the loader and the evaluator see to.
    assert len(build(data_prefix=dict(img=str(folder)), test_mode=True)) == 128


# What ends the run


def cut(path):
    path.write_text(path.read_text()[:200_000])


@pytest.mark.parametrize('test_mode', [False, True])
@pytest.mark.parametrize(('change', 'says'), [
    (lambda d: d.update(annotations=[]), 'no annotations at all'),
    (lambda d: d.pop('annotations'), 'lacks the list "annotations" (missing)'),
    (lambda d: d.update(images=[]), 'no images at all'),
    (lambda d: d.update(categories=[]), 'no categories at all'),
    (lambda d: d['images'].append(dict(d['images'][0])), 'images with the id of another one (1): image '),
    (lambda d: d['images'][2].pop('height'), 'no height'),
    (lambda d: d['images'][2].pop('file_name'), 'no file_name'),
    (lambda d: d['categories'].append(dict(id=999, name='dog')), 'category 999 (dog)'),
    (lambda d: [a.update(bbox=[0.1, 0.1, 0.2, 0.3]) for a in d['annotations']], '(939): 939 of 939; python tools')])
def test_structure(build, test_mode, change, says):
    with pytest.raises(UserError) as caught:
        build(change, test_mode=test_mode)
    sentence = str(caught.value)
    assert 'damaged.json' in sentence and says in sentence and '\n' not in sentence


@pytest.mark.parametrize('test_mode', [False, True])
def test_truncated_file(build, tmp_path, test_mode):
    dataset = build(lazy_init=True, test_mode=test_mode)
    cut(tmp_path / 'damaged.json')
    with pytest.raises(UserError, match=r'damaged\.json is cut short: its JSON breaks off at its end, byte 200000'):
        dataset.full_init()


def test_no_picture_left(build):
    def change(document):
        document['annotations'] = [a for a in document['annotations'] if a['category_id'] != 18]

    with pytest.raises(UserError, match=r'damaged\.json has no picture to train on: none of its 128'):
        build(change, metainfo=dict(classes=('dog',)), filter_cfg=dict(filter_empty_gt=True))


def test_files_of_test_pictures_have_no_annotations(build):
    def change(document):
        del document['annotations']

    assert len(build(change, test_mode=True, require_annotations=False)) == 128


# Evaluation


@pytest.mark.parametrize('change', [
    first(bbox=[1, 2, NAN, 4]), first(bbox=[90, 90, -30, 40]), first(bbox=None), first(area=None), first(area=-2),
    first(iscrowd=None), first(id=None), first(category_id=None),
    lambda d: d['annotations'].append(dict(d['annotations'][0]))])
def test_what_would_be_computed_wrongly_ends_an_evaluation(build, change):
    with pytest.raises(UserError, match=r'damaged\.json has .*(1).*(annotation \d+|entry 0).*check_coco\.py'):
        build(change, test_mode=True)


def test_what_counts_as_missed_or_not_at_all_is_said(build, said):
    def change(document):
        for annotation, values in zip(document['annotations'], (
                dict(bbox=[1, 1, 0, 4]), dict(bbox=[5000, 1, 4, 4]), dict(category_id=4711), dict(image_id=-1)),
                strict=False):
            annotation.update(values)

    assert len(build(change, test_mode=True)) == 128
    assert len(said) == 4 and all("kept as COCO's evaluation counts them: " in line for line in said)
    said.clear()
    build(first(id=0), test_mode=True)
    line, = said
    assert 'annotations of id 0' in line
    with pytest.raises(UserError, match='4 of 939 annotations are bad'):
        build(change, test_mode=True, max_bad_share=0.004)


@pytest.mark.parametrize(('values', 'recall'), [
    (dict(), 1), (dict(bbox=[1, 1, 0, 4]), 1 / 2), (dict(bbox=[5000, 1, 4, 4]), 1 / 2), (dict(category_id=4711), 1),
    (dict(image_id=-1), 1), (dict(id=0), 1 / 2)])
def test_what_pycocotools_makes_of_them(values, recall):
    """The rules of coco_findings.KINDS rest on this: one of two objects is found, the other is damaged."""
    boxes = [dict(id=1, image_id=1, category_id=1, bbox=[10, 10, 50, 50], area=2500, iscrowd=0),
             dict(dict(id=2, image_id=1, category_id=1, bbox=[80, 80, 50, 50], area=2500, iscrowd=0), **values)]
    found = [dict(image_id=1, category_id=1, score=0.9, bbox=[10, 10, 50, 50])]
    if not values or 'id' in values:  # the damage is not in the box: both are found
        found.append(dict(found[0], bbox=[80, 80, 50, 50], score=0.8))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = dict(images=[dict(id=1, width=200, height=200)], categories=[dict(id=1, name='a')],
                             annotations=boxes)
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(found), 'bbox')
        evaluation.evaluate()
        evaluation.accumulate()
    assert evaluation.eval['recall'][0, 0, 0, -1] == recall
