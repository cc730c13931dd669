"""What the set-up shows, what it remembers, and how it runs other programs."""
import io
import os
import shutil
import time

import pytest


@pytest.fixture
def progress(tool):
    """A progress of two steps on a clock that the test turns."""
    clock = [0.0]
    stream = io.StringIO()
    made = tool('step_progress').StepProgress([('first', 10.0), ('second', 100.0)], stream, lambda: clock[0])
    made.clock, made.text = clock, stream.getvalue
    return made


def test_time_left_is_expectation_first_and_pace_later(progress):
    progress.start()
    assert progress.left() == 110.0
    progress.clock[0] = 4.0
    assert progress.left() == 106.0
    progress.update(0.2)  # a fifth in 4 seconds: 16 more
    assert progress.left() == 116.0
    progress.clock[0] = 20.0
    progress.start('going')
    assert progress.line() == '[2/2] second: going  (elapsed 0:20, about 1:40 left)'
    progress.expect(5.0)
    assert progress.left() == 5.0
    progress.clock[0] = 95.0
    progress.finish('done')
    assert progress.text().endswith('done (1:35)\n')


def test_a_file_gets_a_line_every_fifteen_seconds_at_most(progress):
    progress.start()
    for second in range(1, 31):
        progress.clock[0] = float(second)
        progress.update(0.0, f'second {second}')
    assert [line.split('  ')[0] for line in progress.text().splitlines()] == [
        '[1/2] first', '[1/2] first: second 15', '[1/2] first: second 30']


