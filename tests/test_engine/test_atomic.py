"""Writing files so that a failure leaves the old one."""
import errno
import os
import resource
import signal
import stat

import pytest
from mmengine.fileio import LocalBackend, get_file_backend

from mmaffnet.engine.atomic import BACKEND, SUFFIX, clear_stale, write_atomically
from mmaffnet.engine.errors import UserError


@pytest.fixture
def old(tmp_path):
    path = tmp_path / 'folder' / 'epoch_1.pth'
    path.parent.mkdir()
    path.write_bytes(b'old')
    return path


def failing(monkeypatch, name, code):
    def fail(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, name, fail)


def test_writes_and_replaces_with_the_permissions_that_the_umask_gives(tmp_path):
    path = tmp_path / 'a' / 'b' / 'file'
    for data in (b'', b'12', b'x' * 10 ** 6, 'grün'):
        write_atomically(path, data)
        assert path.read_bytes() == (data.encode() if isinstance(data, str) else data)
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    assert os.listdir(path.parent) == ['file']


def test_a_relative_name_without_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_atomically('last_checkpoint', 'x')
    assert (tmp_path / 'last_checkpoint').read_text() == 'x'


def test_the_data_are_on_the_disk_before_the_name_and_the_name_before_the_end(old, monkeypatch):
    calls = []
    for name in ('write', 'fsync', 'replace'):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, name=name, real=real: (
            calls.append((name, stat.S_ISDIR(os.fstat(args[0]).st_mode) if name == 'fsync' else None)), real(*args))[1])
    write_atomically(old, b'new')
    assert calls == [('write', None), ('fsync', False), ('replace', None), ('fsync', True)]


@pytest.mark.parametrize('call', ['write', 'fsync', 'replace'])
@pytest.mark.parametrize(('code', 'words'), [
    (errno.ENOSPC, ('the disk is full', '2.0 MB needed', 'MB free in', '--resume')),
    (errno.EDQUOT, ('your quota is used up', '2.0 MB needed')),
    (errno.EROFS, ('folder cannot be written to', '--work-dir')),
    (errno.EACCES, ('folder cannot be written to', '--work-dir')), (errno.EIO, ('Input/output error', ))])
def test_a_failure_is_told_and_the_old_file_stays(old, monkeypatch, call, code, words):
    with monkeypatch.context() as patch:
        failing(patch, call, code)
        with pytest.raises(UserError) as error:
            write_atomically(old, b'x' * 2_000_000)
    assert all(word in str(error.value) for word in (*words, str(old), 'what was saved before is intact'))
    assert old.read_bytes() == b'old' and os.listdir(old.parent) == [old.name]


def test_a_file_larger_than_the_system_allows(old):
    """The kernel's own refusal, in the middle of writing."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        with pytest.raises(UserError, match=r'larger than a file may be \(ulimit -f\) \(3\.0 MB needed'):
            write_atomically(old, b'x' * 3_000_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert old.read_bytes() == b'old' and os.listdir(old.parent) == [old.name]


@pytest.mark.skipif(not os.path.isdir('/proc/self'), reason='needs a folder in which not even root can make a file')
def test_a_folder_that_takes_no_files():
    with pytest.raises(UserError, match='/proc/self/checkpoint could not be saved'):
        write_atomically('/proc/self/checkpoint', b'x')


def test_a_file_system_without_fsync_for_folders_is_no_error_but_a_broken_disk_is(old, monkeypatch):
    real = os.fsync

    def fsync(descriptor, code=errno.EINVAL):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(code, os.strerror(code))
        real(descriptor)

    monkeypatch.setattr(os, 'fsync', fsync)
    write_atomically(old, b'new')
    assert old.read_bytes() == b'new'
    monkeypatch.setattr(os, 'fsync', lambda descriptor: fsync(descriptor, errno.EIO))
    with pytest.raises(UserError, match='Input/output error'):
        write_atomically(old, b'newer')


def test_temporaries_of_the_dead_are_cleared_and_those_of_the_living_stay(tmp_path):
    def writer():
        """A process in the middle of writing."""
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.fsync = lambda descriptor: (os.write(write, b'x'), signal.pause())
            write_atomically(tmp_path / 'epoch_2.pth', b'half')
        os.read(read, 1)
        return child

    child = writer()
    (tmp_path / '.other.tmp').write_text('of another program')
    half = [path for path in tmp_path.iterdir() if path.name.endswith(SUFFIX)]
    try:
        assert len(half) == 1 and half[0].name.startswith('.epoch_2.pth.') and half[0].read_bytes() == b'half'
        assert clear_stale(tmp_path) == [] and half[0].exists()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert clear_stale(tmp_path) == half
    assert [path.name for path in tmp_path.iterdir()] == ['.other.tmp']
    assert clear_stale(tmp_path / 'missing') == []


def test_the_backend_is_mmengines_but_for_writing(tmp_path):
    backend = get_file_backend(str(tmp_path), backend_args=dict(backend=BACKEND))
    assert isinstance(backend, LocalBackend)
    backend.put(b'\0', tmp_path / 'x' / 'bytes')
    backend.put_text('ä', str(tmp_path / 'text'), encoding='latin1')
    assert backend.get(tmp_path / 'x' / 'bytes') == b'\0' and (tmp_path / 'text').read_bytes() == b'\xe4'


def test_the_backend_writes_through_temporaries(old, monkeypatch):
    failing(monkeypatch, 'replace', errno.EIO)
    with pytest.raises(UserError):
        get_file_backend(str(old), backend_args=dict(backend=BACKEND)).put(b'new', old)
    assert old.read_bytes() == b'old'
