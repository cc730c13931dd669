"""What the rows of Tables 2, 3, 8 and 11 share: units, differences, and rows whose host is missing."""

MEGA, GIGA = 1e6, 1e9
NOT_TRAINED = 'not trained here'


def difference(ours: float | None, printed: float | None) -> float | None:
    """Ours minus the print, or None where one of them is missing."""
    return None if ours is None or printed is None else ours - printed


def scaled(number: int | None, unit: float) -> float | None:
    """A count in units of a million or a billion."""
    return None if number is None else number / unit


def one_or_all(values) -> object:
    """The value that all have, or all of them where they differ."""
    values = list(values)
    return values[0] if len(set(values)) == 1 else ', '.join(map(str, values))