@pytest.fixture
def copied(tool, checkout, tmp_path):
    """The files that a set-up depends on, in a folder of their own."""
    for name in ('requirements/lock.txt', 'pyproject.toml', 'setup.py', 'mmaffnet/version.py'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(checkout / name, tmp_path / name)
    shutil.copytree(checkout / 'tools' / 'setup', tmp_path / 'tools' / 'setup')
    return tmp_path


def test_the_stamp_changes_with_all_that_a_set_up_depends_on(tool, copied):
    def key(prefix='/env', python='3.11.7', torch=('2.14.1', 'abc'), ops='auto'):
        return tool('stamp').key_of(copied, prefix, python, torch, ops)

    plain = key()
    keys = {plain, key(prefix='/other'), key(python='3.12.1'), key(torch=('2.14.1', 'abd')), key(torch=None),
            key(ops='cpu')}
    assert len(keys) == 6 and key() == plain
    for name in ('requirements/lock.txt', 'pyproject.toml', 'setup.py', 'mmaffnet/version.py',
                 'tools/setup/build_mmcv.py', 'tools/setup/setup_env.py'):
        before = key()
        with (copied / name).open('a') as file:
            file.write('# changed\n')
        assert key() != before, name
    before = key()
    (copied / 'tools' / 'setup' / 'new_part.py').write_text('')
    assert key() != before


def test_a_stamp_is_whole_or_absent(tool, tmp_path):
    stamp = tool('stamp')
    assert stamp.read(tmp_path) == {}
    stamp.write(tmp_path, key='abc')
    assert stamp.read(tmp_path) == {'key': 'abc', 'prefix': str(tmp_path)}
    assert [file.name for file in tmp_path.iterdir()] == [stamp.NAME]
    (tmp_path / stamp.NAME).write_text('{"key": "ab')
    assert stamp.read(tmp_path) == {}
    with pytest.raises(tool('processes').SetupError, match='cannot be written to'):
        stamp.write(tmp_path / 'absent', key='abc')


@pytest.fixture
def ready(tool, monkeypatch, tmp_path):
    """A target whose set-up is good, and the means to spoil it."""
    import dataclasses
    import sys
    installer, lock_file = tool('installer'), tool('lock_file')
    python = dataclasses.replace(tool('prerequisites').interpreter(sys.executable), prefix=str(tmp_path))
    sections = {'torch': {'torch': '2.14.1'}, 'libraries': {'numpy': '2.4.6'}, 'nvcc': {'nvidia-cuda-nvcc': '13.0.88'}}
    present = {name: lock_file.Installed(version, True) for name, version in
               (('torch', '2.14.1+cu130'), ('numpy', '2.4.6'), ('mmaffnet', '0.1.0'), ('onedl-mmcv', '2.3.6'))}
    monkeypatch.setattr(installer, 'installed', lambda paths: present)
    monkeypatch.setattr(installer, 'read_version', lambda paths: ('2.14.1+cu130', 'abc'))
    target = installer.Target(tmp_path / 'bin' / 'python', True, 'auto')
    key = tool('stamp').key_of(installer.CHECKOUT, str(tmp_path), python.version, ('2.14.1+cu130', 'abc'), 'auto')
    tool('stamp').write(tmp_path, key=key)

    def check(**changes):
        return installer.is_ready(dataclasses.replace(target, **changes), python, sections)

    check.present, check.prefix, check.installed = present, tmp_path, lock_file.Installed
    return check


def test_a_good_set_up_is_not_repeated(ready):
    assert ready()


@pytest.mark.parametrize('name', ['torch', 'numpy', 'mmaffnet', 'onedl-mmcv'])
def test_a_package_that_went_away_spoils_it(ready, name):
    del ready.present[name]
    assert not ready()


def test_another_version_a_cut_off_package_and_other_operators_spoil_it(ready):
    ready.present['numpy'] = ready.installed('2.4.5', True)
    assert not ready()
    ready.present['numpy'] = ready.installed('2.4.6', False)
    assert not ready()
    ready.present['numpy'] = ready.installed('2.4.6', True)
    assert ready() and not ready(ops='cpu')


def test_a_run_that_was_cut_off_counts_for_nothing(tool, ready):
    tool('stamp').write(ready.prefix, key=None)
    assert not ready()


def test_a_venv_that_is_not_ours_is_not_removed(tool, tmp_path):
    installer = tool('installer')
    (tmp_path / '.venv' / 'bin').mkdir(parents=True)
    target = installer.Target(tmp_path / '.venv' / 'bin' / 'python', True, 'auto')
    progress = tool('step_progress').StepProgress([('environment', 1.0)], io.StringIO())
    progress.start()
    with pytest.raises(tool('processes').SetupError, match='was not made by make.*rm -r'):
        installer.make_venv(target, None, tmp_path / 'log', progress)
    assert (tmp_path / '.venv' / 'bin').is_dir()


def test_a_venv_of_ours_that_was_cut_off_is_made_anew(tool, tmp_path):
    import sys
    installer, stamp = tool('installer'), tool('stamp')
    folder = tmp_path / '.venv'
    (folder / 'bin').mkdir(parents=True)
    (folder / 'left_over').write_text('')
    stamp.write(folder, key=None)
    progress = tool('step_progress').StepProgress([('environment', 1.0)], io.StringIO())
    progress.start()
    base = tool('prerequisites').interpreter(getattr(sys, '_base_executable', sys.executable))
    installer.make_venv(installer.Target(folder / 'bin' / 'python', True, 'auto'), base, tmp_path / 'log', progress)
    made = tool('prerequisites').interpreter(folder / 'bin' / 'python')
    assert made.prefix == str(folder) and made.pip and not (folder / 'left_over').exists()
    assert stamp.read(folder) == {'key': None, 'prefix': str(folder)}


@pytest.mark.parametrize(('versions', 'sentence'), [
    ({}, 'has no torch, and make installs none'),
    ({'torch': '2.3.1+cu121'}, 'has torch 2.3.1\\+cu121, and mmaffnet needs 2.4 or newer'),
    ({'torch': '2.13.0+cpu'}, 'without torchvision.*torchvision==0\\.28\\.\\*'),
])
def test_an_environment_of_the_user_needs_torch_and_torchvision(tool, tmp_path, versions, sentence):
    import dataclasses
    import sys
    python = dataclasses.replace(tool('prerequisites').interpreter(sys.executable), site_paths=(str(tmp_path), ))
    for package, version in versions.items():
        (tmp_path / package).mkdir()
        (tmp_path / package / 'version.py').write_text(
            f"from typing import Optional\n__version__ = '{version}'\ngit_version: str = 'abc'\n")
    with pytest.raises(tool('processes').SetupError, match=sentence):
        tool('installer').check_torch(python)
    (tmp_path / 'torchvision').mkdir(exist_ok=True)
    (tmp_path / 'torchvision' / 'version.py').write_text("__version__ = '0.28.0'\n")
    if versions.get('torch') == '2.13.0+cpu':
        tool('installer').check_torch(python)


def test_the_installed_torch_is_read_from_its_files(tool):
    import sys

    import torch
    python = tool('prerequisites').interpreter(sys.executable)
    assert tool('torch_facts').read_version(python.site_paths) == (torch.__version__, torch.version.git_version)


def test_versions_are_compared_as_numbers(tool):
    release = tool('torch_facts').release
    assert release('2.14.1+cu130') == (2, 14, 1) and release('2.4.0a0+git') == (2, 4, 0) and release('') == ()
    assert release('2.14') > release('2.4')
    assert tool('torch_facts').matching_torchvision('2.14.1') == '0.29'


def test_output_goes_to_the_log_and_to_the_callback(tool, tmp_path):
    lines = []
    code, tail = tool('processes').run_logged(['sh', '-c', 'echo one; echo two >&2; exit 3'], tmp_path / 'a' / 'log',
                                              lines.append)
    assert (code, tail, lines) == (3, ['one', 'two'], ['one', 'two'])
    assert (tmp_path / 'a' / 'log').read_text().endswith('one\ntwo\n')


def test_an_interrupt_ends_the_programs_that_were_started(tool, tmp_path):
    def interrupt(line):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tool('processes').run_logged(['sh', '-c', f'sleep 300 & echo $! > {tmp_path}/pid; echo started; wait'],
                                     tmp_path / 'log', interrupt)
    pid = int((tmp_path / 'pid').read_text())
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        with open(f'/proc/{pid}/stat') as stat:
            if stat.read().rsplit(')', 1)[1].split()[0] == 'Z':
                return
        time.sleep(0.05)
    pytest.fail('the program that was started still runs')


def test_the_line_that_says_why(tool):
    reason = tool('processes').reason
    compiler = ['x.cpp:2:1: error: no type', '1 error generated.', 'ninja: build stopped.']
    assert reason(compiler) == compiler[0]
    assert reason(['Traceback', 'ValueError: bad', '']) == 'ValueError: bad'
    assert reason(['some', 'words']) == 'words' and reason([]) == 'it printed nothing'


def test_misleading_settings_do_not_reach_pip(tool, monkeypatch):
    for name in ('PYTHONPATH', 'PIP_TARGET', 'PIP_USER'):
        monkeypatch.setenv(name, '/elsewhere')
    monkeypatch.setenv('PIP_CERT', '/certificates')
    environment = tool('processes').clean_environment({'A': 'b'})
    assert not {'PYTHONPATH', 'PIP_TARGET', 'PIP_USER'} & set(environment)
    assert environment['PIP_CERT'] == '/certificates' and environment['A'] == 'b'
