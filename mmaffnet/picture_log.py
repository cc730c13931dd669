"""A log of pictures that could not be read, written by data loader workers and read by the process that trains."""
import json
import os
from pathlib import Path


class PictureLog:
    """Pictures that could not be read, one JSON line each, written by any process of this machine.

    Each line is one write to a file opened for appending, so that lines of several data loader workers do not mix.

    Args:
        path (str | Path): The file; made, with its folder, by the first entry.
    """

    def __init__(self, path):
        self.path = Path(path)
        self._read_to = 0

    def add(self, picture, reason):
        """Append an entry.

        Args:
            picture (str): The file.
            reason (str): What is wrong with it.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps(dict(picture=str(picture), reason=reason)) + '\n'
        file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(file, line.encode())
        finally:
            os.close(file)

    def new(self):
        """Read what was added since the last call.

        Returns:
            dict[str, str]: Reasons by picture.
        """
        try:
            if self.path.stat().st_size <= self._read_to:
                return {}
        except FileNotFoundError:
            return {}
        with self.path.open('rb') as file:
            file.seek(self._read_to)
            lines = file.read()
        lines = lines[:lines.rfind(b'\n') + 1]
        self._read_to += len(lines)
        entries = map(json.loads, lines.splitlines())
        return {entry['picture']: entry['reason'] for entry in entries}
