"""Table 1: the properties of frequency-domain operators, each cell decided by an experiment."""

from dataclasses import dataclass, field

from . import paper
from .operator_tests import NONZERO, OTHER_SIZES, SEEDS, SIZE, ZERO, Measured, measure
from .table import Column, Noted, Table

# The operators in the print's order, by its names.
OPERATORS = {
    'FFC': dict(type='FFC'), 'AFNO': dict(type='AFNO'), 'GFNet': dict(type='GFN'), 'FNO': dict(type='FNO'),
    'DFF': dict(type='DFF'), 'Ours': dict(type='AFF'),
}
# What the print does not have: rows of other tables, and readings of the same names that decide a cell otherwise.
FURTHER = {
    'AFF, 1 mask for all channels (Table 6)': dict(type='AFF', mask='spatial'),
    'AFF w. SUM (Table 5)': dict(type='AFF', combine='sum'),
    'AFF, g = C (Table 7)': dict(type='AFF', groups='channels'),
    'AFF, g = 1 (Table 7)': dict(type='AFF', groups=1),
    'AFF, K = 3 (Table 7)': dict(type='AFF', kernel_size=3),
    'AFF with SoftShrink (release)': dict(type='AFF', softshrink=0.01),
    'AFF w/o FFT (Table 4)': dict(type='AFF', transform='none'),
    'AFF w/o FFT, rho among frequencies': dict(type='AFF', transform='none', domain='fourier'),
    'AFF by DCT (Table 12)': dict(type='AFF', transform='dct'),
    'AFF by Haar, 1 level (Table 12)': dict(type='AFF', transform='haar'),
    'AFF by Haar, 2 levels': dict(type='AFF', transform='haar', levels=2),
    'Identity (Tables 4, 5)': dict(type='Identity'),
    'Conv-mixer 3x3 (Table 4)': dict(type='ConvMixer'),
    'AFNO with GELU': dict(type='AFNO', act_cfg=dict(type='GELU')),
    'GFN, full spectrum': dict(type='GFN', spectrum='full'),
    'GFN and 1x1 convolution': dict(type='GFN', pointwise=True),
    'FNO, 4 x 4 modes (as published)': dict(type='TruncatedFNO', modes=(4, 4)),
    'DFF, mask on the embedding': dict(type='DFF', mask_on='embedding'),
}
PROPERTIES = {'Semantic-adaptive': 'adaptive', 'Variable-size input': 'variable_size',
              'Channel-wise mix': 'channel_wise'}
UNDECIDED = '?'

CLAIM = (
    'What the claim means, and what was measured ({seeds} random draws of all parameters; stand-alone operators of 16 '
    'channels on {size} maps, in float64). Semantic-adaptive: the operator multiplies the spectrum by a mask, and the '
    'mask depends on the input. rho: what comes out at a coefficient that was zero, over the mean, the worst of 12 '
    'places; delta: how much the derivative differs between two inputs; ticked where rho is 0 and delta is not. kappa: '
    'second derivative over first, 0 where the operator is piecewise affine; by it {bends} of {operators} operators '
    'would get the same mark. Variable-size: the same parameters run at {sizes}. Channel-wise: fed with one map in all '
    'channels, the channels come out different (gamma). Below {zero:g} is 0, above {nonzero:g} is not; what lies '
    'between is shown as "?". {agreeing} of {cells} cells are as printed. Marks with a note hold by the definition '
    'chosen, or for one reading of the operator.')
FURTHER_CLAIM = (
    'Measured as above; rho in the operator\'s own transform: cosines for DCT, wavelets for Haar, the tokens w/o FFT.')
REACH_CLAIM = (
    'scope: how many tokens of a 16 x 16 map change as one of them does. shift, flip: ||T(op X) - op T(X)|| / '
    '||T(X)|| for a circular shift by (1, 3) and a flip of the columns; 0: it makes no difference which comes first. '
    'The linear filters commute with shifts, as every circular convolution does. ReLU on real and imaginary part looks '
    'at the phase, which a shift changes; so AFF is a circular convolution for every input (Eq. 6), but not with the '
    'same kernel for the shifted one.')

LITERAL = (
    'by definition only: taken literally ("the weights depend on the input") it is adaptive too, since ReLU and '
    'SoftShrink switch coefficients by the input (delta). What it lacks is the elementwise mask, as rho shows')
POINTWISE = (
    'its mask at a frequency reads the channels of its group at this frequency, and no others: like AFNO it is one '
    'map of C numbers applied at each frequency, z -> m(z) * z where AFNO has z -> m(z). The difference is quadratic '
    'pieces for linear ones, not the reach; only K = 3 and DFF read other frequencies')
LINEAR = 'holds under every definition: the operator is linear in its input'
NOTES = {
    ('FFC', 'adaptive'): LITERAL,
    ('AFNO', 'adaptive'): LITERAL,
    ('GFNet', 'adaptive'): LINEAR,
    ('FNO', 'adaptive'): LINEAR,
    ('GFNet', 'variable_size'): 'the official code resizes position embeddings, not filters; resize_on_load converts '
                                'the weights once, which is no forward pass. Without its check of sizes the operator '
                                'would run at one other width, W + 1 where W is even',
    ('FNO', 'variable_size'): 'only with all modes kept, as the printed 141.0 M parameters need; with the published '
                              'truncation it is a matter of the map being large enough, see below',
    ('DFF', 'adaptive'): 'only where the mask multiplies the spectrum itself, see below for the embedding; no official '
                         'code was found that would decide',
    ('DFF', 'channel_wise'): 'only where the mask multiplies the spectrum itself, see below for the embedding; no '
                             'official code was found that would decide',
    ('Ours', 'adaptive'): POINTWISE,
}
SUM = 'as AFNO: what is added is no mask. Its printed accuracy, 78.8 %, is AFNO\'s'
TOKENS = 'w/o FFT the mask is one on tokens; seen among the frequencies there is none'
BENDS = 'kappa says otherwise: it sees that the operator is smooth and bent, not whether it is a mask'
FURTHER_NOTES = {'AFF w. SUM (Table 5)': SUM, 'AFF w/o FFT, rho among frequencies': TOKENS}

