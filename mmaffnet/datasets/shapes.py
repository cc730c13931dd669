"""A COCO-format detection data set that the project draws itself, laid out as COCO 2017 is.

::

    <root>/shapes.json                               the options it was made with, written last
    <root>/annotations/instances_{train,val}2017.json
    <root>/{train,val}2017/000000000001.png …

Six classes of 12 to 200 px in pictures of 224 to 256 px: star, ring, cross and crescent differ in outline and wear any
fill; striped and chequered disc differ in texture. Colours are drawn alike for all. Triangles, blobs, bars and discs in
other fills stand about and belong to no class; objects hide up to half of each other.

Conventions, which are COCO's own: ``segmentation`` holds the visible pixels (compressed RLE), ``area`` their number,
``bbox`` their tight box, so what is hidden or beyond the picture's edge is not boxed. One key is added to each
annotation, ``visible_fraction``: visible pixels by the pixels of the whole object.

The same options give the same pixels everywhere: float64 NumPy arithmetic, the frozen ``numpy.random.RandomState``
stream, and lossless PNG. What remains is the last bit of sin, cos and arctan2, which NumPy computes differently on
different processors: it could move a value that lies within 1e-13 of a rounding edge. The bytes of the PNG files also
depend on the zlib that Pillow was built with, the pixels do not.
"""

import json
import multiprocessing
import os
import shutil
import tempfile
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as rle
from rich.progress import track

from .shapes_scene import CLASSES, compose

CLASS_NAMES = tuple(CLASSES)
FORMAT = 1  # raise it whenever the same options give other pixels or annotations
MARKER = 'shapes.json'


def generate_shapes(
    root: str | os.PathLike,
    train_pictures: int = 1600,
    val_pictures: int = 120,
    train_seed: int = 0,
    val_seed: int = 1,
    workers: int | None = None,
) -> Path:
    """Draw the data set, or keep the one that stands at ``root`` if it is whole and was made with the same options.

    It is drawn beside ``root`` and renamed when complete, so an interrupted run leaves nothing that could be taken for
    a data set.

    Args:
        root (str | os.PathLike): Folder of the data set. One made with other options is replaced.
        train_pictures (int): Training pictures, at least 1.
        val_pictures (int): Validation pictures, at least 1.
        train_seed (int): Seed of the training pictures, 0 to 2³² - 1.
        val_seed (int): Seed of the validation pictures; must differ from ``train_seed``.
        workers (int | None): Processes that draw; None: one for each core.

    Returns:
        Path: ``root``.

    Raises:
        ValueError: An option is outside its range.
        FileExistsError: ``root`` holds something that is not a shapes data set.
    """
    for name, value in (('train_pictures', train_pictures), ('val_pictures', val_pictures)):
        if value < 1:
            raise ValueError(f'{name} must be at least 1, but is {value}')
    if train_seed == val_seed:
        raise ValueError(
            f'train_seed and val_seed must differ, or both splits show the same pictures; both are {val_seed}'
        )
    root = Path(root)
    splits = {
        'train': {'pictures': train_pictures, 'seed': train_seed},
        'val': {'pictures': val_pictures, 'seed': val_seed},
    }
    options = {'format': FORMAT, **splits}
    if _is_complete(root, options):
        return root
    if root.exists() and not (root / MARKER).is_file() and any(root.iterdir()):
        raise FileExistsError(
            f'{root} exists but is not a shapes data set (it has no {MARKER}); name another folder or remove it'
        )
    root.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f'.{root.name}-', dir=root.parent))
    try:
        draft.chmod(0o755)  # mkdtemp's 0o700 would lock other users out of a shared data set
        for split, chosen in splits.items():
            _write_split(draft, split, chosen['pictures'], chosen['seed'], workers)
        (draft / MARKER).write_text(json.dumps(options, indent=2) + '\n')
        _move_into_place(draft, root, options)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return root


def _is_complete(root: Path, options: dict) -> bool:
    try:
        found = json.loads((root / MARKER).read_text())
    except (OSError, ValueError):
        return False
    return found == options and all(
        len(list((root / f'{split}2017').glob('*.png'))) == options[split]['pictures']
        and (root / f'annotations/instances_{split}2017.json').is_file()
        for split in ('train', 'val')
    )


def _move_into_place(draft: Path, root: Path, options: dict) -> None:
    if root.exists():
        outdated = Path(tempfile.mkdtemp(prefix=f'.{root.name}-old-', dir=root.parent))
        root.rename(outdated / root.name)
        shutil.rmtree(outdated)
    try:
        draft.rename(root)
    except OSError:  # another process finished the same data set first
        if not _is_complete(root, options):
            raise


def _write_split(root: Path, split: str, pictures: int, seed: int, workers: int | None) -> None:
    folder = root / f'{split}2017'
    folder.mkdir()
    (root / 'annotations').mkdir(exist_ok=True)
    workers = min(workers or len(os.sched_getaffinity(0)), pictures)
    # Forked, since a fresh interpreter would spend seconds on importing torch; the children only draw.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context('fork')) as pool:
        results = pool.map(_draw_picture, repeat(folder), repeat(seed), range(1, pictures + 1), chunksize=8)
        drawn = list(track(results, description=f'Drawing {split} pictures', total=pictures))
    annotations = [annotation for _, found in drawn for annotation in found]
    for number, annotation in enumerate(annotations, 1):
        annotation['id'] = number
    content = {
        'info': {'description': 'mmaffnet shapes', 'version': str(FORMAT), 'seed': seed},
        'licenses': [],
        'images': [image for image, _ in drawn],
        'annotations': annotations,
        'categories': [
            {'id': number, 'name': name, 'supercategory': 'shape'} for number, name in enumerate(CLASS_NAMES, 1)
        ],
    }
    (root / f'annotations/instances_{split}2017.json').write_text(json.dumps(content))


def _draw_picture(folder: Path, seed: int, number: int) -> tuple[dict, list[dict]]:
    """Draw and save picture ``number``, which depends on nothing but ``seed`` and ``number``."""
    picture, objects = compose(np.random.RandomState([seed, number]))
    name = f'{number:012d}.png'
    # Measured: level 1 is five times faster than Pillow's default 6, and 4 % larger, on these grainy pictures.
    Image.fromarray(picture).save(folder / name, compress_level=1)
    height, width = picture.shape[:2]
    image = {'id': number, 'file_name': name, 'width': width, 'height': height}
    annotations = []
    for item in objects:
        if item.name is None:
            continue
        code = rle.encode(np.asfortranarray(item.visible.astype(np.uint8)))
        annotations.append(
            {
                'image_id': number,
                'category_id': CLASS_NAMES.index(item.name) + 1,
                'bbox': [float(value) for value in item.box],
                'area': int(item.visible.sum()),
                'iscrowd': 0,
                'segmentation': {'size': list(code['size']), 'counts': code['counts'].decode('ascii')},
                'visible_fraction': round(item.visible_fraction, 4),
            }
        )
    return image, annotations
