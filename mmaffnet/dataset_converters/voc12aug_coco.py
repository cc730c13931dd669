"""VOC 2012 + SBD + COCO as one training set: the command of ``tools/dataset_converters/voc12aug_coco.py``."""
import os
import sys
from pathlib import Path

from mmaffnet.engine.errors import UserError, say

from .merge import merge, write_list
from .sources import coco_items, sbd_items, voc_items
from .voc_masks import SourceError

SHOWN = 20  # lines of what was left out; all are in LEFT_OUT
LEFT_OUT = 'left_out.txt'
COCO_SPLITS = ('train2017', 'val2017')


def add_merge_arguments(parser):
    """Add the arguments.

    Args:
        parser (argparse.ArgumentParser): Changed in place.
    """
    parser.add_argument('--voc', required=True, metavar='DIR', help='VOC2012: ImageSets, JPEGImages, SegmentationClass')
    parser.add_argument('--sbd', metavar='DIR', help="SBD's folder dataset: cls, img, train.txt, val.txt")
    parser.add_argument('--coco', metavar='DIR', help='COCO 2017: annotations, train2017')
    parser.add_argument('--coco-splits', nargs='+', choices=COCO_SPLITS, default=COCO_SPLITS[:1], metavar='SPLIT',
                        help='train2017 (default), val2017, or both')
    parser.add_argument('--out', default='data/voc12aug_coco', metavar='DIR', help='merged set (default: %(default)s)')
    parser.add_argument('--images', choices=('symlink', 'hardlink', 'copy'), default='symlink',
                        help='how pictures get into it (default: %(default)s; copied where links are impossible)')
    parser.add_argument('--min-pixels', type=int, default=1000, metavar='N',
                        help='drop pictures of COCO with fewer foreground pixels (default: %(default)s)')
    parser.add_argument('--workers', type=int, default=len(os.sched_getaffinity(0)), metavar='N',
                        help='processes (default: one for each core)')


def merge_voc(args):
    """Make the merged set, or what is missing of it.

    Args:
        args (argparse.Namespace): See :func:`add_merge_arguments`.

    Returns:
        int: 0, or 1 where something was left out because its source is broken.

    Raises:
        UserError: Where a source is not what it should be, or the output cannot be written.
    """
    _check_arguments(args)
    out = Path(args.out)
    try:
        groups, problems = _collect(args)
        summary = merge([item for group in groups.values() for item in group], out, args.images, args.min_pixels,
                        args.workers, _with_progress)
        _write_lists(groups, summary, out)
        problems += summary.broken
        (out / LEFT_OUT).write_text(''.join(f'{problem}\n' for problem in problems))
    except SourceError as error:
        raise UserError(str(error)) from error
    except OSError as error:
        raise UserError(f'the merged set cannot be written: {error}') from error
    _report(args, groups, summary, problems)
    return 1 if problems else 0


def _check_arguments(args):
    for name in ('voc', 'sbd', 'coco'):
        folder = getattr(args, name)
        if folder is not None and not Path(folder).is_dir():
            raise UserError(f'--{name} {folder} is no folder (looked for {Path(folder).absolute()})')
    if args.min_pixels < 0:
        raise UserError(f'--min-pixels is {args.min_pixels}; it must be 0 or more')
    if args.workers < 1:
        raise UserError(f'--workers is {args.workers}; it must be 1 or more')
    if Path(args.out).resolve() == Path(args.voc).resolve():
        raise UserError(f'--out {args.out} is the folder of VOC itself, whose lists would be overwritten: name another')


def _collect(args):
    """List the items of all sources by source, and what is wrong with their lists."""
    train, val, problems = voc_items(args.voc)
    groups = dict(train=train, val=val)
    if args.sbd is not None:
        groups['sbd'] = sbd_items(args.sbd, args.voc, [item.name for item in train + val])
    if args.coco is not None:
        groups['coco'] = []
        for split in dict.fromkeys(args.coco_splits):
            items, number = coco_items(args.coco, split)
            say(f'COCO {split}: {len(items)} of {number} pictures hold one of the 20 classes')
            groups['coco'] += items
    return groups, problems


def _write_lists(groups, summary, out):
    """A list is written where all that its name promises was given."""
    names = {group: summary.complete(items) for group, items in groups.items()}
    lists = dict(train=names['train'], val=names['val'])
    if 'sbd' in names:
        lists['train_aug'] = names['train'] + names['sbd']
    if 'coco' in names:
        name, before = ('train_aug_coco', 'train_aug') if 'sbd' in names else ('train_coco', 'train')
        lists[name] = lists[before] + names['coco']
    for name, content in lists.items():
        say(f'{write_list(out, name, content)}: {len(content)} pictures')


def _report(args, groups, summary, problems):
    counts = summary.counts()
    say(f'{counts["made"]} made, {counts["kept"]} kept from an earlier run, {counts["dropped"]} dropped with fewer '
        f'than {args.min_pixels} foreground pixels')
    if summary.copied:
        say(f'{summary.copied} pictures were copied: no {args.images} can be made from their folder to {args.out}')
    if not {'sbd', 'coco'} <= groups.keys():
        name = 'train_aug' if 'sbd' in groups else 'train_coco' if 'coco' in groups else 'train'
        say('train_aug_coco.txt, which the shipped configs read, needs --sbd and --coco; without them train with '
            f'--cfg-options train_ann_file=ImageSets/Segmentation/{name}.txt')
    for problem in problems[:SHOWN]:
        say(f'left out: {problem}')
    if problems:
        say(f'{len(problems)} left out, all named in {Path(args.out) / LEFT_OUT}: mend them and run the same command '
            'again, it makes only what is missing')


def _with_progress(results, total):
    """Yield the results below a progress bar, which shows on terminals only."""
    from rich.console import Console
    from rich.progress import track
    yield from track(results, 'Merging', total, console=Console(stderr=True), disable=not sys.stderr.isatty())
