"""Loaders for every scheme that mmengine knows, which run nothing of what they load.

Each prefix is registered by itself: mmengine's loaders for torchvision://, openmmlab:// and mmcls:// call its loader
for HTTP directly, so replacing that one would leave them as they are.
"""
import difflib
import hashlib
import io
import os
import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlparse

import torch
from mmengine.dist import barrier, get_dist_info
from mmengine.fileio import get_file_backend
from mmengine.runner import CheckpointLoader

from .errors import UserError, say
from .safe_file import load_file

__all__ = ['load_file', 'register_safe_schemes', 'SCHEMES']

# torch.hub's convention: the first eight or more digits of the SHA-256 before the suffix.
HASH = re.compile(r'-([0-9a-f]{8,64})\.')
DATE = re.compile(r'20[0-4]\d(0[1-9]|1[0-2])([012]\d|3[01])')  # "…-20210928.pth" names a day


def register_safe_schemes():
    """Let mmengine and the hosts load every checkpoint of this process by the loaders below."""
    for prefix, loader in SCHEMES.items():
        CheckpointLoader.register_scheme(prefix, loader, force=True)


def load_from_local(filename, map_location=None):
    """Load a local file.

    Args:
        filename (str): Path; ``~`` is the home directory.
        map_location (str | None): As of ``torch.load``.

    Returns:
        object: See :func:`mmaffnet.engine.safe_file.load_file`.

    Raises:
        UserError: Where the file is missing, damaged or refused.
    """
    path = Path(filename).expanduser()
    if not path.is_file():
        raise UserError(f'checkpoint {filename} not found (looked for {path.absolute()})')
    return load_file(path, map_location, str(filename))


def load_from_http(filename, map_location=None):
    """Download a file once into torch's hub folder, check the hash in its name, and load it.

    Args:
        filename (str): ``http://`` or ``https://`` address.
        map_location (str | None): As of ``torch.load``.

    Returns:
        object: See :func:`mmaffnet.engine.safe_file.load_file`.

    Raises:
        UserError: Where it cannot be had, or is damaged or refused.
    """
    path = download(filename)
    return load_file(path, map_location, f'{filename} (kept as {path})')


def load_from_pavi(filename, map_location=None):
    """Load from SenseTime's pavi, as mmengine does.

    Args:
        filename (str): ``pavi://`` address.
        map_location (str | None): As of ``torch.load``.

    Returns:
        object: See :func:`mmaffnet.engine.safe_file.load_file`.

    Raises:
        UserError: Where the package is missing, or the file damaged or refused.
    """
    try:
        from pavi import modelcloud
    except ImportError as error:
        raise UserError(f'{filename} needs the package pavi') from error
    model = modelcloud.get(filename.removeprefix('pavi://'))
    with TemporaryDirectory() as folder:
        path = Path(folder) / 'checkpoint'
        model.download(str(path))
        return load_file(path, map_location, filename)


def load_from_ceph(filename, map_location=None):
    """Load through mmengine's file backend ``petrel``.

    Args:
        filename (str): ``s3://`` or ``petrel://`` address, with or without a cluster's name before it.
        map_location (str | None): As of ``torch.load``.

    Returns:
        object: See :func:`mmaffnet.engine.safe_file.load_file`.
    """
    backend = get_file_backend(filename, backend_args=dict(backend='petrel'))
    return load_file(io.BytesIO(backend.get(filename)), map_location, filename)


def load_from_torchvision(filename, map_location=None):
    """Load one of torchvision's models by name.

    Args:
        filename (str): ``torchvision://`` or ``modelzoo://`` and a name (``resnet50``).
        map_location (str | None): As of ``torch.load``.

    Returns:
        object: See :func:`mmaffnet.engine.safe_file.load_file`.
    """
    from mmengine.runner.checkpoint import get_torchvision_models
    return load_from_http(_lookup(filename, get_torchvision_models()), map_location)


