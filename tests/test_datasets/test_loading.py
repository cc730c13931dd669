"""The transform that loads pictures: sizes of annotations, what a bad picture gives."""
import json

import mmcv.transforms
import numpy as np
import pytest
from PIL import Image

from mmaffnet.datasets.transforms import LoadImageFromFile
from mmaffnet.engine.errors import UserError
from mmaffnet.pictures import BadPicture
from mmaffnet.registry import TRANSFORMS


@pytest.fixture
def photos(data_root):
    return sorted((data_root / 'coco' / 'val2017').glob('*.jpg'))[:4]


@pytest.fixture
def damaged(tmp_path, photos):
    """A photograph cut in half."""
    path = tmp_path / 'damaged.jpg'
    path.write_bytes(photos[0].read_bytes()[:photos[0].stat().st_size // 2])
    return path


def test_sound_photographs_are_loaded_as_mmcv_does(photos):
    for options in ({}, dict(to_float32=True), dict(color_type='grayscale'), dict(imdecode_backend='pillow')):
        ours = TRANSFORMS.build(dict(type='mmaffnet.LoadImageFromFile', **options))
        theirs = mmcv.transforms.LoadImageFromFile(**options)
        for photo in photos:
            got, want = ours(dict(img_path=str(photo))), theirs(dict(img_path=str(photo)))
            assert got.keys() == want.keys() and got['img'].dtype == want['img'].dtype
            assert np.array_equal(got['img'], want['img'])
            assert got['img_shape'] == want['img_shape'] and got['ori_shape'] == want['ori_shape']


@pytest.fixture
def lying(tmp_path, photos):
    """A photograph of 640x426 whose Exif says that it stands upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / 'lying.png'
    Image.open(photos[0]).save(path, exif=exif)
    return path, np.asarray(Image.open(photos[0]))[..., ::-1]


def test_annotations_decide_whether_exif_turns_a_picture(lying):
    path, unturned = lying
    height, width = unturned.shape[:2]
    upright = np.rot90(unturned, -1)
    load = LoadImageFromFile()
    assert np.array_equal(load(dict(img_path=str(path)))['img'], upright)  # as viewers show it
    got = load(dict(img_path=str(path), height=width, width=height))
    assert np.array_equal(got['img'], upright) and got['ori_shape'] == (width, height)
    got = load(dict(img_path=str(path), height=height, width=width))
    assert np.array_equal(got['img'], unturned) and got['ori_shape'] == (height, width)
    grey = LoadImageFromFile(color_type='grayscale')(dict(img_path=str(path), height=height, width=width))
    assert grey['img'].shape == (height, width)
    with pytest.raises(BadPicture, match=rf'it has {height}x{width} \(width x height\) pixels, but its annotation says '
                                         r'7x5 \(width x height\)'):
        load(dict(img_path=str(path), height=5, width=7))


def test_another_size_without_exif_is_a_bad_picture(photos):
    height, width = mmcv.imread(str(photos[0])).shape[:2]
    with pytest.raises(BadPicture, match='its annotation says'):
        LoadImageFromFile()(dict(img_path=str(photos[0]), height=width, width=height))


def test_bad_pictures_raise_are_skipped_or_are_black(tmp_path, damaged):
    log = tmp_path / 'log.jsonl'
    results = dict(img_path=str(damaged), height=30, width=40)
    with pytest.raises(BadPicture, match='truncated'):
        LoadImageFromFile()(dict(results))
    assert LoadImageFromFile(ignore_empty=True)(dict(results)) is None
    assert LoadImageFromFile(on_bad='skip', log=log)(dict(results)) is None
    black = LoadImageFromFile(on_bad='black', log=log, to_float32=True)(dict(results))
    assert black['img'].shape == (30, 40, 3) and black['img'].dtype == np.float32 and not black['img'].any()
    assert black['ori_shape'] == (30, 40)
    assert LoadImageFromFile(on_bad='black', log=log)(dict(img_path='nowhere.jpg'))['img'].shape == (32, 32, 3)
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    assert [entry['picture'] for entry in entries] == [str(damaged)] * 2 + ['nowhere.jpg']
    assert 'truncated' in entries[0]['reason'] and entries[2]['reason'] == 'there is no such file'


def test_options_are_checked():
    with pytest.raises(ValueError, match='on_bad is'):
        LoadImageFromFile(on_bad='ignore')
    with pytest.raises(ValueError, match='needs log'):
        LoadImageFromFile(on_bad='skip')


def test_label_maps_are_checked_with_the_picture(tmp_path, photos):
    log = tmp_path / 'log.jsonl'
    label_map = tmp_path / 'map.png'
    Image.new('L', (40, 30)).save(label_map)
    sound = dict(img_path=str(photos[0]), seg_map_path=str(label_map))
    skip = LoadImageFromFile(on_bad='skip', log=log, label_maps=True)
    black = LoadImageFromFile(on_bad='black', log=log, label_maps=True)
    assert skip(dict(sound))['img'].any() and black(dict(sound))['img'].any()
    assert black(dict(sound, img_path='nowhere.jpg'))['img'].shape == (30, 40, 3)  # IoU compares with the map
    label_map.write_bytes(label_map.read_bytes()[:-8])
    assert skip(dict(sound)) is None
    assert LoadImageFromFile(on_bad='skip', log=log)(dict(sound)) is not None  # where nothing reads the map
    with pytest.raises(UserError, match=r'label map .*map\.png cannot be read \(it is cut short\)'):
        black(dict(sound))


def test_label_maps_decide_whether_exif_turns_a_picture(tmp_path, lying):
    path, unturned = lying
    load = LoadImageFromFile(label_maps=True)
    for size, want in ((unturned.shape[1::-1], unturned), (unturned.shape[:2], np.rot90(unturned, -1)),
                       ((20, 10), np.rot90(unturned, -1))):  # another resolution tells nothing
        Image.new('L', size).save(tmp_path / 'map.png')
        got = load(dict(img_path=str(path), seg_map_path=str(tmp_path / 'map.png')))
        assert np.array_equal(got['img'], want)


def test_nothing_but_bad_pictures_ends(tmp_path, damaged, photos):
    load = LoadImageFromFile(on_bad='skip', log=tmp_path / 'log.jsonl')
    for _ in range(99):
        assert load(dict(img_path=str(damaged))) is None
    assert load(dict(img_path=str(photos[0]))) is not None  # counts anew
    for _ in range(99):
        assert load(dict(img_path=str(damaged))) is None
    with pytest.raises(UserError, match='no picture could be used 100 times in a row; the last: picture .*damaged.jpg'):
        load(dict(img_path=str(damaged)))
