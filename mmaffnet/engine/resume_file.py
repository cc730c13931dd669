"""Which file a run goes on from: the one that the pointer names, or where that is damaged the newest complete one."""
import zipfile
from pathlib import Path
from typing import NamedTuple

from .checkpoint_hook import POINTER
from .errors import UserError, say
from .safe_load import load_file
from .weights import check_file


class Saved(NamedTuple):
    """A checkpoint file as :func:`inspect` found it: complete where ``damage`` is None."""

    path: Path
    damage: str | None = None
    iteration: int = -1
    has_optimizer: bool = False


def find_resume(work_dir, out_dir=None):
    """Find the checkpoint that ``--resume`` alone takes, and say which and why.

    Args:
        work_dir (str | Path): Holds the pointer ``last_checkpoint`` and usually the checkpoints; it may have moved
            since they were written.
        out_dir (str | Path | None): ``out_dir`` of the checkpoint hook, where the checkpoints are in a folder of the
            same name instead.

    Returns:
        str | None: The file; None where there is none yet.

    Raises:
        UserError: Where there are files, but none is complete.
    """
    folders = [Path(work_dir), *([Path(out_dir) / Path(work_dir).absolute().name] if out_dir else [])]
    wanted, trouble = _read_pointer(Path(work_dir) / POINTER, folders)
    if wanted is not None:
        saved = inspect(wanted)
        if saved.damage is None:
            say(f'--resume: going on from {wanted}, iteration {saved.iteration}')
            return str(wanted)
        trouble = f'{wanted}, which {POINTER} names, {saved.damage}'
    found = _newest(folders)
    if found is None and not any(_files(folders)):
        if trouble:
            raise UserError(f'--resume: {trouble}, and {work_dir} holds no other checkpoint: train into another work '
                            f'directory, or remove {Path(work_dir) / POINTER} to start at the beginning')
        return None
    if found is None:
        raise UserError(f'--resume: none of the checkpoints in {work_dir} is complete ({_damages(folders)}): train '
                        'into another work directory, or without --resume')
    say(f'--resume: {trouble or f"{Path(work_dir) / POINTER} is missing"}; going on from the newest complete '
        f'checkpoint, {found.path}, iteration {found.iteration}')
    if not found.has_optimizer:
        _say_weights_only(found.path)
    return str(found.path)


def check_resume(path):
    """Check a file that was given to resume from.

    Args:
        path (str | Path): A local file, or an address that mmengine knows (left to it).

    Raises:
        UserError: Where it is missing or damaged; names the newest complete one beside it.
    """
    if '://' in str(path):
        return
    check_file(path, 'resume')
    saved = inspect(Path(path).expanduser())
    if saved.damage:
        other = _newest([saved.path.parent])
        raise UserError(f'resume {path} {saved.damage}: ' + (
            f'the newest complete checkpoint beside it is {other.path}' if other else 'no other beside it is complete'))
    if not saved.has_optimizer:
        _say_weights_only(path)


def inspect(path):
    """Read a checkpoint file through: its checksums, and what it says about itself.

    Args:
        path (str | Path): A local file.

    Returns:
        Saved: With ``damage`` in words where it cannot be resumed from.
    """
    path = Path(path)
    try:
        if not path.is_file():
            return Saved(path, 'is missing')
        if path.stat().st_size == 0:
            return Saved(path, 'is empty')
        if not zipfile.is_zipfile(path):
            return Saved(path, 'is incomplete or no checkpoint')
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        return Saved(path, f'cannot be read ({error})')
    if bad is not None:
        return Saved(path, f'is damaged (checksum of {bad})')
    try:
        checkpoint = load_file(path, 'cpu')
        return Saved(path, None, int(checkpoint['meta']['iter']), 'optimizer' in checkpoint)
    except (UserError, RuntimeError, EOFError) as error:
        return Saved(path, f'cannot be loaded ({" ".join(str(error).split())[:200]})')
    except (KeyError, TypeError, ValueError):
        return Saved(path, 'does not say after which iteration it was saved')


def _read_pointer(pointer, folders):
    """The file that the pointer names, by its name in the folders first (they may have moved); else what is wrong."""
    if not pointer.is_file():
        return None, None
    text = pointer.read_bytes().decode(errors='replace').strip()
    name = Path(text).name
    if not name or '\0' in text:
        return None, f'{pointer} is damaged'
    for place in (*(folder / name for folder in folders), Path(text)):
        if place.is_file():
            return place, None
    return None, f'{text}, which {POINTER} names, is missing'


def _files(folders):
    return (path for folder in folders for path in folder.glob('*.pth') if not path.name.startswith('.'))


def _newest(folders):
    """Of the complete files the one after most iterations; weights alone (best ones) where there is nothing else."""
    complete = [saved for saved in map(inspect, _files(folders)) if saved.damage is None]
    return max(complete, key=lambda saved: (saved.has_optimizer, saved.iteration), default=None)


def _damages(folders):
    damages = [f'{path.name} {inspect(path).damage}' for path in _files(folders)]
    return '; '.join(damages[:3]) + ('; …' if len(damages) > 3 else '')


def _say_weights_only(path):
    say(f'--resume: {path} holds weights without the state of the optimiser (as the best ones do), which starts anew: '
        'the run will differ from an undisturbed one')
