"""Files that appear under their name only when they are complete and on the disk."""
import errno
import fcntl
import os
import platform
import shutil
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from .errors import UserError

BACKEND = 'mmaffnet.atomic'  # what a config names: backend_args=dict(backend='mmaffnet.atomic')
SUFFIX = '.mmaffnet-tmp'
MEGABYTE = 1e6


def write_atomically(path, data):
    """Write a file so that a kill, a full disk or a power cut leaves the old file or the new one, never a part.

    The data goes into a temporary file beside it and to the disk (fsync), then takes the name (``os.replace``), then
    the folder's entry goes to the disk.

    Args:
        path (str | Path): The file; its folder is made where it is missing.
        data (bytes | str): The whole contents; text is written as UTF-8.

    Raises:
        UserError: Where the disk is full or the folder takes no file. The former file is intact, and no temporary is
            left.
    """
    data = data.encode() if isinstance(data, str) else data
    folder, name = os.path.split(os.path.abspath(path))
    # Two writers of one name (a run started twice) do not share a temporary, on one machine or on two.
    temporary = os.path.join(folder, f'.{name}.{platform.node()}-{os.getpid()}{SUFFIX}')
    try:
        os.makedirs(folder, exist_ok=True)
        _write(temporary, data)
        os.replace(temporary, os.path.join(folder, name))
        _sync_folder(folder)
    except OSError as error:
        raise _explained(error, path, folder, len(data)) from error
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


def clear_stale(folder):
    """Remove temporaries of writers that are no more.

    A writer holds a lock on its temporary, which the kernel lifts when it ends in whatever way: a file that another
    run is writing right now stays.

    Args:
        folder (str | Path): Where :func:`write_atomically` wrote.

    Returns:
        list[Path]: What was removed.
    """
    removed = []
    for path in sorted(Path(folder).glob(f'.*{SUFFIX}')):
        try:
            descriptor = os.open(path, os.O_RDWR)
        except FileNotFoundError:  # its writer has just finished
            continue
        try:
            if _lock(descriptor):
                path.unlink(missing_ok=True)
                removed.append(path)
        finally:
            os.close(descriptor)
    return removed


class AtomicLocalBackend(LocalBackend):
    """mmengine's local storage, which writes in place: a kill leaves half a file under the name of a whole one."""

    def put(self, obj, filepath):
        """Write bytes, see :func:`write_atomically`.

        Args:
            obj (bytes): The contents.
            filepath (str | Path): The file.
        """
        write_atomically(filepath, obj)

    def put_text(self, obj, filepath, encoding='utf-8'):
        """Write text, see :func:`write_atomically`.

        Args:
            obj (str): The contents.
            filepath (str | Path): The file.
            encoding (str): Of the file.
        """
        write_atomically(filepath, obj.encode(encoding))


register_backend(BACKEND, AtomicLocalBackend, force=True)


def _write(path, data):
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        _lock(descriptor)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest):]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _lock(descriptor):
    """Whether this process could lock the file; a file system without locks gives none, so nothing is removed there."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _sync_folder(folder):
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems have no fsync for folders; there the server keeps entries safe by itself.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _explained(error, path, folder, size):
    kept = 'what was saved before is intact'
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        cause = {errno.EDQUOT: 'your quota is used up', errno.EFBIG: 'it is larger than a file may be (ulimit -f)'}
        free = shutil.disk_usage(_existing(folder)).free
        return UserError(f'{path} could not be saved: {cause.get(error.errno, "the disk is full")} '
                         f'({size / MEGABYTE:.1f} MB needed, {free / MEGABYTE:.1f} MB free in {folder}); make room and '
                         f'start again with --resume ({kept})')
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return UserError(f'{path} could not be saved: {folder} cannot be written to ({error.strerror}); give a work '
                         f'directory that can (--work-dir), or make this one writable ({kept})')
    return UserError(f'{path} could not be saved in {folder}: {error.strerror} ({kept})')


def _existing(folder):
    return next(str(place) for place in (Path(folder), *Path(folder).parents) if place.is_dir())
