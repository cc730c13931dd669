"""Each prerequisite that is missing ends in one sentence that says what to do."""
import dataclasses
import subprocess
import sys

import pytest


@pytest.fixture
def python(tool):
    return tool('prerequisites').interpreter(sys.executable)


def test_this_interpreter_describes_itself(python, checkout):
    assert python.version == '.'.join(map(str, sys.version_info[:3]))
    assert python.prefix == sys.prefix and python.base_prefix == sys.base_prefix
    assert python.purelib in python.site_paths


def test_this_machine_passes(tool, python):
    prerequisites = tool('prerequisites')
    usable = dataclasses.replace(python, headers=__file__, venv=True, managed=False)
    assert prerequisites.check_platform() == prerequisites.check_python(usable) == ''
    assert prerequisites.check_venv(usable) == ''
    assert prerequisites.check_headers(usable) == prerequisites.check_managed(usable) == ''


@pytest.mark.parametrize(('values', 'words'), [
    (('Darwin', 'arm64', ('', '')), ['Linux only', 'Darwin', 'container']),
    (('Linux', 'aarch64', ('glibc', '2.36')), ['x86-64', 'aarch64']),
    (('Linux', 'x86_64', ('glibc', '2.27')), ['glibc 2.28', 'glibc 2.27', 'newer distribution']),
    (('Linux', 'x86_64', ('', '')), ['glibc 2.28', 'another C library']),
])
def test_platform(tool, values, words):
    sentence = tool('prerequisites').check_platform(*values)
    assert all(word in sentence for word in words) and sentence.endswith('.') and '\n' not in sentence


def test_glibc_of_two_digits_is_compared_as_numbers(tool):
    check = tool('prerequisites').check_platform
    assert check('Linux', 'x86_64', ('glibc', '2.28')) == '' and check('Linux', 'x86_64', ('glibc', '2.9')) != ''


@pytest.mark.parametrize('version', ['3.10.13', '3.13.0'])
def test_python_version(tool, python, version):
    sentence = tool('prerequisites').check_python(dataclasses.replace(python, version=version))
    assert '3.11 or 3.12' in sentence and version in sentence


def test_gaps_of_an_interpreter(tool, python):
    prerequisites = tool('prerequisites')
    bare = dataclasses.replace(python, headers='/nowhere/Python.h', venv=False, managed=True, free_threaded=True)
    assert 'venv or ensurepip' in prerequisites.check_venv(bare)
    assert '/nowhere/Python.h is missing' in prerequisites.check_headers(bare)
    assert 'belongs to the operating system' in prerequisites.check_managed(bare)
    assert 'free-threaded' in prerequisites.check_python(bare)


def test_programs_and_the_command_that_brings_them(tool, monkeypatch):
    prerequisites = tool('prerequisites')
    monkeypatch.delenv('CXX', raising=False)

    def debian(name):
        return '/usr/bin/apt-get' if name == 'apt-get' else None

    assert prerequisites.check_compiler(debian) == (
        'There is no C++ compiler (c++), which builds mmcv: install one, for example with "apt-get install '
        'build-essential".')
    assert 'apt-get install make' in prerequisites.check_make(debian)
    assert prerequisites.check_make(lambda name: None) == 'There is no make: install it.'
    assert prerequisites.hint('headers', '3.12', debian) == ', for example with "apt-get install python3.12-dev"'
    assert prerequisites.hint('headers', '3.12', lambda name: name if name == 'zypper' else None).endswith(
        '"zypper install python312-devel"')
    monkeypatch.setenv('CXX', 'clang++ -stdlib=libc++')
    assert '(clang++)' in prerequisites.check_compiler(debian)


def test_disk(tool, tmp_path):
    check = tool('prerequisites').check_disk
    assert check(tmp_path, 9 * 10**9, 9 * 10**9) == ''
    assert '3.5 GB free, and the set-up needs 9 GB' in check(tmp_path, 9 * 10**9, 3_500_000_000)


def test_all_gaps_come_at_once(tool, python, tmp_path):
    bare = dataclasses.replace(python, version='3.9.1', headers='/nowhere/Python.h', venv=False)
    found = tool('prerequisites').problems(bare, True, tmp_path, 10**18)
    assert [any(word in sentence for sentence in found)
            for word in ('3.11 or 3.12', 'Python.h', 'ensurepip', 'GB free')] == [True] * 4


def test_an_old_python_ends_in_a_sentence(tool, monkeypatch, capsys):
    launcher = tool('setup_env')
    monkeypatch.setattr(launcher, 'SUPPORTED', ((9, 9), ))
    assert launcher.main([]) == 2
    assert 'mmaffnet needs Python 3.11 or 3.12, and PATH has only' in capsys.readouterr().err


def test_the_launcher_takes_the_python_that_fits(tool, tmp_path, monkeypatch):
    launcher = tool('setup_env')
    for name, version in (('python3', '3 9'), ('python3.12', '')):
        (tmp_path / name).write_text(f'#!/bin/sh\n[ -n "{version}" ] && echo {version}\n')
    (tmp_path / 'python3.11').write_text('#!/bin/sh\necho 3 11\n')
    for file in tmp_path.iterdir():
        file.chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path))
    assert launcher.find_python() == str(tmp_path / 'python3.11')
    assert launcher.find_python(str(tmp_path / 'python3')) == str(tmp_path / 'python3.11')


def test_the_launcher_parses_on_old_pythons(checkout):
    """No syntax newer than 3.6: the grammar of that version accepts it."""
    import ast
    text = (checkout / 'tools' / 'setup' / 'setup_env.py').read_text()
    ast.parse(text, feature_version=(3, 6))


@pytest.mark.parametrize(('named', 'words'), [
    ('/nowhere/bin/python', ['names no program', 'PYTHON=/path/to/env/bin/python']),
    ('false', ['does not run']),
])
def test_a_wrong_python_argument_ends_with_exit_code_2(checkout, named, words, tmp_path):
    done = subprocess.run([sys.executable, str(checkout / 'tools' / 'setup' / 'setup_env.py'), '--python', named],
                          capture_output=True, text=True,
                          env={'PATH': '/usr/bin:/bin', 'XDG_CACHE_HOME': str(tmp_path)})
    assert done.returncode == 2 and 'Traceback' not in done.stderr
    assert all(word in done.stderr for word in words)
