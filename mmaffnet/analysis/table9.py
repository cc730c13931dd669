"""Table 9: the recipes, read from the configs and set beside the print."""

import math
from dataclasses import dataclass, field

from mmaffnet.engine.config import load_config

from . import paper
from .recipe import read_recipe
from .table import Column, Noted, Table

RECIPES = {
    'ImageNet-1k ET': 'imagenet/affnet-et_8xb128-300e_in1k-256px',
    'ImageNet-1k T': 'imagenet/affnet-t_8xb128-300e_in1k-256px',
    'ImageNet-1k': 'imagenet/affnet-base_8xb128-300e_in1k-256px',
    'COCO': 'ssdlite/ssdlite_affnet-{}_8xb16-200e_coco',
    'ADE20k': 'deeplabv3/deeplabv3_affnet-{}_8xb2-120e_ade20k-512x512',
    'PASCAL VOC': 'deeplabv3/deeplabv3_affnet-{}_8xb16-50e_voc12aug-coco-512x512',
}
PRETRAINED = ('the recipe starts from ImageNet-1k weights; none of ours exist yet, so that you name them: '
              'pretrained=CHECKPOINT')
CROP = 'a short side drawn from 256 to 768, then a crop of 512, which the print calls so'
# Where a value differs from the print, or means more than its name says; the reason is shown beside it.
NOTES = {
    ('Weight Initialization', 'COCO'): PRETRAINED,
    ('Weight Initialization', 'ADE20k'): PRETRAINED,
    ('Weight Initialization', 'PASCAL VOC'): PRETRAINED,
    ('Dataset', 'PASCAL VOC'): 'VOC 2012 with SBD and the pictures of COCO that hold its classes (Sec. 4.3)',
    ('Random Resized Crop', 'COCO'): 'SSD\'s own crop, which is none of this name, is there',
    ('Random Resized Crop', 'ADE20k'): CROP,
    ('Random Resized Crop', 'PASCAL VOC'): CROP,
    ('Random Horizontal Flip', 'COCO'): 'the authors\' released pipeline flips on COCO against the print, as ours does',
    ('Gaussian Noise', 'ADE20k'): 'a blur, in the released pipeline as here, although the print says noise',
    ('Gaussian Noise', 'PASCAL VOC'): 'a blur, in the released pipeline as here, although the print says noise',
}
UNEXPLAINED = 'differs from the print, and no reason is on record'
CONVENTIONS = (
    'Each cell: paper = ours where they agree, else paper / ours with the reason. Ours is read from the configs; the '
    'batch size is GPUs (of the config\'s name) x pictures on each.')


def table_9() -> list[Table]:
    """Table 9.

    Returns:
        list[Table]: One table; its JSON has the printed value and ours apart.
    """
    table = RecipeTable('Table 9: training recipes', [Column('item', 'Item'), *(
        Column(name, name) for name in paper.TABLE_9_COLUMNS)], CONVENTIONS)
    ours = {name: read_recipe(load_config(config.format('base'))) for name, config in RECIPES.items()}
    for item, printed in paper.TABLE_9.items():
        cells = []
        for column, value in zip(paper.TABLE_9_COLUMNS, printed, strict=True):
            agrees = _equal(value, ours[column][item])
            note = NOTES.get((item, column), '' if agrees else UNEXPLAINED)
            table.cells.append(dict(item=item, column=column, paper=value, ours=ours[column][item], equal=agrees,
                                    note=note or None))
            cells.append(Noted(value if agrees else f'{value} / {ours[column][item]}', note))
        table.add(item, *cells)
    table.conventions += _other_sizes(ours)
    return [table]


@dataclass
class RecipeTable(Table):
    """A table whose JSON holds both values of a cell.

    Args:
        cells (list[dict]): ``item``, ``column``, ``paper``, ``ours``, ``equal`` and ``note`` of each.
    """

    cells: list[dict] = field(default_factory=list)

    def as_dict(self) -> dict:
        """As in :class:`Table`, with ``cells`` beside the rows."""
        return dict(super().as_dict(), cells=self.cells)


def _equal(printed, ours) -> bool:
    if isinstance(printed, str) or isinstance(ours, str):
        return str(printed).lower() == str(ours).lower()   # 'Kaiming normal', however it is capitalised
    return math.isclose(printed, ours, rel_tol=1e-9)


def _other_sizes(base: dict) -> str:
    """Whether AFFNet-T and AFFNet-ET train as AFFNet does on COCO, ADE20K and VOC, as the print's caption says."""
    differing = []
    for name in ('COCO', 'ADE20k', 'PASCAL VOC'):
        for arch in ('t', 'et'):
            recipe = read_recipe(load_config(RECIPES[name].format(arch)))
            differing += [f'{name} {arch}: {item}' for item, value in recipe.items() if value != base[name][item]]
    if differing:
        return f' AFFNet-T and AFFNet-ET should train alike on COCO, ADE20k and VOC, but: {", ".join(differing)}.'
    return ' On COCO, ADE20k and VOC the configs of AFFNet-T and AFFNet-ET hold the same values, as the caption says.'
