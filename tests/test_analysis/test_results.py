"""Kept runs, and what is made of them."""
import importlib.util
import json
import shutil
from pathlib import Path

import pytest
from mmengine.config import Config

from mmaffnet.analysis.logs import curve, read_scalars
from mmaffnet.analysis.results import keep, mean_records, minutes, read_runs, table, update_page
from mmaffnet.engine.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location('results', ROOT / 'tools' / 'analysis_tools' / 'results.py')
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)

LOG = """2026/01/01 10:00:00 - mmengine - INFO -
a line without a time
2026/01/01 10:07:30 - mmengine - INFO - Epoch(val) [2][1/1]
"""


@pytest.fixture
def work_dir(tmp_path, config_root):
    """Write what a training of two epochs leaves: work_dir(name, seed, accuracies) -> Path."""
    def write(seed, values, name='affnet-et', epochs=2):
        folder = tmp_path / f'{name}-{seed}'
        start = folder / '20260101_100000'
        (start / 'vis_data').mkdir(parents=True)
        (start / '20260101_100000.log').write_text(LOG)
        lines = [dict(loss=3., epoch=1, iter=5, step=5), {'accuracy/top1': values[0], 'step': 1},
                 dict(loss=2. + seed, epoch=2, iter=10, step=10), {'accuracy/top1': values[1], 'step': 2}]
        (start / 'vis_data' / 'scalars.json').write_text(''.join(json.dumps(line) + '\n' for line in lines))
        cfg = Config.fromfile(config_root / 'imagenet' / 'affnet-et_8xb128-300e_in1k-256px.py')
        cfg.merge_from_dict(dict(randomness=dict(seed=seed), train_cfg=dict(max_epochs=epochs),
                                 model=dict(head=dict(num_classes=10))))
        (folder / f'{name}.py').write_text(cfg.pretty_text)
        return folder

    return write


def test_a_run_is_kept_without_a_trace_of_the_machine(work_dir, tmp_path):
    pytest.importorskip('mmpretrain')
    folder = keep(work_dir(7, [40., 50.]), tmp_path / 'kept')
    assert folder == tmp_path / 'kept' / 'affnet-et-seed7'
    # 1,436,264 with 1000 classes; each class less has a row of 576 and a bias
    assert json.loads((folder / 'run.json').read_text()) == dict(
        config='affnet-et', seed=7, epochs=2, parameters=1436264 - 990 * 577, minutes=7.5)
    assert curve(read_scalars(folder), 'accuracy/top1') == ([1, 2], [40., 50.], 'epoch')
    assert sorted(path.name for path in folder.iterdir()) == ['run.json', 'scalars.json']
    keep(work_dir(8, [40., 50.]), tmp_path / 'kept', ['width=3'])
    assert json.loads((tmp_path / 'kept' / 'affnet-et-seed8' / 'options.json').read_text()) == ['width=3']
    assert [run.seed for run, _ in read_runs(tmp_path / 'kept')['affnet-et']] == [7, 8]   # which is no run
    keep(tmp_path / 'affnet-et-8', tmp_path / 'kept')   # again, and whatever it was trained with
    assert not (tmp_path / 'kept' / 'affnet-et-seed8' / 'options.json').exists()


def test_minutes_of_several_starts_add_up(work_dir):
    folder = work_dir(0, [1., 2.])
    shutil.copytree(folder / '20260101_100000', folder / '20260101_120000')
    assert minutes(folder) == 15


def test_an_unfinished_run_is_refused(work_dir, tmp_path):
    pytest.importorskip('mmpretrain')
    with pytest.raises(UserError, match='up to epoch 2 of 3: resume it first'):
        keep(work_dir(0, [1., 2.], epochs=3), tmp_path)
    with pytest.raises(UserError, match='has no seed'):
        keep(no_seed(work_dir(1, [1., 2.])), tmp_path)
    (tmp_path / 'affnet-et-1' / 'other.py').write_text('')
    with pytest.raises(UserError, match='holds 2 configs'):
        keep(tmp_path / 'affnet-et-1', tmp_path)


