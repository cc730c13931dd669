"""Remember that an environment was set up, and by what, so that the next make takes no time."""
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from processes import SetupError
from wheel_cache import cache_root

NAME = 'mmaffnet-setup.json'
# What an environment is made from besides the lock: the programs here, and what the editable installation writes down.
INPUTS = ('requirements/lock.txt', 'pyproject.toml', 'setup.py', 'mmaffnet/version.py')


def key_of(checkout: Path, prefix: str, python: str, torch: tuple[str, str] | None, ops: str) -> str:
    """Name all that a set-up depends on.

    Args:
        checkout (Path): This checkout.
        prefix (str): ``sys.prefix`` of the environment.
        python (str): Its version.
        torch (tuple[str, str] | None): Its torch's version and commit.
        ops (str): ``auto``, ``cpu`` or ``cuda``.

    Returns:
        str: Hexadecimal digits, other ones as soon as one of these or a file of the set-up changes.
    """
    digest = hashlib.sha256()
    files = [checkout / name for name in INPUTS] + sorted((checkout / 'tools' / 'setup').glob('*.py'))
    for part in (str(checkout), prefix, python, repr(torch), ops):
        digest.update(part.encode() + b'\0')
    for file in files:
        digest.update(file.name.encode() + b'\0' + (file.read_bytes() if file.is_file() else b'') + b'\0')
    return digest.hexdigest()


def read(prefix: Path) -> dict:
    """What the last set-up wrote into an environment; empty where there is nothing readable."""
    try:
        values = json.loads((prefix / NAME).read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def write(prefix: Path, **values: object) -> None:
    """Write it, whole or not at all.

    Args:
        prefix (Path): The environment.
        **values: JSON values.

    Raises:
        SetupError: The environment is not writable.
    """
    new = prefix / f'{NAME}.new'
    try:
        new.write_text(json.dumps(dict(values, prefix=str(prefix)), indent=2) + '\n', encoding='utf-8')
        os.replace(new, prefix / NAME)
    except OSError as error:
        raise SetupError(f'{prefix} cannot be written to: {error.strerror}.') from error


def log_of(prefix: Path) -> Path:
    """Where the whole output of an environment's last set-up is kept."""
    return cache_root() / 'logs' / f'setup-{hashlib.sha256(str(prefix).encode()).hexdigest()[:16]}.log'


@contextmanager
def only_one(prefix: Path, waiting=lambda: None) -> Iterator[None]:
    """Let one set-up at a time work on an environment.

    Args:
        prefix (Path): The environment.
        waiting (Callable): Called once if another one is at work.
    """
    folder = cache_root() / 'locks'
    folder.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(str(prefix).encode()).hexdigest()[:16]
    with (folder / name).open('w') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
