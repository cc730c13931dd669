"""What can be wrong in a COCO file, what follows from it, and how it is told."""
import dataclasses
from collections.abc import Iterable

EXAMPLES = 3  # entries that a line names; the count says how many more there are


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of finding.

    Args:
        severity (str): 'error': a training skips the entry or stops, or an evaluation would go wrong; 'note': worth
            knowing.
        training (str): 'stop', 'skip' (the entry is left out, said and counted against the share), 'say' or 'keep'.
        evaluation (str): 'stop', 'count' (kept, said and counted against the share), 'say' or 'keep'.
        says (str): What is found, with the plural of the entries in front; their number follows.
    """

    severity: str
    training: str
    evaluation: str
    says: str


# Evaluation: what pycocotools would compute wrongly, or fail on, stops it. What it leaves aside (unknown ids) or counts
# as an object that was missed (empty boxes, boxes outside) is kept as it does, and said.
KINDS = {
    'file': Kind('error', 'stop', 'stop', 'the file cannot be used'),
    'image_form': Kind('error', 'stop', 'stop', 'images without a usable id, file_name, height or width'),
    'image_ids': Kind('error', 'stop', 'stop', 'images with the id of another one'),
    'image_names': Kind('note', 'keep', 'keep', 'images with the file_name of another one'),
    'category_form': Kind('error', 'stop', 'stop', 'categories without a usable id or name'),
    'category_ids': Kind('error', 'stop', 'stop', 'categories with the id of another one'),
    'category_names': Kind('error', 'stop', 'stop', 'categories with the name of another one'),
    'classes': Kind('error', 'stop', 'stop', 'classes asked for that are no category of the file'),
    'no_images': Kind('error', 'stop', 'stop', 'no images at all'),
    'no_categories': Kind('error', 'stop', 'stop', 'no categories at all'),
    'no_annotations': Kind('error', 'stop', 'stop', 'no annotations at all'),
    'normalised': Kind('error', 'stop', 'stop', 'boxes within 0 to 1, as if they were shares of width and height '
                       'instead of pixels'),
    'annotation_form': Kind('error', 'skip', 'stop', 'annotations without a usable id, image_id or category_id'),
    'annotation_ids': Kind('error', 'skip', 'stop', 'annotations with the id of another one'),
    'unknown_image': Kind('error', 'skip', 'count', 'annotations of an image_id that no image has'),
    'unknown_category': Kind('error', 'skip', 'count', 'annotations of a category_id that no category has'),
    'bbox_form': Kind('error', 'skip', 'stop', 'annotations whose bbox is missing or not four numbers'),
    'bbox_finite': Kind('error', 'skip', 'stop', 'boxes that are not finite (NaN, infinite, or beyond 1e9)'),
    'bbox_negative': Kind('error', 'skip', 'stop', 'boxes of negative width or height'),
    'bbox_empty': Kind('error', 'skip', 'count', 'boxes of no width or height'),
    'bbox_outside': Kind('error', 'skip', 'count', 'boxes outside their image'),
    'area_form': Kind('error', 'skip', 'stop', 'annotations whose area is missing, negative or not a number'),
    'area_zero': Kind('error', 'skip', 'count', 'annotations of area 0'),
    'iscrowd': Kind('error', 'keep', 'stop', 'annotations whose iscrowd is missing or neither 0 nor 1 (the evaluation '
                    'needs it)'),
    'bbox_partly': Kind('note', 'keep', 'keep', 'boxes more than 1 px over the edge of their image (clipped in '
                        'training)'),
    'bbox_thin': Kind('note', 'say', 'keep', 'boxes thinner than 1 px (mmdet leaves them out of the training)'),
    'id_zero': Kind('note', 'keep', 'say', "annotations of id 0 (COCO's evaluation takes a match with it for none: "
                    'number from 1)'),
    'no_segmentation': Kind('note', 'keep', 'keep', 'annotations without segmentation (needed for masks only)'),
    'segmentation_form': Kind('note', 'keep', 'keep', 'segmentations without a polygon of three points, or run '
                              'lengths that are not those of their image'),
    'polygons': Kind('note', 'keep', 'keep', 'segmentations with polygons of an odd count or fewer than three points '
                     '(mmdet leaves these polygons out)'),
    'first_polygon': Kind('note', 'keep', 'keep', 'segmentations whose first polygon has fewer than three points '
                          "(COCO's evaluation of masks fails on it)"),
    'polygon_points': Kind('note', 'keep', 'keep', 'segmentations with points that are not numbers, not finite or '
                           'beyond 1e6'),
    'without_annotations': Kind('note', 'keep', 'keep', 'images without annotations'),
    'picture_missing': Kind('error', 'skip', 'keep', 'images that are not on the disk'),
    'picture_unreadable': Kind('error', 'skip', 'keep', 'pictures that cannot be read'),
    'picture_size': Kind('error', 'keep', 'keep', 'pictures of another size than height and width say, so that their '
                         'boxes are for another picture'),
    'picture_rotated': Kind('error', 'keep', 'keep', 'pictures that their EXIF entry turns, while height and width '
                            '(and so the boxes) are those before; the loader turns them'),
    'picture_unnamed': Kind('note', 'keep', 'keep', 'pictures in the folder that no image names'),
}
# With masks an annotation without one cannot be trained on, and fails in the evaluation; points that are no numbers end
# the process. mmdet leaves single polygons out by itself.
MASK_KINDS = dict(
    KINDS, polygons=dataclasses.replace(KINDS['polygons'], training='say', evaluation='say'),
    first_polygon=dataclasses.replace(KINDS['first_polygon'], severity='error', evaluation='stop'),
    **{name: dataclasses.replace(KINDS[name], severity='error', training='skip', evaluation='stop')
       for name in ('no_segmentation', 'segmentation_form', 'polygon_points')})


@dataclasses.dataclass
class Finding:
    """All entries of one kind.

    Args:
        name (str): Key of ``KINDS``.
        kind (Kind): What follows from it.
        count (int): How many entries.
        examples (list[str]): The first of them, each with its id and what is wrong.
    """

    name: str
    kind: Kind
    count: int = 0
    examples: list[str] = dataclasses.field(default_factory=list)

    def __str__(self):
        more = self.count - EXAMPLES if len(self.examples) == EXAMPLES else 0
        named = '; '.join(self.examples) + (f'; and {more} more' if more > 0 else '')
        return f'{self.kind.says} ({self.count}): {named}' if self.examples else self.kind.says


@dataclasses.dataclass
class Report:
    """What was found in one file.

    Args:
        file (str): The file.
        masks (bool): Whether segmentations are needed.
        images (int): Entries of the list of this name; likewise ``annotations`` and ``categories``.
        findings (dict[str, Finding]): By name.
        bad (dict[int, str]): Places in the list of annotations, each with its first finding that training skips.
    """

    file: str
    masks: bool = False
    images: int = 0
    annotations: int = 0
    categories: int = 0
    findings: dict[str, Finding] = dataclasses.field(default_factory=dict)
    bad: dict[int, str] = dataclasses.field(default_factory=dict)

    def add(self, name, example=None):
        """Count one entry.

        Args:
            name (str): Key of ``KINDS``.
            example (Callable[[], str] | str, optional): The entry in words; called only where it will be shown.
        """
        finding = self.findings.get(name)
        if finding is None:
            finding = self.findings[name] = Finding(name, (MASK_KINDS if self.masks else KINDS)[name])
        finding.count += 1
        if example is not None and len(finding.examples) < EXAMPLES:
            finding.examples.append(example() if callable(example) else example)

    def add_annotation(self, name, index, example):
        """Count an annotation.

        Args:
            name (str): Key of ``KINDS``.
            index (int): Its place in the list.
            example (Callable[[], str]): The entry in words.
        """
        self.add(name, example)
        if self.findings[name].kind.training == 'skip':
            self.bad.setdefault(index, name)

    def select(self, **rule):
        """list[Finding]: Those whose kind has all the given values (``severity='error'``, ``training='stop'``)."""
        return [finding for finding in self.findings.values()
                if all(getattr(finding.kind, key) == value for key, value in rule.items())]

    @property
    def has_errors(self):
        """bool: Whether a training or an evaluation would skip something or stop."""
        return bool(self.select(severity='error'))

    def lines(self) -> Iterable[str]:
        """Yield the report as lines of text, errors before notes."""
        yield f'{self.file}: {self.images} images, {self.annotations} annotations, {self.categories} categories'
        for severity in ('error', 'note'):
            found = self.select(severity=severity)
            if found:
                yield f'{severity}s'
            for finding in found:
                yield f'  {finding}'
        if self.bad:
            yield f'a training would leave out {len(self.bad)} of {self.annotations} annotations'
        if not self.has_errors:
            yield 'no errors'

    def to_dict(self):
        """dict: The report in plain values, for JSON."""
        return dict(
            file=str(self.file), images=self.images, annotations=self.annotations, categories=self.categories,
            bad_annotations=len(self.bad), findings=[
                dict(name=finding.name, severity=finding.kind.severity, training=finding.kind.training,
                     evaluation=finding.kind.evaluation, says=finding.kind.says, count=finding.count,
                     examples=finding.examples) for finding in self.findings.values()])


def image_name(image):
    """str: An image's entry as the findings name it."""
    return f'image {image["id"]!r} ({image.get("file_name")})'
