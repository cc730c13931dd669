"""Spreads, paired differences and intervals against closed forms, scipy's tests and least squares."""
import math

import numpy as np
import pytest

from mmaffnet.analysis.paired import compare_order, differences, interval, residual, spread, student

stats = pytest.importorskip('scipy.stats')

ROWS = [{0: 61.2, 1: 60.1, 2: 63.0}, {0: 59.9, 1: 59.5, 2: 60.8}, {0: 62.0, 1: 58.8, 2: 61.1}]


def test_quantiles_have_closed_forms_for_one_and_two_degrees():
    p = 0.975
    assert student(1) == pytest.approx(math.tan(math.pi * (p - 0.5)))
    assert student(2) == pytest.approx((2 * p - 1) / math.sqrt(2 * p * (1 - p)))
    assert student(10**7) == pytest.approx(1.959964, abs=1e-5)


def test_spread():
    assert spread([50., 52., 57.]) == pytest.approx((53, math.sqrt(13)))   # deviations -3, -1, 4
    assert str(spread([50., 52., 57.])) == '53.00 ± 3.61' and str(spread([7.])) == '7.00'


@pytest.mark.parametrize('pairs', [[1.3, 0.6], [1.3, 0.6, 2.2], [-0.4, 0.1, -0.3, -0.2, -0.9]])
def test_interval_is_that_of_scipys_t_test(pairs):
    expected = stats.ttest_1samp(pairs, 0).confidence_interval(0.95)
    assert interval(pairs) == pytest.approx(tuple(expected))
    assert interval(pairs).excludes_zero == (stats.ttest_1samp(pairs, 0).pvalue < 0.05)


def test_one_pair_has_no_interval_and_only_common_seeds_make_pairs():
    assert interval([1.]) is None and interval([]) is None
    assert differences({3: 5., 1: 2., 7: 1.}, {1: 1., 3: 1., 2: 0.}) == [1., 4.]


def test_residual_is_that_of_least_squares():
    design, values = [], []
    for i, row in enumerate(ROWS):
        for j, value in row.items():
            design.append([float(i == k) for k in range(3)] + [float(j == k) for k in range(1, 3)])
            values.append(value)
    _, squares, rank, _ = np.linalg.lstsq(np.array(design), np.array(values), rcond=None)
    found = residual(ROWS)
    assert found.degrees == len(values) - rank == 4
    assert found.deviation == pytest.approx(math.sqrt(squares[0] / 4))
    half = stats.t.ppf(0.975, 4) * found.deviation * math.sqrt(2 / 3)
    assert found.interval(1., 3) == pytest.approx((1 - half, 1 + half))


def test_residual_of_two_rows_is_the_paired_t_test():
    found = residual(ROWS[:2])
    pairs = differences(*ROWS[:2])
    assert found.interval(np.mean(pairs), 3) == pytest.approx(interval(pairs))


def test_residual_takes_the_seeds_that_all_have():
    assert residual([*ROWS, {0: 1.}]) is None and residual(ROWS[:1]) is None and residual([]) is None
    more = [{**ROWS[0], 9: 99.}, *ROWS[1:]]
    assert residual(more) == residual(ROWS)


def test_order():
    printed = dict(a=80., b=79., c=79., d=70.)
    measured = dict(a={0: 1., 1: 2.}, b={0: 3., 1: 4.}, c={0: 0., 1: 1.}, e={0: 9.})
    # ordered are a > b and a > c; b and c are equal in print; a < b here, by 2 with no scatter
    assert compare_order(printed, measured, None) == (2, 1, 0)
    assert compare_order(printed, measured, residual([measured[k] for k in 'abc'])._replace(deviation=.1)) == (2, 1, 1)
    assert compare_order(printed, measured, residual([measured[k] for k in 'abc'])._replace(deviation=9.)) == (2, 1, 0)
