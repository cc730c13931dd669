"""Find the CUDA compiler that mmcv's GPU operators need: the system's, or the one that pip can install."""
import os
import re
import subprocess
from pathlib import Path

from processes import SetupError
from torch_facts import TorchFacts, release


def pip_cuda(facts: TorchFacts) -> Path:
    """Where the CUDA 13 wheels and later unpack: ``nvidia/cu13`` beside torch."""
    return Path(facts.purelib) / 'nvidia' / f'cu{release(facts.cuda or "0")[0]}'


def system_nvcc(facts: TorchFacts) -> Path | None:
    """nvcc of the CUDA toolkit that torch finds (``$CUDA_HOME``, PATH, /usr/local/cuda)."""
    nvcc = Path(facts.cuda_home) / 'bin' / 'nvcc' if facts.cuda_home else None
    return nvcc if nvcc and nvcc.is_file() else None


def nvcc_version(nvcc: Path) -> str:
    """The release line of ``nvcc --version``; ``13.0, V13.0.88`` for example."""
    try:
        text = subprocess.run([nvcc, '--version'], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise SetupError(f'The CUDA compiler {nvcc} does not run: {error}.') from error
    found = re.search(r'release (.+)', text)
    return found.group(1).strip() if found else text.strip()


def is_missing(facts: TorchFacts) -> bool:
    """Whether neither place has a compiler of torch's major CUDA version."""
    try:
        nvcc_of(facts)
    except SetupError:
        return True
    return False


def nvcc_of(facts: TorchFacts) -> tuple[Path, str]:
    """The compiler to use, and its version.

    Args:
        facts (TorchFacts): The environment's torch.

    Returns:
        tuple[Path, str]: nvcc and its release.

    Raises:
        SetupError: There is none whose major version is that of torch's CUDA.
    """
    if facts.hip:
        return Path('hipcc'), facts.hip
    seen = []
    for nvcc in (system_nvcc(facts), pip_cuda(facts) / 'bin' / 'nvcc'):
        if nvcc is not None and nvcc.is_file():
            version = nvcc_version(nvcc)
            if release(version)[:1] == release(facts.cuda)[:1]:
                return nvcc, version
            seen.append(f'{nvcc} is {version}')
    raise SetupError(f'torch {facts.version} sees a GPU, and its operators in mmcv need the compiler nvcc of CUDA '
                     f'{facts.cuda} ({"; ".join(seen) or "none was found"}): install that CUDA toolkit and set '
                     'CUDA_HOME, or run make with OPS=cpu and train with CUDA_VISIBLE_DEVICES= on the processor.')


def cuda_environment(facts: TorchFacts, folder: Path) -> dict[str, str]:
    """Variables by which torch's builder finds the compiler.

    Args:
        facts (TorchFacts): The environment's torch.
        folder (Path): Where a toolkit's layout can be put together for the compiler from pip, whose wheels have
            no ``lib64`` and no ``libcudart.so`` to link against.

    Returns:
        dict[str, str]: ``CUDA_HOME``, empty for ROCm.
    """
    if facts.hip:
        return {}
    nvcc = nvcc_of(facts)[0]
    home = nvcc.parent.parent
    if home != pip_cuda(facts):
        return {'CUDA_HOME': str(home)}
    layout = folder / 'cuda'
    (layout / 'lib64').mkdir(parents=True, exist_ok=True)
    for name in ('bin', 'include', 'nvvm'):
        _link(home / name, layout / name)
    for library in (home / 'lib').glob('lib*'):
        _link(library, layout / 'lib64' / library.name)
        _link(library, layout / 'lib64' / re.sub(r'(\.so)\..*$', r'\1', library.name))
    return {'CUDA_HOME': str(layout)}


def _link(target: Path, link: Path) -> None:
    if target.exists() and not os.path.lexists(link):
        link.symlink_to(target)
