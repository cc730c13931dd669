"""Odd pictures give Pillow's pixels, damaged ones a sentence."""
import io
import multiprocessing

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from mmaffnet.picture_log import PictureLog
from mmaffnet.pictures import BadPicture, decode, look_at_label_map, read_bytes

ORIENTATION = 0x0112


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture(scope='module')
def photo(data_root):
    return Image.open(sorted((data_root / 'coco' / 'val2017').glob('*.jpg'))[0]).convert('RGB')


def translucent(photo):
    image = photo.copy()
    image.putalpha(Image.linear_gradient('L').resize(photo.size))
    return image


def adobe_marker_removed(content):
    """A CMYK JPEG without APP14, by which decoders know that Adobe's programs store it inverted."""
    name = content.index(b'Adobe')
    return content[:name - 4] + content[name - 2 + int.from_bytes(content[name - 2:name], 'big'):]


def turned(orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


ODD = {  # how the file is made from a photograph, and by how much OpenCV may round otherwise than Pillow
    'JPEG': (lambda p: encoded(p, 'JPEG'), 2),  # two builds of libjpeg
    'progressive JPEG': (lambda p: encoded(p, 'JPEG', progressive=True), 2),
    'PNG': (lambda p: encoded(p, 'PNG'), 0),
    'grey JPEG': (lambda p: encoded(p.convert('L'), 'JPEG'), 2),
    'grey PNG': (lambda p: encoded(p.convert('L'), 'PNG'), 0),
    'black and white PNG': (lambda p: encoded(p.convert('1'), 'PNG'), 0),
    'CMYK JPEG, inverted by Adobe': (lambda p: encoded(p.convert('CMYK'), 'JPEG'), 3),
    'CMYK JPEG without its marker': (lambda p: adobe_marker_removed(encoded(p.convert('CMYK'), 'JPEG')), 3),
    'CMYK TIFF': (lambda p: encoded(p.convert('CMYK'), 'TIFF'), 1),
    'RGBA PNG': (lambda p: encoded(translucent(p), 'PNG'), 0),
    'grey PNG with alpha': (lambda p: encoded(translucent(p).convert('LA'), 'PNG'), 0),
    'palette PNG': (lambda p: encoded(p.quantize(64), 'PNG'), 0),
    'palette PNG with a transparent entry': (lambda p: encoded(p.quantize(64), 'PNG', transparency=3), 0),
    'GIF': (lambda p: encoded(p.quantize(64), 'GIF'), 0),
    'WebP': (lambda p: encoded(p, 'WEBP', lossless=True), 0),
    'BMP': (lambda p: encoded(p, 'BMP'), 0),
    'TIFF': (lambda p: encoded(p, 'TIFF', compression='tiff_lzw'), 0),
    'one pixel': (lambda p: encoded(p.resize((1, 1)), 'JPEG'), 2),
    '4000x10': (lambda p: encoded(p.resize((4000, 10)), 'JPEG'), 2),
    **{f'Exif orientation {i}': (lambda p, i=i: encoded(p, 'JPEG', exif=turned(i)), 2) for i in range(1, 9)},
}


@pytest.mark.parametrize('kind', ODD)
def test_odd_pictures_have_the_pixels_that_pillow_reads(photo, kind):
    make, tolerance = ODD[kind]
    content = make(photo)
    want = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert('RGB')).astype(int)
    got = decode(content, 'odd.jpg')  # the name tells nothing
    assert got.dtype == np.uint8 and got.shape == want.shape
    assert np.abs(got[..., ::-1] - want).max() <= tolerance
    # What OpenCV could not read would go through Pillow: the same again, and here exactly.
    got = decode(content, 'odd.jpg', backend='pillow' if 'alpha' not in kind else 'cv2')
    assert np.abs(got[..., ::-1] - want).max() <= tolerance


@pytest.mark.parametrize('kind, tolerance', [('.png', 0), ('.tiff', 1)])  # libtiff rounds
def test_16_bits_become_8(photo, kind, tolerance):
    pixels = np.asarray(photo).astype(np.uint16) * 256 + 77
    for array in (pixels[..., ::-1], pixels[..., 1]):
        content = cv2.imencode(kind, np.ascontiguousarray(array))[1].tobytes()
        got = decode(content, 'deep')
        want = (array if array.ndim == 3 else np.stack([array] * 3, -1)) // 256
        assert got.dtype == np.uint8 and np.abs(got.astype(int) - want).max() <= tolerance


def cut(share):
    return lambda content: content[:int(len(content) * share)]


