"""What VOC 2012, SBD and COCO have to give to one training set: a picture and a way to its mask each."""

import json
from dataclasses import dataclass
from pathlib import Path

from .voc_masks import COCO_IDS, COCO_NAMES, COCO_TO_VOC, SourceError, coco_mask, read_sbd_mask, read_voc_mask

VOC_LISTS = Path('ImageSets') / 'Segmentation'


@dataclass(frozen=True)
class Item:
    """One picture of a source.

    Args:
        name (str): File name without suffix, in the merged set.
        picture (Path): The source's file.
    """

    name: str
    picture: Path


@dataclass(frozen=True)
class VocItem(Item):
    """A picture of VOC 2012; ``truth`` is its PNG."""

    truth: Path

    def mask(self):
        """np.ndarray: ``(H, W)``, uint8; see :func:`read_voc_mask`."""
        return read_voc_mask(self.truth)


@dataclass(frozen=True)
class SbdItem(Item):
    """A picture of SBD; ``truth`` is its MATLAB file."""

    truth: Path

    def mask(self):
        """np.ndarray: ``(H, W)``, uint8; see :func:`read_sbd_mask`."""
        return read_sbd_mask(self.truth)


@dataclass(frozen=True)
class CocoItem(Item):
    """A picture of COCO; ``truth`` is its entry under ``images`` with the entries of VOC's classes."""

    truth: dict
    annotations: tuple

    def mask(self):
        """np.ndarray: ``(H, W)``, uint8; see :func:`coco_mask`."""
        try:
            return coco_mask(self.annotations, self.truth['height'], self.truth['width'])
        except SourceError as error:
            raise SourceError(f'{self.picture}: {error}') from error


def voc_items(root):
    """List VOC's own segmentation sets.

    Args:
        root (str | Path): Folder ``VOC2012`` with ``ImageSets/Segmentation``, ``JPEGImages``, ``SegmentationClass``.

    Returns:
        tuple[list[VocItem], list[VocItem], list[str]]: train, val, and a sentence for each name of train that is left
        out because it is in val too.

    Raises:
        SourceError: Where a list is missing.
    """
    root = Path(root)
    train, val = (_names(root / VOC_LISTS / f'{part}.txt') for part in ('train', 'val'))
    leaks = [f'{root / VOC_LISTS / "train.txt"}: {name} is in val.txt too' for name in train if name in set(val)]
    items = [[
        VocItem(name, root / 'JPEGImages' / f'{name}.jpg', root / 'SegmentationClass' / f'{name}.png')
        for name in names
    ] for names in ([name for name in train if name not in set(val)], val)]
    return *items, leaks


def sbd_items(root, voc_root, taken):
    """List what SBD adds to VOC: train and val without VOC's own pictures.

    Args:
        root (str | Path): Folder ``dataset`` with ``train.txt``, ``val.txt``, ``cls`` and (where ``voc_root`` lacks a
            picture) ``img``.
        voc_root (str | Path): Folder ``VOC2012``.
        taken (Collection[str]): Names of VOC's train, whose own masks are finer, and of val, which no training sees.

    Returns:
        list[SbdItem]: In the order of train, then val.

    Raises:
        SourceError: Where a list is missing.
    """
    root, taken = Path(root), set(taken)
    names = dict.fromkeys(_names(root / 'train.txt') + _names(root / 'val.txt'))
    items = []
    for name in names:
        if name not in taken:
            pictures = [Path(voc_root) / 'JPEGImages' / f'{name}.jpg', root / 'img' / f'{name}.jpg']
            picture = next((path for path in pictures if path.is_file()), pictures[0])
            items.append(SbdItem(name, picture, root / 'cls' / f'{name}.mat'))
    return items


def coco_items(root, split):
    """List the pictures of COCO that hold instances or crowds of VOC's classes.

    Args:
        root (str | Path): Folder with ``annotations/instances_{split}.json`` and ``{split}/``.
        split (str): 'train2017' or 'val2017'.

    Returns:
        tuple[list[CocoItem], int]: The pictures in the order of the file, named ``coco_`` + their name, and how many
        the file lists in all.

    Raises:
        SourceError: Where the file is missing, or no COCO file, or numbers its categories differently.
    """
    path = Path(root) / 'annotations' / f'instances_{split}.json'
    try:
        content = json.loads(path.read_bytes())
        categories = {category['id']: category['name'] for category in content['categories']}
        found = {}
        for annotation in content['annotations']:
            if annotation['category_id'] in COCO_TO_VOC:
                found.setdefault(annotation['image_id'], []).append(annotation)
        pictures = [(image['file_name'], image) for image in content['images'] if image['id'] in found]
        number = len(content['images'])
        items = [
            CocoItem(f'coco_{Path(name).stem}', Path(root) / split / name,
                     dict(height=image['height'], width=image['width']), tuple(found[image['id']]))
            for name, image in pictures
        ]
    except OSError as error:
        raise SourceError(f'{path}: cannot be read ({error.strerror})') from error
    except (ValueError, TypeError, KeyError) as error:
        raise SourceError(f'{path}: no file of COCO instances, or cut short '
                          f'({type(error).__name__}: {error})') from error
    for coco_id, name in zip(COCO_IDS[1:], COCO_NAMES[1:], strict=True):
        if categories.get(coco_id) != name:
            raise SourceError(f'{path}: category {coco_id} is {categories.get(coco_id)!r}, but COCO\'s is {name!r}; '
                              'the classes are told by COCO\'s own numbers')
    return items, number


def _names(path):
    """Read a list of names, once each; a second column, which some of VOC's lists have, is left out."""
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise SourceError(f'{path}: cannot be read ({error.strerror})') from error
    return list(dict.fromkeys(line.split()[0] for line in lines if line.strip()))
