"""Every damage is made in a real annotation file, and found by its kind, file and entry."""
import importlib.util
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from mmaffnet.datasets.coco_check import check_coco
from mmaffnet.datasets.coco_findings import KINDS
from mmaffnet.datasets.coco_pictures import missing_pictures

NAN, INF = float('nan'), float('inf')


@pytest.fixture(scope='module')
def original(data_root):
    return (data_root / 'coco' / 'annotations' / 'instances_val2017.json').read_text()


@pytest.fixture
def damaged(original, tmp_path):
    """Write the real file after a change: damaged(change) -> path, the first annotation, the first image."""
    def write(change):
        document = json.loads(original)
        first, image = document['annotations'][0], document['images'][0]
        change(document)
        path = tmp_path / 'damaged.json'
        path.write_text(json.dumps(document))
        return path, first, image

    return write


def annotation(**values):
    """Change the first annotation; None takes the key away."""
    def change(document):
        for key, value in values.items():
            if value is None:
                del document['annotations'][0][key]
            else:
                document['annotations'][0][key] = value
    return change


def image(**values):
    def change(document):
        for key, value in values.items():
            if value is None:
                del document['images'][0][key]
            else:
                document['images'][0][key] = value
    return change


def again(part, **values):
    """Append a copy of the list's first entry."""
    def change(document):
        document[part].append(dict(document[part][0], **values))
    return change


def shares(document):
    sizes = {entry['id']: (entry['width'], entry['height']) for entry in document['images']}
    for entry in document['annotations']:
        width, height = sizes[entry['image_id']]
        x, y, w, h = entry['bbox']
        entry['bbox'] = [x / width, y / height, w / width, h / height]


ANNOTATIONS = {
    'nan': (annotation(bbox=[1, 2, NAN, 4]), 'bbox_finite', 'bbox [1, 2, nan, 4]'),
    'inf': (annotation(bbox=[1, 2, INF, 4]), 'bbox_finite', 'bbox [1, 2, inf, 4]'),
    'huge': (annotation(bbox=[1, 2, 10**400, 4]), 'bbox_finite', 'bbox [1, 2, 1000'),
    'negative': (annotation(bbox=[9, 9, -3, 4]), 'bbox_negative', 'bbox [9, 9, -3, 4]'),
    'zero': (annotation(bbox=[9, 9, 0, 4]), 'bbox_empty', 'bbox [9, 9, 0, 4]'),
    'outside': (annotation(bbox=[5000, 9, 3, 4]), 'bbox_outside', 'bbox [5000, 9, 3, 4] in '),
    'three numbers': (annotation(bbox=[1, 2, 3]), 'bbox_form', 'bbox [1, 2, 3]'),
    'texts': (annotation(bbox=['1', 2, 3, 4]), 'bbox_form', "bbox ['1', 2, 3, 4]"),
    'no box': (annotation(bbox=None), 'bbox_form', 'no bbox'),
    'partly outside': (annotation(bbox=[-20, 0, 40, 40]), 'bbox_partly', 'bbox [-20, 0, 40, 40] in '),
    'thin': (annotation(bbox=[9, 9, 0.5, 40]), 'bbox_thin', 'bbox [9, 9, 0.5, 40]'),
    'no area': (annotation(area=None), 'area_form', 'no area'),
    'negative area': (annotation(area=-1), 'area_form', 'area -1'),
    'area nan': (annotation(area=NAN), 'area_form', 'area nan'),
    'area zero': (annotation(area=0), 'area_zero', 'area 0'),
    'no iscrowd': (annotation(iscrowd=None), 'iscrowd', 'no iscrowd'),
    'unknown image': (annotation(image_id=987654321), 'unknown_image', 'image_id 987654321'),
    'image id of another type': (annotation(image_id='139'), 'unknown_image', "image_id '139'"),
    'unknown category': (annotation(category_id=4711), 'unknown_category', 'category_id 4711'),
    'no category': (annotation(category_id=None), 'annotation_form', 'no category_id'),
    'list as an id': (annotation(image_id=[1]), 'annotation_form', 'image_id [1]'),
    'id null': (lambda d: d['annotations'][0].update(id=None), 'annotation_form', 'id None'),
    'no segmentation': (annotation(segmentation=None), 'no_segmentation', 'no segmentation'),
    'two points': (annotation(segmentation=[[1, 2, 3, 4]]), 'segmentation_form', 'segmentation [[1, 2, 3, 4]]'),
    'nan in a polygon': (annotation(segmentation=[[1, 2, 3, 4, 5, NAN]]), 'polygon_points', 'nan'),
    'nan in the second': (annotation(segmentation=[[1, 2, 3, 4, 5, 9], [1, NAN, 3, 4, 5, 9]]), 'polygon_points', 'nan'),
    'text in a polygon': (annotation(segmentation=[[1, '2', 3, 4, 5, 9]]), 'polygon_points', "'2'"),
    'point far away': (annotation(segmentation=[[1, 2, 3, 4, 5, 2e6]]), 'polygon_points', '2000000.0'),
    'number among polygons': (annotation(segmentation=[[1, 2, 3, 4, 5, 9], 7]), 'polygon_points', 'polygon 7'),
    'short first polygon': (annotation(segmentation=[[1, 2, 3, 4], [1, 2, 3, 4, 5, 9]]), 'first_polygon', '3, 4]'),
    'odd polygon': (annotation(segmentation=[[1, 2, 3, 4, 5, 9], [1, 2, 3, 4, 5, 6, 7]]), 'polygons', '1 of 2'),
    'code of another size': (annotation(segmentation=dict(size=[3, 5], counts=[15])), 'segmentation_form', '[3, 5]'),
    'id 0': (annotation(id=0), 'id_zero', 'id 0')}

