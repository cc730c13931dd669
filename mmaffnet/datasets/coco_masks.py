"""Check the segmentations of a COCO file: what pycocotools would fail on, or read beyond, is found before it does."""

POINT_LIMIT = 1e6  # pycocotools goes along a polygon's outline in steps of a fifth of a pixel
MAX_RUN = 1 << 32  # it holds a run in 32 bits


def check_segmentation(add, annotation, size, masks):
    """Check one annotation's segmentation.

    Args:
        add (Callable[[str, str], None]): Takes the name of a finding (``KINDS``) and what was found.
        annotation (dict): The annotation.
        size (tuple | None): (width, height) of its image; None where that is not known.
        masks (bool): Whether masks are needed: then run lengths are decoded, which takes its time.
    """
    segmentation = annotation.get('segmentation')
    if not segmentation:
        add('no_segmentation', 'no segmentation' if segmentation is None else f'segmentation {segmentation!r}')
    elif isinstance(segmentation, dict):
        wrong = _run_length_fault(segmentation, size, masks)
        if wrong:
            add('segmentation_form', wrong)
    elif isinstance(segmentation, list):
        _check_polygons(add, segmentation)
    else:
        add('segmentation_form', f'segmentation {shorten(segmentation)}')


def _check_polygons(add, polygons):
    sound = [points for points in polygons if isinstance(points, list) and len(points) >= 6 and len(points) % 2 == 0]
    if not sound:
        add('segmentation_form', f'segmentation {shorten(polygons)}')
        return
    wrong = [points for points in polygons if not isinstance(points, list) or not _are_coordinates(points)]
    if wrong:
        add('polygon_points', f'polygon {shorten(wrong[0])}')
        return
    if len(sound) < len(polygons):
        add('polygons', f'{len(polygons) - len(sound)} of {len(polygons)} polygons')
    if len(polygons[0]) < 6:
        add('first_polygon', f'polygon {polygons[0]}')


def _are_coordinates(points):
    try:
        # One call each for all points; a NaN makes the comparison with the sum false.
        return not points or (abs(sum(points)) < POINT_LIMIT**2 and max(points) < POINT_LIMIT
                              and min(points) > -POINT_LIMIT)
    except TypeError:
        return False


def _run_length_fault(encoded, size, masks):
    """What is wrong with a mask in run lengths, or None."""
    counts = encoded.get('counts')
    expected = encoded.get('size') if size is None else [size[1], size[0]]
    if not isinstance(counts, str | list) or encoded.get('size') != expected:
        return (f'encoded with counts {shorten(counts, 20)} for (height, width) {shorten(encoded.get("size"))} '
                f'instead of {expected}')
    if not masks or size is None:
        return None
    try:
        total = sum(run_lengths(counts))
    except ValueError as error:
        return f'counts {shorten(counts, 20)}: {error}'
    if total != size[0] * size[1]:
        return f'counts {shorten(counts, 20)} of {total} pixels for an image of {size[0]} x {size[1]}'
    return None


def run_lengths(counts):
    """Decode the ``counts`` of a mask.

    pycocotools 2.0.11 believes them: it reads on behind the end of runs that do not fill the picture.

    Args:
        counts (list[int] | str): Runs of pixels outside and inside by turns, column by column; as numbers, or as
            COCO's text of them.

    Returns:
        list[int]: The runs.

    Raises:
        ValueError: Where they are none.

    Source: the format is that of COCO's mask API. A number is written in groups of five bits, the lowest first, each
    as one character from '0' on, 32 higher where another group follows; the last group's highest bit is the sign.
    From the fourth run on the difference to the run two before is written.
    """
    runs = counts if isinstance(counts, list) else _from_text(counts)
    if not all(type(run) is int and 0 <= run < MAX_RUN for run in runs):
        raise ValueError('a run is no whole number from 0 on')
    return runs


def _from_text(text):
    runs, number, shift = [], 0, 0
    for character in text:
        group = ord(character) - 48
        if not 0 <= group < 64 or shift > 30:
            raise ValueError(f'{character!r} is no part of a run')
        number |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:
            number -= 1 << shift
        runs.append(number + runs[-2] if len(runs) > 2 else number)
        number, shift = 0, 0
    if shift:
        raise ValueError('the last run is cut short')
    return runs


def shorten(value, limit=60):
    """str: A value as it would be written in Python, cut where it is long."""
    text = repr(value)
    return text if len(text) <= limit else text[:limit] + '…'
