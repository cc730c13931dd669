"""Set up an environment for mmaffnet, step by step; called by setup_env.py with a Python that fits."""
import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree, which

import build_mmcv
import cuda_compiler
import packages
import stamp
from lock_file import installed, normalize, outstanding, read_lock
from prerequisites import FREE_BYTES_KEPT_TORCH, FREE_BYTES_NEW, Interpreter, interpreter, problems
from processes import SetupError, interrupt_on_signals, reason, run_logged
from step_progress import StepProgress
from torch_facts import MINIMUM, matching_torchvision, read_version, release, torch_facts
from wheel_cache import cache_root

CHECKOUT = Path(__file__).resolve().parents[2]
# Expected seconds on two cores with the packages in reach: measured, downloads not counted.
SECONDS = {'environment': 4.0, 'packages': 40.0, 'proof': 6.0, 'mmaffnet': 3.0}


@dataclass
class Target:
    """The environment that is set up.

    Args:
        python (Path): Its interpreter, existing or to be made.
        own (bool): The .venv of this checkout, otherwise an environment of the user, whose torch is kept.
        ops (str): mmcv's operators: ``auto``, ``cpu`` or ``cuda``.
    """
    python: Path
    own: bool
    ops: str

    @property
    def command(self) -> str:
        """The make variable that names this environment, for messages."""
        return '' if self.own else f' PYTHON={self.python}'


def target_of(args: argparse.Namespace) -> Target:
    """Find out which environment is meant; a bare name after ``--python`` is looked up on PATH."""
    if not args.python:
        return Target(CHECKOUT / '.venv' / 'bin' / 'python', True, args.ops)
    found = which(args.python)
    if found is None:
        raise SetupError(f'PYTHON={args.python} names no program: give the path of an environment\'s python, as in '
                         'PYTHON=/path/to/env/bin/python.')
    # not resolved: a virtual environment's python is a link, and following it leaves the environment
    return Target(Path(found).absolute(), False, args.ops)


def check_torch(python: Interpreter) -> None:
    """See that an environment of the user has a torch that can be kept, and torchvision beside it.

    Args:
        python (Interpreter): The environment.

    Raises:
        SetupError: torch is missing or too old, or torchvision is missing.
    """
    found = read_version(python.site_paths)
    wanted = '.'.join(map(str, MINIMUM))
    if found is None:
        raise SetupError(f'{python.executable} has no torch, and make installs none into an environment of yours: '
                         f'install torch {wanted} or newer with its torchvision there, or leave PYTHON= away.')
    if release(found[0]) < MINIMUM:
        raise SetupError(f'{python.executable} has torch {found[0]}, and mmaffnet needs {wanted} or newer: update it, '
                         'or leave PYTHON= away.')
    if read_version(python.site_paths, 'torchvision') is None:
        raise SetupError(f'{python.executable} has torch {found[0]} without torchvision: install the one that belongs '
                         f'to it, from where that torch came, with "{python.executable} -m pip install --no-deps '
                         f'torchvision=={matching_torchvision(found[0])}.*".')


def is_ready(target: Target, python: Interpreter, sections: dict[str, dict[str, str]]) -> bool:
    """Whether the last set-up of an environment is still good.

    Args:
        target (Target): The environment.
        python (Interpreter): What it says of itself.
        sections (dict[str, dict[str, str]]): The lock.

    Returns:
        bool: The stamp fits, and every pinned package, mmcv and mmaffnet are there.
    """
    written = stamp.read(Path(python.prefix))
    torch = read_version(python.site_paths)
    if written.get('key') != stamp.key_of(CHECKOUT, python.prefix, python.version, torch, target.ops):
        return False
    present = installed(python.site_paths)
    pins = {name: version for title, section in sections.items() if title not in skipped(target)
            for name, version in section.items()}
    fresh, broken = outstanding(packages.keep_opencv(pins, present), present)
    ours = ('mmaffnet', normalize(build_mmcv.NAME))
    return not fresh and not broken and all(name in present for name in ours)


def skipped(target: Target) -> set[str]:
    """Sections of the lock that this set-up leaves out at first: nvcc waits until torch has told what it needs."""
    return {'nvcc'} if target.own else {'nvcc', 'torch'}


