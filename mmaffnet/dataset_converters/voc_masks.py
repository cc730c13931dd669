"""Masks in PASCAL VOC's format: 0 background, 1 to 20 the classes, 255 void; palette PNG files.

Read from VOC's own PNG and SBD's MATLAB files, and rasterised from COCO's instances.
"""

import math
import os
from contextlib import contextmanager, suppress

import numpy as np
from PIL import Image

VOID = 255
NUM_CLASSES = 21
# Position k holds COCO's id of VOC's class k; 0 is background. The names are COCO's.
COCO_IDS = (0, 5, 2, 16, 9, 44, 6, 3, 17, 62, 21, 67, 18, 19, 4, 1, 64, 20, 63, 7, 72)
COCO_NAMES = ('', 'airplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus', 'car', 'cat', 'chair', 'cow', 'dining table',
              'dog', 'horse', 'motorcycle', 'person', 'potted plant', 'sheep', 'couch', 'train', 'tv')
COCO_TO_VOC = {coco_id: label for label, coco_id in enumerate(COCO_IDS) if label}

_ORIENTATION = 0x0112  # EXIF tag; 5 to 8 turn a picture by a quarter
_FAR = 1e5  # px; a polygon that reaches farther is no polygon, and pycocotools would walk along it


class SourceError(ValueError):
    """A file of a source cannot be used; the sentence names it and says why."""


