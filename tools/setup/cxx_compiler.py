"""The C++ compiler that builds mmcv, its flags, and torch's headers compiled beforehand."""
import os
import re
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from processes import SetupError, run_logged
from torch_facts import TorchFacts

# A file that includes torch's headers takes up to 1.5 GB to compile.
BYTES_PER_JOB = 2 * 10**9


def compiler() -> list[str]:
    """The C++ compiler as torch's builder picks it: ``$CXX``, else ``c++``."""
    return shlex.split(os.environ.get('CXX', '')) or ['c++']


def compiler_identity(command: Sequence[str]) -> dict[str, str]:
    """Name a compiler and the ABI of what it makes.

    Args:
        command (Sequence[str]): How it is called.

    Returns:
        dict[str, str]: ``version``, the first line of ``--version``, and ``abi``, its ``__GXX_ABI_VERSION``.

    Raises:
        SetupError: It does not run.
    """
    try:
        version = subprocess.run([*command, '--version'], capture_output=True, text=True, check=True).stdout
        macros = subprocess.run([*command, '-dM', '-E', '-x', 'c++', '/dev/null'], capture_output=True, text=True,
                                check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise SetupError(f'The C++ compiler {" ".join(command)} does not run: {error}.') from error
    abi = re.search(r'__GXX_ABI_VERSION (\d+)', macros)
    return dict(version=version.splitlines()[0], abi=abi.group(1) if abi else 'unknown')


def base_flags(facts: TorchFacts) -> list[str]:
    """The full set of flags for ``CFLAGS``: what is set there replaces the flags that Python was built with."""
    # the macro stands on torch's own command line up to torch 2.8; a precompiled header must see the same one
    return [*shlex.split(facts.cflags), '-g0', f'-D_GLIBCXX_USE_CXX11_ABI={int(facts.cxx11_abi)}']


def compile_header(facts: TorchFacts, standard: int, folder: Path, log: Path, tick=lambda: None) -> list[str] | None:
    """Compile torch's headers once, and see whether the compiler then takes them.

    Args:
        facts (TorchFacts): Flags and include paths.
        standard (int): C++ standard.
        folder (Path): Where the header is put.
        log (Path): Log to add to.
        tick (Callable): Called about once a second.

    Returns:
        list[str] | None: Flags that make the compiler use it; None where that failed.
    """
    header, trial = folder / 'torch_types.h', folder / 'trial.cpp'
    header.write_text('#include <torch/types.h>\n', encoding='utf-8')
    trial.write_text('int64_t dimensions(const at::Tensor& tensor) { return tensor.dim(); }\n', encoding='utf-8')
    includes = [f'-I{path}' for path in [*facts.include_paths, facts.python_include]]
    flags = [*base_flags(facts), *shlex.split(facts.ccshared), *includes, f'-std=c++{standard}',
             '-DTORCH_API_INCLUDE_EXTENSION_H', '-DTORCH_EXTENSION_NAME=_ext']
    use = ['-Winvalid-pch', '-include', str(header)]
    for command in ([*compiler(), *flags, '-x', 'c++-header', str(header), '-o', f'{header}.gch'],
                    [*compiler(), *flags, *use, '-Werror=invalid-pch', '-c', str(trial), '-o', f'{trial}.o']):
        if run_logged(command, log, on_tick=tick)[0] != 0:
            return None
    return use


def jobs() -> int:
    """How many compilers run at a time: ``$MAX_JOBS``, else one a core that this process may use, as memory allows."""
    if os.environ.get('MAX_JOBS', '').isdigit():
        return max(1, int(os.environ['MAX_JOBS']))
    memory = os.sysconf('SC_AVPHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    cores = len(os.sched_getaffinity(0))
    return max(1, min(cores, memory // BYTES_PER_JOB))
