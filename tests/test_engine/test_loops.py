"""The training loops, on a training of milliseconds that draws random numbers wherever one can."""
import random

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import RUNNERS
from mmengine.runner import EpochBasedTrainLoop as HostEpochLoop
from mmengine.runner import IterBasedTrainLoop as HostIterLoop
from torch.utils.data import DataLoader, IterableDataset

from mmaffnet.analysis.compare_resume import compare_resume, table
from mmaffnet.analysis.toy_training import ToyData, ToyModel, toy_config
from mmaffnet.engine import loops
from mmaffnet.engine.errors import UserError
from mmaffnet.engine.loops import EpochBasedTrainLoop, IterBasedTrainLoop, with_exact_loop
from mmaffnet.engine.randomness import SeededBatchSampler
from mmaffnet.registry import DATASETS, MODELS

ITERATIONS = [f'iter:{number}' for number in range(1, 12)]  # 4 an epoch, 3 epochs


def sum_drawn():
    """One number of each generator."""
    return random.random() + np.random.rand() + torch.rand(1).item()


@MODELS.register_module(force=True)
class DrawingModel(ToyModel):
    """Draws from every generator in each step."""

    def forward(self, inputs, mode='tensor'):
        if mode == 'loss':
            noise = sum_drawn()
            inputs = [value + noise for value in inputs]
        return super().forward(inputs, mode)


@DATASETS.register_module(force=True)
class DrawingData(ToyData):
    """Draws from every generator for each item."""

    def __init__(self, length=16):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        return dict(inputs=torch.sin(torch.arange(4) + index) + random.random() + np.random.rand() + torch.rand(4))


@DATASETS.register_module(force=True)
class Stream(ToyData, IterableDataset):
    """No indices."""

    def __iter__(self):
        return iter([dict(inputs=torch.ones(4) * index) for index in range(8)])


class DrawingHook(Hook):
    """Draws wherever a hook can, and lets it be logged."""

    def before_train_epoch(self, runner):
        self.start = sum_drawn()  # happens again where a run resumes within an epoch

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        runner.message_hub.update_scalar('train/step', self.start + sum_drawn())

    def after_train_epoch(self, runner):
        runner.message_hub.update_scalar('train/epoch_end', sum_drawn())

    def before_val_epoch(self, runner):
        runner.message_hub.update_scalar('train/validation', sum_drawn())


def config(work_dir, sampler='DefaultSampler', length=16, loader=(), **changes):
    """A toy config of four batches of four."""
    train = dict(dict(batch_size=4, num_workers=0, sampler=dict(type=sampler, shuffle=True),
                      dataset=dict(type='mmaffnet.DrawingData', length=length)), **dict(loader))
    hooks = [dict(type='EMAHook', momentum=0.1), dict(type=DrawingHook)]
    return toy_config(work_dir, **dict(dict(model=dict(type='DrawingModel'), train_dataloader=train,
                                            custom_hooks=hooks), **changes))


def by_iteration(**changes):
    """Changes for a training by iterations."""
    return dict(train_cfg=dict(by_epoch=False, max_iters=12, val_interval=3), log_processor=dict(by_epoch=False),
                param_scheduler=[dict(type='PolyLR', by_epoch=False)], **changes)


