"""Compare trainings over their seeds: spreads, paired differences, and Student's intervals of confidence."""
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mmaffnet.engine.errors import UserError

CONFIDENCE = 0.95
# What one config reached: seed → value.
Values = Mapping[int, float]


class Spread(NamedTuple):
    """Mean and standard deviation of a sample (n - 1); of one value there is no deviation."""

    mean: float
    deviation: float | None

    def __str__(self) -> str:
        return f'{self.mean:.2f}' + ('' if self.deviation is None else f' ± {self.deviation:.2f}')


class Interval(NamedTuple):
    """From ``low`` to ``high``."""

    low: float
    high: float

    def __str__(self) -> str:
        return f'{self.low:+.2f} … {self.high:+.2f}'

    @property
    def excludes_zero(self) -> bool:
        """bool: Whether it lies on one side of zero."""
        return self.low > 0 or self.high < 0


class Residual(NamedTuple):
    """Standard deviation of what neither config nor seed explains, and its degrees of freedom."""

    deviation: float
    degrees: int

    def interval(self, difference: float, pairs: int) -> Interval:
        """Interval of the mean of ``pairs`` differences of two configs."""
        half = student(self.degrees) * self.deviation * math.sqrt(2 / pairs)
        return Interval(difference - half, difference + half)


def spread(values: Sequence[float]) -> Spread:
    """Mean and standard deviation of at least one value."""
    return Spread(statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None)


def differences(values: Values, baseline: Values) -> list[float]:
    """What a config reached more than the baseline with the same seed, for each seed that both have."""
    return [values[seed] - baseline[seed] for seed in sorted(values.keys() & baseline.keys())]


def interval(pairs: Sequence[float]) -> Interval | None:
    r"""Interval of the mean of paired differences, from them alone.

    .. math:: \bar d \pm t_{0.975,\,n-1}\, s_d / \sqrt n

    Args:
        pairs (Sequence[float]): The n differences.

    Returns:
        Interval | None: None for fewer than two.
    """
    if len(pairs) < 2:
        return None
    mean, half = statistics.mean(pairs), student(len(pairs) - 1) * statistics.stdev(pairs) / math.sqrt(len(pairs))
    return Interval(mean - half, mean + half)


def residual(rows: Sequence[Values]) -> Residual | None:
    r"""Spread of the values of several configs about an effect of the config and one of the seed.

    .. math:: s^2 = \frac{\sum_{ij} (y_{ij} - \bar y_{i\cdot} - \bar y_{\cdot j} + \bar y_{\cdot\cdot})^2}{(k-1)(n-1)}

    of k configs and n seeds: the two-way layout without interaction. It takes all configs to scatter alike, for which
    one gets (k-1)(n-1) degrees of freedom instead of n-1.

    Args:
        rows (Sequence[Values]): The configs; the seeds that all of them have count.

    Returns:
        Residual | None: None for fewer than two configs or common seeds.
    """
    seeds = sorted(set.intersection(*(set(row) for row in rows))) if rows else []
    k, n = len(rows), len(seeds)
    if k < 2 or n < 2:
        return None
    by_row = [statistics.mean(row[seed] for seed in seeds) for row in rows]
    by_seed = [statistics.mean(row[seed] for row in rows) for seed in seeds]
    grand, degrees = statistics.mean(by_row), (k - 1) * (n - 1)
    squares = sum((row[seed] - by_row[i] - by_seed[j] + grand)**2
                  for i, row in enumerate(rows) for j, seed in enumerate(seeds))
    return Residual(math.sqrt(squares / degrees), degrees)


def student(degrees: int) -> float:
    """The quantile of Student's t that :data:`CONFIDENCE` needs on either side.

    Args:
        degrees (int): Of freedom, 1 or more.

    Returns:
        float: 12.71 for 1, down to 1.96.

    Raises:
        UserError: scipy is missing.
    """
    try:
        from scipy.special import stdtrit
    except ImportError as error:
        raise UserError(f'intervals of confidence need scipy, which cannot be imported ({error}): '
                        'pip install scipy') from error
    return float(stdtrit(degrees, (1 + CONFIDENCE) / 2))


class Order(NamedTuple):
    """Pairs of configs that somebody else has put into an order: all, reversed here, and reversed beyond the margin."""

    pairs: int
    reversed: int
    beyond: int


def compare_order(printed: Mapping[str, float], measured: Mapping[str, Values], spread_of: Residual | None) -> Order:
    """Compare an order of configs with the one that was measured.

    Args:
        printed (Mapping[str, float]): Config → value elsewhere; equal ones are in no order.
        measured (Mapping[str, Values]): Config → values here.
        spread_of (Residual | None): For the margin; None: none is beyond it.

    Returns:
        Order: Of the pairs that have a seed in common.
    """
    names, found = sorted(printed.keys() & measured.keys()), []
    for i, first in enumerate(names):
        for second in names[:i]:
            pairs = differences(measured[first], measured[second])
            claimed = printed[first] - printed[second]
            if pairs and claimed:
                mean = statistics.mean(pairs)
                against = claimed * mean < 0
                found.append((against, against and spread_of is not None
                              and spread_of.interval(mean, len(pairs)).excludes_zero))
    return Order(len(found), sum(against for against, _ in found), sum(beyond for _, beyond in found))
