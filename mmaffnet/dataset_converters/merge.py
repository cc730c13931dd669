"""Make one folder in VOC's layout of the items of several sources; an interrupted run goes on where it was."""

import multiprocessing
import os
import re
import shutil
import signal
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from .sources import VOC_LISTS, CocoItem
from .voc_masks import SourceError, foreground_pixels, picture_shape, read_voc_mask, replacing, save_mask

PLACINGS = ('symlink', 'hardlink', 'copy')
DROPPED = 'coco_dropped.txt'
_DROPPED_LINE = re.compile(r'^(\S+) has (\d+) foreground pixels\n', re.MULTILINE)


@dataclass(frozen=True)
class Result:
    """What became of an item: state 'made', 'kept' (from an earlier run), 'dropped' or 'broken'."""

    name: str
    state: str
    pixels: int = 0
    reason: str = ''
    copied: bool = False  # though a link was asked for


@dataclass
class Summary:
    """What became of all items.

    Args:
        states (dict[str, str]): State of each name, see :class:`Result`.
        broken (list[str]): Why something was left out, a sentence each, naming the file.
        copied (int): Pictures that were copied because the file system refused links.
    """

    states: dict = field(default_factory=dict)
    broken: list = field(default_factory=list)
    copied: int = 0

    def counts(self):
        """Counter: Number of items in each state."""
        return Counter(self.states.values())

    def complete(self, items):
        """list[str]: Names of the items whose picture and mask are there, once each."""
        return [name for name in dict.fromkeys(item.name for item in items) if self.states[name] in ('made', 'kept')]


def merge(items, out, placing='symlink', min_pixels=1000, workers=1, progress=None):
    """Make pictures and masks of all items that are not there yet.

    A mask is written last and at once: where it is, its picture is too. Masks of an earlier run are kept where they
    decode and have the picture's size. Pictures of COCO that are dropped are noted in ``coco_dropped.txt``.

    Args:
        items (Sequence[Item]): Of one name only the first is taken; the others count as broken.
        out (Path): Folder of the merged set; gets ``JPEGImages`` and ``SegmentationClass``.
        placing (str): How pictures get there: 'symlink' (relative, so that both folders can be moved together),
            'hardlink' or 'copy'. Links that the file system refuses become copies.
        min_pixels (int): Pictures of COCO with fewer foreground pixels are dropped.
        workers (int): Processes; up to 1: this one only.
        progress (Callable | None): Wraps the iterator of results, given their number too.

    Returns:
        Summary: States by name.

    Raises:
        SourceError: Where a process was killed.
        OSError: Where ``out`` cannot be written.
    """
    for folder in ('JPEGImages', 'SegmentationClass'):
        (out / folder).mkdir(parents=True, exist_ok=True)
        for draft in (out / folder).glob('.*.draft'):  # of a run that was killed
            draft.unlink()
    summary, todo = Summary(), {}
    dropped = _read_dropped(out / DROPPED)
    for item in items:
        if item.name in todo or item.name in summary.states:
            summary.broken.append(f'{item.picture}: a second {item.name}; the first is taken')
        elif isinstance(item, CocoItem) and dropped.get(item.name, min_pixels) < min_pixels:
            summary.states[item.name] = 'dropped'
        else:
            todo[item.name] = item
    job = partial(make, out=out, placing=placing, min_pixels=min_pixels)
    with _results(job, list(todo.values()), workers) as results:
        for result in progress(results, len(todo)) if progress else results:
            summary.states[result.name] = result.state
            summary.copied += result.copied
            if result.state == 'broken':
                summary.broken.append(result.reason)
            elif result.state == 'dropped':
                with open(out / DROPPED, 'a') as journal:  # at once: an interrupted run shall not count them again
                    journal.write(f'{result.name} has {result.pixels} foreground pixels\n')
    return summary


def make(item, out, placing, min_pixels):
    """Make picture and mask of one item, or keep them.

    Args:
        item (Item): What to make.
        out (Path): As for :func:`merge`.
        placing (str): As for :func:`merge`.
        min_pixels (int): As for :func:`merge`.

    Returns:
        Result: What became of it; a broken source is a result, not an error.
    """
    picture, target = out / 'JPEGImages' / f'{item.name}.jpg', out / 'SegmentationClass' / f'{item.name}.png'
    try:
        mask = _finished(picture, target)
        state = 'made' if mask is None else 'kept'
        if mask is None:
            mask = item.mask()
        pixels = foreground_pixels(mask)
        if isinstance(item, CocoItem) and pixels < min_pixels:
            return Result(item.name, 'dropped', pixels)
        copied = False
        if state == 'made':
            shape = picture_shape(item.picture)
            if shape != mask.shape:
                raise SourceError(f'{item.picture}: {shape[0]} x {shape[1]} pixels (height x width), but its mask has '
                                  f'{mask.shape[0]} x {mask.shape[1]}')
            copied = _place(item.picture, picture, placing)
            save_mask(mask, target)
        return Result(item.name, state, pixels, copied=copied)
    except SourceError as error:
        return Result(item.name, 'broken', reason=str(error))


def write_list(out, name, names):
    """Write a list of the merged set at once.

    Args:
        out (Path): Folder of the merged set.
        name (str): 'train', 'val', …
        names (Sequence[str]): Of pictures that are complete.

    Returns:
        Path: The list.
    """
    path = out / VOC_LISTS / f'{name}.txt'
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as draft:
        draft.write_text(''.join(f'{item}\n' for item in names))
    return path


def _finished(picture, target):
    """np.ndarray | None: The mask, where it and its picture are whole."""
    if not (target.is_file() and picture.is_file()):
        return None
    try:
        mask = read_voc_mask(target)
        return mask if mask.shape == picture_shape(picture, whole=False) else None
    except SourceError:  # cut short by a full disk or another program: made again
        return None


def _place(source, target, placing):
    """bool: Whether the picture was copied although a link was asked for."""
    with replacing(target) as draft:
        try:
            if placing == 'symlink':
                os.symlink(os.path.relpath(source.resolve(), target.parent.resolve()), draft)
            elif placing == 'hardlink':
                os.link(source.resolve(), draft)
            else:
                shutil.copyfile(source, draft)
            return False
        except OSError:  # another disk, or a file system without links; a full disk fails again
            if placing == 'copy':
                raise
            shutil.copyfile(source, draft)
            return True


@contextmanager
def _results(job, items, workers):
    """Yield an iterator of ``job``'s results in the order of the items."""
    if workers <= 1 or len(items) < 2:
        yield map(job, items)
        return
    # Forked, since a fresh interpreter would spend seconds on importing torch; the children only convert. Ctrl-C is for
    # the parent, which lets them finish what they write.
    with ProcessPoolExecutor(min(workers, len(items)), mp_context=multiprocessing.get_context('fork'),
                             initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN)) as pool:
        try:
            yield pool.map(job, items, chunksize=8)
        except BrokenProcessPool as error:
            raise SourceError('a process was killed, probably for want of memory: the same command goes on from here, '
                              '--workers N takes fewer at a time') from error
        finally:
            pool.shutdown(cancel_futures=True)


def _read_dropped(path):
    """dict[str, int]: Foreground pixels of the pictures noted; a last line that was cut short does not count."""
    if not path.is_file():
        return {}
    text = path.read_text()
    if text and not text.endswith('\n'):
        with open(path, 'a') as journal:
            journal.write('\n')
    return {name: int(pixels) for name, pixels in _DROPPED_LINE.findall(text)}
