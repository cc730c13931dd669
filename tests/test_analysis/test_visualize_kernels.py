"""The figures of kernels: what stands in their panels, and the tool from pictures to file."""

import argparse
import itertools
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.text import Text
from PIL import Image

from mmaffnet.analysis.kernel_figure import DPI, Row, Seen, comparison_figure, kernel_figure
from mmaffnet.analysis.kernels import centred, equivalent_kernel, full_plane
from mmaffnet.analysis.mixer_inputs import Net
from mmaffnet.analysis.visualize_kernels import OPERATORS, add_arguments, run
from mmaffnet.engine.errors import UserError
from mmaffnet.factory import create_model
from mmaffnet.models.layers.aff_block import build_mixer

ROOT = Path(__file__).resolve().parents[2]
ET = ['--cfg-options', 'model.backbone.arch=et']


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    """Two pictures of 80 × 64 pixels, one of 64 × 96."""
    folder = tmp_path_factory.mktemp('pictures')
    rng = np.random.default_rng(0)
    paths = []
    for name, size in (('a.png', (8, 10, 3)), ('b.png', (8, 10, 3)), ('tall.png', (12, 8, 3))):
        coarse = Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8))
        paths.append(str(folder / name))
        coarse.resize((8 * size[1], 8 * size[0])).save(paths[-1])
    return paths


@pytest.fixture(scope='module')
def net():
    return Net('affnet_et', size=(64, 96))


def parsed(*args):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args([str(arg) for arg in args])


def seen_by(mixer, channels, size=(6, 9), num=2):
    torch.manual_seed(1)
    return [Seen(f'{i}.png', np.zeros((4, 6, 3), np.uint8),
                 equivalent_kernel(mixer, (1 + 2 * i) * torch.randn(1, 8, *size), channels)) for i in range(num)]


def words_of(figure):
    """All texts but those of ticks beyond an axis, which matplotlib keeps and does not draw."""
    ticks = [(tick, axis.get_view_interval()) for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)
             for tick in axis.get_major_ticks()]
    hidden = {id(label) for tick, (low, high) in ticks for label in (tick.label1, tick.label2)
              if not low <= tick.get_loc() <= high}
    return [text for text in figure.findobj(Text) if id(text) not in hidden]


def assert_legible(figure):
    """Words lie within the figure and not on one another, with 7 points or more; panels have 120 pixels or more."""
    figure.set_dpi(DPI)
    figure.canvas.draw()
    width, height = figure.get_size_inches() * DPI
    assert max(width, height) <= 2600
    texts = [text for text in words_of(figure) if text.get_text() and text.get_visible()]
    boxes = [text.get_window_extent() for text in texts]
    assert len(texts) > 10
    for text, box in zip(texts, boxes, strict=True):
        assert text.get_fontsize() >= 7 and box.x0 >= -1 and box.y0 >= -1, text
        assert box.x1 <= width + 1 and box.y1 <= height + 1, text
    for (one, box), (other, another) in itertools.combinations(zip(texts, boxes, strict=True), 2):
        assert not box.overlaps(another), (one, other)
    assert min(axes.get_window_extent().width for axes in figure.axes if axes.images) >= 120


def test_panels_hold_the_numbers():
    seen = seen_by(build_mixer(dict(type='AFF', init_std=0.5), 8), [5, 2])
    figure = kernel_figure(seen, 'title')
    images = [axes.images[0] for axes in figure.axes if axes.images]
    assert len(images) == 2 * (1 + 3 * 2)
    for number, each in enumerate(seen):
        picture, *planes = images[7 * number:7 * number + 7]
        assert np.array_equal(picture.get_array(), each.picture)
        for row in range(2):
            spectrum, mask, kernel = (planes[2 * column + row] for column in range(3))
            for image, half in ((spectrum, each.found.spectrum), (mask, each.found.mask)):
                magnitudes = centred(full_plane(half[0, row], 9).abs())
                np.testing.assert_allclose(10**image.get_array(), magnitudes, rtol=1e-4)
            # the mean's coefficient is drawn at frequency 0
            assert 10**spectrum.get_array()[3, 4] == pytest.approx(each.found.spectrum[0, row, 0, 0].abs().item(), 1e-4)
            scale = max(other.found.kernel[0, row].abs().max() for other in seen)
            np.testing.assert_allclose(kernel.get_array(), centred(each.found.kernel[0, row]) / scale, rtol=1e-4)
            assert (kernel.norm.vmin, kernel.norm.vmax) == (-1, 1)
            left, right, bottom, top = kernel.get_extent()   # token 0 in the middle of its pixel
            assert (left + 0.5, right - 0.5, top + 0.5, bottom - 0.5) == (-4, 4, -3, 2)
    for column in range(2):   # spectra and masks of both pictures can be compared
        panels = [images[7 * number + 1 + 2 * column + row] for number in range(2) for row in range(2)]
        assert len({panel.get_clim() for panel in panels}) == 1
        assert panels[0].get_clim()[1] == pytest.approx(max(panel.get_array().max() for panel in panels))
    assert {images[1].get_cmap().name, images[3].get_cmap().name} == {'viridis'}


