"""Build mmcv with its compiled operators for an environment's torch, or take the wheel that was built before.

    python3 tools/setup/build_mmcv.py [--python ENV/bin/python] [--ops auto|cpu|cuda] [--install]

mmcv publishes no wheels, and its source distribution takes about 20 minutes on two cores as shipped. Without debug
information and with torch's headers compiled once beforehand it is a few minutes. The wheel is kept under the user's
cache with all that it depends on as its key. pip's own cache is never used for it: pip knows nothing of torch's build
and would hand one torch's wheel to another.
"""
import argparse
import os
import re
import shlex
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cuda_compiler import cuda_environment, nvcc_of
from cxx_compiler import base_flags, compile_header, compiler, compiler_identity, jobs
from processes import SetupError, ask, interrupt_on_signals, reason, run_logged
from step_progress import StepProgress
from torch_facts import TorchFacts, cxx_standard, torch_facts
from wheel_cache import WheelCache, cache_root

NAME, VERSION = 'onedl-mmcv', '2.3.6'
SDIST_SHA256 = '8704978a3d492b15cc058742ac3165bd1bcc2dd20678da9ed39e0da3048e3045'
# Raise it when the way of building changes, so that wheels of the old way are not taken any more.
RECIPE = 1
# Measured with the header on two cores: 20 s for it, 140 s for the 78 files.
SECONDS_TO_BUILD, SECONDS_FROM_CACHE = 170.0, 5.0
HEADER_SHARE = 0.12

NINJA_COUNT = re.compile(r'^\s*\[(\d+)/(\d+)\]')


def choose_ops(facts: TorchFacts, wanted: str = 'auto') -> str:
    """Decide which operators are compiled.

    Args:
        facts (TorchFacts): The environment's torch.
        wanted (str): ``auto``, ``cpu`` or ``cuda``. ``auto`` is what mmcv's own setup.py does: CUDA where torch sees
            a GPU or ``FORCE_CUDA=1`` is set.

    Returns:
        str: ``cpu`` or ``cuda``.

    Raises:
        SetupError: ``cuda`` is asked for from a torch without it.
    """
    if wanted == 'auto':
        return 'cuda' if (facts.cuda or facts.hip) and (facts.gpu or os.environ.get('FORCE_CUDA') == '1') else 'cpu'
    if wanted == 'cuda' and not (facts.cuda or facts.hip):
        raise SetupError(f'CUDA operators were asked for, and torch {facts.version} is a build without CUDA.')
    return wanted


def cache_key(facts: TorchFacts, ops: str, identity: dict[str, str]) -> dict[str, object]:
    """All that a wheel of mmcv depends on.

    Args:
        facts (TorchFacts): The environment's torch and Python.
        ops (str): ``cpu`` or ``cuda``.
        identity (dict[str, str]): Of :func:`compiler_identity`.

    Returns:
        dict[str, object]: Named parts, which JSON can write.
    """
    key = dict(mmcv=VERSION, sdist=SDIST_SHA256, recipe=RECIPE, torch=facts.version, torch_git=facts.git,
               python=facts.soabi, ops=ops, cxx11_abi=facts.cxx11_abi, compiler=identity['version'],
               compiler_abi=identity['abi'], libc=os.confstr('CS_GNU_LIBC_VERSION'), cflags=facts.cflags)
    if ops == 'cuda':
        key.update(cuda=facts.cuda or facts.hip, nvcc=nvcc_of(facts)[1],
                   archs=os.environ.get('TORCH_CUDA_ARCH_LIST') or facts.archs)
    return key


def download_sdist(python: str | Path, folder: Path, log: Path) -> Path:
    """Fetch mmcv's source by version and checksum, and unpack it.

    Args:
        python (str | Path): An interpreter with pip, setuptools and torch: pip asks the source for its metadata.
        folder (Path): Where to put it.
        log (Path): Log to add to.

    Returns:
        Path: The unpacked source.

    Raises:
        SetupError: It cannot be fetched, or is not the file that the checksum names.
    """
    requirement = folder / 'mmcv.txt'
    requirement.write_text(f'{NAME}=={VERSION} --hash=sha256:{SDIST_SHA256}\n', encoding='utf-8')
    code, tail = run_logged(
        [python, '-m', 'pip', 'download', '--no-deps', '--no-binary', NAME, '--no-build-isolation', '--no-cache-dir',
         '--progress-bar', 'off', '--require-hashes', '-r', requirement, '-d', folder], log)
    archives = sorted(folder.glob('*.tar.gz'))
    if code != 0 or len(archives) != 1:
        raise SetupError(f'The source of {NAME} {VERSION} could not be fetched: {reason(tail)} (log: {log}).')
    with tarfile.open(archives[0]) as archive:
        archive.extractall(folder / 'source', filter='data')
    return next((folder / 'source').iterdir())


