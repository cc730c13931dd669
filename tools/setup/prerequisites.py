"""What a machine must bring before mmaffnet can be installed; each gap is said in one sentence."""
import json
import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from processes import SetupError, ask, reason

SUPPORTED = ((3, 11), (3, 12))
# Measured: a .venv with the CUDA build of torch 2.14.1 holds 6.1 GB, and pip unpacks wheels of up to 0.6 GB beside it.
FREE_BYTES_NEW, FREE_BYTES_KEPT_TORCH = 9 * 10**9, 2 * 10**9

# Packages by the distribution's package manager.
PACKAGES = {
    'apt-get': {'compiler': 'build-essential', 'make': 'make', 'venv': 'python{v}-venv', 'headers': 'python{v}-dev'},
    'dnf': {'compiler': 'gcc-c++', 'make': 'make', 'venv': 'python{v}', 'headers': 'python{v}-devel'},
    'zypper': {'compiler': 'gcc-c++', 'make': 'make', 'venv': 'python{n}', 'headers': 'python{n}-devel'},
    'pacman': {'compiler': 'gcc', 'make': 'make', 'venv': 'python', 'headers': 'python'},
}
INSTALL = {'apt-get': 'apt-get install', 'dnf': 'dnf install', 'zypper': 'zypper install', 'pacman': 'pacman -S'}

PROBE = r'''
import importlib.util, json, os, sys, sysconfig
paths = sysconfig.get_paths()
print(json.dumps(dict(
    version=sys.version.split()[0], executable=sys.executable, prefix=sys.prefix, base_prefix=sys.base_prefix,
    soabi=sysconfig.get_config_var('SOABI') or '', free_threaded=bool(sysconfig.get_config_var('Py_GIL_DISABLED')),
    headers=os.path.join(paths['include'], 'Python.h'), purelib=paths['purelib'],
    site_paths=[path for path in sys.path if path.endswith(('site-packages', 'dist-packages'))],
    managed=sys.prefix == sys.base_prefix and os.path.exists(os.path.join(paths['stdlib'], 'EXTERNALLY-MANAGED')),
    venv=all(importlib.util.find_spec(name) is not None for name in ('venv', 'ensurepip')),
    pip=importlib.util.find_spec('pip') is not None)))
'''


@dataclass(frozen=True)
class Interpreter:
    """What a Python interpreter says of itself; the fields are those of ``PROBE``."""
    version: str
    executable: str
    prefix: str
    base_prefix: str
    soabi: str
    free_threaded: bool
    headers: str
    purelib: str
    site_paths: tuple[str, ...]
    managed: bool
    venv: bool
    pip: bool

    @property
    def short(self) -> str:
        """Major and minor, as in ``3.11``."""
        return '.'.join(self.version.split('.')[:2])


def interpreter(python: str | Path) -> Interpreter:
    """Ask an interpreter where it keeps its things.

    Args:
        python (str | Path): Its path.

    Returns:
        Interpreter: Its answers.

    Raises:
        SetupError: It does not run.
    """
    answer = ask(python, PROBE)
    if answer.returncode != 0:
        raise SetupError(f'{python} does not run: {reason(answer.stderr.splitlines())}.')
    values = json.loads(answer.stdout.splitlines()[-1])
    return Interpreter(**{**values, 'site_paths': tuple(values['site_paths'])})


def hint(need: str, version: str = '3.11', which: Callable[[str], str | None] = shutil.which) -> str:
    """The command that installs something with this machine's package manager.

    Args:
        need (str): A key of ``PACKAGES``' inner tables.
        version (str): The Python version that a package belongs to.
        which (Callable): Finds programs; for tests.

    Returns:
        str: As in ``, for example with "apt-get install make"``, empty where no package manager is known.
    """
    for manager, packages in PACKAGES.items():
        if which(manager):
            package = packages[need].format(v=version, n=version.replace('.', ''))
            return f', for example with "{INSTALL[manager]} {package}"'
    return ''


