"""Bring the sections of the lock file into an environment with pip."""
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from lock_file import Installed, installed, outstanding
from processes import SetupError, reason, run_logged
from step_progress import StepProgress

# OpenMMLab's own distributions own the same folders as the forks' do.
CLASSIC = {'mmengine': 'onedl-mmengine', 'mmengine-lite': 'onedl-mmengine', 'mmcv': 'onedl-mmcv',
           'mmcv-full': 'onedl-mmcv', 'mmcv-lite': 'onedl-mmcv', 'mmdet': 'onedl-mmdetection',
           'mmsegmentation': 'onedl-mmsegmentation', 'mmpretrain': 'onedl-mmpretrain', 'mmcls': 'onedl-mmpretrain'}
# Distributions that bring the module cv2: one of them is enough, and two overwrite each other.
OPENCV = ('opencv-python', 'opencv-contrib-python', 'opencv-contrib-python-headless')


def check_stack(present: Mapping[str, Installed], python: str | Path) -> None:
    """Refuse an environment that holds OpenMMLab's own releases.

    Args:
        present (Mapping[str, Installed]): What is installed, by normalised name.
        python (str | Path): The environment's interpreter, for the command in the message.

    Raises:
        SetupError: One of them is there.
    """
    clashing = sorted(name for name in present if name in CLASSIC)
    if clashing:
        raise SetupError(f'{python} has {", ".join(clashing)} installed, which own the same folders as the '
                         f'{", ".join(sorted({CLASSIC[name] for name in clashing}))} that make installs: remove them '
                         f'with "{python} -m pip uninstall {" ".join(clashing)}", or name another environment.')


def keep_opencv(pins: Mapping[str, str], present: Mapping[str, Installed]) -> dict[str, str]:
    """Leave an OpenCV that is there under another name.

    Args:
        pins (Mapping[str, str]): Name -> version.
        present (Mapping[str, Installed]): What is installed.

    Returns:
        dict[str, str]: The pins, without opencv-python-headless where another distribution brings cv2.
    """
    has_other = any(name in present for name in OPENCV)
    return {name: version for name, version in pins.items() if not (has_other and name == 'opencv-python-headless')}


def changes(pins: Mapping[str, str], present: Mapping[str, Installed]) -> list[str]:
    """Name the versions that the set-up replaces in an environment of the user.

    Args:
        pins (Mapping[str, str]): Name -> version.
        present (Mapping[str, Installed]): What is installed.

    Returns:
        list[str]: As in ``numpy 1.26.4 -> 2.4.6``.
    """
    return [f'{name} {present[name].version} -> {version}' for name, version in pins.items()
            if name in present and present[name].version.split('+')[0] != version]


# How pip begins its line for a package: from an index, from a file, or there already.
FETCHING = ('Collecting ', 'Processing ', 'Requirement already satisfied')


@dataclass
class Lane:
    """Sections that one pip after the other installs; lanes run side by side.

    Args:
        sections (dict[str, dict[str, str]]): Title -> pins that are outstanding.
        fetched (int): Packages that pip has begun to fetch.
    """
    sections: dict[str, dict[str, str]]
    fetched: int = 0


class Aborted(Exception):
    """Another lane failed, or the user stopped the set-up."""


def _run_lane(lane: Lane, python: str | Path, broken: Mapping[str, str], log: Path, abort: threading.Event) -> None:
    def look() -> None:
        if abort.is_set():
            raise Aborted

    def count(line: str) -> None:
        lane.fetched += line.startswith(FETCHING)
        look()

    for title, pins in lane.sections.items():
        over = {name: version for name, version in pins.items() if name in broken}
        plain = {name: version for name, version in pins.items() if name not in broken}
        for part, options in ((plain, []), (over, ['--ignore-installed'])):
            if part:
                _pip_install(python, title, part, options, log, count, look)


def _pip_install(python: str | Path, title: str, pins: Mapping[str, str], options: Sequence[str], log: Path,
                 on_line: Callable[[str], None], on_tick: Callable[[], None]) -> None:
    with tempfile.NamedTemporaryFile('w', suffix='.txt', prefix='mmaffnet-') as file:
        file.write(''.join(f'{name}=={version}\n' for name, version in pins.items()))
        file.flush()
        # without bytecode: Python compiles what it imports, and torch alone brings 10,000 files that nobody imports
        code, tail = run_logged(
            [python, '-m', 'pip', 'install', '--no-deps', '--no-compile', '--no-build-isolation', '--progress-bar',
             'off', '--root-user-action', 'ignore', '--no-warn-script-location', *options, '-r', file.name],
            log, on_line=on_line, on_tick=on_tick)
    if code != 0:
        raise SetupError(f'pip could not install the packages [{title}] of the lock: {reason(tail)} (log: {log}).')


def install(lanes: Sequence[Lane], python: str | Path, site_paths: Iterable[str], broken: Mapping[str, str], log: Path,
            progress: StepProgress) -> None:
    """Install outstanding packages; the running step shows how many are fetched and unpacked.

    Args:
        lanes (Sequence[Lane]): What to install. pip unpacks on one core, and torch with CUDA is 5 GB: lanes with
            different packages use the others.
        python (str | Path): The environment's interpreter.
        site_paths (Iterable[str]): Where its packages lie.
        broken (Mapping[str, str]): Names among them whose installation was cut off: pip cannot remove those, so they
            are laid over what is there.
        log (Path): Log to add to.
        progress (StepProgress): Shows how far it is.

    Raises:
        SetupError: pip cannot.
    """
    site_paths = list(site_paths)
    pins = {name: version for lane in lanes for section in lane.sections.values() for name, version in section.items()}
    if not pins:
        return
    abort = threading.Event()
    with ThreadPoolExecutor(len(lanes)) as pool:
        running = {pool.submit(_run_lane, lane, python, broken, log, abort) for lane in lanes}
        try:
            while running:
                done, running = wait(running, timeout=2.0, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
                unpacked = len(pins) - len(_lacking(pins, site_paths))
                fetched = min(sum(lane.fetched for lane in lanes), len(pins))
                progress.update((fetched + unpacked) / (2 * len(pins)),
                                f'{fetched} of {len(pins)} fetched, {unpacked} unpacked')
        except BaseException:
            abort.set()
            raise
    if lacking := _lacking(pins, site_paths):
        raise SetupError(f'pip ended without an error, and {", ".join(lacking)} is not there (log: {log}).')


def _lacking(pins: Mapping[str, str], site_paths: list[str]) -> list[str]:
    fresh, broken = outstanding(dict(pins), installed(site_paths, pins))
    return [*fresh, *broken]
