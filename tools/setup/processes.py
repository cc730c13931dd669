"""Run the programs that a set-up needs, with their output in a log and a callback for each line."""
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

# Settings of the caller's shell that would send an installation elsewhere or let foreign modules in.
MISLEADING = ('PYTHONPATH', 'PYTHONHOME', 'PIP_USER', 'PIP_TARGET', 'PIP_PREFIX', 'PIP_ROOT', 'PIP_REQUIRE_VIRTUALENV',
              'PIP_NO_BINARY', 'PIP_ONLY_BINARY', 'PIP_NO_BUILD_ISOLATION', 'PIP_DRY_RUN')


class SetupError(Exception):
    """What stops a set-up, in one sentence for the user."""


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The caller's environment without what misleads pip or Python.

    Args:
        extra (Mapping[str, str], optional): Variables to set on top.

    Returns:
        dict[str, str]: For a child process; package indexes and certificates of the user stay as they are.
    """
    environment = {name: value for name, value in os.environ.items() if name not in MISLEADING}
    environment.update(PYTHONNOUSERSITE='1', PYTHONUNBUFFERED='1', PIP_DISABLE_PIP_VERSION_CHECK='1', PIP_NO_INPUT='1')
    environment.update(extra or {})
    return environment


def interrupt_on_signals() -> None:
    """Let what ends make end pip and the compilers, too: they run in sessions of their own."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)


def _read_lines(stream, lines: queue.Queue) -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)


def run_logged(command: Sequence[str],
               log: Path,
               on_line: Callable[[str], None] = lambda line: None,
               on_tick: Callable[[], None] = lambda: None,
               cwd: Path | None = None,
               extra_env: Mapping[str, str] | None = None) -> tuple[int, list[str]]:
    """Run a program to its end.

    Args:
        command (Sequence[str]): Program and arguments.
        log (Path): File to which its whole output is added.
        on_line (Callable): Called with each line, without its newline.
        on_tick (Callable): Called about once a second, for a clock on the screen.
        cwd (Path, optional): Its working directory.
        extra_env (Mapping[str, str], optional): Variables on top of :func:`clean_environment`.

    Returns:
        tuple[int, list[str]]: Exit code and its last 400 lines (stdout and stderr together).

    Raises:
        SetupError: The program could not be started.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    tail: list[str] = []
    lines: queue.Queue = queue.Queue()
    with log.open('a', encoding='utf-8', errors='replace') as log_file:
        log_file.write(f'$ {" ".join(map(str, command))}\n')
        try:
            # a session of its own: an interrupt must end the compilers that it started, too
            child = subprocess.Popen(
                [str(part) for part in command], cwd=cwd, env=clean_environment(extra_env), stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding='utf-8', errors='replace',
                start_new_session=True)
        except OSError as error:
            raise SetupError(f'{command[0]} could not be started: {error.strerror}.') from error
        threading.Thread(target=_read_lines, args=(child.stdout, lines), daemon=True).start()
        try:
            while True:
                try:
                    line = lines.get(timeout=1.0)
                except queue.Empty:
                    on_tick()
                    continue
                if line is None:
                    break
                log_file.write(line)
                tail = tail[-399:] + [line.rstrip('\n')]
                on_line(line.rstrip('\n'))
            return child.wait(), tail
        except BaseException:
            stop(child)
            raise


def stop(child: subprocess.Popen) -> None:
    """End a program of :func:`run_logged` and everything that it started."""
    # pip removes its gigabytes of temporary files after an interrupt only
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, number)
            child.wait(timeout=5)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def ask(python: str | Path, code: str, *args: str, timeout: float = 300) -> subprocess.CompletedProcess:
    """Run a few lines in another interpreter and keep what they print.

    Args:
        python (str | Path): The interpreter.
        code (str): Python source.
        *args (str): Its ``sys.argv[1:]``.
        timeout (float): Seconds after which it is ended.

    Returns:
        subprocess.CompletedProcess: With ``stdout`` and ``stderr`` as text.

    Raises:
        SetupError: It could not be started or did not end in time.
    """
    try:
        return subprocess.run([str(python), '-c', code, *args], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, env=clean_environment(), timeout=timeout)
    except OSError as error:
        raise SetupError(f'{python} could not be started: {error.strerror}.') from error
    except subprocess.TimeoutExpired as error:
        raise SetupError(f'{python} gave no answer within {timeout:.0f} seconds.') from error


def reason(lines: Sequence[str]) -> str:
    """Pick the line that says why a program failed.

    Args:
        lines (Sequence[str]): The end of its output.

    Returns:
        str: The last line that names an error, else the last line that is not empty.
    """
    filled = [line.strip() for line in lines if line.strip()]
    for line in reversed(filled):
        if line.lower().startswith(('error:', 'fatal')) or ' error: ' in line or 'Error: ' in line:
            return line
    return filled[-1] if filled else 'it printed nothing'