MEASURES = (Column('rho', 'rho'), Column('delta', 'delta'), Column('kappa', 'kappa'), Column('sizes', 'sizes run'),
            Column('gamma', 'gamma'))
COLUMNS = (
    Column('operator', 'Operator'),
    *(column for name, key in PROPERTIES.items()
      for column in (Column(f'{key}_paper', f'{name}, paper'), Column(key, 'here'))),
    *MEASURES,
)
FURTHER_COLUMNS = (Column('operator', 'Operator'), *(Column(key, name) for name, key in PROPERTIES.items()), *MEASURES)
REACH_COLUMNS = (Column('operator', 'Operator'), Column('scope', 'scope (of 256)'), Column('shift', 'shift'),
                 Column('flip', 'flip'))


@dataclass
class MeasuredTable(Table):
    """A table whose JSON holds the measured numbers of each row, a list over the draws.

    Args:
        measured (dict[str, Measured]): By operator.
    """

    measured: dict[str, Measured] = field(default_factory=dict)

    def as_dict(self) -> dict:
        """As in :class:`Table`, with ``measured`` beside the rows."""
        numbers = {name: {**vars(found), 'sizes': {'x'.join(map(str, size)): reason
                                                   for size, reason in found.sizes.items()}}
                   for name, found in self.measured.items()}
        return dict(super().as_dict(), measured=numbers)


def table_1(seeds: int = SEEDS) -> list[Table]:
    """Table 1, by experiment.

    Args:
        seeds (int): Draws of parameters and inputs. Defaults to 10.

    Returns:
        list[Table]: The 18 cells of the print; the same properties of further operators; what else was measured.
    """
    found = {name: measure(cfg, seeds) for name, cfg in OPERATORS.items()}
    cells = MeasuredTable('Table 1: properties of frequency-domain operators', COLUMNS, '', measured=found)
    agreeing = 0
    for i, (name, measured) in enumerate(found.items()):
        row = []
        for title, key in PROPERTIES.items():
            printed, here = paper.TABLE_1[title][i], mark(getattr(measured, key))
            agreeing += printed == here
            row += [printed, Noted(here, NOTES.get((name, key), ''))]
        cells.add(name, *row, *_texts(measured))
    cells.conventions = CLAIM.format(
        seeds=seeds, bends=sum(measured.bends == measured.adaptive for measured in found.values()),
        operators=len(found), size=_times(SIZE), sizes=', '.join(map(_times, OTHER_SIZES)), zero=ZERO, nonzero=NONZERO,
        agreeing=agreeing, cells=len(found) * len(PROPERTIES))
    further, more = _further(seeds)
    return [cells, further, _reach({**found, **more})]


def mark(decided: bool | None) -> str:
    """A cell of Table 1."""
    return {True: paper.YES, False: paper.NO, None: UNDECIDED}[decided]


def _further(seeds: int) -> tuple[MeasuredTable, dict[str, Measured]]:
    found = {}
    for name, cfg in FURTHER.items():
        cfg = dict(cfg)
        domain = cfg.pop('domain', None)
        found[name] = measure(cfg, seeds, domain)
    table = MeasuredTable('Further operators and readings', FURTHER_COLUMNS, FURTHER_CLAIM, measured=found)
    for name, measured in found.items():
        adaptive, *others = (mark(getattr(measured, key)) for key in PROPERTIES.values())
        note = FURTHER_NOTES.get(name, '' if measured.bends == measured.adaptive else BENDS)
        table.add(name, Noted(adaptive, note), *others, *_texts(measured))
    return table, found


def _reach(found: dict[str, Measured]) -> Table:
    table = Table('Reach and symmetry of the same operators', REACH_COLUMNS, REACH_CLAIM)
    for name, measured in found.items():
        if name not in FURTHER or 'domain' not in FURTHER[name]:
            scope = '–'.join(dict.fromkeys((str(min(measured.scope)), str(max(measured.scope)))))
            table.add(name, scope, spread(measured.shift), spread(measured.flip))
    return table


def _texts(measured: Measured) -> list[str]:
    run = [size for size, reason in measured.sizes.items() if not reason]
    return [spread(measured.rho), spread(measured.delta), spread(measured.kappa),
            f'{len(run)} of {len(measured.sizes)}', spread(measured.gamma)]


def spread(values: list[float]) -> str:
    """The range of a measured number, '0' only where it is exactly that.

    Args:
        values (list[float]): Of the draws.

    Returns:
        str: '0', an upper bound where it is zero but for rounding, else the least and the largest.
    """
    least, most = min(values), max(values)
    if most == 0:
        return '0'
    if most < ZERO:
        return f'<= {most:.0e}'
    return '–'.join(dict.fromkeys((f'{least:.2f}', f'{most:.2f}')))


def _times(size: tuple[int, int]) -> str:
    return f'{size[0]} x {size[1]}'
