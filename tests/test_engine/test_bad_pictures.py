"""Training goes on without pictures that cannot be read, names each once, and stops where they are many."""
import json
import re
from types import SimpleNamespace

import pytest
from mmengine.config import ConfigDict

from mmaffnet.engine.bad_pictures import BadPictureHook, num_pictures, with_checked_loading
from mmaffnet.engine.cli import train_main
from mmaffnet.engine.errors import UserError

THREE = ('bolt', 'nut', 'washer')


@pytest.fixture
def damaged_set(own_set):
    """Write a set of 12 pictures and damage some of its training part: damaged_set(how many) -> its root."""
    def write(num):
        root = own_set(THREE, num=12)
        for i in range(1, num + 1):
            path = root / 'train2017' / f'{i}.png'
            path.write_bytes(b'' if i % 2 else path.read_bytes()[:400])
        return root

    return write


def run(config, work_dir, *options):
    train_main([str(config), '--work-dir', str(work_dir), '--no-validate', '--seed', '0', '--cfg-options', *options])


@pytest.mark.parametrize('workers', [0, 2])
def test_bad_pictures_are_left_out_and_named_once(damaged_set, small_config, tmp_path, capfd, workers):
    root = damaged_set(2)
    config = small_config(root, epochs=3, extra=f'classes = {THREE}')
    run(config, tmp_path / 'run', 'max_bad_share=0.2', f'train_dataloader.num_workers={workers}')
    said = capfd.readouterr().out
    named = re.findall(r'WARNING - picture (\S+) is left out of training: (.*) \(\d of 12 so far\)', said)
    assert sorted(named) == [(f'{root}/train2017/1.png', 'the file is empty (0 bytes)'),
                             (f'{root}/train2017/2.png', 'image file is truncated')]
    assert '2 of 12 training pictures were left out' in said
    assert (tmp_path / 'run' / 'epoch_3.pth').is_file()  # three epochs of three iterations of four pictures
    log, = (tmp_path / 'run').glob('*/bad_pictures_train_rank0.jsonl')
    assert {json.loads(line)['picture'] for line in log.read_text().splitlines()} == {path for path, _ in named}
    written = (tmp_path / 'run' / config.name).read_text()
    assert "type='LoadImageFromFile'" in written and 'mmaffnet.LoadImageFromFile' not in written


@pytest.mark.parametrize('num, options, share', [(1, [], r'1 of 12 .*\(8\.3%, allowed: 5\.0%'),
                                                 (4, ['max_bad_share=0.25'], r'4 of 12 .*\(33\.3%, allowed: 25\.0%')])
def test_too_many_bad_pictures_end_the_run(damaged_set, small_config, tmp_path, capsys, num, options, share):
    config = small_config(damaged_set(num), epochs=1, batch=12, extra=f'classes = {THREE}')
    with pytest.raises(SystemExit) as stop:
        run(config, tmp_path / 'run', 'train_dataloader.num_workers=0', *options)
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert stop.value.code == 2
    assert re.match(rf'error: {share}\), such as /.*train2017/\d\.png: ', error) and 'max_bad_share=SHARE' in error
    assert not list((tmp_path / 'run').glob('*.pth'))


@pytest.mark.parametrize('workers', [0, 2])
def test_a_set_of_nothing_but_bad_pictures_ends_with_one_sentence(damaged_set, small_config, tmp_path, capsys, workers):
    config = small_config(damaged_set(12), extra=f'classes = {THREE}')
    with pytest.raises(SystemExit) as stop:
        run(config, tmp_path / 'run', 'max_bad_share=1', f'train_dataloader.num_workers={workers}')
    error = capsys.readouterr().err.strip()
    assert stop.value.code == 2 and 'Traceback' not in error
    assert error.splitlines()[-1].startswith('error: no picture could be used 100 times in a row; the last: picture ')


def test_share_is_checked_before_anything_starts():
    for share in (-0.1, 1.5, '5%', None):
        with pytest.raises(UserError, match='max_bad_share is'):
            BadPictureHook(max_bad_share=share)


def test_only_loaders_of_files_are_exchanged():
    load = dict(type='LoadImageFromFile', to_float32=True)
    flip = dict(type='TestTimeAug', transforms=[[dict(type='mmdet.LoadImageFromFile')], [dict(type='RandomFlip')]])
    loader = ConfigDict(batch_size=2, dataset=dict(type='ConcatDataset', datasets=[
        dict(type='A', pipeline=[load, flip]),
        dict(type='RepeatDataset', dataset=dict(type='B', pipeline=[dict(type='mine.LoadImageFromFile'),
                                                                     dict(type='LoadImageFromNDArray')]))]))
    new = with_checked_loading(loader, on_bad='skip', log='x.jsonl')
    first, second = new.dataset.datasets
    want = dict(type='mmaffnet.LoadImageFromFile', on_bad='skip', log='x.jsonl', label_maps=False)
    assert first.pipeline[0] == dict(want, to_float32=True)
    assert first.pipeline[1].transforms == [[want], [dict(type='RandomFlip')]]
    assert second == loader.dataset.datasets[1] and loader.dataset.datasets[0].pipeline[0] == load
    assert with_checked_loading(new, on_bad='skip', log='x.jsonl') == new
    again = with_checked_loading(new, on_bad='black', log='y.jsonl')
    assert again.dataset.datasets[0].pipeline[0].log == 'y.jsonl'


@pytest.mark.parametrize('annotations, reads', [
    (dict(type='LoadAnnotations'), True), (dict(type='mmseg.LoadAnnotations', reduce_zero_label=True), True),
    (dict(type='LoadAnnotations', with_bbox=True), False), (dict(type='PackInputs'), False)])
def test_label_maps_are_looked_at_where_they_will_be_read(annotations, reads):
    loader = dict(dataset=dict(pipeline=[dict(type='LoadImageFromFile'), annotations]))
    assert with_checked_loading(loader, on_bad='skip', log='x')['dataset']['pipeline'][0]['label_maps'] is reads


def test_repeated_pictures_count_once():
    ten = list(range(10))
    repeated = SimpleNamespace(dataset=SimpleNamespace(dataset=ten))  # as mmengine's RepeatDataset
    assert num_pictures(repeated) == 10
    assert num_pictures(SimpleNamespace(datasets=[ten, repeated])) == 20  # as its ConcatDataset