def cut_and_filled_up(content):
    return content[:len(content) // 2] + bytes(len(content) // 2)


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'BMP', 'GIF', 'WEBP', 'TIFF'])
@pytest.mark.parametrize('damage', [cut(0.5), cut(0.98), cut(0.02)], ids=['half', '98 %', '2 %'])
def test_cut_pictures_are_refused(photo, kind, damage):
    with pytest.raises(BadPicture, match=r'^picture some/file\.jpg cannot be used: [^\n]+$') as error:
        decode(damage(encoded(photo.quantize(64) if kind == 'GIF' else photo, kind)), 'some/file.jpg')
    assert error.value.exit_code == 2 and error.value.reason


@pytest.mark.parametrize('kind', ['JPEG', 'PNG'])
def test_a_copy_that_was_cut_off_and_filled_up_is_refused(photo, kind):
    with pytest.raises(BadPicture):
        decode(cut_and_filled_up(encoded(photo, kind)), 'x.jpg')


@pytest.mark.parametrize('options', [{}, dict(progressive=True)])
def test_truncation_is_found_before_opencv_fills_it_up(photo, monkeypatch, options):
    """OpenCV 4 gives a truncated JPEG's missing part in grey, OpenCV 5 refuses it: neither is asked."""
    content = encoded(photo, 'JPEG', **options)
    monkeypatch.setattr('mmcv.imfrombytes', lambda *args, **kwargs: np.full((1, 1, 3), 128, np.uint8))
    with pytest.raises(BadPicture, match='truncated'):
        decode(content[:-5000], 'x.jpg')
    assert decode(content + bytes(100), 'x.jpg').shape == (1, 1, 3)  # padding is no damage


def test_what_stands_behind_the_end_does_no_harm(photo):
    for kind in ('JPEG', 'PNG'):
        content = encoded(photo, kind)
        want = decode(content, 'x')
        for tail in (bytes(64), b'\n', b'appended by a camera' * 20):
            assert np.array_equal(decode(content + tail, 'x'), want)


@pytest.mark.parametrize('content, reason', [
    (b'', 'empty (0 bytes)'), (b'hello world, no picture', "it starts with b'hello world,'"),
    (b'\xff\xd8\xff', 'no picture of a known format')])
def test_what_is_no_picture_is_told(content, reason):
    with pytest.raises(BadPicture) as error:
        decode(content, 'a.jpg')
    assert reason in str(error.value)


def test_float_pixels_are_refused_rather_than_clipped(photo):
    with pytest.raises(BadPicture, match='its pixels are of kind F'):
        decode(encoded(photo.convert('F'), 'TIFF'), 'depth.tif')


def test_missing_files_and_folders_are_told(tmp_path):
    def get(path):
        with open(path, 'rb') as file:
            return file.read()

    with pytest.raises(BadPicture, match='there is no such file'):
        read_bytes(str(tmp_path / 'a.jpg'), get)
    with pytest.raises(BadPicture, match='Is a directory'):
        read_bytes(str(tmp_path), get)


def test_label_maps_are_looked_at_without_decoding(tmp_path, photo):
    content = encoded(photo.convert('L'), 'PNG')
    for name, data, want in (('sound', content, (None, photo.size[::-1])),
                             ('cut', content[:-20], ('it is cut short', None)),
                             ('empty', b'', ('the file is empty (0 bytes)', None)),
                             ('other', encoded(photo, 'JPEG'), (None, None))):
        path = tmp_path / f'{name}.png'
        path.write_bytes(data)
        assert look_at_label_map(str(path)) == want
    assert look_at_label_map(str(tmp_path / 'nowhere.png')) == ('there is no such file', None)
    assert look_at_label_map('s3://bucket/a.png') == (None, None)


def _add_many(path, name):
    log = PictureLog(path)
    for i in range(200):
        log.add(f'{name}/{i}.jpg', 'reason ' * 20)


def test_log_takes_lines_of_several_processes_whole_and_reads_each_once(tmp_path):
    path = tmp_path / 'folder' / 'log.jsonl'
    log = PictureLog(path)
    assert log.new() == {}
    workers = [multiprocessing.get_context('fork').Process(target=_add_many, args=(path, name)) for name in 'ab']
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert set(log.new()) == {f'{name}/{i}.jpg' for name in 'ab' for i in range(200)}
    assert log.new() == {}
    log.add('a/0.jpg', 'again')
    with path.open('a') as file:
        file.write('{"picture": "half a li')
    assert log.new() == {'a/0.jpg': 'again'}
