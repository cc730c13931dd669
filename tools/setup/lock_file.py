"""Read requirements/lock.txt and compare it with what an environment holds."""
import csv
import importlib.metadata
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from processes import SetupError

SECTION = re.compile(r'^# \[([a-z]+)\]')
PIN = re.compile(r'^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;#]+)$')


def normalize(name: str) -> str:
    """Write a distribution's name as PEP 503 compares it."""
    return re.sub(r'[-_.]+', '-', name).lower()


def read_lock(path: Path) -> dict[str, dict[str, str]]:
    """Read the pins of a lock file.

    Args:
        path (Path): File whose lines are ``name==version``, comments, or ``# [section] why``.

    Returns:
        dict[str, dict[str, str]]: Section -> normalised name -> version, in the order of the file.

    Raises:
        SetupError: A line is none of these, stands before the first section, or pins a name twice.
    """
    sections: dict[str, dict[str, str]] = {}
    seen: dict[str, int] = {}
    section = None
    for number, line in enumerate(path.read_text(encoding='utf-8').splitlines(), 1):
        text = line.strip()
        if marker := SECTION.match(text):
            section = sections.setdefault(marker.group(1), {})
        elif text and not text.startswith('#'):
            pin = PIN.match(text)
            if pin is None:
                raise SetupError(f'{path}, line {number}: "{text}" is not of the form name==version.')
            if section is None:
                raise SetupError(f'{path}, line {number}: "{text}" stands before the first "# [section]".')
            name = normalize(pin.group(1))
            if name in seen:
                raise SetupError(f'{path}, line {number}: {name} is pinned in line {seen[name]} already.')
            seen[name] = number
            section[name] = pin.group(2)
    return sections


@dataclass(frozen=True)
class Installed:
    """One distribution of an environment.

    Args:
        version (str): Its version.
        complete (bool): All that its RECORD lists is there at the recorded size; an installation that was cut off
            has no RECORD, which pip writes last.
    """
    version: str
    complete: bool


def _is_complete(distribution: importlib.metadata.Distribution) -> bool:
    record = distribution.read_text('RECORD')
    if record is None:
        return False
    for row in csv.reader(record.splitlines()):
        if len(row) == 3 and row[2] and not row[0].endswith('.pyc'):
            file = Path(distribution.locate_file(row[0]))
            if not file.is_file() or file.stat().st_size != int(row[2]):
                return False
    return True


def installed(site_paths: Iterable[str], names: Iterable[str] | None = None,
              thorough: bool = False) -> dict[str, Installed]:
    """List the distributions on an interpreter's path.

    Args:
        site_paths (Iterable[str]): The directories of its ``sys.path``, in their order: the first hit counts.
        names (Iterable[str], optional): Only these (normalised). Defaults to all.
        thorough (bool): Compare every file with RECORD; otherwise RECORD must only be there.

    Returns:
        dict[str, Installed]: By normalised name.
    """
    wanted = None if names is None else set(names)
    found: dict[str, Installed] = {}
    for distribution in importlib.metadata.distributions(path=list(site_paths)):
        # a directory that an interrupted uninstallation left behind has no name
        name = normalize(distribution.metadata['Name'] or '') if distribution.metadata else ''
        if not name or name in found or (wanted is not None and name not in wanted):
            continue
        complete = _is_complete(distribution) if thorough else distribution.read_text('RECORD') is not None
        found[name] = Installed(distribution.version, complete)
    return found


def outstanding(pins: dict[str, str], present: dict[str, Installed]) -> tuple[dict[str, str], dict[str, str]]:
    """Say what has to be installed.

    Args:
        pins (dict[str, str]): Name -> version, as in the lock.
        present (dict[str, Installed]): What is there.

    Returns:
        tuple[dict[str, str], dict[str, str]]: Pins to install normally (missing, or there in another version), and
        pins to lay over what is there, because it is incomplete and pip could not remove it.
    """
    fresh, broken = {}, {}
    for name, version in pins.items():
        have = present.get(name)
        # a local part (+cu130) is the same release: it tells how it was built
        if have is not None and not have.complete:
            broken[name] = version
        elif have is None or have.version.split('+')[0] != version:
            fresh[name] = version
    return fresh, broken