@pytest.mark.parametrize('size', [(6, 9), (2, 2), (12, 6), (3, 12)], ids=str)
@pytest.mark.parametrize('num', [1, 2])
def test_words(num, size):
    figure = kernel_figure(seen_by(build_mixer(dict(type='AFF', init_std=0.5), 8), [5, 2], size, num), 'the title')
    labels = [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()]
    assert [label.split('\n')[0] for label in labels] == ['channel 5', 'channel 2']
    assert all(('differ by' in label) is (num == 2) and 'max |k| = ' in label for label in labels)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ['0.png', 'spectrum', 'mask', 'kernel', '1.png', 'spectrum', 'mask', 'kernel'][:4 * num]
    assert figure.get_suptitle() == 'the title'
    assert_legible(figure)


def test_comparison():
    gate = build_mixer(dict(type='DFF'), 8)
    rows = [Row('AFF', 'a config', seen_by(build_mixer(dict(type='AFF'), 8), [1, 2, 3]),
                'all channels: kernels differ by 0.20 (median)'),
            Row('AFNO', 'a_config_whose-name/is_rather-long', note='of its nature'),
            Row('DFF', 'another-config', seen_by(gate, [0]))]
    figure = comparison_figure(rows, 'title')
    kernels = [axes.images[0] for axes in figure.axes if axes.images and axes.images[0].get_cmap().name == 'RdBu_r']
    assert len(kernels) == 2 * 3 + 2
    for number, each in enumerate(rows[2].seen):
        np.testing.assert_allclose(kernels[6 + number].get_array(), centred(each.found.kernel[0, 0]) / max(
            other.found.kernel.abs().max() for other in rows[2].seen), rtol=1e-4)
    words = [text.get_text().replace('\n', ' ') for axes in figure.axes for text in axes.texts]
    assert words == ['AFNO (a_config_whose-name/is_rather-long): no kernel of each channel. Of its nature.']
    titles = [axes.get_title() for axes in figure.axes if axes.images and axes.get_title()]
    shared = max(other.found.kernel.abs().max().item() for other in rows[2].seen)
    own = max(other.found.kernel[0, 1].abs().max().item() for other in rows[0].seen)
    assert titles.count(f'all channels, max |k| {shared:.2g}') == 2
    assert titles.count(f'channel 2, max |k| {own:.2g}') == 2
    assert 'all channels: kernels\ndiffer by 0.20 (median)' in figure.axes[2].get_ylabel()
    assert_legible(figure)


def test_long_titles_of_panels_fit():
    seen = seen_by(build_mixer(dict(type='AFF'), 8), [1, 2, 3])
    for each in seen:
        small = each.found.kernel * 0.000012 / each.found.kernel.abs().max()
        each.found = each.found._replace(kernel=small, channels=(101, 102, 103))
    figure = comparison_figure([Row('AFF', 'a config', seen)], 'title')
    assert 'channel 101, max |k| ' in figure.axes[2].get_title() and 'e-06' in figure.axes[2].get_title()
    assert_legible(figure)


def test_layers_are_found_by_short_and_by_full_names(net):
    name = 'layer_4.1.blocks.2.token_mixer'
    for layer in ('layer_4.2', name, f'backbone.{name}', 'layer_4.1.blocks.2'):
        assert net.find(layer) == name
    assert net.find('layer_4.1') == 'layer_4.1.blocks.1.token_mixer'   # a block; the stage is a module of that name
    for layer in ('layer_4', 'layer_4.4', 'fusion', ''):
        with pytest.raises(UserError, match=re.escape('there are: layer_3.0, layer_3.1, layer_4.0, ')):
            net.find(layer)


def test_the_map_is_the_mixers_input(net, pictures):
    picture, x = net.look(pictures[0], 'layer_3.1')
    assert picture.shape == (64, 96, 3)
    with Image.open(pictures[0]) as image:
        assert np.array_equal(picture, np.asarray(image.resize((96, 64), Image.Resampling.BICUBIC)))
    backbone = net.model.backbone
    with torch.no_grad():
        y = torch.from_numpy(picture.transpose(2, 0, 1)).unsqueeze(0) / 255
        y = backbone.layer_3[0](backbone.layer_2(backbone.layer_1(backbone.conv_1(y))))
        first, second = backbone.layer_3[1].blocks
        y = first(y)
        torch.testing.assert_close(x, second.norm2(y + second.mlp(second.norm1(y))))
    assert not net.mixers['layer_3.1.blocks.1.token_mixer']._forward_pre_hooks