def no_seed(folder):
    path = folder / 'affnet-et.py'
    path.write_text(path.read_text().replace('seed=1', 'seed=None'))
    return folder


@pytest.fixture
def kept(tmp_path):
    """Three seeds of one config, one of another."""
    def write(config, seed, values):
        folder = tmp_path / 'kept' / f'{config}-seed{seed}'
        folder.mkdir(parents=True)
        (folder / 'run.json').write_text(json.dumps(dict(
            config=config, seed=seed, epochs=len(values), parameters=1234567, minutes=8. + seed)))
        (folder / 'scalars.json').write_text(''.join(
            json.dumps({'loss': 1. + seed, 'epoch': i, 'iter': i, 'step': i}) + '\n'
            + json.dumps({'accuracy/top1': value, 'step': i}) + '\n' for i, value in enumerate(values, 1)))

    for seed, last in enumerate((50., 52., 57.)):
        write('b', seed, [20., last])
    write('a', 0, [99., 40.])
    return tmp_path / 'kept'


def test_table(kept):
    # mean 53, deviations -3, -1, 4: sqrt(26 / 2) = 3.606; 8 of 8, 9 and 10 minutes
    assert table(kept, 'accuracy/top1') == (
        '| config | parameters | epochs | accuracy/top1 | by seed | minutes |\n'
        '| --- | --- | --- | --- | --- | --- |\n'
        '| `b` | 1,234,567 | 2 | 53.00 ± 3.61 | 50.00, 52.00, 57.00 | 8.0 |\n'
        '| `a` | 1,234,567 | 2 | 40.00 | 40.00 | 8.0 |\n')
    with pytest.raises(UserError, match="a-seed0 has no 'mIoU'; there are: loss, accuracy/top1"):
        table(kept, 'mIoU')


def test_page(kept, tmp_path, capsys):
    page = tmp_path / 'page.md'
    page.write_text('before\n<!-- results: kept accuracy/top1 -->\nold\n<!-- end -->\nafter\n'
                    '<!-- results: none mIoU -->\n<!-- end -->\n')
    tool.main(['page', str(page)])
    text = page.read_text()
    assert text == ('before\n<!-- results: kept accuracy/top1 -->\n' + table(kept, 'accuracy/top1')
                    + '<!-- end -->\nafter\n<!-- results: none mIoU -->\nNo run has been made yet.\n<!-- end -->\n')
    assert update_page(page) == ['kept', 'none'] and page.read_text() == text
    (tmp_path / 'empty.md').write_text('')
    with pytest.raises(UserError, match='no place for a table'):
        update_page(tmp_path / 'empty.md')
    with pytest.raises(UserError, match='nowhere.md does not exist'):
        update_page(tmp_path / 'nowhere.md')


def test_curves_are_means_of_the_seeds(kept, tmp_path):
    runs = read_runs(kept)
    assert list(runs) == ['a', 'b'] and [run.seed for run, _ in runs['b']] == [0, 1, 2]
    means = mean_records([records for _, records in runs['b']], ['loss', 'accuracy/top1'])
    assert curve(means, 'accuracy/top1') == ([1, 2], [20., 53.], 'epoch')
    assert curve(means, 'loss') == ([1, 2], [2., 2.], 'iteration')
    tool.main(['draw', str(kept), '--keys', 'loss', 'accuracy/top1', '--out', str(tmp_path / 'c.png')])
    assert (tmp_path / 'c.png').stat().st_size > 1000
    with pytest.raises(UserError, match='holds no kept run'):
        tool.draw(tmp_path / 'nothing', ['loss'], tmp_path / 'c.png')


def test_the_page_of_this_checkout_says_what_its_logs_say(tmp_path):
    shutil.copytree(ROOT / 'docs', tmp_path / 'docs')
    update_page(tmp_path / 'docs' / 'results.md')
    assert (tmp_path / 'docs' / 'results.md').read_text() == (ROOT / 'docs' / 'results.md').read_text()
