"""Load a checkpoint file of any kind without running anything of it."""
import contextlib
import io
import json
import pickle
import re
import tarfile
import threading
import zipfile
from pathlib import Path

import torch
from torch.serialization import add_safe_globals, clear_safe_globals, get_safe_globals

from .errors import UserError
from .safe_pickle import RECORDERS, FirstReading, Refused
from .safe_values import settle

MAGIC_NUMBER, PROTOCOL_VERSION = 0x1950a86a20f9469cfc6c, 1001  # torch.serialization: files before torch 1.6
# What torch.save puts into a zip below its one folder.
RECORD = re.compile(r'data\.pkl|version|byteorder|data/\d+|\.data/serialization_id|\.format_version|'
                    r'\.storage_alignment')
TORCHSCRIPT = re.compile(r'code/.*|constants\.pkl')
TRUST = ('to load a file of someone whom you trust all the same, '
         'python tools/model_converters/plain_checkpoint.py FILE OUT.pth --trust writes a plain copy')
_LOCK = threading.RLock()


def load_file(path_or_buffer, map_location=None, name=None):
    """Load a checkpoint: zip or older format of ``torch.save``, or safetensors (by suffix or by content).

    Args:
        path_or_buffer (str | Path | BinaryIO): A file, or its content; a buffer must be able to seek.
        map_location (str | torch.device | dict | Callable | None): As of ``torch.load``; a callable is not for
            safetensors.
        name (str | None): What the messages call it. Default: the path.

    Returns:
        object: What was saved: tensors, plain containers and values, numpy arrays and scalars, HistoryBuffers. Of
        safetensors a dict with ``state_dict`` and ``meta`` (its metadata; ``dataset_meta`` is read as JSON).
        The text of a config in it stands under ``cfg_text`` and ``config_text`` (:func:`_keep_texts_from_running`).

    Raises:
        UserError: Where it holds anything else, is damaged, or cannot be opened.
    """
    if isinstance(path_or_buffer, str | Path):
        name = name or str(path_or_buffer)
        try:
            with open(path_or_buffer, 'rb') as file:
                return load_file(file, map_location, name)
        except OSError as error:
            raise UserError(f'{name} cannot be opened: {error.strerror or error}') from error
    name = name or getattr(path_or_buffer, 'name', 'the checkpoint')
    try:
        checkpoint = _load(path_or_buffer, map_location, name)
    except Refused as refusal:
        raise UserError(f'{name} is refused, and nothing of it was run, because of {refusal} in it: checkpoints need '
                        f'tensors, plain containers, numpy arrays and HistoryBuffers only; {TRUST}') from refusal
    _keep_texts_from_running(checkpoint)
    return checkpoint


def is_safetensors(file, name=''):
    """bool: Whether a file is safetensors: by its name, or by a length of eight bytes before the brace of a header."""
    file.seek(0)
    head = file.read(9)
    file.seek(0)
    return str(name).endswith('.safetensors') or (head[8:9] == b'{' and head[:2] != b'PK' and head[:1] != b'\x80')


def pickles(file):
    """Find the pickle or pickles in a file of ``torch.save``.

    Args:
        file (BinaryIO): The file, at any position.

    Returns:
        tuple[BinaryIO, int, dict | None]: A file at the first pickle, the number of pickles (0: unknown, the old
        format), and for a zip the bytes of each storage.

    Raises:
        Refused: Where a zip holds something else too.
        zipfile.BadZipFile: Where it is damaged.
    """
    file.seek(0)
    if file.read(4) != b'PK\x03\x04':
        file.seek(0)
        return file, 0, None
    file.seek(0)
    with zipfile.ZipFile(file) as archive:
        infos = archive.infolist()
        root = infos[0].filename.split('/')[0] + '/' if infos else ''
        names = [info.filename.removeprefix(root) for info in infos]
        if any(TORCHSCRIPT.fullmatch(name) for name in names):
            raise Refused('the code of a TorchScript archive')
        for info, inner in zip(infos, names, strict=True):
            if not info.filename.startswith(root) or not RECORD.fullmatch(inner) or names.count(inner) > 1 \
                    or info.compress_type != zipfile.ZIP_STORED:
                raise Refused(f'a record {info.filename!r} in its zip')
        if 'data.pkl' not in names:
            raise zipfile.BadZipFile(f'there is no {root}data.pkl in it')
        sizes = {inner[5:]: info.file_size for inner, info in zip(names, infos, strict=True) if inner[:5] == 'data/'}
        return io.BytesIO(archive.read(root + 'data.pkl')), 1, sizes


