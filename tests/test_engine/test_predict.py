import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from mmaffnet.engine.cli import predict_main
from mmaffnet.engine.config import import_host, load_config
from mmaffnet.engine.errors import UserError
from mmaffnet.engine.predict import find_images, output_names


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b'')


def test_folders_are_searched_to_the_end(tmp_path):
    touch(tmp_path, 'b.JPG', 'a.png', 'sub/deep/c.tiff', 'notes.txt')
    assert find_images([str(tmp_path)]) == [tmp_path / name for name in ('a.png', 'b.JPG', 'sub/deep/c.tiff')]
    assert find_images([str(tmp_path / 'notes.txt')]) == [tmp_path / 'notes.txt']  # named on purpose


def test_missing_and_empty_places_are_named(tmp_path):
    with pytest.raises(UserError, match=r'nowhere not found \(looked for /'):
        find_images([str(tmp_path / 'nowhere')])
    touch(tmp_path, 'notes.txt')
    with pytest.raises(UserError, match='holds no picture'):
        find_images([str(tmp_path)])


def test_no_two_pictures_are_written_to_one_file(tmp_path):
    touch(tmp_path, 'x/a.jpg', 'x/a.png', 'x/sub/a.jpg', 'y/a.jpg', 'y/b.jpg')
    places = [str(tmp_path / 'x'), str(tmp_path / 'y')]
    assert output_names(find_images(places), places) == ['a_jpg', 'a_png', 'sub/a', 'a_jpg_1', 'b']
    assert output_names([Path('p/b.jpg')], ['p/b.jpg']) == ['b']


def untrained(config, path):
    """Write a checkpoint of fresh weights that names no classes."""
    from mmengine.model import revert_sync_batchnorm
    from mmengine.registry import MODELS
    cfg = load_config(config)
    import_host(cfg)
    model = revert_sync_batchnorm(MODELS.build(cfg.model))
    model.init_weights()
    torch.save(dict(state_dict=model.state_dict(), meta=dict()), path)
    return path


@pytest.fixture
def checkpoint(tmp_path):
    """An untrained detector."""
    return untrained('ssdlite_affnet-et_8xb16-200e_coco', tmp_path / 'untrained.pth')


def test_a_segmentor_without_classes_is_refused_before_anything_is_written(tmp_path, capsys):
    pytest.importorskip('mmseg')
    config = 'deeplabv3_affnet-et_1xb8-15e_camvid-180x240'
    picture = tmp_path / 'street.png'
    Image.fromarray(np.zeros((32, 48, 3), np.uint8)).save(picture)
    args = [str(picture), '--config', config, '--checkpoint', str(untrained(config, tmp_path / 'untrained.pth')),
            '--out', str(tmp_path / 'out'), '--device', 'cpu']
    with pytest.raises(SystemExit) as stop:
        predict_main(args)
    error = capsys.readouterr().err.splitlines()[-1]
    assert stop.value.code == 2 and error.startswith(f'error: checkpoint {tmp_path / "untrained.pth"} names no classes')
    assert not (tmp_path / 'out').exists()
    classes = [f'kind_{i}' for i in range(11)]   # what the sentence says to do
    predict_main([*args, '--cfg-options', f'classes={classes}'])
    found = json.loads((tmp_path / 'out' / 'preds' / 'street.json').read_text())
    assert {segment['class'] for segment in found['segments']} <= set(classes)


def write_odd_pictures(photo, folder):
    """Write a photograph as all kinds of files, sound and damaged; returns names of the damaged ones."""
    folder.mkdir()
    turned = Image.Exif()
    turned[0x0112] = 8
    translucent = photo.copy()
    translucent.putalpha(128)
    for name, image, options in (
            ('plain.png', photo, {}), ('alpha.png', translucent, {}), ('png_named.jpg', photo, dict(format='PNG')),
            ('photo.jpg', photo, {}), ('grey.jpg', photo.convert('L'), {}), ('cmyk.jpg', photo.convert('CMYK'), {}),
            ('deep.png', Image.fromarray(np.asarray(photo.convert('L')).astype(np.uint16) * 256), {}),
            ('palette.png', photo.quantize(64), {}), ('turned.jpg', photo, dict(exif=turned)),
            ('pixel.jpg', photo.resize((1, 1)), {}), ('strip.jpg', photo.resize((4000, 10)), {})):
        image.save(folder / name, **options)
    whole = (folder / 'photo.jpg').read_bytes()
    damaged = {'empty.jpg': b'', 'cut.jpg': whole[:len(whole) // 2], 'text.jpg': b'Dear reader, this is no picture.'}
    for name, content in damaged.items():
        (folder / name).write_bytes(content)
    return sorted(damaged)


@pytest.mark.slow
def test_sound_pictures_are_predicted_on_and_damaged_ones_named(tmp_path, data_root, checkpoint, capsys):
    photo = Image.open(sorted((data_root / 'coco' / 'val2017').glob('*.jpg'))[0]).convert('RGB')
    folder, out = tmp_path / 'odd', tmp_path / 'out'
    damaged = write_odd_pictures(photo, folder)
    with pytest.raises(SystemExit) as stop:
        predict_main([str(folder), '--config', 'ssdlite_affnet-et_8xb16-200e_coco', '--checkpoint', str(checkpoint),
                      '--out', str(out), '--device', 'cpu'])
    assert stop.value.code == 1
    said = capsys.readouterr().out
    left_out = [line for line in said.splitlines() if line.startswith('left out: ')]
    reasons = {'cut.jpg': 'image file is truncated', 'empty.jpg': 'the file is empty (0 bytes)',
               'text.jpg': "it is no picture of a known format (it starts with b'Dear reader,')"}
    assert len(left_out) == 3 and '11 of 14 pictures done' in said
    for line, name in zip(left_out, damaged, strict=True):
        assert line.startswith(f'left out: picture {folder / name} cannot be used: {reasons[name]}')
    found = {Path(item['image']).name: item for item in map(json.loads, (
        path.read_text() for path in (out / 'preds').iterdir()))}
    for name, item in found.items():
        with Image.open(folder / name) as image:
            assert (item['width'], item['height']) == ImageOps.exif_transpose(image).size, name  # as viewers show it
    assert (found['turned.jpg']['width'], found['turned.jpg']['height']) == photo.size[::-1]
    assert len(found['plain.png']['detections']) > 10
    for name in ('alpha.png', 'png_named.jpg'):
        assert found[name]['detections'] == found['plain.png']['detections']
    with Image.open(out / 'vis' / 'turned.jpg') as drawn:
        assert drawn.size == photo.size[::-1]
