"""Check whether the pictures of a COCO file are there, can be read, and have the size that it says."""
import os
import warnings

from PIL import Image

from .coco_findings import image_name

PICTURE_ENDINGS = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')
TURNED = (5, 6, 7, 8)  # EXIF orientations that swap width and height
ORIENTATION = 0x0112


def missing_pictures(images, images_dir):
    """Find entries whose picture is not on the disk, by listing the folders instead of asking for each file.

    Args:
        images (list[dict]): Entries with a ``file_name``.
        images_dir (str | Path): Folder that the names start from.

    Returns:
        list[dict]: The entries without a picture.
    """
    listings = {}
    return [image for image in images if not _is_listed(os.path.join(images_dir, image['file_name']), listings)]


def check_pictures(report, images, images_dir, decode=False):
    """Check pictures by their headers.

    Args:
        report (Report): Findings are added to it.
        images (list[dict]): Entries whose id, file_name, height and width are sound.
        images_dir (str | Path): Folder that the names start from.
        decode (bool): Decode every picture to its end too, which finds what is cut short. Defaults to False.
    """
    listings, named = {}, set()
    for image in images:
        path = os.path.join(images_dir, image['file_name'])
        named.add(path)
        if _is_listed(path, listings):
            _check_picture(report, image, path, decode)
        else:
            report.add('picture_missing', f'{image_name(image)}: {path}')
    for folder, names in listings.items():
        for name in sorted(names):
            path = os.path.join(folder, name)
            if path not in named and name.lower().endswith(PICTURE_ENDINGS):
                report.add('picture_unnamed', path)


def _check_picture(report, image, path, decode):
    wanted = (image['width'], image['height'])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of huge pictures
            with Image.open(path) as picture:
                size, turned = picture.size, picture.getexif().get(ORIENTATION) in TURNED
                if decode:
                    picture.load()
    except Exception as error:  # readers of many formats raise all kinds, all about this one file
        report.add('picture_unreadable', f'{image_name(image)}: {" ".join(str(error).split())}')
        return
    shown = size[::-1] if turned else size
    if shown != wanted:
        rotated = turned and size == wanted
        report.add('picture_rotated' if rotated else 'picture_size',
                   f'{image_name(image)}: {shown[0]} x {shown[1]} instead of {wanted[0]} x {wanted[1]}')


def _is_listed(path, listings):
    """Whether a file is in its folder, whose names are read once."""
    folder, name = os.path.split(path)
    if folder not in listings:
        try:
            listings[folder] = set(os.listdir(folder or '.'))
        except (FileNotFoundError, NotADirectoryError):
            listings[folder] = set()
    return name in listings[folder]