def make_venv(target: Target, base: Interpreter, log: Path, progress: StepProgress) -> None:
    """Make the .venv, anew where one of ours was cut off, moved, or lost its Python.

    Args:
        target (Target): The own environment.
        base (Interpreter): What to make it from.
        log (Path): Log to add to.
        progress (StepProgress): The running step.

    Raises:
        SetupError: It cannot be made, or there is one that is not ours to remove.
    """
    folder = target.python.parents[1]
    if folder.exists():
        written = stamp.read(folder)
        usable = run_logged([target.python, '-m', 'pip', '--version'], log)[0] == 0 if target.python.exists() else False
        fits = usable and interpreter(target.python).short in ('3.11', '3.12')
        if fits and written.get('prefix', str(folder)) == str(folder):
            return
        if not written:
            raise SetupError(f'{folder} is there, was not made by make, and cannot be used (pip or Python 3.11/3.12 '
                             f'does not run in it): remove it with "rm -r {folder}" and run make again.')
        progress.say(f'{folder} was cut off, moved or lost its Python: making it anew.')
        rmtree(folder)
    folder.mkdir()
    # first of all, so that a .venv that is cut off here is known as ours
    stamp.write(folder, key=None)
    code, tail = run_logged([base.executable, '-m', 'venv', folder], log, on_tick=progress.show)
    if code != 0:
        raise SetupError(f'The virtual environment {folder} could not be made: {reason(tail)} (log: {log}).')


def install_packages(target: Target, python: Interpreter, sections: dict[str, dict[str, str]], log: Path,
                     progress: StepProgress) -> None:
    """Bring in everything that the lock pins.

    Args:
        target (Target): The environment.
        python (Interpreter): What it says of itself.
        sections (dict[str, dict[str, str]]): The lock.
        log (Path): Log to add to.
        progress (StepProgress): The running step.
    """
    present = installed(python.site_paths, thorough=True)
    packages.check_stack(present, python.executable)
    left, cut_off = {}, {}
    for title, section in sections.items():
        if title not in skipped(target):
            pins = packages.keep_opencv(section, present)
            fresh, broken = outstanding(pins, present)
            left[title] = {**fresh, **broken}
            cut_off.update(broken)
            if not target.own and (replaced := packages.changes(pins, present)):
                progress.say(f'Replacing in your environment: {", ".join(replaced)}.')
    build, torch = left.pop('build', {}), left.pop('torch', {})
    cuda = {name: version for name, version in torch.items() if name.startswith('nvidia-')}
    torch = {name: version for name, version in torch.items() if name not in cuda}
    # the build tools come first: the hosts are built from source with them
    for lanes in ([{'build': build}], [{'torch': torch}, {'torch': cuda}, left]):
        packages.install([packages.Lane(lane) for lane in lanes], python.executable, python.site_paths, cut_off, log,
                         progress)


def install_mmcv(target: Target, python: Interpreter, sections: dict[str, dict[str, str]], log: Path,
                 progress: StepProgress) -> str:
    """Bring in mmcv, and before it the CUDA compiler from the lock where a GPU asks for one that is missing.

    Args:
        target (Target): The environment.
        python (Interpreter): What it says of itself.
        sections (dict[str, dict[str, str]]): The lock.
        log (Path): Log to add to.
        progress (StepProgress): The running step.

    Returns:
        str: ``cpu`` or ``cuda``.
    """
    progress.update(0.0, 'looking at torch and the compiler')
    facts = torch_facts(python.executable)
    ops = build_mmcv.choose_ops(facts, target.ops)
    pins = sections.get('nvcc', {})
    toolkit = release(pins.get('nvidia-cuda-nvcc', ''))[:2]
    if ops == 'cuda' and release(facts.cuda or '')[:2] == toolkit:
        if cuda_compiler.is_missing(facts):
            packages.install([packages.Lane({'nvcc': pins})], python.executable, python.site_paths, {}, log, progress)
    wheel = build_mmcv.obtain_wheel(python.executable, facts, ops, progress, log)
    build_mmcv.install_wheel(python.executable, wheel, log)
    return ops