def set_standard(source: Path, standard: int) -> None:
    """Give mmcv's setup.py the C++ standard that torch demands, for the host's compiler and for nvcc.

    Args:
        source (Path): The unpacked source.
        standard (int): 17, 20, …

    Raises:
        SetupError: setup.py names no standard any more.
    """
    file = source / 'setup.py'
    text, count = re.subn(r'-std=c\+\+17', f'-std=c++{standard}', file.read_text(encoding='utf-8'))
    if count == 0:
        raise SetupError(f'setup.py of {NAME} {VERSION} names no -std=c++17 that could be set to c++{standard}.')
    file.write_text(text, encoding='utf-8')


def compile_wheel(python: str | Path, facts: TorchFacts, ops: str, source: Path, header: list[str] | None, log: Path,
                  progress: StepProgress) -> tuple[Path | None, list[str]]:
    """Run mmcv's own build.

    Args:
        python (str | Path): The environment's interpreter.
        facts (TorchFacts): Its torch.
        ops (str): ``cpu`` or ``cuda``.
        source (Path): The unpacked source, with the right C++ standard.
        header (list[str] | None): Flags for the precompiled header.
        log (Path): Log to add to.
        progress (StepProgress): Shows the files that are done.

    Returns:
        tuple[Path | None, list[str]]: The wheel, None where it failed, and the end of the output.
    """
    # CFLAGS reach the host's compiler only: torch's builder puts nothing of them on nvcc's command line
    environment = dict(MMCV_WITH_OPS='1', MAX_JOBS=str(jobs()),
                       CFLAGS=shlex.join([*base_flags(facts), *(header or [])]),
                       PATH=os.pathsep.join([*filter(None, facts.path), os.environ.get('PATH', '')]))
    if ops == 'cuda':
        environment.update(cuda_environment(facts, source.parent), FORCE_CUDA='1')
    else:
        environment.update(CUDA_VISIBLE_DEVICES='', FORCE_CUDA='0')

    def count(line: str) -> None:
        if done := NINJA_COUNT.match(line):
            i, n = int(done.group(1)), int(done.group(2))
            progress.update(HEADER_SHARE + (0.98 - HEADER_SHARE) * i / n, f'{i} of {n} files compiled')

    output = source.parent / 'wheel'
    code, tail = run_logged(
        [python, '-m', 'pip', 'wheel', '--no-deps', '--no-build-isolation', '--no-cache-dir', '-v', '-w', output,
         source], log, on_line=count, on_tick=progress.show, extra_env=environment)
    wheels = sorted(output.glob('*.whl')) if code == 0 else []
    return (wheels[0] if wheels else None), tail


def build(python: str | Path, facts: TorchFacts, ops: str, folder: Path, log: Path, progress: StepProgress) -> Path:
    """Fetch and build mmcv: with a precompiled header where that works, else without it.

    Args:
        python (str | Path): The environment's interpreter.
        facts (TorchFacts): Its torch.
        ops (str): ``cpu`` or ``cuda``.
        folder (Path): An empty folder to work in.
        log (Path): Log to add to.
        progress (StepProgress): Shows how far it is.

    Returns:
        Path: The wheel, in ``folder``.

    Raises:
        SetupError: It cannot be built without the header either.
    """
    source = download_sdist(python, folder, log)
    standard = cxx_standard(facts)
    set_standard(source, standard)
    progress.update(0.01, f"compiling torch's headers once (C++{standard})")
    header = compile_header(facts, standard, folder, log, progress.show)
    if header is None:
        progress.say("torch's headers could not be compiled beforehand: building mmcv without that shortcut, which "
                     f'takes about 20 minutes on two cores (why: {log}).')
    progress.update(HEADER_SHARE, 'starting the build')
    wheel, tail = compile_wheel(python, facts, ops, source, header, log, progress)
    if wheel is None and header is not None:
        progress.say(f'mmcv could not be built with the precompiled header ({reason(tail)}): building it once more '
                     'without, which takes about 20 minutes on two cores.')
        wheel, tail = compile_wheel(python, facts, ops, source, None, log, progress)
    if wheel is None:
        raise SetupError(f'mmcv could not be built: {reason(tail)} (the whole output: {log}).')
    return wheel


