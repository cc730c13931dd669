"""Ask an environment's torch what an extension for it has to be built with."""
import json
import re
from dataclasses import dataclass
from pathlib import Path

from processes import SetupError, ask, reason

MINIMUM = (2, 4)

PROBE = r'''
import json, os, sysconfig
import torch
from torch.utils import cpp_extension
try:
    import ninja
    ninja_dir = ninja.BIN_DIR
except (ImportError, AttributeError):
    ninja_dir = ''
gpu = torch.cuda.is_available()
print(json.dumps(dict(
    version=torch.__version__, git=torch.version.git_version or '', cuda=torch.version.cuda, hip=torch.version.hip,
    gpu=gpu, archs=sorted({'%d.%d' % torch.cuda.get_device_capability(i)
                           for i in range(torch.cuda.device_count())}) if gpu else [],
    cxx11_abi=torch.compiled_with_cxx11_abi(), include_paths=cpp_extension.include_paths(),
    cuda_home=cpp_extension.CUDA_HOME, soabi=sysconfig.get_config_var('SOABI'),
    cflags=sysconfig.get_config_var('CFLAGS') or '', ccshared=sysconfig.get_config_var('CCSHARED') or '',
    python_include=sysconfig.get_paths()['include'], purelib=sysconfig.get_paths()['purelib'],
    path=[sysconfig.get_path('scripts'), ninja_dir])))
'''


@dataclass(frozen=True)
class TorchFacts:
    """What ``PROBE`` printed: torch's build, its headers, this machine's GPUs, and how its Python compiles."""
    version: str
    git: str
    cuda: str | None
    hip: str | None
    gpu: bool
    archs: list[str]
    cxx11_abi: bool
    include_paths: list[str]
    cuda_home: str | None
    soabi: str
    cflags: str
    ccshared: str
    python_include: str
    purelib: str
    path: list[str]


def torch_facts(python: str | Path) -> TorchFacts:
    """Import an environment's torch and ask it.

    Args:
        python (str | Path): The interpreter of the environment.

    Returns:
        TorchFacts: Its answers.

    Raises:
        SetupError: torch, or setuptools which its builder needs, cannot be imported.
    """
    answer = ask(python, PROBE)
    if answer.returncode != 0:
        raise SetupError(f'torch in {python} cannot be used: {reason(answer.stderr.splitlines())}.')
    return TorchFacts(**json.loads(answer.stdout.splitlines()[-1]))


def release(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: ``2.14.1+cu130`` and ``2.14.1a0`` give ``(2, 14, 1)``."""
    numbers = re.match(r'\d+(?:\.\d+)*', version)
    return tuple(int(part) for part in numbers.group().split('.')) if numbers else ()


def read_version(site_paths: tuple[str, ...], package: str = 'torch') -> tuple[str, str] | None:
    """Read torch's build from its files, without the seconds that an import takes.

    Args:
        site_paths (tuple[str, ...]): The directories of the interpreter's ``sys.path``.
        package (str): ``torch`` or ``torchvision``, which write the same kind of ``version.py``.

    Returns:
        tuple[str, str] | None: ``__version__`` and ``git_version`` as they stand there; None where there is none.
    """
    for folder in site_paths:
        file = Path(folder) / package / 'version.py'
        if file.is_file():
            text = file.read_text(encoding='utf-8')
            version = re.search(r"^__version__\s*(?::\s*\w+\s*)?=\s*['\"]([^'\"]+)", text, re.M)
            git = re.search(r"^git_version\s*(?::[^=]+)?=\s*['\"]([^'\"]+)", text, re.M)
            return (version.group(1) if version else 'unknown'), (git.group(1) if git else '')
    return None


def matching_torchvision(torch_version: str) -> str:
    """The torchvision of a torch: their minor numbers have run in parallel, 15 apart, since torch 2.0 and 0.15."""
    return f'0.{release(torch_version)[1] + 15}'


def cxx_standard(facts: TorchFacts) -> int:
    """The C++ standard that torch's headers demand.

    Args:
        facts (TorchFacts): Their include paths and version.

    Returns:
        int: 17, 20, …: what ATen.h refuses to go below (``#if … __cplusplus < 202002L``), at least 17. Without such
        a line the version decides: 20 from torch 2.14 on (measured).
    """
    for folder in facts.include_paths:
        header = Path(folder) / 'ATen' / 'ATen.h'
        if header.is_file():
            bound = re.search(r'__cplusplus\s*<\s*20(\d\d)\d\dL', header.read_text(encoding='utf-8'))
            if bound:
                return max(17, int(bound.group(1)))
    return 20 if release(facts.version) >= (2, 14) else 17
