"""Table 1 by experiment: its 18 cells, further rows, and controls of which the answer is known beforehand."""

import io
import json

import pytest
import torch
from torch import nn

from mmaffnet.analysis import operator_tests, table1
from mmaffnet.analysis.operator_tests import Measured, measure, nonzero
from mmaffnet.analysis.paper_tables import make_tables
from mmaffnet.analysis.table import render
from mmaffnet.analysis.table1 import FURTHER, OPERATORS, spread, table_1
from mmaffnet.registry import TOKEN_MIXERS

# The print: semantic-adaptive, variable-size input, channel-wise mix.
PRINT = {
    'FFC': (False, True, True), 'AFNO': (False, True, True), 'GFNet': (False, False, True),
    'FNO': (False, False, True), 'DFF': (True, True, False), 'Ours': (True, True, True),
}
LINEAR = ('GFNet', 'FNO')
# Named in FURTHER by their beginnings.
FURTHER_PROPERTIES = {
    'AFF, 1 mask': (True, True, False), 'AFF w. SUM': (False, True, True), 'AFF, g = C': (True, True, True),
    'AFF, g = 1': (True, True, True), 'AFF, K = 3': (True, True, True), 'AFF with SoftShrink': (True, True, True),
    'AFF w/o FFT (': (True, True, True), 'AFF w/o FFT, rho': (False, True, True), 'AFF by DCT': (True, True, True),
    'AFF by Haar, 1': (True, True, True), 'AFF by Haar, 2': (True, True, True), 'Identity': (False, True, False),
    'Conv-mixer': (False, True, True), 'AFNO with GELU': (False, True, True), 'GFN, full': (False, False, True),
    'GFN and 1x1': (False, False, True), 'FNO, 4 x 4': (False, False, True), 'DFF, mask on': (False, True, True),
}


@pytest.fixture(scope='module')
def tables():
    return make_tables(1)


@pytest.fixture(scope='module')
def measured(tables) -> dict[str, Measured]:
    return {**tables[0].measured, **tables[1].measured}


def properties(found: Measured) -> tuple:
    return found.adaptive, found.variable_size, found.channel_wise


@pytest.mark.parametrize('name', PRINT)
def test_the_three_cells_of_an_operator(measured, name):
    found = measured[name]
    assert len(found.rho) == 10 and properties(found) == PRINT[name]
    assert found.bends is PRINT[name][0]   # the curvature says the same of these six


@pytest.mark.parametrize('beginning', FURTHER_PROPERTIES)
def test_further_rows(measured, beginning):
    name, = (name for name in FURTHER if name.startswith(beginning))
    assert properties(measured[name]) == FURTHER_PROPERTIES[beginning]


def test_every_row_is_expected():
    assert list(PRINT) == list(OPERATORS) and len(FURTHER) == len(FURTHER_PROPERTIES)


def test_ten_decades_lie_between_zero_and_the_rest(measured):
    for found in measured.values():
        for values in (found.rho, found.delta, found.gamma):
            assert max(values) < 1e-13 or min(values) > 1e-2


def test_literally_ffc_and_afno_are_adaptive(measured):
    """The caveat beside their crosses: their derivatives differ between inputs as much as AFF's do."""
    assert all(min(measured[name].delta) > 0.1 for name in ('FFC', 'AFNO', 'Ours'))


def test_what_is_exact(measured):
    """Linear maps have no second derivative and equal derivatives; piecewise affine ones no second derivative."""
    for name in (*LINEAR, 'GFN, full spectrum', 'Conv-mixer 3x3 (Table 4)', 'Identity (Tables 4, 5)'):
        assert set(measured[name].delta) == set(measured[name].kappa) == {0.}
    for name in ('FFC', 'AFNO', 'AFF w. SUM (Table 5)'):
        assert set(measured[name].kappa) == {0.}


def test_the_curvature_looks_at_the_activation_and_not_at_the_mask(measured):
    for name in ('AFNO with GELU', 'DFF, mask on the embedding'):
        assert measured[name].bends is True and measured[name].adaptive is False


