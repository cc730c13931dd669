"""The order in which checkpoints come and go, and mmengine's options of the checkpoint hook."""
import errno
import hashlib
import os
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS, RUNNERS

from mmaffnet.analysis.toy_training import toy_config
from mmaffnet.engine.atomic import BACKEND, SUFFIX
from mmaffnet.engine.checkpoint_hook import AtomicCheckpointHook
from mmaffnet.engine.errors import UserError
from mmaffnet.engine.resume_file import inspect


def run(work_dir, resume=None, epochs=3, **options):
    hook = dict(dict(type='CheckpointHook', interval=1, max_keep_ckpts=1, save_best='toy/score', rule='greater'),
                **options)
    runner = RUNNERS.build(toy_config(work_dir, default_hooks=dict(checkpoint=hook), custom_hooks=[],
                                      resume=bool(resume), load_from=resume and str(resume),
                                      train_cfg=dict(by_epoch=True, max_epochs=epochs)))
    runner.train()
    return runner


def files(folder):
    return sorted(path.name for path in Path(folder).iterdir() if path.suffix == '.pth' or path.name.startswith('.'))


@pytest.fixture
def events(monkeypatch):
    """What happens to checkpoints in order: '+name' appears complete, '-name' goes; and all files appear by replace."""
    seen = []
    replace, remove = os.replace, os.remove

    def replaced(source, target):
        assert source.endswith(SUFFIX) and os.path.dirname(source) == os.path.dirname(target)
        replace(source, target)
        assert os.path.basename(target) == 'last_checkpoint' or inspect(target).damage is None
        seen.append(f'+{os.path.basename(target)}')

    def removed(path):
        seen.append(f'-{os.path.basename(path)}')
        remove(path)

    monkeypatch.setattr(os, 'replace', replaced)
    monkeypatch.setattr(os, 'remove', removed)
    return seen


def test_nothing_goes_before_its_successor_is_complete_and_named_by_the_pointer(tmp_path, events):
    # Scores of the three validations: 4, 8, 12.
    run(tmp_path)
    again = ['+epoch_2.pth', '+last_checkpoint']
    assert events == [
        '+epoch_1.pth', '+last_checkpoint', '+best_toy_score_epoch_1.pth', '+epoch_1.pth', '+last_checkpoint',
        '+epoch_2.pth', '+last_checkpoint', '-epoch_1.pth',
        '+best_toy_score_epoch_2.pth', *again, '-best_toy_score_epoch_1.pth',
        '+epoch_3.pth', '+last_checkpoint', '-epoch_2.pth',
        '+best_toy_score_epoch_3.pth', '+epoch_3.pth', '+last_checkpoint', '-best_toy_score_epoch_2.pth']
    assert files(tmp_path) == ['best_toy_score_epoch_3.pth', 'epoch_3.pth']
    assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path / 'epoch_3.pth')


def test_without_a_new_best_the_checkpoint_still_learns_that_it_was_validated(tmp_path, events):
    run(tmp_path, rule='less', epochs=2)  # the first score stays the best
    assert events[-5:] == ['+epoch_2.pth', '+last_checkpoint', '-epoch_1.pth', '+epoch_2.pth', '+last_checkpoint']
    info = torch.load(tmp_path / 'epoch_2.pth', weights_only=True)['message_hub']
    assert info['runtime_info']['last_validated_iter'] == 8 and info['runtime_info']['best_score'] == 4
    assert info['log_scalars']['val/toy/score']['log']['values'].tolist() == [4, 8]


def test_a_killed_run_removes_what_was_about_to_go(tmp_path):
    """The removals of the last save did not happen: they do when the run resumes, and nothing else goes."""
    run(tmp_path, epochs=2)
    for name in ('best_toy_score_epoch_1.pth', 'mine.pth', '.epoch_9.pth.host-1' + SUFFIX):
        (tmp_path / name).write_bytes(b'')
    run(tmp_path, resume=tmp_path / 'epoch_2.pth', epochs=2)
    assert files(tmp_path) == ['best_toy_score_epoch_2.pth', 'epoch_2.pth', 'mine.pth']


def test_clearing_what_a_killed_writer_left_is_said(tmp_path, capsys):
    left = tmp_path / f'.epoch_9.pth.host-1{SUFFIX}'
    left.write_bytes(b'half')
    run(tmp_path, epochs=1)
    assert f'removed {left}: ' in capsys.readouterr().out and not left.exists()


def test_max_keep_counts_across_resuming(tmp_path):
    run(tmp_path, max_keep_ckpts=2, save_best=None)
    assert files(tmp_path) == ['epoch_2.pth', 'epoch_3.pth']
    run(tmp_path, resume=tmp_path / 'epoch_3.pth', epochs=4, max_keep_ckpts=2, save_best=None)
    assert files(tmp_path) == ['epoch_3.pth', 'epoch_4.pth']
    run(tmp_path, resume=tmp_path / 'epoch_4.pth', epochs=5, max_keep_ckpts=1, save_best=None)
    assert files(tmp_path) == ['epoch_5.pth']


def test_all_are_kept_by_default(tmp_path):
    run(tmp_path, max_keep_ckpts=-1, save_best=None)
    assert files(tmp_path) == ['epoch_1.pth', 'epoch_2.pth', 'epoch_3.pth']


