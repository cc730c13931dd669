"""The programs of tools/setup, which run outside any package, as modules of the tests."""
import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def load(path):
    """Load a program by its path; its own siblings are found as when it is run."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='session')
def tool():
    """tool('lock_file') gives the module tools/setup/lock_file.py."""
    folder = str(ROOT / 'tools' / 'setup')
    sys.path.insert(0, folder)
    yield lambda name: sys.modules.get(name) or load(ROOT / 'tools' / 'setup' / f'{name}.py')
    sys.path.remove(folder)


@pytest.fixture(scope='session')
def doctor():
    """The module tools/doctor.py."""
    return load(ROOT / 'tools' / 'doctor.py')


@pytest.fixture(scope='session')
def checkout():
    """Root of the checkout."""
    return ROOT


@pytest.fixture
def facts(tool):
    """facts(version=…) gives what a torch could answer, with the named fields replaced."""
    def make(**changes):
        values = dict(version='2.14.1+cu130', git='5c48', cuda='13.0', hip=None, gpu=False, archs=[], cxx11_abi=True,
                      include_paths=[], cuda_home=None, soabi='cpython-311-x86_64-linux-gnu', cflags='-O2 -Wall',
                      ccshared='-fPIC', python_include='/nowhere', purelib='/nowhere', path=[''])
        return tool('torch_facts').TorchFacts(**{**values, **changes})

    return make