def test_one_coefficient_is_not_enough(monkeypatch):
    """ReLU returns an exact 0 at a single one in a quarter of all cases, by which FFC would pass for a mask."""
    zeros = []
    for seed in range(24):
        mixer = operator_tests.random_mixer(dict(type='FFC'), operator_tests.SIZE, seed)
        transform = operator_tests._transform(mixer, 'fourier')
        monkeypatch.setattr(operator_tests, 'COEFFICIENTS', ((3, 4, 3), ))
        zeros.append(operator_tests.leak(mixer, *transform) < 1e-10)
    assert 2 <= sum(zeros) <= 12


@pytest.mark.parametrize('name, tokens', [
    ('FFC', 256), ('AFNO', 256), ('GFNet', 256), ('FNO', 256), ('DFF', 256), ('Ours', 256),
    ('AFF w/o FFT (Table 4)', 1), ('Identity (Tables 4, 5)', 1), ('Conv-mixer 3x3 (Table 4)', 9),
    ('AFF by DCT (Table 12)', 256), ('AFF by Haar, 1 level (Table 12)', 4), ('AFF by Haar, 2 levels', 16)])
def test_scope(measured, name, tokens):
    assert set(measured[name].scope) == {tokens}


def test_scope_of_three_levels_of_haar():
    mixer = operator_tests.random_mixer(dict(type='AFF', transform='haar', levels=3), (16, 16), 0)
    assert operator_tests.scope(mixer) == 64
    with pytest.raises(ValueError, match='levels=3'):
        measure(dict(type='AFF', transform='haar', levels=3), seeds=1)


def test_shifts_and_flips(measured):
    for name in (*LINEAR, 'AFF w/o FFT (Table 4)', 'Identity (Tables 4, 5)'):
        assert max(measured[name].shift) < 1e-14
    for name in ('FFC', 'AFNO', 'Ours', 'DFF'):
        assert min(measured[name].shift) > 0.01
    assert all(min(measured[name].flip) > 0.01 for name in OPERATORS)


def test_the_truncated_fno_fails_only_where_its_modes_do_not_fit(measured):
    sizes = measured['FNO, 4 x 4 modes (as published)'].sizes
    assert [size for size, reason in sizes.items() if reason] == [(5, 4)] and 'modes' in sizes[5, 4]
    for name in LINEAR:
        assert all('12 x 12' in reason and f'{h} x {w}' in reason for (h, w), reason in measured[name].sizes.items())


@pytest.mark.parametrize('kind', ['GFN', 'FNO'])
def test_the_operators_themselves_fail_at_other_sizes(kind, monkeypatch):
    """Not only the check that says so in a sentence; but a width with as many columns of frequencies runs."""
    mixer = operator_tests.random_mixer(dict(type=kind), (12, 12), seed=0)
    monkeypatch.setattr(mixer, 'check_size', lambda x: None)
    assert operator_tests.failure(mixer, (12, 12)) == ''
    assert all(operator_tests.failure(mixer, size) for size in operator_tests.OTHER_SIZES)
    assert operator_tests.failure(mixer, (12, 13)) == ''


# Controls


class Control(nn.Module):
    """A mixer from a function, with 16 channels' gains as its parameter."""

    def __init__(self, embed_dims):
        super().__init__()
        self.gain = nn.Parameter(torch.empty(embed_dims))


def control(forward):
    return type('Control', (Control, ), dict(forward=lambda self, x: forward(x, self.gain.view(-1, 1, 1))))


def fixed_tokens(x, gain):
    return x + torch.ones(12, 12, dtype=x.dtype)


def off_by_one(x, gain):
    return x[..., :-1] if x.shape[-1] % 2 else x


@pytest.mark.parametrize('forward, expected, scope', [
    (lambda x, gain: 3 * x, (False, True, False), 1),
    (lambda x, gain: gain * x, (False, True, True), 1),
    (lambda x, gain: x * x.square().mean((1, 2, 3), keepdim=True), (True, True, False), 256),   # one number as mask
    (lambda x, gain: x * (gain * x).mean((1, 2, 3), keepdim=True) * gain, (True, True, True), 256),
    (lambda x, gain: x.square(), (False, True, False), 1),                             # bent, but no mask
    (lambda x, gain: x.mean(1, keepdim=True) + 0 * x, (False, True, False), 1),        # linear across channels
    (lambda x, gain: x + gain * x.roll((1, 2), (2, 3)), (False, True, True), 2),
    (fixed_tokens, (False, False, False), None),
    (off_by_one, (False, False, False), 1)])