def check_platform(system: str | None = None, machine: str | None = None, libc: tuple[str, str] | None = None) -> str:
    """Linux on x86-64 with glibc 2.28 or newer, which the wheels of torch ask for.

    Args:
        system (str, optional): Defaults to :func:`platform.system`.
        machine (str, optional): Defaults to :func:`platform.machine`.
        libc (tuple[str, str], optional): Defaults to :func:`platform.libc_ver`.

    Returns:
        str: A sentence, empty where all is well; so in every ``check_*`` here.
    """
    system, machine, libc = system or platform.system(), machine or platform.machine(), libc or platform.libc_ver()
    if system != 'Linux':
        return f'mmaffnet is set up on Linux only, and this is {system}: use a Linux machine, a container or WSL2.'
    if machine != 'x86_64':
        return f'mmaffnet is set up on x86-64 processors only, and this one is {machine}.'
    name, version = libc
    if name != 'glibc' or tuple(int(part) for part in version.split('.')[:2]) < (2, 28):
        has = f'{name} {version}' if name else 'another C library'
        return (f'torch needs glibc 2.28 or newer, and this system has {has}: use a newer distribution (Debian 10, '
                'Ubuntu 20.04, RHEL 8 and later have it).')
    return ''


def check_python(python: Interpreter) -> str:
    """Python 3.11 or 3.12, not the free-threaded build."""
    if tuple(int(part) for part in python.short.split('.')) not in SUPPORTED:
        return f'mmaffnet needs Python 3.11 or 3.12, and {python.executable} is {python.version}: name another one.'
    if python.free_threaded:
        return f'{python.executable} is a free-threaded build, for which the hosts have no wheels: use the usual one.'
    return ''


def check_venv(python: Interpreter) -> str:
    """The modules venv and ensurepip, which Debian packs by themselves."""
    if python.venv:
        return ''
    return (f'{python.executable} has no module venv or ensurepip, which make the .venv: install them'
            f'{hint("venv", python.short)}.')


def check_headers(python: Interpreter) -> str:
    """Python.h, which mmcv's extension is compiled against."""
    if Path(python.headers).is_file():
        return ''
    return (f'{python.headers} is missing, the C headers of {python.executable}: install them'
            f'{hint("headers", python.short)}.')


def check_compiler(which: Callable[[str], str | None] = shutil.which) -> str:
    """A C++ compiler: ``$CXX``, else ``c++``."""
    compiler = os.environ.get('CXX', '').split(' ')[0] or 'c++'
    if which(compiler):
        return ''
    return f'There is no C++ compiler ({compiler}), which builds mmcv: install one{hint("compiler", which=which)}.'


def check_make(which: Callable[[str], str | None] = shutil.which) -> str:
    """GNU make, by which all commands of the README run."""
    return '' if which('make') else f'There is no make: install it{hint("make", which=which)}.'


def check_disk(folder: Path, needed: int, free: int | None = None) -> str:
    """Enough room where the environment is made.

    Args:
        folder (Path): An existing directory on that disk.
        needed (int): Bytes.
        free (int, optional): Bytes that are free; asked from the system by default.

    Returns:
        str: A sentence, empty where all is well.
    """
    free = shutil.disk_usage(folder).free if free is None else free
    if free >= needed:
        return ''
    return (f'The disk of {folder} has {free / 1e9:.1f} GB free, and the set-up needs {needed / 1e9:.0f} GB there: '
            'make room, or put the checkout on another disk.')


def check_managed(python: Interpreter) -> str:
    """Not an interpreter that the operating system keeps to itself (PEP 668)."""
    if not python.managed:
        return ''
    return (f'{python.executable} belongs to the operating system, which lets pip install nothing into it: leave '
            'PYTHON= away (make then uses a .venv of its own) or name the python of a virtual environment.')


def problems(python: Interpreter, own: bool, folder: Path, free_bytes: int) -> list[str]:
    """Check everything.

    Args:
        python (Interpreter): The interpreter that the environment is made from, or the environment of the user.
        own (bool): Whether the .venv of this checkout is meant, which is still to be made.
        folder (Path): An existing directory on the disk that is filled.
        free_bytes (int): How much has to be free there.

    Returns:
        list[str]: A sentence for each gap.
    """
    answers = [check_platform(), check_python(python), check_headers(python), check_compiler(), check_make(),
               check_venv(python) if own else check_managed(python), check_disk(folder, free_bytes)]
    return [answer for answer in answers if answer]