def install_mmaffnet(python: Interpreter, log: Path) -> None:
    """Install this checkout so that changes in it count at once (``pip install -e``)."""
    code, tail = run_logged([python.executable, '-m', 'pip', 'install', '--no-deps', '--no-build-isolation',
                             '--root-user-action', 'ignore', '--no-warn-script-location', '-e', CHECKOUT], log)
    if code != 0:
        raise SetupError(f'mmaffnet could not be installed: {reason(tail)} (log: {log}).')


def set_up(target: Target, base: Interpreter, sections: dict[str, dict[str, str]]) -> None:
    """Run all steps.

    Args:
        target (Target): The environment.
        base (Interpreter): What the .venv is made from, or the environment of the user.
        sections (dict[str, dict[str, str]]): The lock.

    Raises:
        SetupError: A step failed.
    """
    titles = (['environment'] if target.own else []) + ['packages', 'mmcv', 'proof', 'mmaffnet']
    # a guess until torch is there to ask: what was built once is likely to be what is needed again
    built = any((cache_root() / 'wheels').glob('*/*.whl'))
    seconds = dict(SECONDS, mmcv=build_mmcv.SECONDS_FROM_CACHE if built else build_mmcv.SECONDS_TO_BUILD)
    progress = StepProgress([(title, seconds[title]) for title in titles])
    prefix = target.python.parents[1] if target.own else Path(interpreter(target.python).prefix)
    log = stamp.log_of(prefix)
    log.unlink(missing_ok=True)
    if target.own:
        progress.start()
        make_venv(target, base, log, progress)
    python = interpreter(target.python)
    stamp.write(prefix, key=None)
    progress.start()
    install_packages(target, python, sections, log, progress)
    progress.start()
    ops = install_mmcv(target, python, sections, log, progress)
    progress.start("running mmcv's nms on two boxes")
    build_mmcv.prove(python.executable, ops)
    progress.start()
    install_mmaffnet(python, log)
    torch = read_version(python.site_paths)
    stamp.write(prefix, key=stamp.key_of(CHECKOUT, python.prefix, python.version, torch, target.ops), ops=ops)
    progress.finish(f'mmaffnet is set up in {prefix}: Python {python.version}, torch {torch[0]}, mmcv with {ops} ops.')


def run(argv: Sequence[str]) -> int:
    """The program: 0 when all is set up, 2 with one sentence where it is not, 130 when it was stopped."""
    parser = argparse.ArgumentParser(prog='setup_env.py', description='Make a Python environment ready for mmaffnet.')
    parser.add_argument('--python', default='', help='python of your own environment with torch >= 2.4, which is kept '
                        '(default: a .venv in this checkout)')
    parser.add_argument('--ops', choices=('auto', 'cpu', 'cuda'), default='auto',
                        help="mmcv's operators; auto compiles CUDA ones where torch sees a GPU")
    parser.add_argument('--force', action='store_true', help='go through all steps even if the last set-up is good')
    args = parser.parse_args(argv)
    interrupt_on_signals()
    try:
        target = target_of(args)
        sections = read_lock(CHECKOUT / 'requirements' / 'lock.txt')
        with stamp.only_one(target.python, lambda: print('Waiting for another set-up of this environment.')):
            if not args.force and target.python.exists():
                try:
                    if is_ready(target, interpreter(target.python), sections):
                        return 0
                except SetupError:
                    pass  # a Python that does not run any more: the checks and make_venv deal with it
            # not sys.executable, which is the .venv's own python where that is activated
            base = interpreter(getattr(sys, '_base_executable', sys.executable) if target.own else target.python)
            filled = any((CHECKOUT / '.venv').glob('lib/python*/site-packages/torch/version.py'))
            needed = FREE_BYTES_NEW if target.own and not filled else FREE_BYTES_KEPT_TORCH
            if gaps := problems(base, target.own, CHECKOUT if target.own else Path(base.prefix), needed):
                raise SetupError('\n'.join(gaps))
            if not target.own:
                check_torch(base)
            set_up(target, base, sections)
    except SetupError as error:
        print(f'\n{error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('\nStopped; the same command goes on from here.', file=sys.stderr)
        return 130
    return 0
