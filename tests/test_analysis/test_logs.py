import json

import pytest
from PIL import Image

from mmaffnet.analysis.logs import available_keys, curve, default_keys, plot_curves, read_scalars
from mmaffnet.engine.errors import UserError


def write(folder, records, tail=''):
    (folder / 'vis_data').mkdir(parents=True)
    (folder / 'vis_data' / 'scalars.json').write_text(''.join(json.dumps(r) + '\n' for r in records) + tail)


def train(step, loss, **more):
    return dict(lr=0.1, loss=loss, epoch=(step + 9) // 10, iter=step, step=step, time=1.0, **more)


def val(epoch, value):
    return {'coco/bbox_mAP': value, 'data_time': 0.1, 'time': 1.0, 'step': epoch}


@pytest.fixture
def work_dir(tmp_path):
    """A run that was killed in its third epoch and resumed after the second."""
    write(tmp_path / '20260101_120000', [train(10, 4.0), val(1, 0.1), train(20, 3.0), val(2, 0.2), train(25, 2.7)],
          tail='{"loss": 2.')
    write(tmp_path / '20260101_130000', [train(25, 2.5), train(30, 2.0), val(3, 0.3)])
    return tmp_path


def test_a_resumed_run_is_read_as_one(work_dir):
    records = read_scalars(work_dir)
    assert curve(records, 'loss') == ([10, 20, 25, 30], [4.0, 3.0, 2.5, 2.0], 'iteration')
    assert curve(records, 'coco/bbox_mAP') == ([1, 2, 3], [0.1, 0.2, 0.3], 'epoch')


def test_a_run_started_anew_replaces_the_old_one(work_dir):
    write(work_dir / '20260102_120000', [train(10, 9.0)])
    assert curve(read_scalars(work_dir), 'loss')[:2] == ([10], [9.0])


@pytest.mark.parametrize('place', [
    '20260101_130000', '20260101_130000/vis_data', '20260101_130000/vis_data/scalars.json'])
def test_one_piece_is_read_by_folder_or_file(work_dir, place):
    assert curve(read_scalars(work_dir / place), 'loss')[0] == [25, 30]


def test_validation_of_a_run_counted_in_iterations(tmp_path):
    write(tmp_path, [dict(loss=1.0, iter=50, step=50), dict(mIoU=0.5, step=50)])
    assert curve(read_scalars(tmp_path), 'mIoU') == ([50], [0.5], 'iteration')


def test_keys(work_dir):
    records = read_scalars(work_dir)
    assert available_keys(records) == ['lr', 'loss', 'time', 'coco/bbox_mAP', 'data_time']
    assert default_keys(records) == ['loss', 'lr', 'coco/bbox_mAP']


def test_curves_are_drawn_where_their_values_lie(work_dir, tmp_path):
    other = [train(10, 1.0), train(20, 0.5)]
    out = plot_curves({'a': read_scalars(work_dir), 'b': other}, None, tmp_path / 'x' / 'c.png')
    with Image.open(out) as picture:
        colours = {colour for _, colour in picture.convert('RGB').getcolors(1 << 20)}
    # matplotlib's first two line colours: both runs are there
    assert {(0x1f, 0x77, 0xb4), (0xff, 0x7f, 0x0e)} <= colours
    plot_curves({'a': read_scalars(work_dir)}, ['loss'], tmp_path / 'one.png')
    with Image.open(tmp_path / 'one.png') as picture:
        assert (0xff, 0x7f, 0x0e) not in {colour for _, colour in picture.convert('RGB').getcolors(1 << 20)}


def test_a_dollar_in_a_name_is_no_mathematics(work_dir, tmp_path):
    runs = {'a_$5_$6': read_scalars(work_dir), 'b': [train(10, 1.0)]}
    drawn = plot_curves(runs, ['loss'], tmp_path / 'c.svg').read_text()
    assert '<!-- a_$5_$6 -->' in drawn


def test_bad_input_is_named(work_dir, tmp_path):
    with pytest.raises(UserError, match=r'no scalars.json at .*nowhere'):
        read_scalars(work_dir / 'nowhere')
    with pytest.raises(UserError, match="no run has 'mAP'; there are: lr, loss"):
        plot_curves({'a': read_scalars(work_dir)}, ['mAP'], tmp_path / 'c.png')
    with pytest.raises(UserError, match=r'c.xyz: must end in one of .*\.png, .*\.svg'):
        plot_curves({'a': read_scalars(work_dir)}, ['loss'], tmp_path / 'c.xyz')
    write(tmp_path / 'bad', [], tail='{"loss": \n{"loss": 1, "step": 1}\n')
    with pytest.raises(UserError, match='line 1 is no JSON'):
        read_scalars(tmp_path / 'bad')
    write(tmp_path / 'empty', [])
    with pytest.raises(UserError, match='holds no record yet'):
        read_scalars(tmp_path / 'empty')