def _load(file, map_location, name):
    file.seek(0, io.SEEK_END)
    size = file.tell()
    if size == 0:
        raise UserError(f'{name} is empty (0 bytes): copy or download it again')
    if is_safetensors(file, name):
        return _load_safetensors(file, map_location, name)
    try:
        file = _read_first(file, size, name)
    except (Refused, UserError):
        raise
    except Exception as error:  # what a pickle or zip of random bytes can raise is no short list
        raise UserError(f'{name} is damaged, incomplete or no checkpoint ({_said(error)}): copy or download it '
                        'again') from error
    try:
        with _only_recorders():
            value = torch.load(file, map_location=map_location, weights_only=True)
    except Exception as error:  # by now names are allowed: sizes that disagree, a device that this machine lacks
        raise UserError(f'{name} cannot be loaded: {_said(error)}') from error
    return settle(value)


def _read_first(file, size, name):
    """Read names and sizes of all pickles; returns what torch may load."""
    source, num, sizes = pickles(file)
    if num:
        FirstReading(source, _storage_check(sizes)).load()
        file.seek(0)
        return file
    if tarfile.is_tarfile(file):
        raise UserError(f'{name} is a tar archive, which torch before 0.1.10 wrote: torch cannot load these safely; '
                        f'{TRUST}')
    source.seek(0)
    if source.read(1) != b'\x80':  # every pickle that torch ever wrote says its protocol first
        _name_old_pickle(source)
        raise UserError(f'{name} is no checkpoint: it is neither a file of torch.save nor safetensors')
    # In memory, so that torch 2.4 and 2.5 do not take it for a tar archive, whose pickle they would trust.
    source.seek(0)
    source = io.BytesIO(source.read())
    if [FirstReading(source).load() for _ in range(2)] != [MAGIC_NUMBER, PROTOCOL_VERSION]:
        raise UserError(f'{name} is a pickle, but no file of torch.save: {TRUST}')
    FirstReading(source).load()  # the writer's byte order and sizes
    FirstReading(source, _storage_check(None, size)).load()
    FirstReading(source).load()  # keys of the storages, which follow
    source.seek(0)
    return source


def _name_old_pickle(source):
    """Look for a name in a pickle of protocol 0 or 1, which begins like text; raises Refused where there is one."""
    source.seek(0)
    try:
        FirstReading(source).load()
    except Refused:
        raise
    except Exception:  # it is text, which the caller says
        return


def _storage_check(sizes, most=None):
    """Make the check of a storage against its record, or in the old format against the whole file."""
    def check(key, nbytes):
        there = most if sizes is None else sizes.get(key)
        if there is None or nbytes > there:
            raise ValueError(f'a tensor of {nbytes} bytes, but '
                             + ('no data for it' if there is None else f'only {there} in the file'))
    return check


@contextlib.contextmanager
def _only_recorders():
    """Let torch's list of allowed globals hold ours and nothing that others have added."""
    with _LOCK:
        others = list(get_safe_globals())
        clear_safe_globals()
        add_safe_globals(list(RECORDERS.values()))
        try:
            yield
        finally:
            clear_safe_globals()
            add_safe_globals(others)


def _load_safetensors(file, map_location, name):
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load
    except ImportError as error:
        raise UserError(f'{name} is a safetensors file, which needs a package: pip install safetensors') from error
    device = map_location.get('cpu', 'cpu') if isinstance(map_location, dict) else map_location or 'cpu'
    if not isinstance(device, str | torch.device):
        raise UserError(f'{name} is a safetensors file: map_location must be a device for it')
    file.seek(0)
    data = file.read()
    try:
        tensors = load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise UserError(f'{name} is damaged, incomplete or no safetensors file ({_said(error)}): copy or download it '
                        'again') from error
    header = json.loads(data[8:8 + int.from_bytes(data[:8], 'little')])
    meta = dict(header.get('__metadata__') or {})
    try:
        dataset_meta = json.loads(meta.pop('dataset_meta', '{}'))
    except ValueError as error:
        raise UserError(f'{name}: dataset_meta in its metadata is no JSON ({_said(error)})') from error
    if isinstance(dataset_meta, dict) and dataset_meta:
        meta['dataset_meta'] = dataset_meta
    return dict(state_dict={key: tensor.to(device) for key, tensor in tensors.items()}, meta=meta)


def _keep_texts_from_running(checkpoint):
    """Move the texts of configs in a checkpoint to keys that nothing runs.

    mmengine runs them as Python: ``Runner.resume`` ``meta['config']``, an Inferencer without a config
    ``message_hub['runtime_info']['cfg']`` or ``meta['cfg']``. A run that goes on has its own text already.
    """
    if not isinstance(checkpoint, dict):
        return
    meta = checkpoint.get('meta')
    for key in ('cfg', 'config'):
        if isinstance(meta, dict) and key in meta:
            meta[f'{key}_text'] = meta.pop(key)
    hub = checkpoint.get('message_hub')
    info = hub.get('runtime_info') if isinstance(hub, dict) else None
    if isinstance(info, dict):
        info.pop('cfg', None)


def _said(error):
    if isinstance(error, pickle.UnpicklingError) and error.__context__ is not None:
        error = error.__context__  # torch puts advice before it that does not fit here
    return f'{type(error).__name__}: {" ".join(str(error).split())[:200]}'
