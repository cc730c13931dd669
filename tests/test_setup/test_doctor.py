"""The doctor reports whatever is broken, and breaks at nothing."""
import os
import subprocess
import sys

import pytest

# What a healthy environment answers; tests spoil single entries.
HEALTHY = {
    'torch': dict(version='2.14.1+cu130', cuda='13.0', gpus=[]),
    'torchvision': dict(version='0.29.1'),
    'numpy': dict(version='2.4.6'),
    'mmengine': dict(version='0.10.12'),
    'mmcv': dict(version='2.3.6'),
    'mmcv.ops': dict(version=''),
    'mmdet': dict(version='3.5.1'),
    'mmseg': dict(version='1.4.2'),
    'mmpretrain': dict(version='1.3.6'),
    'pycocotools': dict(version=''),
    'mmaffnet': dict(version='0.1.0'),
}


@pytest.fixture
def broken_module(doctor, tmp_path, monkeypatch):
    """broken_module(source) imports a module of that source as the doctor does, and returns its answer."""
    monkeypatch.setattr(doctor.subprocess, 'run', _with_path(tmp_path, subprocess.run))

    def ask(source, **options):
        (tmp_path / 'patient.py').write_text(source)
        return doctor.ask('patient', **options)

    return ask


def _with_path(folder, run):
    return lambda command, **options: run(command, env=dict(os.environ, PYTHONPATH=str(folder)), **options)


@pytest.mark.parametrize(('source', 'error'), [
    ('raise ValueError("wrong numpy")', 'ValueError: wrong numpy'),
    ('import absent_part', "No module named 'absent_part'"),
    ('raise SystemExit(3)', 'exit code 3'),
    ('raise SystemExit', 'exit code 0'),
    ('import os; os._exit(0)', 'exit code 0'),
    ('import os, signal; os.kill(os.getpid(), signal.SIGSEGV)', 'crashes Python (signal 11)'),
    ('raise KeyboardInterrupt', 'signal 2'),
    ('class Odd(BaseException): pass\nraise Odd("odd")', 'odd'),
    ('def f(:', 'SyntaxError'),
    ('print("ANSWER {not json")\nraise ImportError("libcudart.so.13: cannot open")', 'libcudart.so.13: cannot open'),
    ('import sys; sys.stderr.buffer.write(b"\\xff\\xfe\\n"); sys.exit(1)', ''),
])
def test_a_module_that_breaks_at_import(broken_module, source, error):
    answer = broken_module(source)
    assert set(answer) == {'error'} and error in answer['error']


def test_a_module_that_hangs(broken_module):
    assert 'takes longer than 1 seconds' in broken_module('import time; time.sleep(60)', timeout=1)['error']


@pytest.mark.parametrize(('source', 'version'), [
    ('__version__ = "1.2.3"\nprint("hello")', '1.2.3'),
    ('', ''),
    ('import atexit; atexit.register(print, "bye")\n__version__ = "7"', '7'),
])
def test_a_module_that_works(broken_module, source, version):
    assert broken_module(source)['version'] == version


def test_a_module_that_is_not_there(doctor):
    assert doctor.ask('surely_absent_module') == {'error': 'not installed'}


def test_a_folder_of_that_name_where_one_stands_is_not_installed(doctor, tmp_path, monkeypatch):
    (tmp_path / 'surely_absent_module').mkdir()
    (tmp_path / 'surely_absent_module' / '__init__.py').write_text('')
    monkeypatch.chdir(tmp_path)
    assert doctor.ask('surely_absent_module') == {'error': 'not installed'}


def report(doctor, distributions=(), **changes):
    """Run the report on answers with some of them replaced; gives exit code and text."""
    answers = {**HEALTHY, **{name.replace('__', '.'): answer for name, answer in changes.items()}}
    lines = []
    code = doctor.report(answers.get, dict(distributions), lines.append)
    return code, '\n'.join(lines)


def test_a_healthy_environment(doctor):
    code, text = report(doctor)
    assert code == 0 and 'To mend it' not in text and 'Warning' not in text
    assert 'mmcv           2.3.6 with compiled ops' in text
    for task in ('classification', 'detection', 'segmentation'):
        assert f'{task:<15}ready' in text


def test_without_ops_classification_still_works(doctor):
    code, text = report(doctor, mmcv__ops={'error': "No module named 'mmcv._ext'"})
    assert code == 1 and 'mmcv           2.3.6 without compiled ops' in text
    assert 'classification ready' in text
    assert 'detection      lacks mmcv.ops' in text and 'segmentation   lacks mmcv.ops' in text
    assert "No module named 'mmcv._ext'" in text and text.count('To mend it:') == 1