def obtain_wheel(python: str | Path, facts: TorchFacts, ops: str, progress: StepProgress, log: Path,
                 cache: WheelCache | None = None) -> Path:
    """The wheel of mmcv for an environment, from the cache or newly built.

    Args:
        python (str | Path): The environment's interpreter.
        facts (TorchFacts): Its torch.
        ops (str): ``cpu`` or ``cuda``.
        progress (StepProgress): The running step is this one.
        log (Path): Log to add to.
        cache (WheelCache, optional): Defaults to the user's.

    Returns:
        Path: The wheel in the cache.
    """
    cache = cache or WheelCache()
    key = cache_key(facts, ops, compiler_identity(compiler()))
    wheel, why = cache.find(key)
    if wheel is not None:
        progress.expect(SECONDS_FROM_CACHE)
        progress.update(0.5, 'built before, taken from the cache')
        return wheel
    if why:
        progress.say(f'The mmcv in {cache.folder(key)} cannot be used ({why}): building it anew.')
    progress.expect(SECONDS_TO_BUILD)
    with tempfile.TemporaryDirectory(prefix='mmaffnet-mmcv-') as folder:
        return cache.store(key, build(python, facts, ops, Path(folder), log, progress))


def install_wheel(python: str | Path, wheel: Path, log: Path) -> None:
    """Install a wheel of mmcv over whatever mmcv is there.

    Args:
        python (str | Path): The environment's interpreter.
        wheel (Path): The wheel.
        log (Path): Log to add to.

    Raises:
        SetupError: pip cannot.
    """
    code, tail = run_logged([python, '-m', 'pip', 'install', '--no-deps', '--no-index', '--force-reinstall',
                             '--no-cache-dir', '--root-user-action', 'ignore', wheel], log)
    if code != 0:
        raise SetupError(f'mmcv could not be installed: {reason(tail)} (log: {log}).')


def prove(python: str | Path, ops: str) -> str:
    """Run mmcv's nms on two boxes in a fresh interpreter and check what it keeps.

    Args:
        python (str | Path): The environment's interpreter.
        ops (str): With ``cuda`` it runs on the GPU too, where one is seen.

    Returns:
        str: mmcv's version.

    Raises:
        SetupError: mmcv.ops cannot be imported or keeps the wrong boxes.
    """
    script = Path(__file__).with_name('prove_mmcv.py').read_text(encoding='utf-8')
    answer = ask(python, script, ops)
    if answer.returncode != 0:
        raise SetupError(f'mmcv in {python} was installed and does not work: {reason(answer.stderr.splitlines())}.')
    return answer.stdout.strip()


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--python', default=sys.executable, help='interpreter of the environment (default: this one)')
    parser.add_argument('--ops', choices=('auto', 'cpu', 'cuda'), default='auto', help='operators to compile')
    parser.add_argument('--install', action='store_true', help='install the wheel there and prove that it works')
    args = parser.parse_args(argv)
    progress = StepProgress([('mmcv', SECONDS_TO_BUILD)])
    log = cache_root() / 'mmcv-build.log'
    interrupt_on_signals()
    progress.start()
    try:
        facts = torch_facts(args.python)
        ops = choose_ops(facts, args.ops)
        wheel = obtain_wheel(args.python, facts, ops, progress, log)
        if args.install:
            install_wheel(args.python, wheel, log)
            prove(args.python, ops)
    except SetupError as error:
        progress.say(str(error))
        return 2
    except KeyboardInterrupt:
        progress.say('Stopped.')
        return 130
    progress.finish(str(wheel))
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