def load_from_openmmlab(filename, map_location=None):
    """Load one of OpenMMLab's models by its short name.

    Args:
        filename (str): ``openmmlab://`` or ``open-mmlab://`` and a name.
        map_location (str | None): As of ``torch.load``.

    Returns:
        object: See :func:`mmaffnet.engine.safe_file.load_file`.
    """
    from mmengine.runner.checkpoint import get_deprecated_model_names, get_external_models
    scheme, name = filename.split('://', 1)
    name = get_deprecated_model_names().get(name, name)
    target = _lookup(f'{scheme}://{name}', get_external_models())
    if target.startswith(('http://', 'https://')):
        return load_from_http(target, map_location)
    # A file beside the user's own list of models, in mmengine's folder.
    cache = os.environ.get('XDG_CACHE_HOME', '~/.cache')
    home = os.environ.get('MMENGINE_HOME', os.path.join(cache, 'mmengine'))
    return load_from_local(os.path.join(home, target), map_location)


def load_from_mmcls(filename, map_location=None):
    """Load the backbone of one of mmpretrain's older models by name.

    Args:
        filename (str): ``mmcls://`` and a name.
        map_location (str | None): As of ``torch.load``.

    Returns:
        dict: With ``state_dict``: the tensors below ``backbone.``, without that prefix.
    """
    from mmengine.runner.checkpoint import get_mmcls_models
    checkpoint = load_from_http(_lookup(filename, get_mmcls_models()), map_location)
    state = checkpoint.get('state_dict', checkpoint)
    return dict(state_dict={key.removeprefix('backbone.'): value for key, value in state.items()
                            if key.startswith('backbone.')})


SCHEMES = {
    '': load_from_local,
    'http://': load_from_http,
    'https://': load_from_http,
    'pavi://': load_from_pavi,
    r'(\S+\:)?s3://': load_from_ceph,
    r'(\S+\:)?petrel://': load_from_ceph,
    'modelzoo://': load_from_torchvision,
    'torchvision://': load_from_torchvision,
    'open-mmlab://': load_from_openmmlab,
    'openmmlab://': load_from_openmmlab,
    'mmcls://': load_from_mmcls,
}


def download(url):
    """Get a file once: rank 0 first, the others then find it, or on another machine get their own.

    Args:
        url (str): ``http://`` or ``https://`` address.

    Returns:
        Path: The file in ``torch.hub.get_dir()/checkpoints``; what the hash in its name denies is not kept.

    Raises:
        UserError: Where it cannot be had, or its hash is not the one in its name.
    """
    name = os.path.basename(urlparse(url).path)
    if not name:
        raise UserError(f'{url} names no file')
    path = Path(torch.hub.get_dir()) / 'checkpoints' / name
    rank, world_size = get_dist_info()
    try:
        if rank == 0:
            _fetch(url, path)
    finally:
        if world_size > 1:
            barrier()  # also after an error: the others then fail by themselves instead of waiting
    if rank > 0:
        _fetch(url, path)
    return path


def hash_in_name(name):
    """str | None: The leading digits of the SHA-256 that a file's name gives."""
    found = [digits for digits in HASH.findall(name) if not DATE.fullmatch(digits)]
    return found[-1] if found else None


def _fetch(url, path):
    expected = hash_in_name(path.name)
    if path.is_file():
        if expected is None or _sha256(path).startswith(expected):
            return
        say(f'{path} does not have the hash in its name: downloading it again')
        path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(path), expected, progress=sys.stderr.isatty())
    except RuntimeError as error:  # torch.hub's word for a wrong hash
        raise UserError(f'{url} is not the file that its name promises ({error}): it was not kept') from error
    except OSError as error:  # urllib's errors, a full disk
        raise UserError(f'{url} cannot be downloaded to {path}: {error}') from error


def _sha256(path):
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def _lookup(filename, known):
    name = filename.split('://', 1)[1]
    if name not in known:
        close = difflib.get_close_matches(name, known, n=3)
        raise UserError(f'{filename}: there is no model {name!r}'
                        + (f'; similar ones: {", ".join(close)}' if close else ''))
    return known[name]
