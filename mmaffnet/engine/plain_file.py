"""Trust one file on purpose: run its pickle once, and write what comes out as a plain checkpoint."""
import io
import pickle
import tarfile
from pathlib import Path

import torch

from .atomic import write_atomically
from .errors import UserError
from .plain import to_plain
from .safe_file import is_safetensors, load_file, pickles
from .safe_pickle import ALLOWED, NameReading, Refused


def names_in(path):
    """List the globals that a checkpoint file names, without running it.

    Args:
        path (str | Path): A local file.

    Returns:
        tuple[list[str], list[str]]: Those that are on the list of what checkpoints need, and the others; both in the
        order of the file, each once.

    Raises:
        UserError: Where the file is missing, or is none whose names can be read.
    """
    path = _existing(path)
    names = []
    with open(path, 'rb') as file:
        if is_safetensors(file, path):
            return [], []
        if tarfile.is_tarfile(file):
            raise UserError(f'{path} is a tar archive, whose names cannot be listed')
        try:
            source, num, _ = pickles(file)
            for _ in range(num or 5):  # the older format: two numbers, the writer's sizes, the data, storage keys
                NameReading(source, names).load()
        except Refused as refusal:
            raise UserError(f'{path} holds {refusal}: its names cannot be listed') from refusal
        except Exception as error:  # the end of a plain pickle; random bytes can raise anything
            if not names:
                raise UserError(f'{path} is damaged, incomplete or no checkpoint ({type(error).__name__}: {error})'
                                ) from error
    return [name for name in names if name in ALLOWED], [name for name in names if name not in ALLOWED]


def make_plain(path, out, trust=False):
    """Write a checkpoint anew so that it loads without running anything.

    Args:
        path (str | Path): A local file.
        out (str | Path): The file to write; must not be there yet.
        trust (bool): Whether to run what the file says, with all rights of this process. Otherwise it is loaded
            safely, which works for files that name nothing unknown.

    Returns:
        Path: The file written.

    Raises:
        UserError: Where the file is missing, refused, cannot be read, or holds what no plain checkpoint can.
    """
    path, out = _existing(path), Path(out)
    if out.exists():
        raise UserError(f'{out} is there already: give a name that is free')
    if not trust:
        checkpoint = load_file(path, 'cpu')
    else:
        checkpoint = _run(path)
    buffer = io.BytesIO()
    torch.save(to_plain(checkpoint) if isinstance(checkpoint, dict) else _not_a_dict(path, checkpoint), buffer)
    write_atomically(out, buffer.getvalue())
    return out


def _run(path):
    try:
        return torch.load(path, map_location='cpu', weights_only=False)
    except (ImportError, AttributeError) as error:
        raise UserError(f'{path} names what is not installed here ({error}): install the package that wrote it') \
            from error
    except (pickle.UnpicklingError, EOFError, RuntimeError, OSError, ValueError) as error:
        raise UserError(f'{path} cannot be read: {type(error).__name__}: {" ".join(str(error).split())[:200]}') \
            from error


def _not_a_dict(path, checkpoint):
    raise UserError(f'{path} holds a {type(checkpoint).__module__}.{type(checkpoint).__qualname__}, not a dict: save '
                    'its state_dict() where you can build it')


def _existing(path):
    path = Path(path).expanduser()
    if not path.is_file():
        raise UserError(f'{path} not found (looked for {path.absolute()}); an address is downloaded first')
    return path
