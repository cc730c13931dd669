"""Keep wheels that were built on this machine, each under a key of all that it was built from and for."""
import hashlib
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

RECORD_NAME = 'build.json'


def cache_root() -> Path:
    """``$XDG_CACHE_HOME/mmaffnet``, by default ``~/.cache/mmaffnet``."""
    base = os.environ.get('XDG_CACHE_HOME', '')
    # the specification of XDG_CACHE_HOME has relative paths ignored
    return (Path(base) if os.path.isabs(base) else Path.home() / '.cache') / 'mmaffnet'


def digest_of(parts: Mapping[str, object]) -> str:
    """Turn the parts of a key into a name.

    Args:
        parts (Mapping[str, object]): JSON values by name.

    Returns:
        str: 24 hexadecimal digits, other ones as soon as any part is another.
    """
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]


def file_digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


class WheelCache:
    """A folder with one folder for each key: the wheel, and ``build.json`` with the parts of the key and its SHA-256.

    Args:
        root (Path): Where they lie. Defaults to ``wheels`` in :func:`cache_root`.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or cache_root() / 'wheels'

    def folder(self, parts: Mapping[str, object]) -> Path:
        """Where the wheel for a key lies or will lie."""
        return self.root / digest_of(parts)

    def find(self, parts: Mapping[str, object]) -> tuple[Path | None, str]:
        """Look a wheel up and verify it.

        Args:
            parts (Mapping[str, object]): The key.

        Returns:
            tuple[Path | None, str]: The wheel, or None and why a folder that is there cannot be used (empty where
            there is none).
        """
        folder = self.folder(parts)
        if not folder.exists():
            return None, ''
        try:
            record = json.loads((folder / RECORD_NAME).read_text(encoding='utf-8'))
            wheel = folder / record['wheel']
            if digest_of(record['key']) != digest_of(parts):
                return None, 'its key is another one'
            if file_digest(wheel) != record['sha256']:
                return None, 'its checksum is wrong'
            with zipfile.ZipFile(wheel) as archive:
                damaged = archive.testzip()
            return (wheel, '') if damaged is None else (None, f'{damaged} in it is damaged')
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            return None, f'{type(error).__name__}: {error}'

    def store(self, parts: Mapping[str, object], wheel: Path) -> Path:
        """Put a wheel in; the folder appears complete or not at all.

        Args:
            parts (Mapping[str, object]): The key.
            wheel (Path): The wheel to copy.

        Returns:
            Path: The copy.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        folder = self.folder(parts)
        made = Path(tempfile.mkdtemp(prefix='.new-', dir=self.root))
        try:
            shutil.copy2(wheel, made / wheel.name)
            record = dict(wheel=wheel.name, sha256=file_digest(made / wheel.name), key=dict(parts))
            (made / RECORD_NAME).write_text(json.dumps(record, indent=2) + '\n', encoding='utf-8')
            made.chmod(0o755)
            if folder.exists():
                # a damaged one; it is moved away first, since a rename cannot replace a folder that is not empty
                old = Path(tempfile.mkdtemp(prefix='.old-', dir=self.root))
                os.replace(folder, old / 'wheel')
                shutil.rmtree(old, ignore_errors=True)
            os.replace(made, folder)
        finally:
            shutil.rmtree(made, ignore_errors=True)
        return folder / wheel.name