WAYS = dict(
    epochs=(dict(), [*ITERATIONS, 'epoch:1', 'epoch:2', 'epoch:3']),
    # Windows of three iterations in epochs of four; the last batch of an epoch is smaller.
    accumulated=(dict(length=15, optim_wrapper=dict(type='OptimWrapper', accumulative_counts=3,
                                                   optimizer=dict(type='SGD', lr=0.01, momentum=0.9))),
                 ['iter:1', 'iter:2', 'iter:3', 'iter:7', 'epoch:1', 'epoch:2']),
    own_seeds=(dict(randomness=dict(seed=3, diff_rank_seed=True)), ['iter:6', 'epoch:2']),
    unseeded=(dict(randomness=dict(seed=None)), ['iter:6', 'epoch:2']),
    workers=(dict(loader=dict(num_workers=2)), ['iter:6', 'epoch:1']),
    val_intervals=(dict(train_cfg=dict(by_epoch=True, max_epochs=3, val_begin=2, dynamic_intervals=[(3, 1)],
                                       val_interval=2)), ['epoch:1', 'epoch:2', 'epoch:3']),
    endless=(by_iteration(sampler='InfiniteSampler'), ['iter:3', 'iter:5', 'iter:8']),
    passes=(by_iteration(), ['iter:3', 'iter:4', 'iter:5', 'iter:8']),  # 4 and 8: the end of a pass
    uneven_passes=(by_iteration(length=15), ['iter:4', 'iter:5']),
    dropped=(by_iteration(length=15, loader=dict(drop_last=True)), ['iter:3', 'iter:4']),
)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize('way', WAYS)
def test_resumed_anywhere_equals_straight(tmp_path, way):
    changes, points = WAYS[way]
    results = compare_resume(config(tmp_path, **changes), points)
    assert all(result.equal for result in results), table(results)
    assert set(points) <= {result.point for result in results}


def trained(work_dir, **changes):
    """Train a toy config."""
    runner = RUNNERS.build(config(work_dir, **changes))
    runner.train()
    return runner


def changed(path, change):
    """Write a changed copy of a checkpoint."""
    checkpoint = torch.load(path, weights_only=True)
    change(checkpoint)
    torch.save(checkpoint, path.with_name('changed.pth'))
    return str(path.with_name('changed.pth'))


def weights(runner):
    return torch.cat([value.flatten() for value in runner.model.state_dict().values()])


KEEP_ALL = dict(default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=3, by_epoch=False)))


def test_without_our_entries_the_position_follows_from_the_counts(tmp_path):
    straight = trained(tmp_path / 'a', **KEEP_ALL)
    assert straight.iter == 12
    for number in (3, 6, 9):  # mmengine's checkpoints have none of them
        path = changed(tmp_path / 'a' / f'iter_{number}.pth', lambda checkpoint: [
            checkpoint['message_hub']['runtime_info'].pop(key, None)
            for key in ('batches_done', 'batches_per_epoch', 'last_validated_iter')])
        resumed = trained(tmp_path / f'b{number}', resume=True, load_from=path, **KEEP_ALL)
        assert torch.equal(weights(resumed), weights(straight))


def test_another_seed_is_not_taken_and_said(tmp_path, capsys):
    straight = trained(tmp_path / 'a', **KEEP_ALL)
    resume = dict(resume=True, load_from=str(tmp_path / 'a' / 'iter_6.pth'), **KEEP_ALL)
    capsys.readouterr()
    resumed = trained(tmp_path / 'b', randomness=dict(seed=5), **resume)
    assert 'seed 0 of' in capsys.readouterr().out and resumed.seed == 0
    assert torch.equal(weights(resumed), weights(straight))
    assert not torch.equal(weights(trained(tmp_path / 'c', randomness=dict(seed=5))), weights(straight))


def test_validation_draws_change_nothing(tmp_path):
    quiet = trained(tmp_path / 'a', val_cfg=None, val_dataloader=None, val_evaluator=None, default_hooks={})
    assert torch.equal(weights(quiet), weights(trained(tmp_path / 'b')))


def test_number_of_workers_changes_nothing(tmp_path):
    one = trained(tmp_path / 'a')
    assert torch.equal(weights(one), weights(trained(tmp_path / 'b', loader=dict(num_workers=2))))


def test_other_epoch_length_begins_the_epoch_anew(tmp_path, capsys):
    trained(tmp_path / 'a', **KEEP_ALL)
    resume = dict(resume=True, load_from=str(tmp_path / 'a' / 'iter_6.pth'), **KEEP_ALL)
    capsys.readouterr()
    runner = trained(tmp_path / 'b', length=24, **resume)
    assert 'epoch 2 starts at its beginning' in capsys.readouterr().out
    assert runner.iter == 6 + 2 * 6 and runner.epoch == 3


def test_epoch_boundary_of_another_length_goes_on_with_the_next(tmp_path, capsys):
    trained(tmp_path / 'a', default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)))
    capsys.readouterr()
    runner = trained(tmp_path / 'b', length=24, resume=True, load_from=str(tmp_path / 'a' / 'epoch_2.pth'))
    assert 'beginning' not in capsys.readouterr().out and runner.iter == 8 + 6


