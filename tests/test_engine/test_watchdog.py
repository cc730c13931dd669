"""The watchdog by itself: what it watches, when it acts, and what it says. Whole runs are in test_failures.py."""
import json
import threading
import time
from types import SimpleNamespace

import pytest

from mmaffnet.engine import watchdog
from mmaffnet.engine.errors import LAUNCHED


@pytest.fixture
def runner():
    return SimpleNamespace(epoch=2, iter=20, max_iters=40, train_dataloader=range(10), val_dataloader=range(2))


@pytest.fixture
def dog(monkeypatch, tmp_path):
    """A watchdog that ends nothing: dog(**options) -> hook; hook.codes are the exit codes it would have used."""
    monkeypatch.setenv('TORCHELASTIC_ERROR_FILE', str(tmp_path / 'error.json'))
    monkeypatch.setenv('RANK', '3')
    hooks = []

    def make(**options):
        hook = watchdog.WatchdogHook(**options)
        hook.codes, hook.ended = [], threading.Event()

        def end(code):
            hook.codes.append(code)
            hook._stop.set()
            hook.ended.set()

        monkeypatch.setattr(watchdog.os, '_exit', end)
        hooks.append(hook)
        return hook

    yield make
    for hook in hooks:
        hook.after_run(None)


def test_limits_grow_with_what_was_seen(dog, runner, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(watchdog.time, 'monotonic', lambda: now[0])
    hook = dog(limit=40, factor=10, first=600, other=1800)
    hook._next('at the start', 1800)
    hook.before_train_epoch(runner)
    assert (hook._beat.limit, hook._beat.fetching) == (600, True)
    now[0] += 30  # workers start
    hook.before_train_iter(runner, 0)
    assert (hook._beat.phase, hook._beat.limit) == ('in batch 1 of train epoch 3', 600)
    now[0] += 9  # cuDNN tries
    hook.after_train_iter(runner, 0)
    assert (hook._beat.phase, hook._beat.limit) == ('before batch 2 of train epoch 3', 40)
    now[0] += 7
    hook.before_train_iter(runner, 1)
    assert hook._beat.limit == 90  # ten times the first
    hook.after_train_iter(runner, 1)
    assert hook._beat.limit == 70
    hook.after_train_iter(runner, 9)  # the last: hooks save now
    assert (hook._beat.phase, hook._beat.limit) == ('at the end of train epoch 3', 1800)
    hook.before_train_epoch(runner)
    assert hook._beat.limit == 300


def test_a_rank_without_pictures_waits_for_the_others(dog, runner):
    hook = dog(limit=40)
    runner.val_dataloader = ()
    hook.before_val_epoch(runner)
    assert (hook._beat.phase, hook._beat.limit, hook._beat.fetching) == ('at the end of val', 1800, False)


def test_it_says_where_and_ends_the_process(dog, runner, tmp_path, capsys):
    hook = dog(limit=0.2, first=0.2, grace=30)
    hook.before_run(runner)
    hook.before_train_epoch(runner)
    began = time.monotonic()
    assert hook.ended.wait(5)
    assert 0.1 < time.monotonic() - began < 3
    assert hook.codes == [134]
    said = capsys.readouterr().err
    assert 'error: rank 3 on ' in said and ' hangs before batch 1 of train epoch 3: ' in said
    assert 'hook.ended.wait(5)' in said  # the line where the main thread stands
    recorded = json.loads((tmp_path / 'error.json').read_text())['message']
    assert 'hangs before batch 1' in recorded['message']
    assert 'hook.ended.wait(5)' in recorded['extraInfo']['py_callstack']


def test_under_our_launcher_it_only_records(dog, runner, monkeypatch, capsys):
    monkeypatch.setenv(LAUNCHED, '1')
    hook = dog(limit=0.2, first=0.2)
    hook.before_run(runner)
    hook.before_train_epoch(runner)
    assert hook.ended.wait(5)
    assert capsys.readouterr().err == ''


def test_one_that_may_wait_for_the_others_speaks_later(dog, runner, monkeypatch):
    monkeypatch.setattr(watchdog, '_may_wait_for_others', lambda beat: not beat.fetching)
    hook = dog(limit=0.2, first=0.2, grace=1)
    hook.before_run(runner)
    hook.before_train_iter(runner, 3)
    assert not hook.ended.wait(0.7)
    assert hook.ended.wait(5)


def test_a_process_in_its_own_code_does_not_wait_for_others(monkeypatch):
    monkeypatch.setattr(watchdog.torch.cuda, 'is_available', lambda: False)
    assert not watchdog._may_wait_for_others(watchdog.Beat('in batch 1', ('train', 'step'), 0, 1))
    monkeypatch.setattr(watchdog.torch.cuda, 'is_available', lambda: True)
    assert watchdog._may_wait_for_others(watchdog.Beat('in batch 1', ('train', 'step'), 0, 1))
    assert not watchdog._may_wait_for_others(watchdog.Beat('before batch 1', ('train', 'data'), 0, 1))


def test_it_can_be_turned_off(dog, runner):
    hook = dog(limit=0)
    hook.before_run(runner)
    hook.before_train_epoch(runner)
    assert hook._beat is None and 'watchdog' not in [thread.name for thread in threading.enumerate()]