OTHERS = {
    'annotation twice': (again('annotations'), 'annotation_ids'),
    'annotation is a number': (lambda d: d['annotations'].append(5), 'annotation_form'),
    'image twice': (again('images'), 'image_ids'),
    'file name twice': (again('images', id=-5), 'image_names'),
    'image without id': (image(id=None), 'image_form'),
    'image without file name': (image(file_name=None), 'image_form'),
    'image without height': (image(height=None), 'image_form'),
    'height as text': (image(height='480'), 'image_form'),
    'width 0': (image(width=0), 'image_form'),
    'no images': (lambda d: d.update(images=[]), 'no_images'),
    'no annotations': (lambda d: d.update(annotations=[]), 'no_annotations'),
    'no categories': (lambda d: d.update(categories=[]), 'no_categories'),
    'category id twice': (again('categories', name='x'), 'category_ids'),
    'category name twice': (again('categories', id=999), 'category_names'),
    'category without name': (lambda d: d['categories'][3].pop('name'), 'category_form'),
    'shares of the picture': (shares, 'normalised')}


def test_sound_files_pass(data_root):
    for part, images, annotations in (('train2017', 128, 939), ('val2017', 64, 648)):
        root = data_root / 'coco'
        report = check_coco(root / 'annotations' / f'instances_{part}.json', root / part, decode=True, masks=True)
        assert (report.images, report.annotations, report.categories) == (images, annotations, 80)
        assert not report.has_errors and not report.bad
    assert set(report.findings) == set()


@pytest.mark.parametrize('name', ANNOTATIONS)
def test_bad_annotation(damaged, name):
    change, kind, detail = ANNOTATIONS[name]
    path, first, _ = damaged(change)
    report = check_coco(path)
    finding = report.findings[kind]
    entry = 'annotation 0' if name == 'id 0' else 'entry 0' if name == 'id null' else f'annotation {first["id"]}'
    assert finding.count == 1 and entry in finding.examples[0] and detail in finding.examples[0]
    assert report.has_errors == (KINDS[kind].severity == 'error')
    assert report.bad == ({0: kind} if KINDS[kind].training == 'skip' else {})


@pytest.mark.parametrize('name', OTHERS)
def test_bad_structure(damaged, name):
    change, kind = OTHERS[name]
    path, _, _ = damaged(change)
    report = check_coco(path)
    assert report.findings[kind].count >= 1
    assert report.has_errors == (KINDS[kind].severity == 'error')


def test_masks_make_a_missing_segmentation_an_error(damaged):
    path, _, _ = damaged(annotation(segmentation=None))
    assert not check_coco(path).has_errors
    report = check_coco(path, masks=True)
    assert report.has_errors and report.bad == {0: 'no_segmentation'}


def test_classes_asked_for(damaged):
    path, _, _ = damaged(lambda document: None)
    report = check_coco(path, classes=['person', 'unicorn'])
    assert report.findings['classes'].examples == ["'unicorn'"]


def test_everything_at_once_with_counts(damaged):
    def change(document):
        for index, entry in enumerate(document['annotations'][:7]):
            entry['bbox'] = [NAN] * 4 if index < 5 else [1, 1, -1, 5]
        document['annotations'][6]['area'] = -3
        del document['images'][1]['width']

    path, _, _ = damaged(change)
    report = check_coco(path)
    counts = {name: finding.count for name, finding in report.findings.items()}
    assert counts == dict(bbox_finite=5, bbox_negative=2, area_form=1, image_form=1)
    assert len(report.bad) == 7 and len(report.findings['bbox_finite'].examples) == 3
    assert '; and 2 more' in '\n'.join(report.lines())


# Files that are no COCO file