def voc_palette():
    """Build VOC's colour map.

    Returns:
        list[int]: 768 values: red, green and blue of 256 colours.

    Source:
        ``VOClabelcolormap.m`` of the VOC development kit: the bits of a label, three at a time, from the top bit of
        each colour down.
    """
    colours = []
    for label in range(256):
        for channel in range(3):
            colours.append(sum((label >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(3)))
    return colours


def read_voc_mask(path):
    """Read a palette or grey PNG of VOC.

    Args:
        path (str | Path): The file.

    Returns:
        np.ndarray: ``(H, W)``, uint8.

    Raises:
        SourceError: Where it cannot be decoded, is a colour picture, or holds another value than 0 to 20 and 255.
    """
    image = _load(path)
    if image.mode not in ('P', 'L'):
        raise SourceError(f'{path}: mode {image.mode}, but a mask is a palette (P) or grey (L) PNG of class numbers')
    return _checked(np.array(image), path)


def read_sbd_mask(path):
    """Read a file of SBD's ``cls`` folder.

    Args:
        path (str | Path): MATLAB file with the structure ``GTcls``.

    Returns:
        np.ndarray: ``(H, W)``, uint8; SBD marks no void.

    Raises:
        SourceError: Where it cannot be read or holds something else.
    """
    from scipy.io import loadmat
    try:
        mask = np.asarray(loadmat(path)['GTcls'][0]['Segmentation'][0])
    except Exception as error:  # scipy raises whatever a damaged file leads it to (TypeError, zlib.error, …)
        raise SourceError(f'{path}: no MATLAB file with GTcls.Segmentation ({_tell(error)})') from error
    return _checked(mask, path)


def coco_mask(annotations, height, width):
    """Rasterise the instances of VOC's classes in one picture.

    Where instances overlap, the first in the file wins. Crowds come after all instances: they become void where no
    instance lies. Instances and crowds of other classes are background.

    Args:
        annotations (Sequence[dict]): COCO's annotations of the picture in the order of the file.
        height (int): Height in pixels.
        width (int): Width in pixels.

    Returns:
        np.ndarray: ``(height, width)``, uint8.

    Raises:
        SourceError: Where an annotation's polygon or RLE is malformed; it names the annotation.

    Source:
        Sec. 4.3 of the paper; the order is that of ``data/datasets/segmentation/coco_segmentation.py`` of the authors'
        framework, which paints crowds as instances. Void is VOC's own label for what is not annotated exactly.
    """
    from pycocotools import mask as rle
    mask = np.zeros((height, width), dtype=np.uint8)
    for annotation in sorted(annotations, key=lambda annotation: bool(annotation.get('iscrowd'))):
        label = COCO_TO_VOC.get(annotation.get('category_id'))
        if label is None:
            continue
        try:
            covered = rle.decode(_encode(annotation['segmentation'], height, width)).astype(bool)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise SourceError(f'annotation {annotation.get("id")}: its segmentation cannot be decoded '
                              f'({_tell(error)})') from error
        mask[covered & (mask == 0)] = VOID if annotation.get('iscrowd') else label
    return mask


def save_mask(mask, path):
    """Write a mask as VOC does, so that the file is there whole or not at all.

    Args:
        mask (np.ndarray): ``(H, W)``, uint8.
        path (Path): The PNG file.
    """
    image = Image.fromarray(mask)
    image.putpalette(voc_palette())
    with replacing(path) as draft:
        image.save(draft, format='PNG')


def foreground_pixels(mask):
    """int: Pixels of a class other than the background; void is none."""
    return int(np.count_nonzero((mask != 0) & (mask != VOID)))


def picture_shape(path, whole=True):
    """Read the size that the hosts' loader will give a picture, which it turns as the EXIF tag says.

    Args:
        path (str | Path): The picture.
        whole (bool): Decode it, so that one that is cut short is found; else only its head is read.

    Returns:
        tuple[int, int]: Height and width in pixels.

    Raises:
        SourceError: Where it cannot be read.
    """
    image = _load(path, whole)
    width, height = image.size
    return (width, height) if image.getexif().get(_ORIENTATION, 1) >= 5 else (height, width)


@contextmanager
def replacing(path):
    """Give the name of a draft that takes its place under ``path`` at the end, at once, or is removed.

    Args:
        path (Path): The final file.

    Yields:
        Path: In the same folder, with another suffix, so that nothing takes it for a picture.
    """
    draft = path.with_name(f'.{path.name}.{os.getpid()}.draft')
    try:
        yield draft
        os.replace(draft, path)
    finally:
        with suppress(FileNotFoundError):  # also after renaming one hard link to another, which does nothing
            draft.unlink()


def _load(path, whole=True):
    try:
        with Image.open(path) as image:
            if whole:
                image.load()
            image.getexif()  # read while the file is open
            return image
    except FileNotFoundError as error:
        raise SourceError(f'{path}: not there') from error
    # What Pillow's decoders raise on damaged files.
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise SourceError(f'{path}: cannot be decoded ({_tell(error)})') from error


def _checked(mask, path):
    if mask.ndim != 2 or mask.dtype.kind not in 'ui':
        raise SourceError(f'{path}: shape {mask.shape} of {mask.dtype}, but a mask has two dimensions of integers')
    wrong = sorted(set(np.unique(mask).tolist()) - {*range(NUM_CLASSES), VOID})
    if wrong:
        raise SourceError(f'{path}: holds {wrong[:5]}, but a mask has 0 to {NUM_CLASSES - 1} and {VOID}')
    return mask.astype(np.uint8)


def _encode(segmentation, height, width):
    """Compress a polygon list or RLE; checked before, since pycocotools overruns its memory on malformed ones."""
    from pycocotools import mask as rle
    if isinstance(segmentation, list):
        for polygon in segmentation:
            if len(polygon) < 6 or len(polygon) % 2 or not all(
                    math.isfinite(value) and abs(value) < _FAR for value in polygon):
                raise ValueError(f'a polygon of {len(polygon)} numbers, or one that is no coordinate')
        if not segmentation:
            raise ValueError('no polygon')
        return rle.merge(rle.frPyObjects(segmentation, height, width))
    if list(segmentation['size']) != [height, width]:
        raise ValueError(f'RLE of size {segmentation["size"]} in a picture of {[height, width]}')
    counts = segmentation['counts']
    runs = _run_lengths(counts) if isinstance(counts, str) else counts
    if any(not isinstance(run, int) or run < 0 for run in runs) or sum(runs) != height * width:
        raise ValueError(f'runs of an RLE that do not fill {height} x {width} pixels')
    return rle.frPyObjects(dict(size=[height, width], counts=runs), height, width)


def _run_lengths(text):
    """Undo COCO's compression: five bits a character, lowest first; from the fourth run on, differences to two before.

    Source: ``rleFrString`` in pycocotools' maskApi.c.
    """
    runs, value, shift, more = [], 0, 0, False
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64:
            raise ValueError(f'{character!r} in a compressed RLE')
        value |= (code & 31) << shift
        shift += 5
        more = bool(code & 32)
        if not more:
            if code & 16:
                value -= 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    if more:
        raise ValueError('a compressed RLE that is cut short')
    return runs


def _tell(error):
    return f'{type(error).__name__}: {" ".join(str(error).split())}'[:200]
