"""Which checkpoint --resume takes."""
import shutil
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config

from mmaffnet.engine.errors import UserError
from mmaffnet.engine.resume_file import check_resume, find_resume, inspect
from mmaffnet.engine.train import _apply_resume


def save(path, iteration=1, optimizer=True):
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(meta=dict(epoch=0, iter=iteration), state_dict=dict(w=torch.arange(1000.)),
                    **(dict(optimizer={}) if optimizer else {})), path)
    return path


@pytest.fixture
def work_dir(tmp_path):
    """Two checkpoints, the older one written last, a better best one without an optimiser, and the pointer."""
    folder = tmp_path / 'run'
    save(folder / 'epoch_2.pth', 20)
    save(folder / 'epoch_1.pth', 10)
    save(folder / 'best_x_epoch_3.pth', 30, optimizer=False)
    (folder / 'last_checkpoint').write_text(str(folder / 'epoch_2.pth'))
    return folder


def test_the_pointer_is_followed(work_dir, capsys):
    (work_dir / 'last_checkpoint').write_text(f'{work_dir}/epoch_1.pth\n')
    assert find_resume(work_dir) == str(work_dir / 'epoch_1.pth')
    assert f'going on from {work_dir}/epoch_1.pth, iteration 10' in capsys.readouterr().out


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGES = {
    'is empty': lambda path: path.write_bytes(b''),
    'is incomplete or no checkpoint': truncate,
    'is damaged (checksum of': flip_a_bit,
    'is missing': lambda path: path.unlink(),
    'cannot be loaded': lambda path: shutil.make_archive(str(path), 'zip', path.parent, 'last_checkpoint') and
    path.with_name(path.name + '.zip').replace(path),
    'does not say after which iteration': lambda path: torch.save(dict(state_dict=dict(w=torch.ones(1))), path),
}


@pytest.mark.parametrize('words', DAMAGES)
def test_where_the_pointers_file_is_damaged_the_newest_complete_one_is_taken(work_dir, capsys, words):
    DAMAGES[words](work_dir / 'epoch_2.pth')
    assert find_resume(work_dir) == str(work_dir / 'epoch_1.pth')
    out = capsys.readouterr().out
    assert words in out and f'newest complete checkpoint, {work_dir}/epoch_1.pth, iteration 10' in out


@pytest.mark.parametrize('pointer', [None, b'', b'\xff\0\xfe', b'nowhere/epoch_9.pth'])
def test_where_the_pointer_is_damaged_the_newest_is_by_iterations_not_by_time(work_dir, capsys, pointer):
    if pointer is None:
        (work_dir / 'last_checkpoint').unlink()
    else:
        (work_dir / 'last_checkpoint').write_bytes(pointer)
    assert find_resume(work_dir) == str(work_dir / 'epoch_2.pth')
    out = capsys.readouterr().out
    assert 'iteration 20' in out and ('last_checkpoint is ' in out or 'which last_checkpoint names, is missing' in out)


def test_a_moved_or_copied_work_directory_uses_its_own_files(work_dir, tmp_path, monkeypatch):
    shutil.copytree(work_dir, tmp_path / 'copy')
    assert find_resume(tmp_path / 'copy') == str(tmp_path / 'copy' / 'epoch_2.pth')
    (work_dir / 'last_checkpoint').write_text('run/epoch_1.pth')  # relative to where the run was started
    monkeypatch.chdir(tmp_path / 'copy')
    assert find_resume(work_dir) == str(work_dir / 'epoch_1.pth')


def test_checkpoints_in_another_folder(work_dir, tmp_path):
    out = tmp_path / 'out'
    save(out / 'run' / 'epoch_9.pth', 90)
    (work_dir / 'last_checkpoint').write_text(str(out / 'run' / 'epoch_9.pth'))
    assert find_resume(work_dir, out) == find_resume(work_dir) == str(out / 'run' / 'epoch_9.pth')
    (work_dir / 'last_checkpoint').unlink()
    assert find_resume(work_dir, str(out)) == str(out / 'run' / 'epoch_9.pth')
    assert find_resume(work_dir) == str(work_dir / 'epoch_2.pth')


def test_weights_alone_are_taken_only_where_there_is_nothing_else(work_dir, capsys):
    for name in ('epoch_1.pth', 'epoch_2.pth'):
        (work_dir / name).write_bytes(b'')
    assert find_resume(work_dir) == str(work_dir / 'best_x_epoch_3.pth')
    assert 'without the state of the optimiser' in capsys.readouterr().out


def test_nothing_yet_and_nothing_whole(work_dir, tmp_path):
    assert find_resume(tmp_path / 'new') is None
    for path in work_dir.glob('*.pth'):
        path.write_bytes(b'')
    with pytest.raises(UserError, match=r'none of the checkpoints in .*run is complete \(.*epoch_1.pth is empty'):
        find_resume(work_dir)
    for path in work_dir.glob('*.pth'):
        path.unlink()
    with pytest.raises(UserError, match='holds no other checkpoint'):
        find_resume(work_dir)


def test_a_file_given_by_name_must_be_whole(work_dir, capsys):
    check_resume(work_dir / 'epoch_1.pth')
    check_resume('https://somewhere/x.pth')
    assert capsys.readouterr().out == ''
    check_resume(work_dir / 'best_x_epoch_3.pth')
    assert 'without the state of the optimiser' in capsys.readouterr().out
    truncate(work_dir / 'epoch_1.pth')
    with pytest.raises(UserError, match=f'incomplete .* newest complete .* beside it is {work_dir}/epoch_2.pth'):
        check_resume(work_dir / 'epoch_1.pth')
    with pytest.raises(UserError, match='not found'):
        check_resume(work_dir / 'epoch_7.pth')


def test_what_mmengine_wrote_is_read_too(tmp_path):
    from mmengine.logging import HistoryBuffer
    path = tmp_path / 'epoch_1.pth'
    torch.save(dict(meta=dict(epoch=1, iter=7), state_dict=dict(w=torch.ones(1)), optimizer={}, message_hub=dict(
        log_scalars=dict(loss=HistoryBuffer([1.], [1])))), path)
    assert inspect(path) == (path, None, 7, True)


@pytest.mark.parametrize(('given', 'config', 'wanted'), [
    (None, {}, (None, None)), ('auto', {}, (True, 'epoch_2.pth')), (None, dict(resume=True), (True, 'epoch_2.pth')),
    ('epoch_1.pth', {}, (True, 'epoch_1.pth')), (None, dict(load_from='epoch_1.pth'), (None, 'epoch_1.pth')),
    (None, dict(resume=True, load_from='epoch_1.pth'), (True, 'epoch_1.pth')),
    ('auto', dict(work_dir='empty'), (False, None))])
def test_the_options_and_the_config(work_dir, monkeypatch, given, config, wanted):
    monkeypatch.chdir(work_dir)
    cfg = Config(dict(dict(work_dir=str(work_dir)), **config))
    _apply_resume(cfg, SimpleNamespace(resume=given))
    path = cfg.get('load_from')
    assert (cfg.get('resume'), path and path.rsplit('/', 1)[-1]) == wanted