@pytest.mark.parametrize('host, config', [
    ('mmpretrain', 'affnet-et_8xb128-300e_in1k-256px'), ('mmdet', 'ssdlite_affnet-et_8xb16-200e_coco'),
    ('mmseg', 'deeplabv3_affnet-et_1xb8-15e_camvid-180x240')])
def test_a_picture_goes_through_the_configs_pipeline(host, config, data_root):
    """A photograph: what the mixer gets, and the picture that is drawn, are those of the host's own inference."""
    pytest.importorskip(host)
    from mmengine.dataset import pseudo_collate
    photo = sorted((data_root / 'coco' / 'val2017').glob('*.jpg'))[3]
    net = Net(config, device='cpu')
    inner, got = net._loaded, []
    hook = net.mixers['layer_3.1.blocks.0.token_mixer'].register_forward_pre_hook(
        lambda module, args: got.append(args[0]))
    with torch.no_grad():
        inner.model.test_step(pseudo_collate([inner.transform(inner.read(photo))]))
    hook.remove()
    picture, x = net.look(photo, 'layer_3.0')
    torch.testing.assert_close(x, got[0], rtol=0, atol=0)
    side = dict(mmpretrain=(256, 256), mmdet=(320, 320)).get(host)
    with Image.open(photo) as image:
        assert picture.shape[:2] == (side or image.size[::-1]) and picture.dtype == np.uint8
        if host == 'mmseg':
            np.testing.assert_allclose(picture, image.convert('RGB'), atol=3)   # two decoders of JPEG
    small, x = Net(config, size=(64, 96), device='cpu').look(photo, 'layer_3.0')
    assert small.shape == (64, 96, 3) and x.shape[-2:] == (8, 12)


def test_two_pictures_one_figure(pictures, tmp_path, capsys):
    out = tmp_path / 'sub' / 'kernels.png'
    run(parsed(*pictures[:2], '--config', 'affnet_et', '--size', 64, '--layer', 'layer_4.2', '--channels', 7, 3,
               '--out', out))
    said = capsys.readouterr().out
    assert 'AFF at layer_4.1.blocks.2.token_mixer: 104 channels, maps of 4 x 4' in said
    numbers = dict(re.findall(r'channel +(\d+): kernels differ by ([\d.]+)', said))
    net = Net('affnet_et', size=(64, 64))
    first, second = (equivalent_kernel(net.mixers[net.find('layer_4.2')], net.look(path, 'layer_4.2')[1]).kernel[0]
                     for path in pictures[:2])
    for channel in (7, 3):
        norms = [part[channel].norm() for part in (first - second, first, second)]
        assert float(numbers[str(channel)]) == pytest.approx((norms[0] / max(norms[1:])).item(), abs=6e-4)
    with Image.open(out) as image:
        assert min(image.size) > 500


def test_a_dollar_in_a_name_is_no_mathematics(pictures, tmp_path):
    picture = tmp_path / 'a_$5_$6.png'
    shutil.copy(pictures[0], picture)
    folder = tmp_path / '$x_$y'
    folder.mkdir()
    torch.save(create_model('affnet_et').state_dict(), folder / 'mine.pth')
    out = tmp_path / 'k.svg'
    for more in ([], ['--compare']):
        run(parsed(picture, '--config', 'affnet_et', '--checkpoint', folder / 'mine.pth', '--size', 64, '--channels', 3,
                   '--out', out, *more))
        drawn = out.read_text()
        assert '<!-- a_$5_$6.png -->' in drawn and '$x_$y/' in drawn


def test_the_title_says_what_the_weights_are(pictures, tmp_path, monkeypatch):
    titles = []
    monkeypatch.setattr('mmaffnet.analysis.visualize_kernels.save_figure',
                        lambda figure, out, dpi: titles.append(figure.get_suptitle()))
    torch.save(create_model('affnet_et').state_dict(), tmp_path / 'mine.pth')
    for more in ([], ['--checkpoint', tmp_path / 'mine.pth']):
        run(parsed(pictures[0], '--config', 'affnet_et', '--size', 64, *more))
    assert 'fresh weights, not trained' in titles[0]
    assert f'weights: {tmp_path.name}/mine.pth' in titles[1]


