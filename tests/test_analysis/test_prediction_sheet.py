"""Contact sheets of real photographs, by nets with fresh weights: what stands where, and the legend."""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmaffnet.analysis.logs import save_figure
from mmaffnet.analysis.prediction_sheet import DPI, GAP, Predicted, add_arguments, run, sheet_figure, spread
from mmaffnet.engine.config import import_host, load_config
from mmaffnet.engine.errors import UserError

CONFIGS = dict(mmdet='ssdlite_affnet-et_8xb16-200e_coco', mmseg='deeplabv3_affnet-et_1xb8-15e_camvid-180x240',
               mmpretrain='affnet-et_8xb128-300e_in1k-256px')


def parsed(*args):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args([str(arg) for arg in args])


def item(number, height=30, width=40):
    picture = np.full((height, width, 3), number, np.uint8)
    return Predicted(f'{number}.png', picture, 255 - picture, {})


def images_of(figure):
    return [axes.images[0].get_array() for axes in figure.axes if axes.images]


@pytest.fixture
def checkpoint(tmp_path):
    """Write a checkpoint of a net with fresh weights: checkpoint(host, **dataset_meta) -> Path."""
    def write(host, **meta):
        from mmengine.model import revert_sync_batchnorm
        from mmengine.registry import MODELS
        cfg = load_config(CONFIGS[host])
        import_host(cfg)
        model = revert_sync_batchnorm(MODELS.build(cfg.model))
        model.init_weights()
        torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=meta) if meta else {}),
                   tmp_path / 'fresh.pth')
        return tmp_path / 'fresh.pth'

    return write


@pytest.fixture
def figures(monkeypatch):
    """The figures that the tool makes, which are written all the same."""
    from mmaffnet.analysis import prediction_sheet
    made, save = [], prediction_sheet.save_figure

    def keep(figure, out, dpi):
        made.append(figure)
        return save(figure, out, dpi)

    monkeypatch.setattr(prediction_sheet, 'save_figure', keep)
    return made


@pytest.fixture
def photos(data_root, tmp_path):
    """A folder with some photographs of a set: photos('coco/val2017', 5) -> folder, files."""
    def choose(place, num):
        files = sorted((data_root / place).glob('*.jpg'))[:num]
        folder = tmp_path / 'photos'
        folder.mkdir()
        for file in files:
            (folder / file.name).symlink_to(file)
        return folder, files

    return choose


def test_pictures_stand_above_their_predictions():
    figure = sheet_figure([item(0), item(1, height=20), *map(item, (2, 3, 4))], {}, columns=3, width=100)
    figure.set_dpi(DPI)
    figure.canvas.draw()
    axes = {int(a.images[0].get_array()[0, 0, 0]): a.get_window_extent() for a in figure.axes}
    assert len(axes) == 10
    for i in range(5):
        picture, drawn = axes[i], axes[255 - i]
        assert picture.x0 == pytest.approx(drawn.x0) and picture.y0 - drawn.y1 == pytest.approx(GAP)
        assert picture.width == pytest.approx(100)
        assert picture.width / picture.height == pytest.approx(2 if i == 1 else 4 / 3)
    assert axes[0].x0 < axes[1].x0 < axes[2].x0 and axes[3].x0 == pytest.approx(axes[0].x0)
    assert axes[254].y0 > axes[3].y1
    titles = [a.get_title() for a in figure.axes if a.get_title()]
    assert titles == [f'{i}.png' for i in range(5)]
    assert [a.get_ylabel() for a in figure.axes if a.get_ylabel()] == ['picture', 'prediction'] * 2


def test_upright_pictures_stand_together():
    figure = sheet_figure([item(0, 50, 30), item(1), item(2, 50, 30), item(3)], {}, columns=2, width=100)
    assert [axes.get_title() for axes in figure.axes if axes.get_title()] == ['1.png', '3.png', '0.png', '2.png']
    assert figure.get_size_inches()[1] * DPI < 2 * (75 + 167) + 100   # a row of each shape, no gaps


@pytest.mark.parametrize('classes', [1, 11, 150])
def test_the_legend_fits(classes):
    colors = {f'a class of number {i}': (i / classes, 0.5, 0.) for i in range(classes)}
    figure = sheet_figure([item(i, 40, 30) for i in range(3)], colors, columns=4, width=300)
    figure.set_dpi(DPI)
    figure.canvas.draw()
    legend, = figure.legends
    box = legend.get_window_extent()
    assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.get_size_inches()[0] * DPI
    assert box.y1 <= min(axes.get_window_extent().y0 for axes in figure.axes)
    assert [text.get_text() for text in legend.get_texts()] == list(colors)
    pictures = [axes.get_window_extent() for axes in figure.axes]
    assert min(picture.width for picture in pictures) > 270


def test_a_dollar_in_a_name_is_no_mathematics(tmp_path):
    items = [replace(item(0), name='a_$5_$6.jpg')]
    out = save_figure(sheet_figure(items, {'$_1 and $_2': (0., 0., 0.)}), tmp_path / 'sheet.svg', DPI)
    drawn = out.read_text()
    assert '<!-- a_$5_$6.jpg -->' in drawn and '<!-- $_1 and $_2 -->' in drawn