@pytest.mark.parametrize(('cut', 'says'), [
    (lambda text: text[:len(text) // 2], 'is cut short: its JSON breaks off at its end, byte'),
    (lambda text: text[:-1], 'is cut short'),
    (lambda text: '', 'is empty'),
    (lambda text: '\ufeff' + text, 'byte order mark'),
    (lambda text: text.replace('"annotations":', '"annotations"@', 1), 'is no JSON'),
    (lambda text: json.dumps(json.loads(text)['annotations']), 'holds a JSON list'),
    (lambda text: json.dumps(dict(json.loads(text), images=None)), 'lacks the list "images" (null)'),
    (lambda text: '{"data_list": [], "metainfo": {}}', 'lacks the list "images" (missing) and "annotations"'),
    (lambda text: '[' * 100_000, 'nested too deeply')])
def test_unusable_files(original, tmp_path, cut, says):
    path = tmp_path / 'cut.json'
    path.write_text(cut(original), encoding='utf-8')
    report = check_coco(path)
    sentence, = report.findings['file'].examples
    assert sentence.startswith(str(path)) and says in sentence and '\n' not in sentence


def test_place_of_a_mistake_is_its_byte(tmp_path):
    text = '{"info": "Zürich",\n "images": [1, 2 3]}'
    (tmp_path / 'a.json').write_text(text, encoding='utf-8')
    sentence, = check_coco(tmp_path / 'a.json').findings['file'].examples
    assert f'at byte {text.encode().index(b"3]")} (line 2, column 18)' in sentence


def test_other_encodings_and_missing_files(tmp_path):
    (tmp_path / 'a.json').write_bytes(b'\x1f\x8b\x08packed')
    assert 'no text in UTF-8 (byte 1)' in str(check_coco(tmp_path / 'a.json').findings['file'])
    assert 'cannot be read' in str(check_coco(tmp_path / 'none.json').findings['file'])


# Pictures


@pytest.fixture
def pictures(data_root, tmp_path):
    """A real file of ten pictures, copied: (path of the file, folder, entries of the images)."""
    document = json.loads((data_root / 'coco/annotations/instances_val2017.json').read_text())
    document['images'] = document['images'][:10]
    kept = {entry['id'] for entry in document['images']}
    document['annotations'] = [a for a in document['annotations'] if a['image_id'] in kept]
    (tmp_path / 'pictures').mkdir()
    for entry in document['images']:
        shutil.copy(data_root / 'coco' / 'val2017' / entry['file_name'], tmp_path / 'pictures')
    (tmp_path / 'a.json').write_text(json.dumps(document))
    for path in (tmp_path / 'pictures').iterdir():
        path.chmod(0o644)
    return tmp_path / 'a.json', tmp_path / 'pictures', document['images']


def test_pictures(pictures):
    path, folder, images = pictures
    files = [folder / entry['file_name'] for entry in images]
    assert not check_coco(path, folder).findings
    files[0].unlink()
    files[1].write_bytes(b'')
    files[2].write_text('a text')
    Image.open(files[3]).resize((50, 40)).save(files[3])
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees, which swaps width and height
    Image.open(files[4]).save(files[4], exif=exif)
    turned = Image.open(files[5]).transpose(Image.Transpose.ROTATE_90)
    turned.save(files[5], exif=exif)
    files[6].write_bytes(files[6].read_bytes()[:8000])
    (folder / 'unnamed.jpg').write_bytes(files[7].read_bytes())
    (folder / 'notes.txt').write_text('')
    report = check_coco(path, folder)
    assert {name: finding.count for name, finding in report.findings.items()} == dict(
        picture_missing=1, picture_unreadable=2, picture_size=1, picture_rotated=1, picture_unnamed=1)
    assert f'image {images[0]["id"]} ({images[0]["file_name"]})' in str(report.findings['picture_missing'])
    assert f'{images[3]["file_name"]}): 50 x 40 instead of' in str(report.findings['picture_size'])
    # What is cut short is found by decoding only.
    assert check_coco(path, folder, decode=True).findings['picture_unreadable'].count == 3


def test_missing_pictures_in_folders_of_the_names(tmp_path):
    (tmp_path / 'a').mkdir()
    (tmp_path / 'a' / '1.jpg').write_bytes(b'')
    images = [dict(file_name=name) for name in ('a/1.jpg', 'a/2.jpg', 'b/1.jpg', str(tmp_path / 'a' / '1.jpg'))]
    assert missing_pictures(images, tmp_path) == images[1:3]


# The tool


@pytest.fixture(scope='module')
def tool():
    path = Path(__file__).resolve().parents[2] / 'tools' / 'dataset_converters' / 'check_coco.py'
    spec = importlib.util.spec_from_file_location('check_coco', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def test_tool(tool, damaged, data_root, tmp_path, capsys):
    root = data_root / 'coco'
    tool([str(root / 'annotations' / 'instances_train2017.json'), str(root / 'train2017')])
    out = capsys.readouterr().out
    assert '128 images, 939 annotations, 80 categories' in out and 'images without annotations (2)' in out
    assert 'no errors' in out

    path, first, _ = damaged(annotation(bbox=[1, 1, NAN, 1]))
    with pytest.raises(SystemExit) as end:
        tool([str(path), '--json', str(tmp_path / 'report.json')])
    assert end.value.code == 2
    assert f'annotation {first["id"]}' in capsys.readouterr().out
    report = json.loads((tmp_path / 'report.json').read_text())
    assert report['bad_annotations'] == 1
    assert [finding['name'] for finding in report['findings']] == ['bbox_finite']

    with pytest.raises(SystemExit) as end:
        tool([str(path), str(tmp_path / 'nowhere')])
    assert end.value.code == 2
    assert 'nowhere is missing (looked for' in capsys.readouterr().err
