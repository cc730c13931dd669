"""A stand-in for the system calls that save, which kills its process at a chosen one."""
import os
import signal

from mmaffnet.engine.atomic import SUFFIX
from mmaffnet.engine.checkpoint_hook import POINTER


class KillAt:
    """Count the system calls that save, and kill this process at one of them, before it or within a write.

    Args:
        folder (str | Path): Whose files are meant.
        number (int | None): Of the moment; None counts only.
    """

    CALLS = ('open', 'write', 'fsync', 'close', 'replace', 'remove', 'unlink')

    def __init__(self, folder, number=None):
        self.folder, self.number = os.path.abspath(folder), number
        self.moments, self.files = [], {}

    def install(self):
        """Stand in for the calls in this process, which is a fork made to be killed."""
        for name in self.CALLS:
            setattr(os, name, self._counted(name, getattr(os, name)))

    def _counted(self, name, call):
        def counted(target, *args, **kwargs):
            path = self.files.get(target) if isinstance(target, int) else os.path.abspath(target)
            if name == 'close':  # no step of its own, but the number may be another file's next
                self.files.pop(target, None)
            if name == 'close' or path is None or not path.startswith(self.folder):
                return call(target, *args, **kwargs)
            self._moment(f'before {name} of {kind(path, self.folder)}')
            if name == 'write' and self._is_next():
                call(target, args[0][:len(args[0]) // 2])
            if name == 'write':
                self._moment(f'half-way in write of {kind(path, self.folder)}')
            result = call(target, *args, **kwargs)
            if name == 'open':
                self.files[result] = path
            return result
        return counted

    def _is_next(self):
        return len(self.moments) == self.number

    def _moment(self, text):
        if self._is_next():
            os.kill(os.getpid(), signal.SIGKILL)
        self.moments.append(text)


def kind(path, folder):
    """str: What a file is, in a word."""
    name = os.path.basename(path)
    if path == folder:
        return 'folder'
    whole = name[1:] if name.endswith(SUFFIX) else name
    part = next(word for start, word in ((POINTER, 'pointer'), ('best_', 'best'), ('', 'checkpoint'))
                if whole.startswith(start))
    return f'{part} (temporary)' if name.endswith(SUFFIX) else part
