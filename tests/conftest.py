"""Shared fixtures: paths, sample photographs, reference numbers, and a way to run a tool as a user does."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / 'tests' / 'data' / 'reference'
BUILT_FROM = ('mmaffnet', 'configs', 'tools', 'pyproject.toml', 'setup.py', 'MANIFEST.in', 'model-index.yml', 'LICENSE',
              'README.md')


@pytest.fixture(scope='session')
def data_root() -> Path:
    """Folder of the sample photographs (MMAFFNET_TEST_DATA); the test is skipped, or with MMAFFNET_REQUIRE_DATA=1
    fails, where it is absent."""
    folder = Path(os.environ.get('MMAFFNET_TEST_DATA', ROOT.parent / 'shared' / 'data'))
    if not (folder / 'coco' / 'annotations').is_dir():
        reason = f'sample photographs not found in {folder}; set MMAFFNET_TEST_DATA to a folder that holds coco/ …'
        if os.environ.get('MMAFFNET_REQUIRE_DATA') == '1':
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


@pytest.fixture(scope='session')
def config_root() -> Path:
    """Folder of the shipped configs."""
    return ROOT / 'configs'


@pytest.fixture(scope='session')
def reference():
    """Load one file of reference numbers by name."""
    def load(name: str) -> dict:
        return torch.load(REFERENCE / name, weights_only=True)

    return load


@pytest.fixture(scope='session')
def reference_weights():
    """The module that regenerates the reference weights and inputs."""
    spec = importlib.util.spec_from_file_location('reference_weights', REFERENCE / 'weights.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='session')
def run_tool():
    """Run a script of tools/ with this Python: run_tool(['train.py', config, …], cwd=…, env={…}, timeout=…)."""
    def run(args, cwd=None, env=None, timeout=600) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, str(ROOT / 'tools' / args[0]), *map(str, args[1:])], cwd=cwd, timeout=timeout, text=True,
            capture_output=True, env={**os.environ, **(env or {})})

    return run


@pytest.fixture
def eight_photographs(data_root):
    """Write a COCO-format set of the first eight annotated training photographs, for training and validation alike:
    eight_photographs(folder) -> the annotation file's content."""
    def write(target: Path) -> dict:
        source = data_root / 'coco'
        full = json.loads((source / 'annotations' / 'instances_train2017.json').read_text())
        annotated = {annotation['image_id'] for annotation in full['annotations']}
        images = [image for image in full['images'] if image['id'] in annotated][:8]
        ids = {image['id'] for image in images}
        full.update(images=images, annotations=[a for a in full['annotations'] if a['image_id'] in ids])
        (target / 'annotations').mkdir(parents=True)
        for part in ('train2017', 'val2017'):
            (target / 'annotations' / f'instances_{part}.json').write_text(json.dumps(full))
            (target / part).symlink_to(source / 'train2017')
        return full

    return write


@pytest.fixture(scope='session')
def check_wheel():
    """The program .ci/check_wheel.py."""
    spec = importlib.util.spec_from_file_location('check_wheel', ROOT / '.ci' / 'check_wheel.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='session')
def wheel(tmp_path_factory):
    """A wheel built from a copy that holds what must not be shipped: data, results, a build folder of yesterday."""
    copy = tmp_path_factory.mktemp('checkout')
    ignored = shutil.ignore_patterns('__pycache__', '.mim', '*.egg-info')
    for name in BUILT_FROM:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, copy / name)
    for name in ('build/lib/mmaffnet/removed.py', 'build/lib/mmaffnet/.mim/configs/removed.py', 'tests/test_x.py',
                 'data/coco/train2017/1.jpg', 'work_dirs/run/epoch_1.pth', 'configs/ssdlite/notes.txt'):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_text('')
    done = subprocess.run([sys.executable, '-m', 'pip', 'wheel', '--no-deps', '--no-build-isolation', '--no-cache-dir',
                           '-q', '-w', copy / 'dist', copy], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return next((copy / 'dist').glob('*.whl'))


@pytest.fixture(scope='session')
def installed(check_wheel, wheel, tmp_path_factory):
    """Folder of programs of an environment that has the wheel, and the hosts of this one."""
    return check_wheel.install(wheel, tmp_path_factory.mktemp('installed') / 'environment')


def pytest_collection_modifyitems(items):
    """Tests for GPUs run where one is."""
    if not torch.cuda.is_available():
        for item in items:
            if 'gpu' in item.keywords:
                item.add_marker(pytest.mark.skip(reason='needs a CUDA device'))


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)