def test_controls(forward, expected, scope):
    TOKEN_MIXERS.register_module(name='Control', module=control(forward))
    try:
        if scope is None:   # not even the larger map of the scope
            mixer = operator_tests.random_mixer(dict(type='Control'), (12, 12), 0)
            assert all(operator_tests.failure(mixer, size) for size in operator_tests.OTHER_SIZES)
            return
        found = measure(dict(type='Control'), seeds=3)
        assert properties(found) == expected and set(found.scope) == {scope}
    finally:
        TOKEN_MIXERS.module_dict.pop('Control')


def test_random_mixers_differ_by_their_seed_only():
    first, same, other = (operator_tests.random_mixer(dict(type='DFF'), (12, 12), seed) for seed in (3, 3, 4))
    for key, value in first.state_dict().items():
        assert torch.equal(value, same.state_dict()[key])
        assert value.dtype == torch.int64 or not torch.equal(value, other.state_dict()[key])
    assert first.attention.weight.dtype == torch.float64 and not first.training


def test_measuring_leaves_the_random_numbers_alone():
    torch.manual_seed(5)
    want = torch.rand(3)
    torch.manual_seed(5)
    measure(dict(type='Identity'), seeds=1)
    assert torch.equal(torch.rand(3), want)


def test_what_decides_nothing():
    assert nonzero([1e-12, 0.]) is False and nonzero([0.5, 2e-3]) is True
    assert nonzero([1e-6, 0.5]) is nonzero([1e-12, 0.5]) is None
    found = Measured(rho=[1e-12], delta=[1e-6], kappa=[0.], gamma=[1e-5])
    assert found.adaptive is found.channel_wise is None and found.bends is False
    assert Measured(rho=[1e-5], delta=[0.]).adaptive is False   # a linear operator is none, whatever its rho
    assert table1.mark(None) == '?'


# The command's output


def test_tables_say_what_they_measured(tables):
    text = io.StringIO()
    render(tables, 'markdown', text)
    text = text.getvalue()
    assert '18 of 18 cells are as printed' in text and '6 of 6 operators' in text
    for word in ('by definition only', 'taken literally', 'all modes kept', 'the mask multiplies the spectrum itself',
                 'not the reach', 'linear in its input', 'AFNO\'s'):
        assert word in text, word
    assert '?' not in ''.join(cell for table in tables for row in table.rows for cell in map(str, row))
    cells, further, reach = tables
    assert len(cells.rows) == 6 and len(further.rows) == len(FURTHER) and len(reach.rows) == 5 + len(FURTHER)


def test_a_disagreement_would_be_counted(monkeypatch):
    monkeypatch.setitem(OPERATORS, 'DFF', dict(type='DFF', mask_on='embedding'))
    monkeypatch.setattr(table1, 'FURTHER', {})
    cells = table_1(seeds=1)[0]
    assert '16 of 18 cells' in cells.conventions and '5 of 6 operators' in cells.conventions


def test_json_has_the_numbers(tables):
    text = io.StringIO()
    render(tables, 'json', text)
    cells, further, reach = json.loads(text.getvalue())
    assert len(cells['measured']['FFC']['rho']) == 10
    assert cells['measured']['FNO']['sizes']['5x4'].startswith('FNO was built for maps of 12 x 12')
    assert cells['rows'][0]['adaptive_paper'] == cells['rows'][0]['adaptive'] == '✗'
    assert set(further['measured']) == set(FURTHER) and 'measured' not in reach


@pytest.mark.parametrize('values, text', [
    ([0., 0.], '0'), ([3e-16, 1e-15], '<= 1e-15'), ([0.954, 3.9], '0.95–3.90'), ([0.5, 0.5], '0.50')])
def test_spread(values, text):
    assert spread(values) == text