def test_one_host_missing_stops_one_task(doctor):
    code, text = report(doctor, mmseg={'error': 'not installed'})
    assert code == 1 and 'segmentation   lacks mmseg' in text
    assert 'classification ready' in text and 'detection      ready' in text


def test_without_anything(doctor):
    code, text = report(doctor, **{name.replace('.', '__'): {'error': 'not installed'} for name in HEALTHY})
    assert code == 1 and 'lacks torch, numpy, mmengine, mmcv, mmcv.ops, mmdet, pycocotools, mmaffnet' in text


@pytest.mark.parametrize(('module', 'version', 'fits'), [
    ('torch', '2.3.1', False), ('torch', '2.4.0+cpu', True), ('torch', '2.14.1+cu130', True),
    ('mmengine', '0.10.7', True), ('mmengine', '0.10.12', True), ('mmengine', '0.7.4', False),
    ('mmcv', '2.1.0', True), ('mmcv', '2.3.6', True), ('mmcv', '1.7.2', False),
    ('mmdet', '3.3.0', True), ('mmdet', '3.5.1', True), ('mmdet', '2.28.0', False),
    ('mmseg', '1.2.2', True), ('mmseg', '1.4.2', True), ('mmpretrain', '1.2.0', True), ('mmpretrain', '1.3.6', True),
    ('numpy', '1.26.4', True), ('numpy', '2.4.6', True),
])
def test_both_sets_of_hosts_are_in_range(doctor, module, version, fits):
    assert doctor.in_range(version, doctor.RANGES[module]) is fits
    code, text = report(doctor, **{module: dict(HEALTHY[module], version=version)})
    assert (code == 0) is fits and (f'version {version} is outside' in text) is not fits


def test_two_owners_of_one_module_are_named(doctor):
    code, text = report(doctor, {'mmcv': '2.1.0', 'onedl-mmcv': '2.3.6', 'mmdet': '3.3.0'})
    assert code == 0 and text.count('Warning') == 1
    assert 'onedl-mmcv 2.3.6 and mmcv 2.1.0 own the same module mmcv' in text
    assert 'pip uninstall onedl-mmcv mmcv"' in text
    assert 'opencv-python-headless 5 and opencv-python 4 own' in report(
        doctor, {'opencv-python': '4', 'opencv-python-headless': '5'})[1]


def test_the_mending_line_fits_the_environment(doctor, monkeypatch):
    lacks_ops, lacks_torch = {'mmcv.ops': 'x'}, {'torch': 'x', 'mmcv.ops': 'x'}
    monkeypatch.setattr(sys, 'prefix', '/src/.venv')
    assert doctor.mend(lacks_ops, '/src') == 'cd /src && make setup FORCE=1'
    monkeypatch.setattr(sys, 'prefix', '/env')
    assert doctor.mend(lacks_ops, '/src') == f'cd /src && make setup FORCE=1 PYTHON={sys.executable}'
    assert doctor.mend(lacks_torch, '/src') == 'cd /src && make setup FORCE=1'
    assert doctor.mend(lacks_torch, None).endswith('pip install torch torchvision')
    assert 'MMCV_WITH_OPS=1' in doctor.mend(lacks_ops, None) and 'onedl-mmcv==2.3.6' in doctor.mend(lacks_ops, None)
    assert "torchvision==0.28.*'" in doctor.mend({'torchvision': 'x'}, '/src', '2.13.0+cpu')
    assert "'mmaffnet[onedl]'" in doctor.mend({'mmengine': 'x'}, None)


def test_damaged_metadata_of_a_package_is_passed_over(doctor, tmp_path, monkeypatch):
    (tmp_path / 'damaged-1.dist-info').mkdir()
    (tmp_path / 'empty-1.dist-info').mkdir()
    (tmp_path / 'empty-1.dist-info' / 'METADATA').write_text('')
    monkeypatch.syspath_prepend(str(tmp_path))
    assert 'torch' in doctor.installed()


@pytest.mark.slow
def test_the_program_in_an_interpreter_that_has_nothing(checkout, tmp_path):
    """A bare environment without pip: exit code 1, every module reported, no traceback."""
    subprocess.run([sys.executable, '-m', 'venv', '--without-pip', tmp_path / 'bare'], check=True)
    done = subprocess.run([tmp_path / 'bare' / 'bin' / 'python', checkout / 'tools' / 'doctor.py'], capture_output=True,
                          text=True, cwd=tmp_path)
    assert done.returncode == 1 and 'Traceback' not in done.stdout + done.stderr
    assert done.stdout.count('not installed') == 10
    assert f'cd {checkout} && make setup FORCE=1\n' in done.stdout
