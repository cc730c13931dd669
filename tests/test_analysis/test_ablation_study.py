"""Studies of a trainer that computes nothing (study_stub.py): order, failures, kills, arrays."""
import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mmengine.config import Config
from torch import nn

from mmaffnet.analysis import ablation_study, results, study_queue, study_run
from mmaffnet.analysis.study_queue import Outcome
from mmaffnet.analysis.study_run import plan
from mmaffnet.engine.errors import Terminated, UserError

ROOT = Path(__file__).resolve().parents[2]
STUB = [sys.executable, str(Path(__file__).with_name('study_stub.py'))]
WIDTHS = dict(aff=40, none=30, other=35)
# A study of its own process: the stub trains, and parameters are counted without a host.
DRIVER = f'''
import argparse, sys
from mmengine.config import Config
from torch import nn
from mmaffnet.analysis import ablation_study, results
from mmaffnet.engine.errors import cli
results.read_config = lambda path: (Config.fromfile(path), None)
results.build = lambda cfg, host: nn.Linear(cfg.width, 1)
parser = argparse.ArgumentParser()
ablation_study.add_arguments(parser)
cli(lambda argv: ablation_study.run(parser.parse_args(argv), {STUB!r}))(sys.argv[1:])
'''


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A folder with the configs, no host, and no array."""
    for name, width in WIDTHS.items():
        (tmp_path / 'configs' / 'x').mkdir(parents=True, exist_ok=True)
        (tmp_path / 'configs' / f'{name}.py').write_text(f'train_cfg = dict(max_epochs=2)\nwidth = {width}\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv('SLURM_ARRAY_TASK_ID', raising=False)
    monkeypatch.setattr(study_queue, 'POLL', 0.01)
    return tmp_path


@pytest.fixture
def hostless(monkeypatch):
    """Parameters are width + 1."""
    monkeypatch.setattr(results, 'read_config', lambda path: (Config.fromfile(path), None))
    monkeypatch.setattr(results, 'build', lambda cfg, host: nn.Linear(cfg.width, 1))


def study(*arguments):
    """Run a study in this process; the exit code."""
    parser = argparse.ArgumentParser()
    ablation_study.add_arguments(parser)
    return ablation_study.run(parser.parse_args([*map(str, arguments), '--work-dir', 'w']), STUB)


def starts(name):
    """What the stub saw at each of its starts."""
    return [json.loads(line) for line in Path('w', name, 'starts.txt').read_text().splitlines()]


# Training


def test_study(hostless, monkeypatch, capsys):
    monkeypatch.setattr(study_queue, '_gpus', lambda: ['7', '8'])
    monkeypatch.setenv('STUB_MEET', '2')   # hangs unless two run at a time
    Path('page.md').write_text('<!-- results: w/results accuracy/top1 vs aff -->\n<!-- end -->\n')
    arguments = ['configs/none.py', 'configs/aff.py', '--seeds', 0, 1, '--epochs', 3, '--baseline', 'aff', '--page',
                 'page.md']
    assert study(*arguments) == 0
    said = capsys.readouterr().out
    assert '4 of 4 runs are to be trained, 2 at a time' in said and '[4/4] kept: ' in said
    # width + seed + epochs / 10
    assert 'kept: aff-seed1, accuracy/top1 41.30' in said and said.rstrip().endswith('4 of 4 runs are kept')
    kept = json.loads(Path('w/results/none-seed1/run.json').read_text())
    assert (kept['parameters'], kept['epochs'], kept['seed'], kept['config']) == (31, 3, 1, 'none')
    rows = json.loads(Path('w/results/study.json').read_text())[0]['rows']
    assert [(row['row'], row['value'][0], row['difference']) for row in rows] == [
        ('aff', pytest.approx(40.8), None), ('none', pytest.approx(30.8), pytest.approx(-10))]
    assert Path('w/results/study.md').read_text().strip() in Path('page.md').read_text()
    assert '(w/results/study.png)' in Path('page.md').read_text()
    # two GPUs, one run on each at a time
    for gpu in '78':
        times = sorted((starts(name)[0]['time'], float(Path('w', name, 'ends.txt').read_text())) for name in (
            'none-seed0', 'aff-seed0', 'none-seed1', 'aff-seed1') if starts(name)[0]['CUDA_VISIBLE_DEVICES'] == gpu)
        assert times and all(end < start for (_, end), (start, _) in zip(times, times[1:], strict=False))

    assert study(*arguments) == 0 and 'all 4 runs are kept: nothing is trained' in capsys.readouterr().out
    assert all(len(starts(name)) == 1 for name in ('none-seed0', 'aff-seed0', 'none-seed1', 'aff-seed1'))
    with pytest.raises(UserError, match='holds a run of 3 epochs, and 2 are asked for'):
        study('configs/aff.py')


def test_a_failed_run_is_named_and_the_others_go_on(hostless, monkeypatch, capsys):
    monkeypatch.setenv('STUB_FAIL', 'none')
    assert study('configs', '--seeds', 4) == 1
    said = capsys.readouterr().out
    assert 'failed: none-seed4 (exit code 3: error: the stub was told to fail); all that it printed: w/none-seed4/' in (
        said)
    assert '2 of 3 runs are kept; the same command tries the failed ones again' in said
    assert [row['row'] for row in json.loads(Path('w/results/study.json').read_text())[0]['rows']] == ['aff', 'other']
    monkeypatch.delenv('STUB_FAIL')
    assert study('configs', '--seeds', 4) == 0
    assert [start['epoch'] for start in starts('none-seed4')] == [0, 1] and len(starts('aff-seed4')) == 1


def test_other_ways_to_fail(hostless, monkeypatch, capsys):
    monkeypatch.setitem(globals(), 'STUB', [sys.executable, '-c', 'import os; os.kill(os.getpid(), 9)'])
    assert study('configs/aff.py', '--seeds', 0) == 1
    assert 'failed: aff-seed0 (killed by SIGKILL: it printed nothing)' in capsys.readouterr().out
    monkeypatch.setitem(globals(), 'STUB', [sys.executable, '-c', 'print("nothing to do")'])
    assert study('configs/aff.py', '--seeds', 0) == 1
    assert 'failed: aff-seed0 (no scalars.json at w/aff-seed0' in capsys.readouterr().out


def test_a_run_with_other_changes_is_not_taken_for_the_same(hostless, monkeypatch):
    monkeypatch.setenv('STUB_FAIL', 'aff')
    assert study('configs/aff.py', '--seeds', 0, '--cfg-options', 'width=3') == 1
    with pytest.raises(UserError, match=r"w/aff-seed0 was begun with the changes \['width=3'\]"):
        study('configs/aff.py', '--seeds', 0)
    monkeypatch.delenv('STUB_FAIL')
    assert study('configs/aff.py', '--seeds', 0, '--cfg-options', 'width=3') == 0
    for options in ([], ['--cfg-options', 'width=4']):   # of a kept one neither
        with pytest.raises(UserError, match=r"w/results/aff-seed0 was begun with the changes \['width=3'\] .* --out"):
            study('configs/aff.py', '--seeds', 0, *options)
    # the same epochs, named or as the config says
    assert study('configs/aff.py', '--seeds', 0, '--epochs', 2, '--cfg-options', 'width=3') == 0
    Path('w/results/aff-seed0/options.json').unlink()   # kept by results.py, which knows none
    assert study('configs/aff.py', '--seeds', 0) == 0


def test_what_is_kept_of_the_changes_has_no_folder_of_the_machine(hostless):
    options = [f'data_root={Path.cwd()}/cifar10/', 'width=3']
    Path('configs/aff.py').write_text('train_cfg = dict(max_epochs=2)\nwidth = 40\ndata_root = ""\n')
    assert study('configs/aff.py', '--seeds', 0, '--cfg-options', *options) == 0
    assert sorted(path.name for path in Path('w/results/aff-seed0').iterdir()) == [
        'options.json', 'run.json', 'scalars.json']
    assert Path('w/results/aff-seed0/options.json').read_text() == '["data_root=cifar10/", "width=3"]\n'
    # kept here, and gone on with on a machine where the data lie elsewhere
    assert study('configs/aff.py', '--seeds', 0, '--cfg-options', 'data_root=/elsewhere/cifar10/', 'width=3') == 0


# Kills and signals


@pytest.fixture
def driver():
    """Start a study in a process of its own: driver(*arguments, **environment) -> Popen."""
    started = []

    def start(*arguments, **env):
        started.append(subprocess.Popen(
            [sys.executable, '-c', DRIVER, *arguments, '--work-dir', 'w'], text=True, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env={**os.environ, 'PYTHONPATH': str(ROOT), **env}))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_for(path, text, seconds=300):
    """Wait until a file holds a text."""
    end = time.monotonic() + seconds
    while not (Path(path).exists() and text in Path(path).read_text()):
        assert time.monotonic() < end, f'{path} never held {text!r}'
        time.sleep(0.02)


@pytest.mark.parametrize('kill_the_run', [True, False])
def test_a_killed_study_goes_on(driver, hostless, monkeypatch, kill_the_run):
    arguments = ['configs/none.py', 'configs/aff.py', '--seeds', '0']
    process = driver(*arguments, STUB_GATE='aff')
    wait_for('w/aff-seed0/epoch.txt', '1')
    process.kill()
    process.wait()
    said = []

    def say(text):
        said.append(text)
        if 'waiting' in text:
            Path('gate').touch()

    if kill_the_run:
        os.kill(starts('aff-seed0')[0]['pid'], signal.SIGKILL)
        Path('gate').touch()
    monkeypatch.setattr(study_queue, 'say', say)
    assert study(*arguments) == 0
    assert len(starts('none-seed0')) == 1
    if kill_the_run:   # trained on from its first epoch
        assert [start['epoch'] for start in starts('aff-seed0')] == [0, 1]
    else:   # the run had gone on by itself: not started again beside itself, but waited for
        assert len(starts('aff-seed0')) == 1 and said == ['aff-seed0: another process trains it; waiting']
    records = results.read_runs('w/results')
    assert [record['step'] for record in records['aff'][0][1] if 'iter' not in record] == [1, 2]
    assert {row['row']: row['value'][0] for row in json.loads(Path('w/results/study.json').read_text())[0]['rows']} == {
        'none': pytest.approx(30.2), 'aff': pytest.approx(40.2)}


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_study_that_is_asked_to_end_lets_its_runs_save(driver, hostless, number):
    arguments = ['configs', '--seeds', '0', '--jobs', '2']
    process = driver(*arguments, STUB_GATE='aff none', CUDA_VISIBLE_DEVICES='')
    for name in ('aff', 'none'):
        wait_for(f'w/{name}-seed0/epoch.txt', '1')
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 143, error
    assert error.splitlines()[-1] == ('stopped: 0 of 3 runs are kept; asked to end: aff-seed0, none-seed0; '
                                      'the same command goes on') and 'Traceback' not in error
    assert Path('w/aff-seed0/output.log').read_text() == 'stopped: saved\n' and not Path('w/other-seed0').exists()
    assert study(*arguments) == 0
    assert [[start['epoch'] for start in starts(f'{name}-seed0')] for name in ('aff', 'none', 'other')] == [
        [0, 1], [0, 1], [0]]


def test_a_run_ends_with_the_study_that_was_killed():
    child = ('import sys, time\nfrom mmaffnet.analysis.study_child import follow\n'
             'assert follow(int(sys.argv[1]))\nprint("following", flush=True)\ntime.sleep(60)')
    parent = (f'import os, signal, subprocess, sys\n'
              f'p = subprocess.Popen([sys.executable, "-c", {child!r}, str(os.getpid())], stdout=subprocess.PIPE)\n'
              f'p.stdout.readline()\nprint(p.pid, flush=True)\nos.kill(os.getpid(), signal.SIGKILL)')
    done = subprocess.run([sys.executable, '-c', parent], capture_output=True, text=True,
                          env={**os.environ, 'PYTHONPATH': str(ROOT)})
    assert done.returncode == -signal.SIGKILL
    end = time.monotonic() + 20
    while time.monotonic() < end and alive(int(done.stdout)):
        time.sleep(0.05)
    assert not alive(int(done.stdout))


def alive(pid):
    """Whether a process is there and no zombie that its new parent has not collected."""
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except FileNotFoundError:
        return False


# Slurm


def test_the_tasks_of_an_array_are_the_runs(hostless, monkeypatch, capsys):
    arguments = ['configs', '--seeds', 0, 5]
    assert study(*arguments, '--array-size') == 0 and capsys.readouterr().out == '6\n'
    assert not Path('w').exists()
    for index, name in ((4, 'none-seed5'), (0, 'aff-seed0')):
        monkeypatch.setenv('SLURM_ARRAY_TASK_ID', str(index))
        assert study(*arguments) == 0
        assert Path(f'w/results/{name}/run.json').is_file()
    assert study(*arguments, '--task-index', 5) == 0   # what is given wins
    assert sorted(path.name for path in Path('w/results').iterdir()) == ['aff-seed0', 'none-seed5', 'other-seed5']
    for name, given in (('SLURM_ARRAY_TASK_ID', []), ('--task-index', ['--task-index', -1])):
        monkeypatch.setenv('SLURM_ARRAY_TASK_ID', '6')
        with pytest.raises(UserError, match=rf'{name} is (6|-1), but the runs are numbered 0 to 5: sbatch --array=0-5'):
            study(*arguments, *given)
    monkeypatch.delenv('SLURM_ARRAY_TASK_ID')
    capsys.readouterr()
    assert study(*arguments, '--report-only') == 0 and 'no run of seed 5' in capsys.readouterr().out
    assert len(list(Path('w/results').glob('*/run.json'))) == 3


def test_a_report_of_nothing_is_refused(hostless):
    with pytest.raises(UserError, match='w/results holds no finished run of these configs yet'):
        study('configs', '--report-only')
    Path('page.md').write_text('a page without a mark\n')
    for change, words in ((['--jobs', 0], '--jobs must be'), (['--page', 'nowhere.md'], 'does not exist'),
                          (['--page', 'page.md'], 'page.md has no place for a table')):
        with pytest.raises(UserError, match=words):
            study('configs', *change)
    assert not Path('w').exists()


def test_missing_data_is_told_once_before_the_training(hostless, capsys):
    sets = "data_root = '{}'\ntrain_dataloader = dict(dataset=dict(type='CustomDataset', data_root=data_root))\n"
    for name, folder in (('aff', 'configs'), ('none', 'nowhere')):
        with open(f'configs/{name}.py', 'a') as file:
            file.write(sets.format(folder))
    with pytest.raises(UserError, match='data root nowhere of the training data is missing'):
        study('configs')
    assert not Path('w').exists() and capsys.readouterr().out == ''
    assert study('configs', '--seeds', 0, '--cfg-options', 'data_root=configs') == 0
    # what has been trained needs no data, kept or not
    Path('configs').rename('moved')
    for out in ([], ['--out', 'another']):
        assert study('moved', '--seeds', 0, '--cfg-options', 'data_root=configs', *out) == 0
        assert capsys.readouterr().out.endswith('3 of 3 runs are kept\n')
    assert all(len(starts(f'{name}-seed0')) == 1 for name in WIDTHS)


def test_other_classes_are_told_once_before_the_training(monkeypatch):
    pytest.importorskip('mmpretrain')
    monkeypatch.setattr(study_run, 'import_host', lambda cfg: None)
    Path('pictures/cat').mkdir(parents=True)
    with open('configs/aff.py', 'a') as file:
        file.write("default_scope = 'mmpretrain'\nclasses = ('cat', 'dog')\ntrain_dataloader = dict("
                   "dataset=dict(type='CustomDataset', data_root='pictures', metainfo=dict(classes=classes)))\n")
    with pytest.raises(UserError, match=r"pictures/ has the 1 folders \('cat',\), but classes are the 2"):
        study('configs')
    assert not Path('w').exists()


def test_a_missing_scipy_is_told_before_the_training(hostless, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'scipy.special', None)
    with pytest.raises(UserError, match='intervals of confidence need scipy'):
        study('configs/aff.py', '--seeds', 0)
    assert not Path('w').exists()
    assert study('configs/aff.py', '--seeds', 0, '--task-index', 0) == 0   # makes no report


def test_a_wrong_metric_does_not_hide_what_became_of_the_runs(hostless, monkeypatch, capsys):
    arguments = ['configs', '--seeds', 0, '--metric', 'accuracy/top2']
    monkeypatch.setenv('STUB_FAIL', 'none')
    assert study(*arguments) == 1
    said = capsys.readouterr().out
    assert "kept: aff-seed0, which has no 'accuracy/top2' for the report; there are: loss, accuracy/top1" in said
    assert "no report: aff-seed0 has no 'accuracy/top2'; there are: loss, accuracy/top1\n" in said
    assert said.endswith('2 of 3 runs are kept; the same command tries the failed ones again\n')
    monkeypatch.delenv('STUB_FAIL')
    with pytest.raises(UserError, match="aff-seed0 has no 'accuracy/top2'"):
        study(*arguments)
    assert capsys.readouterr().out.endswith('3 of 3 runs are kept\n')


def test_a_stopped_study_ends_as_one_whatever_the_report_meets(hostless, monkeypatch, capsys):
    found = plan(['configs'], [0], None, [], 'w', 'w/results')
    assert study('configs/aff.py', '--seeds', 0) == 0
    monkeypatch.setattr(ablation_study, 'train', lambda *args: Outcome(stopped=[found[1]], left=[found[2]]))
    with pytest.raises(Terminated, match='1 of 3 runs are kept; asked to end: none-seed0; the same command goes on'):
        study('configs', '--seeds', 0, '--metric', 'mIoU')
    assert "no report: aff-seed0 has no 'mIoU'" in capsys.readouterr().out


def test_runs_of_other_configs_need_not_have_the_metric(hostless):
    assert study('configs/aff.py', 'configs/none.py', '--seeds', 0) == 0
    file = Path('w/results/none-seed0/scalars.json')
    file.write_text(file.read_text().replace('accuracy/top1', 'mIoU'))
    assert study('configs/aff.py', '--seeds', 0, '--report-only') == 0
    assert [row['row'] for row in json.loads(Path('w/results/study.json').read_text())[0]['rows']] == ['aff']
    with pytest.raises(UserError, match="none-seed0 has no 'accuracy/top1'"):
        study('configs/aff.py', 'configs/none.py', '--seeds', 0, '--report-only')