def test_several_mixers(pictures, tmp_path, monkeypatch, capsys):
    pytest.importorskip('mmpretrain')
    figures = []
    monkeypatch.setattr('mmaffnet.analysis.visualize_kernels.save_figure',
                        lambda figure, out, dpi: figures.append(figure))
    run(parsed(*pictures[:2], '--compare', '--strongest', 2, *ET))
    said = capsys.readouterr().out
    shown = {word for word in ('identity', 'gfn', 'dff', 'aff') if re.search(rf'-{word}\): all \d+ channels', said)}
    assert shown == {'identity', 'gfn', 'dff', 'aff'} and said.count('no kernel of each channel') == 6
    assert re.search(r'-gfn\): all 64 channels: kernels differ by 0.000', said)
    assert len(OPERATORS) == 10 and 'not trained' in figures[0].get_suptitle()
    kernels = [axes for axes in figures[0].axes if axes.images and axes.images[0].get_cmap().name == 'RdBu_r']
    assert len(kernels) == 2 * (1 + 2 + 1 + 2)
    median = re.search(r'-aff\): all \d+ channels: kernels differ by ([\d.]+)', said)[1]
    labels = [axes.get_ylabel().replace('\n', ' ') for axes in figures[0].axes]
    assert any(f'all channels: kernels differ by {float(median):.2f} (median)' in label for label in labels)
    assert_legible(figures[0])


@pytest.mark.parametrize('args, message', [
    (['--config', 'affnet_et', '--layer', 'layer_9.0'], 'layer_9.0: .* there are: layer_3.0, layer_3.1'),
    (['--config', 'affnet_et', '--channels', '64'], '--channels 64: .* channels 0 to 63 at layer_3.1'),
    (['--config', 'affnet_et', '--channels', '1', '--strongest', '2'], 'give one of both'),
    (['--config', 'affnet_et', '--strongest', '0'], 'must be 1 or more, got 0'),
    (['--config', 'affnet_et', 'affnet_t'], 'several with --compare; got 2'),
    ([], 'one config'),
    (['--config', 'affnet_et', '--checkpoint', 'a.pth', 'b.pth'], 'got 2 for 1 configs'),
    (['--config', 'affnet_et', '--checkpoint', 'nowhere.pth'], 'nowhere.pth'),
    (['--config', 'affnet_et', '--size', '1', '2', '3'], 'height and width'),
    (['--config', 'nowhere', '--out', 'kernels.xyz'], r'must end in one of .*\.png'),   # before anything is done
    (['--config', 'affnet_et', *ET], '--cfg-options change a config')])
def test_mistakes_are_named(args, message, pictures):
    if '--size' not in args:
        args = [*args, '--size', '64']
    with pytest.raises(UserError, match=message):
        run(parsed(pictures[0], *args))


def test_mistakes_with_pictures_are_named(pictures, tmp_path):
    with pytest.raises(UserError, match='one picture or two, got 3'):
        run(parsed(*pictures, '--config', 'affnet_et'))
    with pytest.raises(UserError, match='there is no such file'):
        run(parsed(tmp_path / 'nowhere.png', '--config', 'affnet_et'))


def test_mistakes_with_configs_are_named(pictures, data_root):
    pytest.importorskip('mmpretrain')
    with pytest.raises(UserError, match='AFNO at layer_3.* has no kernel of each channel: its network'):
        run(parsed(pictures[0], '--config', 'table5_affnet-base-afno_8xb128-300e_in1k-256px', *ET))
    with pytest.raises(UserError, match='at 64 x 64: GFN was built for maps of 32 x 32 .* 8 x 8'):
        run(parsed(pictures[0], '--config', 'table5_affnet-base-gfn_8xb128-300e_in1k-256px', '--size', 64, *ET))
    with pytest.raises(UserError, match='none of these mixers .* AFNO: its network'):
        run(parsed(pictures[0], '--config', 'table5_affnet-base-afno_8xb128-300e_in1k-256px', '--compare', *ET))
    with pytest.raises(UserError, match='has no token mixer'):
        Net('mobilenet-v2_1xb64-18e_cifar10')
    pytest.importorskip('mmseg')
    with pytest.raises(UserError, match=r'\(8, 10\) and \(12, 8\): give --size'):
        run(parsed(pictures[0], pictures[2], '--config', 'deeplabv3_affnet-et_1xb8-15e_camvid-180x240'))


def test_the_script(pictures, tmp_path, run_tool):
    done = run_tool(['analysis_tools/visualize_kernels.py', pictures[0], '--config', 'affnet_et', '--size', 64,
                     '--out', 'k.png'], cwd=tmp_path, env=dict(PYTHONPATH=str(ROOT)))
    assert done.returncode == 0 and (tmp_path / 'k.png').stat().st_size > 10_000, done.stderr
