"""Check a COCO annotation file, and the pictures that it names, all at once and before a training."""
from pathlib import Path

from mmaffnet.engine.errors import UserError

from .coco_file import read_coco
from .coco_findings import Report, image_name
from .coco_masks import check_segmentation, shorten
from .coco_pictures import check_pictures

LIMIT = 1e9  # no picture is that wide: beyond it a number is as little a coordinate as NaN


def check_coco(annotation, images_dir=None, classes=None, masks=False, decode=False):
    """Find everything in a COCO file that a training or an evaluation would stumble over.

    One pass with look-ups by id: COCO's training file takes little more than its parsing.

    Args:
        annotation (str | Path): The annotation file.
        images_dir (str | Path, optional): Folder that the ``file_name`` of its images start from. Without it the
            pictures are not looked at.
        classes (Sequence[str], optional): Names that must be categories of the file.
        masks (bool): Whether segmentations are needed. Defaults to False.
        decode (bool): Decode every picture to its end; else only the headers are read. Defaults to False.

    Returns:
        Report: The findings.

    Raises:
        UserError: Where ``images_dir`` is no folder.
    """
    if images_dir is not None and not Path(images_dir).is_dir():
        raise UserError(f'folder of the pictures {images_dir} is missing (looked for {Path(images_dir).absolute()})')
    try:
        document = read_coco(annotation)
    except UserError as error:
        report = Report(str(annotation), masks)
        report.add('file', str(error))
        return report
    report = check_document(document, str(annotation), classes, masks)
    if images_dir is not None:
        check_pictures(report, [image for image in document['images'] if not _image_fault(image)], images_dir, decode)
    return report


def check_document(document, file, classes=None, masks=False, require_annotations=True):
    """Check what :func:`mmaffnet.datasets.coco_file.read_coco` has read.

    Args:
        document (dict): With the three lists; left unchanged.
        file (str): Its name for the report.
        classes (Sequence[str], optional): Names that must be categories of the file.
        masks (bool): Whether segmentations are needed. Defaults to False.
        require_annotations (bool): Whether a file without any annotation is an error. Defaults to True.

    Returns:
        Report: The findings.
    """
    report = Report(file, masks, *(len(document[name]) for name in ('images', 'annotations', 'categories')))
    images, sizes = _check_images(report, document['images'])
    categories = _check_categories(report, document['categories'], classes)
    annotated = _check_annotations(report, document['annotations'], images, sizes, categories)
    if not document['annotations']:
        if require_annotations:
            report.add('no_annotations')
        return report
    for key, image in images.items():
        if key not in annotated:
            report.add('without_annotations', lambda image=image: image_name(image))
    return report


def _check_images(report, entries):
    """Check every image; returns the entries by id, and (width, height) of the sound ones by id."""
    images, sizes, names = {}, {}, set()
    for index, image in enumerate(entries):
        wrong = _image_fault(image)
        if wrong:
            report.add('image_form', lambda i=index, image=image, wrong=wrong: f'{_entry("image", image, i)}: {wrong}')
            if not isinstance(image, dict) or not _is_id(image.get('id')):
                continue
        if image['id'] in images:
            report.add('image_ids', lambda image=image: image_name(image))
            continue
        images[image['id']] = image
        if not wrong:
            sizes[image['id']] = (image['width'], image['height'])
        name = image.get('file_name')
        if isinstance(name, str):
            if name in names:
                report.add('image_names', lambda image=image: image_name(image))
            names.add(name)
    if not entries:
        report.add('no_images')
    return images, sizes


def _image_fault(image):
    """What is wrong with the form of an image's entry, or None."""
    if not isinstance(image, dict):
        return 'not an object'
    if not _is_id(image.get('id')):
        return f'id {image.get("id")!r}' if 'id' in image else 'no id'
    if not isinstance(image.get('file_name'), str) or not image['file_name']:
        return f'file_name {image["file_name"]!r}' if 'file_name' in image else 'no file_name'
    for key in ('height', 'width'):
        if key not in image:
            return f'no {key}'
        if not _is_number(image[key]) or not 0 < image[key] < LIMIT:
            return f'{key} {image[key]!r}'
    return None


def _check_categories(report, entries, classes):
    ids, names = set(), set()
    for index, category in enumerate(entries):
        if not isinstance(category, dict) or not _is_id(category.get('id')) \
                or not isinstance(category.get('name'), str):
            report.add('category_form', f'{_entry("category", category, index)}: {shorten(category)}')
            continue
        for seen, key, name in ((ids, 'id', 'category_ids'), (names, 'name', 'category_names')):
            if category[key] in seen:
                report.add(name, f'category {category["id"]!r} ({category["name"]})')
            seen.add(category[key])
    if not entries:
        report.add('no_categories')
    for name in classes or ():
        if name not in names:
            report.add('classes', repr(name))
    return ids