def test_a_finished_run_does_nothing_more(tmp_path):
    straight = trained(tmp_path / 'a')
    again = trained(tmp_path / 'b', resume=True, load_from=str(tmp_path / 'a' / 'epoch_3.pth'))
    assert again.iter == 12 and torch.equal(weights(again), weights(straight))
    assert not list((tmp_path / 'b').glob('*/vis_data/scalars.json'))  # nor validates again


class SeenHook(Hook):
    """Remembers the first number of each input."""

    seen = []  # of the class: the config is copied

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.seen += [round(inputs[0].item(), 6) for inputs in data_batch['inputs']]


def test_passes_cover_the_data_in_new_orders(tmp_path):
    SeenHook.seen.clear()
    trained(tmp_path, loader=dict(dataset=dict(type='mmaffnet.ToyData')), custom_hooks=[dict(type=SeenHook)],
            **by_iteration())
    passes = [SeenHook.seen[k:k + 8] for k in range(0, 48, 8)]  # 12 batches of 4, 8 items
    assert len(SeenHook.seen) == 48 and all(sorted(one) == sorted(passes[0]) for one in passes)
    assert len({tuple(one) for one in passes}) == 6 and len(set(passes[0])) == 8


def test_no_batch_at_all_is_said(tmp_path):
    with pytest.raises(UserError, match='no batch in pass 1'):
        trained(tmp_path, length=1, loader=dict(drop_last=True), **by_iteration())


def test_data_without_indices_train_as_in_mmengine(tmp_path, capsys):
    runner = trained(tmp_path, train_cfg=dict(by_epoch=False, max_iters=2), param_scheduler=None, default_hooks={},
                     loader=dict(dataset=dict(type='mmaffnet.Stream'), sampler=None))
    assert 'has no indices' in capsys.readouterr().out and runner.iter == 2


def test_our_loops_take_the_place_of_mmengines():
    epochs, iterations = 'mmaffnet.EpochBasedTrainLoop', 'mmaffnet.IterBasedTrainLoop'
    for given, expected in [
            (dict(by_epoch=True, max_epochs=1), epochs), (dict(by_epoch=False, max_iters=1), iterations),
            (dict(type='EpochBasedTrainLoop'), epochs), (dict(type='mmengine.IterBasedTrainLoop'), iterations),
            (dict(type=HostEpochLoop), epochs), (dict(type=HostIterLoop), iterations),
            (dict(type='mmdet.TeacherStudentValLoop'), 'mmdet.TeacherStudentValLoop')]:
        kept = dict(given)
        assert with_exact_loop(given)['type'] == expected and given == kept
    assert issubclass(EpochBasedTrainLoop, HostEpochLoop) and issubclass(IterBasedTrainLoop, HostIterLoop)


def test_ranks_agree_on_the_fewest_batches(monkeypatch, capsys):
    sampler = SeededBatchSampler([[0]] * 5, seed=0)

    def others_have_three(tensor, op):
        assert op == 'min'
        tensor.copy_(torch.minimum(tensor, torch.tensor([3, -3])))

    monkeypatch.setattr(loops, 'get_world_size', lambda: 2)
    monkeypatch.setattr(loops, 'all_reduce', others_have_three)
    for _ in range(2):
        loops.agree_on_length(sampler)
    assert len(sampler) == len(list(sampler)) == 3
    assert capsys.readouterr().out.count('ranks have between 3 and 5 batches') == 1
    monkeypatch.setattr(loops, 'all_reduce', lambda tensor, op: None)
    loops.agree_on_length(sampler)
    assert len(sampler) == 5


def test_loader_objects_are_taken_too(tmp_path):
    loader = DataLoader(DrawingData(), batch_size=4, shuffle=True, collate_fn=lambda items: dict(
        inputs=[item['inputs'] for item in items]))
    seen = []
    for name in ('a', 'b'):
        runner = RUNNERS.build(config(tmp_path / name))
        runner._train_dataloader = loader
        runner.train()
        seen.append(weights(runner))
    assert torch.equal(*seen)
