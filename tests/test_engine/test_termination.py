"""SIGTERM: the run saves after its iteration, ends, and goes on as if nothing had been."""
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import RUNNERS

from mmaffnet.analysis.toy_training import toy_config
from mmaffnet.engine import stop_request as module
from mmaffnet.engine.errors import Terminated
from mmaffnet.engine.stop_request import stop_request

ROOT = Path(__file__).resolve().parents[2]


class Term(Hook):
    """Send SIGTERM to this process at a place of the run: a method's name and how many calls of it are before."""

    priority = 'NORMAL'

    def __init__(self, place, count=0, times=1, workers=False):
        self.count, self.times, self.workers = count, times, workers
        setattr(self, place, self._call)

    def _call(self, runner, *args, **kwargs):
        self.count -= 1
        if self.count == -1:
            if self.workers:  # from another process than their parent, as Slurm and torchrun do it
                subprocess.run(['kill', *(str(worker.pid) for worker in multiprocessing.active_children())], check=True)
            for _ in range(self.times):
                os.kill(os.getpid(), signal.SIGTERM)


def run(work_dir, term=None, resume=None, **changes):
    changes = dict(dict(train_cfg=dict(by_epoch=True, max_epochs=3)), **changes)
    runner = RUNNERS.build(toy_config(work_dir, resume=bool(resume), load_from=resume and str(resume), **changes))
    if term:
        runner.register_hook(term)
    runner.train()
    return runner


def files(folder):
    return sorted(path.name for path in folder.glob('*.pth'))


def pointer(folder):
    return (folder / 'last_checkpoint').read_text()


def same(one, other):
    state = other.model.state_dict()
    return all(torch.equal(value, state[key]) for key, value in one.model.state_dict().items())


@pytest.fixture(scope='module')
def straight(tmp_path_factory):
    return run(tmp_path_factory.mktemp('straight'))


@pytest.fixture(autouse=True)
def handler():
    before = signal.getsignal(signal.SIGTERM)
    yield
    assert signal.getsignal(signal.SIGTERM) is before


BY_ITERATION = dict(default_hooks=dict(checkpoint=dict(
    type='CheckpointHook', interval=2, by_epoch=False, max_keep_ckpts=1, save_best='toy/score', rule='greater')))


@pytest.mark.parametrize(('term', 'iteration', 'changes'), [
    (('after_train_iter', 5), 6, {}), (('before_train_iter', 6), 7, {}),
    (('after_train_iter', 7), 8, {}),  # at the end of an epoch: before its own checkpoint and validation
    (('after_train_iter', 4), 5, BY_ITERATION)])
def test_saves_after_the_iteration_and_resumes_exactly(tmp_path, straight, term, iteration, changes):
    with pytest.raises(Terminated) as ended:
        run(tmp_path, Term(*term), **changes)
    name = f'interrupted_iter_{iteration}.pth'
    assert ended.value.exit_code == 143 and f'{tmp_path / name} is complete, go on with --resume' in str(ended.value)
    assert name in files(tmp_path) and pointer(tmp_path) == str(tmp_path / name)
    assert torch.load(tmp_path / name, weights_only=True)['meta']['iter'] == iteration
    resumed = run(tmp_path, resume=tmp_path / name, **changes)
    assert same(resumed, straight)
    assert [name for name in files(tmp_path) if 'best' not in name] == ['iter_12.pth' if changes else 'epoch_3.pth']


def test_a_regular_checkpoint_of_the_same_iteration_is_enough(tmp_path):
    with pytest.raises(Terminated, match='iter_6.pth is complete'):
        run(tmp_path, Term('after_train_iter', 5), **BY_ITERATION)
    assert [name for name in files(tmp_path) if 'best' not in name] == ['iter_6.pth']


def test_interrupted_twice_before_a_regular_checkpoint_keeps_one(tmp_path, straight):
    path = None
    for iteration in (5, 6):
        with pytest.raises(Terminated):
            run(tmp_path, Term('after_train_iter'), resume=path or None) if path else run(
                tmp_path, Term('after_train_iter', 4))
        path = tmp_path / f'interrupted_iter_{iteration}.pth'
        assert files(tmp_path) == ['best_toy_score_epoch_1.pth', 'epoch_1.pth', path.name]
    assert same(run(tmp_path, resume=path), straight)