def _check_annotations(report, entries, images, sizes, categories):
    """Check every annotation; returns the ids of the images that have one."""
    annotated, seen, shares, boxes = set(), set(), 0, 0
    for index, annotation in enumerate(entries):
        def add(name, detail, index=index, annotation=annotation):
            report.add_annotation(name, index, lambda: _annotation_name(annotation, index, images) + f': {detail}')

        form = _annotation_fault(annotation)
        if form:
            add('annotation_form', form)
            if not isinstance(annotation, dict):
                continue
        key, image_id = annotation.get('id'), annotation.get('image_id')
        if _is_id(key):
            if key in seen:
                add('annotation_ids', f'id {key!r}')
            elif key == 0:
                add('id_zero', 'id 0')
            seen.add(key)
        size = sizes.get(image_id) if _is_id(image_id) else None
        if _is_id(image_id):
            annotated.add(image_id)
            if image_id not in images:
                add('unknown_image', f'image_id {image_id!r}')
        if _is_id(annotation.get('category_id')) and annotation['category_id'] not in categories:
            add('unknown_category', f'category_id {annotation["category_id"]!r}')
        box = _check_box(add, annotation, size)
        if box is not None:
            boxes += 1
            shares += 0 < max(box) <= 1
        _check_area_and_crowd(add, annotation)
        check_segmentation(add, annotation, size, report.masks)
    # Single boxes of less than a pixel occur; most of a file do not.
    if boxes and shares > boxes / 2:
        report.add('normalised')
        report.findings['normalised'].count = shares
        report.findings['normalised'].examples = [f'{shares} of {boxes}']
    return annotated


def _annotation_fault(annotation):
    """What is wrong with the ids of an annotation, or None."""
    if not isinstance(annotation, dict):
        return 'not an object'
    for key in ('id', 'image_id', 'category_id'):
        if key not in annotation:
            return f'no {key}'
        if not _is_id(annotation[key]):
            return f'{key} {annotation[key]!r}'
    return None


def _check_box(add, annotation, size):
    """Check the box; returns it where it is finite."""
    box = annotation.get('bbox')
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
        add('bbox_form', f'bbox {shorten(box)}' if 'bbox' in annotation else 'no bbox')
        return None
    x, y, w, h = box
    if not all(-LIMIT < value < LIMIT for value in box):  # false for NaN
        add('bbox_finite', f'bbox {box}')
        return None
    if w < 0 or h < 0:
        add('bbox_negative', f'bbox {box}')
    elif w == 0 or h == 0:
        add('bbox_empty', f'bbox {box}')
    elif size is not None:
        width, height = size
        if x >= width or y >= height or x + w <= 0 or y + h <= 0:
            add('bbox_outside', f'bbox {box} in {width} x {height}')
        elif x < -1 or y < -1 or x + w > width + 1 or y + h > height + 1:
            add('bbox_partly', f'bbox {box} in {width} x {height}')
    if 0 < w < 1 or 0 < h < 1:
        add('bbox_thin', f'bbox {box}')
    return box


def _check_area_and_crowd(add, annotation):
    area = annotation.get('area')
    # COCO's areas of crowds go up to the picture's; more than LIMIT squared is no number of pixels.
    if not _is_number(area) or not 0 <= area < LIMIT**2:
        add('area_form', f'area {shorten(area)}' if 'area' in annotation else 'no area')
    elif area == 0:
        add('area_zero', 'area 0')
    if annotation.get('iscrowd') not in (0, 1):
        add('iscrowd', f'iscrowd {shorten(annotation["iscrowd"])}' if 'iscrowd' in annotation else 'no iscrowd')


def _is_id(value):
    # Unlike lists they can be looked up. A number and a text never meet: "7" is another id than 7.
    return isinstance(value, int | float | str) and not isinstance(value, bool) and value == value


def _is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool)


def _entry(what, entry, index):
    key = entry.get('id') if isinstance(entry, dict) else None
    return f'{what} {key!r}' if _is_id(key) else f'entry {index} of the list'


def _annotation_name(annotation, index, images):
    name = _entry('annotation', annotation, index)
    key = annotation.get('image_id') if isinstance(annotation, dict) else None
    if not _is_id(key):
        return name
    return f'{name} of {image_name(images[key])}' if key in images else name
