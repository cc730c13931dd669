"""What a study is made of: configs, seeds and their order, the baseline, and the shares of cores and GPUs."""
import argparse
import errno
import fcntl
import importlib.util
import os
from pathlib import Path

import pytest

from mmaffnet.analysis import ablation_study, study_queue
from mmaffnet.analysis.study_queue import make_slots
from mmaffnet.analysis.study_run import find_baseline, plan, public_options
from mmaffnet.engine.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A working directory with three configs."""
    (tmp_path / 'configs' / 'x').mkdir(parents=True)
    for name in ('aff', 'none', 'other'):
        (tmp_path / 'configs' / f'{name}.py').write_text('train_cfg = dict(max_epochs=2)\nwidth = 40\n')
    monkeypatch.chdir(tmp_path)


def runs(names=('configs', ), seeds=(0, 1), epochs=None, options=()):
    return plan(names, seeds, epochs, options, 'w', 'out')


def test_all_configs_of_a_seed_come_before_the_next_seed():
    found = runs(['configs/other.py', 'configs/aff.py'], seeds=[3, 1])
    assert [run.name for run in found] == ['other-seed3', 'aff-seed3', 'other-seed1', 'aff-seed1']
    assert [run.name for run in runs(seeds=[0])] == ['aff-seed0', 'none-seed0', 'other-seed0']   # a folder, sorted
    assert found[0].arguments() == ['configs/other.py', '--seed', '3', '--work-dir', 'w/other-seed3', '--resume']
    assert {run.epochs for run in found} == {2}


def test_epochs_are_a_change_of_the_config():
    run = runs(seeds=[0], epochs=5, options=['width=7'])[0]
    assert run.arguments()[-3:] == ['--cfg-options', 'width=7', 'train_cfg.max_epochs=5'] and run.epochs == 5


def test_the_shipped_study_is_found_from_any_folder():
    found = runs(['ablations/cifar10'], seeds=[0])
    assert len(found) == 13 and found[1].config.stem == 'table4_affnet-et-aff_1xb64-18e_cifar10'
    assert found[0].config.samefile(ROOT / 'configs/ablations/cifar10/table4_affnet-et-aff-without-fft_1xb64-18e_'
                                    'cifar10.py') and found[0].epochs == 18
    assert find_baseline('table4_affnet-et-aff', [run.config for run in found]) == found[1].config.stem


@pytest.mark.parametrize(('change', 'words'), [
    (dict(names=['configs/nothing.py']), 'not found'), (dict(names=['configs/x']), 'holds no config'),
    (dict(names=['configs', 'configs/aff.py']), 'more than one config is called aff'),
    (dict(seeds=[1, 1]), 'must be different numbers'), (dict(seeds=[-1]), 'from 0 on'),
    (dict(epochs=0), '--epochs must be 1 or more'), (dict(options=['widht=3']), 'did you mean width'),
    (dict(options=['train_cfg.max_epochs=None']), 'does not count epochs')])
def test_mistakes_are_named_before_anything_is_trained(change, words):
    with pytest.raises(UserError, match=words):
        runs(**change)


def test_a_run_is_taken_once():
    run = runs(seeds=[0])[0]
    descriptor = run.take()
    assert run.take() is None
    os.close(descriptor)
    again = run.take()
    assert again is not None
    os.close(again)


def test_a_file_system_without_locks_is_named(monkeypatch):
    run, closed, close = runs(seeds=[0])[0], [], os.close

    def flock(descriptor, operation):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, 'flock', flock)
    monkeypatch.setattr(os, 'close', lambda descriptor: (closed.append(descriptor), close(descriptor)))
    with pytest.raises(UserError, match=r'^w/aff-seed0 cannot be locked \(Function not implemented\).*--work-dir'):
        run.take()
    assert len(closed) == 1 and not Path('w/aff-seed0/options.json').exists()


@pytest.mark.parametrize(('option', 'kept'), [
    ('data_root=/home/me/cifar10', 'data_root=cifar10'), ('data_root=~/data/cifar10/', 'data_root=cifar10/'),
    ('data_root=data/cifar10', 'data_root=data/cifar10'), ('names=["/a/b/c", /d/e]', 'names=["c", e]'),
    ('load_from=https://host/x/y.pth', 'load_from=https://host/x/y.pth'), ('width=1/2', 'width=1/2')])
def test_folders_of_the_machine_are_not_kept(option, kept):
    assert public_options(['train_cfg.max_epochs=3', option]) == [kept]


def test_the_baseline_is_one_of_the_configs():
    paths = [Path('configs/aff_1x.py'), Path('configs/aff-sum_1x.py'), Path('other.py'), Path('aff_1x_y.py')]
    assert find_baseline(None, paths) == 'aff_1x' and find_baseline('configs/other.py', paths) == 'other'
    assert find_baseline('aff-sum', paths) == 'aff-sum_1x' and find_baseline('aff_1x', paths) == 'aff_1x'
    for name, words in (('aff', 'several'), ('nothing', 'none'), ('af', 'none')):
        with pytest.raises(UserError, match=f'--baseline {name} is {words} of the configs: aff_1x, aff-sum_1x'):
            find_baseline(name, paths)


def test_jobs_share_cores_and_gpus(monkeypatch):
    monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: set(range(5)))
    monkeypatch.setattr(study_queue, '_gpus', lambda: [])
    assert make_slots(None, 9) == [{'OMP_NUM_THREADS': '5'}]
    assert make_slots(2, 9) == [{'OMP_NUM_THREADS': '2'}] * 2
    assert make_slots(9, 9) == [{'OMP_NUM_THREADS': '1'}] * 9 and len(make_slots(9, 3)) == 3
    monkeypatch.setattr(study_queue, '_gpus', lambda: ['4', 'GPU-ab'])
    assert make_slots(None, 9) == [{'OMP_NUM_THREADS': '2', 'CUDA_VISIBLE_DEVICES': gpu} for gpu in ('4', 'GPU-ab')]
    assert [slot['CUDA_VISIBLE_DEVICES'] for slot in make_slots(3, 9)] == ['4', 'GPU-ab', '4']


def test_the_gpus_that_may_be_used(monkeypatch):
    import torch
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    for named, found in ((None, ['0', '1']), ('3,5', ['3', '5'])):
        monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
        if named:
            monkeypatch.setenv('CUDA_VISIBLE_DEVICES', named)
        assert study_queue._gpus() == found
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert study_queue._gpus() == []


def test_the_tools_example_is_the_shipped_study():
    """The command in its docstring names what is there."""
    spec = importlib.util.spec_from_file_location('ablation_study_tool', ROOT / 'tools' / 'ablation_study.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    line = next(line for line in tool.__doc__.replace('\\\n', ' ').splitlines() if 'ablation_study.py configs' in line)
    parser = argparse.ArgumentParser()
    ablation_study.add_arguments(parser)
    args = parser.parse_args(line.split('ablation_study.py ')[1].split())
    found = plan([ROOT / name for name in args.configs], args.seeds, args.epochs, args.cfg_options, 'w', 'out')
    assert len(found) == 39 and {run.epochs for run in found} == {9} and args.page == 'docs/results.md'
    assert find_baseline(args.baseline, [run.config for run in found[:13]]) == 'table4_affnet-et-aff_1xb64-18e_cifar10'
    assert (ROOT / args.page).is_file()