class Crash(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 5:
            raise ZeroDivisionError


def test_the_file_that_a_run_resumed_from_stays_until_there_is_another(tmp_path):
    """A new best one comes in between, whose predecessor is outdated as the resumed file is."""
    sparse = dict(default_hooks=dict(checkpoint=dict(
        type='CheckpointHook', interval=3, save_best='toy/score', rule='greater')))
    path = tmp_path / 'interrupted_iter_2.pth'
    with pytest.raises(Terminated):
        run(tmp_path, Term('after_train_iter', 1), **sparse)
    with pytest.raises(ZeroDivisionError):
        run(tmp_path, Crash(), resume=path, **sparse)
    assert files(tmp_path) == ['best_toy_score_epoch_1.pth', path.name] and pointer(tmp_path) == str(path)


@pytest.mark.parametrize('place', ['before_val_epoch', 'after_val_iter'])
def test_in_a_validation_it_ends_at_once_and_validates_first_when_it_resumes(tmp_path, straight, place):
    with pytest.raises(Terminated, match='epoch_1.pth is complete'):
        run(tmp_path, Term(place))
    assert files(tmp_path) == ['epoch_1.pth']
    resumed = run(tmp_path, resume=tmp_path / 'epoch_1.pth')
    assert same(resumed, straight)
    assert resumed.message_hub.get_scalar('val/toy/score').data[0].tolist() == [4, 8, 12]


@pytest.mark.parametrize('place', ['after_train_epoch', 'before_save_checkpoint', 'before_val'])
def test_while_saving_the_file_is_finished_first(tmp_path, straight, place):
    with pytest.raises(Terminated, match='epoch_1.pth is complete'):
        run(tmp_path, Term(place))
    assert files(tmp_path) == ['epoch_1.pth']
    assert same(run(tmp_path, resume=tmp_path / 'epoch_1.pth'), straight)


def test_while_the_best_one_is_saved_all_that_belongs_to_it_is_finished(tmp_path):
    with pytest.raises(Terminated, match='epoch_2.pth is complete'):
        run(tmp_path, Term('before_save_checkpoint', 4))  # epoch 1, best, epoch 1 again, epoch 2, best
    assert files(tmp_path) == ['best_toy_score_epoch_2.pth', 'epoch_2.pth']
    hub = torch.load(tmp_path / 'epoch_2.pth', weights_only=True)['message_hub']['runtime_info']
    assert hub['last_validated_iter'] == 8 and hub['best_ckpt'] == str(tmp_path / 'best_toy_score_epoch_2.pth')


@pytest.mark.parametrize('place', ['before_val', 'before_save_checkpoint'])
def test_before_and_after_a_validation_without_a_checkpoint_the_state_is_saved(tmp_path, straight, place):
    """Before it, and while its best checkpoint is saved: the resumed run validates once in both cases."""
    sparse = dict(default_hooks=dict(checkpoint=dict(
        type='CheckpointHook', interval=3, save_best='toy/score', rule='greater')))
    with pytest.raises(Terminated, match='interrupted_iter_4.pth is complete'):
        run(tmp_path, Term(place), **sparse)
    resumed = run(tmp_path, resume=tmp_path / 'interrupted_iter_4.pth', **sparse)
    assert same(resumed, straight) and files(tmp_path) == ['best_toy_score_epoch_3.pth', 'epoch_3.pth']
    assert resumed.message_hub.get_scalar('val/toy/score').data[0].tolist() == [4, 8, 12]


def test_before_the_first_iteration_and_without_checkpoints(tmp_path):
    with pytest.raises(Terminated, match='before it had a checkpoint; start it again'):
        run(tmp_path, Term('before_train'))
    assert files(tmp_path) == []
    with pytest.raises(Terminated, match='before it had a checkpoint'):
        run(tmp_path, Term('after_train_iter'), default_hooks=dict(checkpoint=None))
    with pytest.raises(Terminated):
        run(tmp_path, Term('after_train_iter', 5))
    path = tmp_path / 'interrupted_iter_6.pth'
    with pytest.raises(Terminated, match='interrupted_iter_6.pth is complete'):
        run(tmp_path, Term('before_train_epoch'), resume=path)
    assert path.exists()


def test_an_echo_is_one_request_a_second_one_ends_the_process(tmp_path):
    with pytest.raises(Terminated, match='interrupted_iter_2.pth'):
        run(tmp_path, Term('before_train_iter', 1, times=3))
    child = os.fork()
    if child == 0:
        module.ECHO_SECONDS = 0.05
        stop_request.install()
        stop_request.interruptible = False
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGTERM)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM


def test_a_forked_child_does_not_inherit_it():
    stop_request.install()
    try:
        child = os.fork()
        if child == 0:
            os.kill(os.getpid(), signal.SIGTERM)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
        assert not stop_request.received
    finally:
        stop_request.restore()


@pytest.mark.parametrize('persistent', [True, False])
def test_workers_outlive_a_signal_to_the_whole_group(tmp_path, straight, persistent):
    """Without that the loss of a worker, not SIGTERM, would end the run, and nothing would be saved."""
    config = toy_config(tmp_path)
    loader = dict(config.train_dataloader, num_workers=2, persistent_workers=persistent, prefetch_factor=1)
    with pytest.raises(Terminated, match='interrupted_iter_6.pth'):
        run(tmp_path, Term('before_train_iter', 5, workers=True), train_dataloader=loader)
    for worker in multiprocessing.active_children():  # where the exception's traceback holds the loader
        worker.terminate()  # the parent's own request, as at the end of a process
        worker.join(10)
        assert worker.exitcode == 0
    assert same(run(tmp_path, resume=tmp_path / 'interrupted_iter_6.pth'), straight)


@pytest.mark.parametrize(('parents', 'code'), [(False, 1), (True, 0)])
def test_a_worker_that_is_stuck_ends_after_a_while_or_when_its_parent_says_so(monkeypatch, parents, code):
    monkeypatch.setattr(module, 'WORKER_SECONDS', 20 if parents else 0.3)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        module.start_worker(lambda worker_id: os.write(write, b'x'), 0)
        time.sleep(60)
        os._exit(9)
    os.read(read, 1)
    start = time.monotonic()
    subprocess.run(['kill', str(child)], check=True)
    time.sleep(0.1)
    assert os.waitpid(child, os.WNOHANG) == (0, 0)  # lives on
    if parents:
        os.kill(child, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == code
    assert parents or time.monotonic() - start >= 0.3


TWO_RANKS = """
import os, signal, sys, torch
torch.set_num_threads(1)
from mmengine.hooks import Hook
from mmengine.registry import RUNNERS
from mmaffnet.analysis.toy_training import toy_config
from mmaffnet.engine.errors import cli

class Term(Hook):
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.rank == 1 and runner.iter == 2:
            os.kill(os.getpid(), signal.SIGTERM)

@cli
def main(argv=None):
    runner = RUNNERS.build(toy_config('run', launcher='pytorch', train_cfg=dict(by_epoch=True, max_epochs=4)))
    runner.register_hook(Term())
    try:
        runner.train()
    finally:
        sys.stdout.write(f'rank {runner.rank} ended after {runner.iter + 1}\\n')  # in one piece, unlike print
        sys.stdout.flush()
main()
"""


@pytest.mark.slow
def test_one_rank_that_is_asked_ends_all_after_the_same_iteration(tmp_path):
    (tmp_path / 'two.py').write_text(TWO_RANKS)
    done = subprocess.run(
        [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2', 'two.py'], text=True,
        capture_output=True, cwd=tmp_path, timeout=120, env=dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1'))
    # 2 iterations an epoch: asked after the third, agreed on at the validation that follows the fourth at the latest.
    assert 'exitcode  : 143' in done.stderr, done.stderr
    assert sorted(line for line in done.stdout.splitlines() if line.startswith('rank ')) == [
        'rank 0 ended after 4', 'rank 1 ended after 4']
    assert 'interrupted_iter_4.pth is complete' in done.stderr
    assert 'interrupted_iter_4.pth' in files(tmp_path / 'run') and len(list(tmp_path.glob('run/.*'))) == 0
