"""Outlines, fills, colours and backgrounds of the generated shapes data set.

An outline or a fill is a function of object coordinates (u, v): the object lies inside the unit circle before it is
scaled, stretched and turned. Each maker below draws its own free numbers (how deep a star's notches are, how many
stripes) from the generator that it is given and returns that function.

All arithmetic is float64 NumPy and all chance comes from ``numpy.random.RandomState``, whose stream NumPy keeps frozen
(NEP 19); no drawing routine of OpenCV or Pillow is used, since their antialiasing changes between versions.
"""

from collections.abc import Callable

import numpy as np

Field = Callable[[np.ndarray, np.ndarray], np.ndarray]
Random = np.random.RandomState


def turned(rng: Random) -> Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Turn coordinates by an angle drawn once."""
    angle = rng.uniform(0, 2 * np.pi)
    return lambda u, v: (u * np.cos(angle) + v * np.sin(angle), v * np.cos(angle) - u * np.sin(angle))


# Outlines: True inside the object. The first group belongs to classes, the second to distractors only.


def disc(rng: Random) -> Field:
    return lambda u, v: u**2 + v**2 <= 1.0


def ring(rng: Random) -> Field:
    hole = rng.uniform(0.5, 0.65)
    return lambda u, v: (u**2 + v**2 <= 1.0) & (u**2 + v**2 >= hole**2)


def star(rng: Random) -> Field:
    notch = rng.uniform(0.38, 0.48)
    angles = np.pi * np.arange(10) / 5 - np.pi / 2  # one point up
    radii = np.where(np.arange(10) % 2 == 0, 1.0, notch)
    return polygon(radii * np.cos(angles), radii * np.sin(angles))


def cross(rng: Random) -> Field:
    arm = rng.uniform(0.26, 0.36)
    return lambda u, v: (np.maximum(abs(u), abs(v)) <= 0.94) & (np.minimum(abs(u), abs(v)) <= arm)


def crescent(rng: Random) -> Field:
    shift, bite = rng.uniform(0.4, 0.55) * rng.choice([-1, 1]), rng.uniform(0.72, 0.82)  # opens to either side
    return lambda u, v: (u**2 + v**2 <= 1.0) & ((u - shift) ** 2 + v**2 >= bite**2)


def random_polygon(rng: Random) -> Field:
    """A triangle, quadrilateral, pentagon or hexagon with its corners on the unit circle."""
    corners = rng.randint(3, 7)
    angles = 2 * np.pi * (np.arange(corners) + rng.uniform(-0.2, 0.2, corners) + rng.uniform(0, 1)) / corners
    return polygon(np.cos(angles), np.sin(angles))


def blob(rng: Random) -> Field:
    """A closed smooth curve without any symmetry."""
    waves, phases = np.arange(2, 5), rng.uniform(0, 2 * np.pi, 3)
    sizes = rng.uniform(0.04, 0.16, 3)

    def inside(u, v):
        angle = np.arctan2(v, u)
        edge = sum(s * np.cos(k * angle + p) for k, s, p in zip(waves, sizes, phases, strict=True))
        return np.hypot(u, v) <= 0.7 * (1 + edge)

    return inside


def bar(rng: Random) -> Field:
    width, turn = rng.uniform(0.12, 0.3), turned(rng)
    return lambda u, v: np.all(abs(np.stack(turn(u, v))) <= np.array([0.95, width])[:, None, None], axis=0)


def polygon(x: np.ndarray, y: np.ndarray) -> Field:
    """Inside test of a simple polygon with corners (x, y), by counting crossings of a ray (the even-odd rule)."""

    def inside(u, v):
        odd = np.zeros(np.broadcast(u, v).shape, dtype=bool)
        for x0, y0, x1, y1 in zip(x, y, np.roll(x, -1), np.roll(y, -1), strict=True):
            if y0 != y1:
                crosses = (y0 > v) != (y1 > v)
                odd ^= crosses & (u < (x1 - x0) * (v - y0) / (y1 - y0) + x0)
        return odd

    return inside


# Fills: the share of the second colour at each point, in [0, 1].


def plain(rng: Random) -> Field:
    return lambda u, v: np.full(np.broadcast(u, v).shape, 0.0)


def gradient(rng: Random) -> Field:
    angle = rng.uniform(0, 2 * np.pi)
    return lambda u, v: np.clip(0.5 + 0.5 * (u * np.cos(angle) + v * np.sin(angle)), 0, 1)


def mottled(rng: Random) -> Field:
    """Soft random patches: the mean of four plane waves."""
    directions, phases = rng.uniform(0, 2 * np.pi, 4), rng.uniform(0, 2 * np.pi, 4)
    waves = rng.uniform(1.0, 4.0, 4)

    def tone(u, v):
        parts = zip(waves, directions, phases, strict=True)
        total = sum(np.cos(k * (u * np.cos(a) + v * np.sin(a)) + p) for k, a, p in parts)
        return np.clip(0.5 + 0.3 * total, 0, 1)

    return tone


def stripes(rng: Random) -> Field:
    """Parallel stripes, three to four light-dark pairs across the object."""
    waves, phase, turn = np.pi * rng.uniform(3.0, 4.0), rng.uniform(0, 2 * np.pi), turned(rng)
    return lambda u, v: (np.sin(waves * turn(u, v)[0] + phase) > 0).astype(float)


def checks(rng: Random) -> Field:
    """A chequerboard, four to five and a half fields across the object."""
    waves, phases, turn = np.pi * rng.uniform(2.0, 2.75), rng.uniform(0, 2 * np.pi, 2), turned(rng)

    def tone(u, v):
        first, second = (np.sin(waves * side + phase) > 0 for side, phase in zip(turn(u, v), phases, strict=True))
        return (first ^ second).astype(float)

    return tone


def random_colour(rng: Random) -> np.ndarray:
    """An RGB colour in [0, 1] of any hue, with saturation and value spread wide: shape (3,)."""
    hue, saturation, value = rng.uniform(0, 6), rng.uniform(0.1, 0.95), rng.uniform(0.15, 1.0)
    ramp = np.clip(abs((hue + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1, 0, 1)
    return value * (1 - saturation + saturation * ramp)


def luminance(colour: np.ndarray) -> float:
    """Rec. 601 luma of an RGB colour in [0, 1]."""
    return float((colour * np.array([0.299, 0.587, 0.114])).sum())


def value_noise(rng: Random, height: int, width: int, cell: float) -> np.ndarray:
    """Smooth noise in [0, 1]: random numbers on a lattice of ``cell`` pixels, blended by 3t² - 2t³.

    Returns:
        np.ndarray: Shape (height, width).
    """
    rows, columns = int(np.ceil(height / cell)) + 2, int(np.ceil(width / cell)) + 2
    lattice = rng.uniform(0, 1, (rows, columns))
    y, x = np.arange(height) / cell, np.arange(width) / cell
    y0, x0 = y.astype(int), x.astype(int)
    ty, tx = y - y0, x - x0
    ty, tx = (ty**2 * (3 - 2 * ty))[:, None], (tx**2 * (3 - 2 * tx))[None]
    upper = lattice[y0][:, x0] * (1 - tx) + lattice[y0][:, x0 + 1] * tx
    lower = lattice[y0 + 1][:, x0] * (1 - tx) + lattice[y0 + 1][:, x0 + 1] * tx
    return upper * (1 - ty) + lower * ty


def background(rng: Random, height: int, width: int) -> np.ndarray:
    """A textured background: three colours blended by noise of several scales, often under a grating or chequers.

    The pattern is there so that stripes and chequers alone do not give an object away.

    Returns:
        np.ndarray: RGB in [0, 1], shape (height, width, 3).
    """
    first, second, third = (random_colour(rng) for _ in range(3))
    coarse = value_noise(rng, height, width, rng.uniform(60, 160))
    fine = 0.6 * value_noise(rng, height, width, rng.uniform(12, 30)) + 0.4 * value_noise(
        rng, height, width, rng.uniform(4, 9)
    )
    blend = np.clip(2 * coarse - 0.5, 0, 1)[..., None]
    picture = first * (1 - blend) + second * blend
    picture = picture + (third - picture) * (rng.uniform(0.15, 0.5) * fine[..., None])
    pattern = (None, stripes, checks, mottled)[rng.randint(4)]
    if pattern is not None:
        reach = rng.uniform(15, 70)
        tone = pattern(rng)(np.arange(width)[None] / reach, np.arange(height)[:, None] / reach)
        picture = picture + rng.uniform(0.04, 0.14) * (tone[..., None] - 0.5)
    return np.clip(picture, 0, 1)