def test_of_many_pictures_some_are_taken():
    assert spread(range(3), 3) == [0, 1, 2] and spread(range(9), 3) == [0, 4, 8] and spread(range(9), 1) == [0]
    assert len(set(spread(range(100), 12))) == 12


def test_detections(checkpoint, photos, figures, tmp_path, capsys):
    pytest.importorskip('mmdet')
    folder, files = photos('coco/val2017', 3)
    (folder / 'broken.jpg').write_bytes(files[0].read_bytes()[:2000])
    out = tmp_path / 'sheet.png'
    torch.manual_seed(0)
    code = run(parsed(folder, '--config', CONFIGS['mmdet'], '--checkpoint', checkpoint('mmdet'), '--out', out,
                      '--columns', 2, '--width', 200, '--score-thr', 0, '--device', 'cpu'))
    assert code == 1 and f'left out: picture {folder / "broken.jpg"} cannot be used' in capsys.readouterr().out
    images = images_of(figures[0])
    assert len(images) == 6 and not figures[0].legends
    for file, picture, drawn in zip(files, images[::2], images[1::2], strict=True):
        with Image.open(file) as image:
            np.testing.assert_allclose(picture, image.convert('RGB'), atol=3)   # two decoders of JPEG
        assert drawn.shape == picture.shape and (drawn != picture).mean() > 0.01   # boxes
    with Image.open(out) as image:
        assert image.size[0] == pytest.approx(2 * 200 + 30, abs=2)


def test_segmentations_have_a_legend_of_what_occurs(checkpoint, photos, figures, tmp_path):
    pytest.importorskip('mmseg')
    from mmaffnet.engine.predict import Predictor
    folder, files = photos('camvid/img_dir/val', 2)
    classes = tuple(f'kind {i}' for i in range(11))
    palette = [[20 * i, 255 - 20 * i, 7] for i in range(11)]
    path = checkpoint('mmseg', classes=classes, palette=palette)
    assert run(parsed(folder, '--config', CONFIGS['mmseg'], '--checkpoint', path, '--out', tmp_path / 'sheet.jpg',
                      '--device', 'cpu')) == 0
    predictor = Predictor(CONFIGS['mmseg'], path, 'cpu')
    maps = [predictor(file).pred_sem_seg.data[0].numpy() for file in files]
    labels, counts = np.unique(np.stack(maps), return_counts=True)
    expected = [classes[label] for label in labels[counts.argsort()[::-1]]]
    legend, = figures[0].legends
    assert [text.get_text() for text in legend.get_texts()] == expected and 1 < len(expected) < 11
    for name, patch in zip(expected, legend.get_patches(), strict=True):
        color = palette[classes.index(name)]
        np.testing.assert_allclose(patch.get_facecolor()[:3], np.array(color) / 255)
    alpha = predictor.visualizer.alpha
    images = images_of(figures[0])
    for labels, picture, drawn in zip(maps, images[::2], images[1::2], strict=True):
        assert picture.shape == drawn.shape == (180, 240, 3)
        # No class names are written into the segments: every pixel is the blend of photograph and class.
        blend = (1 - alpha) * picture + alpha * np.array(palette)[labels]
        assert np.abs(drawn - blend).max() < 2


def test_a_segmentor_without_classes_is_refused(checkpoint, photos, figures, tmp_path):
    pytest.importorskip('mmseg')
    folder, _ = photos('camvid/img_dir/val', 1)
    path = checkpoint('mmseg')
    args = [folder, '--config', CONFIGS['mmseg'], '--checkpoint', path, '--out', tmp_path / 'sheet.jpg', '--device',
            'cpu']
    with pytest.raises(UserError, match='fresh.pth names no classes .* --cfg-options "classes='):
        run(parsed(*args))
    classes = [f'kind_{i}' for i in range(11)]
    assert run(parsed(*args, '--cfg-options', f'classes={classes}')) == 0   # what the sentence says to do
    legend, = figures[0].legends
    assert {text.get_text() for text in legend.get_texts()} <= set(classes)


def test_classifications(checkpoint, figures, data_root, tmp_path):
    pytest.importorskip('mmpretrain')
    photo = sorted((data_root / 'imagenet_samples' / 'val').glob('*/*.JPEG'))[0]
    assert run(parsed(photo, '--config', CONFIGS['mmpretrain'], '--checkpoint', checkpoint('mmpretrain'), '--out',
                      tmp_path / 'sheet.png', '--device', 'cpu')) == 0
    picture, drawn = images_of(figures[0])
    assert (picture != drawn).any()


def test_mistakes_are_named(tmp_path, run_tool):
    args = ('--config', CONFIGS['mmdet'], '--checkpoint', 'c.pth')
    with pytest.raises(UserError, match='--columns must be 1 or more, got 0'):
        run(parsed(tmp_path, *args, '--columns', 0))
    with pytest.raises(UserError, match='holds no picture'):
        run(parsed(tmp_path, *args))
    (tmp_path / 'x.jpg').write_bytes(b'')
    done = run_tool(['analysis_tools/prediction_sheet.py', '.', *args], cwd=tmp_path,
                    env=dict(PYTHONPATH=str(Path(__file__).resolve().parents[2])))
    assert done.returncode == 2 and done.stderr.splitlines()[-1].startswith('error: checkpoint c.pth not found')