def test_by_iterations(tmp_path, events):
    run(tmp_path, by_epoch=False, interval=3, epochs=2)
    # 8 iterations, validations at 4 (score 4) and 8 (8): the one at 4 saves its state as mmengine does.
    assert [event for event in events if event != '+last_checkpoint'] == [
        '+iter_3.pth', '+best_toy_score_iter_4.pth', '+iter_4.pth', '-iter_3.pth', '+iter_6.pth', '-iter_4.pth',
        '+iter_8.pth', '-iter_6.pth', '+best_toy_score_iter_8.pth', '+iter_8.pth', '-best_toy_score_iter_4.pth']
    meta = torch.load(tmp_path / 'iter_8.pth', weights_only=True)['meta']
    assert (meta['epoch'], meta['iter']) == (2, 8)


def test_several_best_ones_in_another_folder(tmp_path, events):
    out = tmp_path / 'out'
    run(tmp_path / 'run', out_dir=str(out), save_best=['toy/score', 'toy/lost'], rule=['greater', 'less'], epochs=2)
    assert files(out / 'run') == ['best_toy_lost_epoch_2.pth', 'best_toy_score_epoch_2.pth', 'epoch_2.pth']
    assert (tmp_path / 'run' / 'last_checkpoint').read_text() == str(out / 'run' / 'epoch_2.pth')
    assert events[-4:] == ['+epoch_2.pth', '+last_checkpoint', '-best_toy_score_epoch_1.pth',
                           '-best_toy_lost_epoch_1.pth']


def test_a_moved_work_directory_keeps_its_best_checkpoint_and_deletes_it_in_its_new_place(tmp_path):
    run(tmp_path / 'old', epochs=1)
    (tmp_path / 'old').rename(tmp_path / 'new')
    run(tmp_path / 'new', resume=tmp_path / 'new' / 'epoch_1.pth', epochs=2)
    assert files(tmp_path / 'new') == ['best_toy_score_epoch_2.pth', 'epoch_2.pth']
    assert not (tmp_path / 'old').exists()


def test_published_files_bear_the_hash_of_their_contents(tmp_path, events):
    run(tmp_path, epochs=1, published_keys=['meta', 'state_dict', 'message_hub'])
    published = [path for path in tmp_path.glob('*-????????.pth')]
    assert sorted(path.name[:-13] for path in published) == ['best_toy_score_epoch_1', 'epoch_1']
    for path in published:
        assert hashlib.sha256(path.read_bytes()).hexdigest().startswith(path.stem[-8:])
        assert f'+{path.name}' in events
        assert set(torch.load(path, weights_only=True)) == {'meta', 'state_dict', 'message_hub'}


def test_auto_and_first_checkpoints_after_the_first_validations(tmp_path):
    run(tmp_path, save_best='auto', interval=-1, save_last=False)
    assert files(tmp_path) == ['best_toy_score_epoch_3.pth']  # the former ones go although nothing can be resumed
    run(tmp_path / 'b', save_best='auto', interval=2, epochs=3)
    assert files(tmp_path / 'b') == ['best_toy_score_epoch_3.pth', 'epoch_3.pth']


def test_a_metric_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(UserError, match=r"save_best='toy/nothing' .* \(toy/score, toy/lost\)"):
        run(tmp_path, save_best='toy/nothing', epochs=1)
    assert files(tmp_path) == ['epoch_1.pth']


@pytest.mark.parametrize('kind', ['CheckpointHook', 'mmengine.CheckpointHook', CheckpointHook, None])
def test_the_runner_takes_ours_for_mmengines(tmp_path, kind):
    hooks = dict(checkpoint=dict(type=kind, interval=2)) if kind else {}
    runner = RUNNERS.build(toy_config(tmp_path, default_hooks=hooks))
    found = [hook for hook in runner.hooks if isinstance(hook, CheckpointHook)]
    assert [type(hook) for hook in found] == [AtomicCheckpointHook] and found[0].interval == (2 if kind else 1)
    none = RUNNERS.build(toy_config(tmp_path, default_hooks=dict(checkpoint=None)))
    assert not [hook for hook in none.hooks if isinstance(hook, CheckpointHook)]


@pytest.mark.parametrize(('code', 'words'), [(errno.ENOSPC, 'the disk is full'), (errno.EROFS, 'cannot be written to')])
def test_a_full_disk_or_a_read_only_folder_ends_the_run_with_its_last_checkpoint_intact(
        tmp_path, monkeypatch, code, words):
    write = os.write

    def fail(descriptor, data):
        if b'epoch_2.pth' in os.readlink(f'/proc/self/fd/{descriptor}').encode():
            raise OSError(code, os.strerror(code))
        return write(descriptor, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, 'write', fail)
        with pytest.raises(UserError, match=words):
            run(tmp_path)
    assert files(tmp_path) == ['best_toy_score_epoch_1.pth', 'epoch_1.pth']
    assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path / 'epoch_1.pth')
    resumed = run(tmp_path, resume=tmp_path / 'epoch_1.pth')
    straight = run(tmp_path / 'straight')
    for key, value in straight.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[key])


def test_validation_alone_saves_nothing(tmp_path):
    RUNNERS.build(toy_config(tmp_path)).val()
    assert files(tmp_path) == []


def test_the_shipped_configs_name_it(config_root):
    hook = Config.fromfile(config_root / '_base_' / 'default_runtime_det.py').default_hooks.checkpoint
    assert hook.type == 'mmaffnet.AtomicCheckpointHook' and hook.backend_args == dict(backend=BACKEND)
    assert isinstance(HOOKS.build(dict(hook)), AtomicCheckpointHook)
