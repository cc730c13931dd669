"""One picture of the generated shapes data set: what stands where, what covers what, and the pixels.

Shape classes wear any fill and texture classes share their outline with a distractor, so neither an outline nor a
fill nor a colour gives a class away by itself.
"""

from dataclasses import dataclass

import numpy as np

from . import shapes_drawing as draw

# Plain, gradient and mottled twice as often as the two that also make texture classes.
ANY_FILL = (draw.plain, draw.gradient, draw.mottled) * 2 + (draw.stripes, draw.checks)

# name: (outline, fills)
CLASSES = {
    'star': (draw.star, ANY_FILL),
    'ring': (draw.ring, ANY_FILL),
    'cross': (draw.cross, ANY_FILL),
    'crescent': (draw.crescent, ANY_FILL),
    'striped_disc': (draw.disc, (draw.stripes,)),
    'chequered_disc': (draw.disc, (draw.checks,)),
}
DISTRACTORS = (
    (draw.disc, (draw.plain, draw.gradient, draw.mottled)),
    (draw.random_polygon, ANY_FILL),
    (draw.blob, ANY_FILL),
    (draw.bar, ANY_FILL),
)

MIN_SIDE, MAX_SIDE = 12, 200  # of an annotated box, pixels
MIN_VISIBLE = 0.5
MAX_TURN = np.pi / 6  # as in photographs, things have an upper side
PICTURE_SIZES = ((256, 256), (256, 224), (224, 256))  # (width, height)
MAX_OBJECTS, MAX_DISTRACTORS = 8, 4


@dataclass
class Sprite:
    """A rendered object before it has a place and colours.

    Args:
        coverage (np.ndarray): Share of each pixel that the object covers, in [0, 1], shape (h, w).
        tone (np.ndarray): Share of the second colour, in [0, 1], shape (h, w).
    """

    coverage: np.ndarray
    tone: np.ndarray

    @property
    def mask(self) -> np.ndarray:
        return self.coverage >= 0.5


@dataclass
class SceneObject:
    """An object in its place.

    Args:
        name (str | None): Class, None for a distractor.
        mask (np.ndarray): The whole object without its surroundings, bool, shape (h, w).
        corner (tuple[int, int]): Row and column of the mask's first pixel in the picture; can be negative, and the
            mask can reach beyond the picture.
        visible (np.ndarray): What neither another object nor the picture's edge hides, bool, shape (H, W).
    """

    name: str | None
    mask: np.ndarray
    corner: tuple[int, int]
    visible: np.ndarray

    @property
    def visible_fraction(self) -> float:
        """Visible pixels by the pixels of the whole object, those outside the picture included."""
        return float(self.visible.sum() / self.mask.sum())

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Tight box of the visible pixels: x, y, width, height."""
        return tight_box(self.visible)


def tight_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """x, y, width and height of the smallest box around a mask's pixels; zeros for an empty mask."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return 0, 0, 0, 0
    x, y = int(columns[0]), int(rows[0])
    return x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1


def render_sprite(rng: draw.Random, outline, fills, size: float) -> Sprite:
    """Render one object of about ``size`` pixels, stretched by up to 4:3 and turned by up to 30°.

    Every pixel is the mean of 2×2 to 4×4 points.
    """
    inside, tone = outline(rng), fills[rng.randint(len(fills))](rng)
    half = np.array([size, size * rng.uniform(0.75, 1.0)]) / 2
    angle = rng.uniform(-MAX_TURN, MAX_TURN)
    offset = rng.uniform(-0.5, 0.5, 2)
    points = 4 if size < 48 else 3 if size < 96 else 2
    side = int(np.ceil(size)) + 3
    axis = (np.arange(side * points) + 0.5) / points - side / 2
    x, y = axis[None] - offset[0], axis[:, None] - offset[1]
    u = (x * np.cos(angle) + y * np.sin(angle)) / half[0]
    v = (y * np.cos(angle) - x * np.sin(angle)) / half[1]
    hit = inside(u, v)
    coverage = _pool(hit.astype(float), points)
    shade = _pool(np.where(hit, tone(u, v), 0.0), points) / np.maximum(coverage, 1e-9)
    left, top, width, height = tight_box(coverage > 0)
    window = slice(top, top + height), slice(left, left + width)
    return Sprite(coverage[window], shade[window])


def _pool(values: np.ndarray, points: int) -> np.ndarray:
    height, width = (side // points for side in values.shape)
    return values.reshape(height, points, width, points).mean((1, 3))


def compose(rng: draw.Random) -> tuple[np.ndarray, list[SceneObject]]:
    """Draw one picture.

    1 to 8 objects and 0 to 4 distractors are laid over a background one after the other. A place is taken only if,
    after it, every object shows at least half of itself and its box keeps sides of 12 to 200 px.

    Args:
        rng (np.random.RandomState): All of the picture's chance.

    Returns:
        tuple: The picture, RGB uint8 of shape (H, W, 3), and its objects, distractors included, in painting order.
    """
    width, height = PICTURE_SIZES[rng.randint(len(PICTURE_SIZES))]
    canvas = draw.background(rng, height, width)
    kinds = [True] * rng.randint(1, MAX_OBJECTS + 1) + [False] * rng.randint(MAX_DISTRACTORS + 1)
    placed: list[SceneObject] = []
    names = list(CLASSES)
    for index in rng.permutation(len(kinds)):
        name = names[rng.randint(len(names))] if kinds[index] else None
        found = _find_place(rng, name, placed, (height, width))
        if found is not None:
            sprite, item = found
            _hide(placed, item)
            placed.append(item)
            _paint(rng, canvas, sprite, item)
    if not any(item.name for item in placed):
        return compose(rng)
    grain = 0.02 * rng.uniform(-1, 1, (height, width, 1))
    return np.floor(np.clip(canvas + grain, 0, 1) * 255 + 0.5).astype(np.uint8), placed


def _find_place(rng, name, placed, shape) -> tuple[Sprite, SceneObject] | None:
    """Render an object and place it; after twelve places in vain another size is drawn, after six sizes it is None."""
    outline, fills = CLASSES[name] if name else DISTRACTORS[rng.randint(len(DISTRACTORS))]
    largest = 1.15 * MAX_SIDE if name else 0.6 * MAX_SIDE
    for _ in range(6):
        # Triangular in the logarithm: most objects are near 50 px, both ends are rare but there.
        size = MIN_SIDE * (largest / MIN_SIDE) ** rng.uniform(0, 1, 2).mean()
        sprite = render_sprite(rng, outline, fills, size)
        for _ in range(12):
            item = _try_place(rng, name, sprite.mask, placed, shape)
            if item is not None:
                return sprite, item
    return None


def _try_place(rng, name, mask, placed, shape) -> SceneObject | None:
    """Draw one place for an object; None where it breaks a rule of :func:`compose`."""
    height, width = shape
    rows, columns = mask.shape
    if placed and rng.uniform(0, 1) < 0.4:  # near another one, or objects would seldom cover each other
        x, y, w, h = placed[rng.randint(len(placed))].box
        angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 1.1)
        centre = (
            y + h / 2 + np.sin(angle) * reach * (h + rows) / 2,
            x + w / 2 + np.cos(angle) * reach * (w + columns) / 2,
        )
    else:
        centre = rng.uniform(0, height), rng.uniform(0, width)
    top, left = int(np.floor(centre[0] - rows / 2)), int(np.floor(centre[1] - columns / 2))
    visible = np.zeros(shape, dtype=bool)
    here, there = _overlap(mask.shape, (top, left), shape)
    visible[here] = mask[there]
    candidate = SceneObject(name, mask, (top, left), visible)
    if not visible.any() or (name and not _shows_enough(candidate, visible)):
        return None
    for other in placed:
        if other.name and not _shows_enough(other, other.visible & ~visible):
            return None
    return candidate


def _shows_enough(item: SceneObject, visible: np.ndarray) -> bool:
    sides = tight_box(visible)[2:]
    return visible.sum() >= MIN_VISIBLE * item.mask.sum() and MIN_SIDE <= min(sides) and max(sides) <= MAX_SIDE


def _hide(placed: list[SceneObject], cover: SceneObject) -> None:
    for other in placed:
        other.visible &= ~cover.visible


def _overlap(patch, corner, shape) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where a patch laid at ``corner`` meets the picture: its window there, and the same window in the patch."""
    here, there = [], []
    for size, start, limit in zip(patch, corner, shape, strict=True):
        first, last = max(start, 0), min(start + size, limit)
        here.append(slice(first, max(last, first)))
        there.append(slice(first - start, max(last, first) - start))
    return tuple(here), tuple(there)


def _paint(rng, canvas: np.ndarray, sprite: Sprite, item: SceneObject) -> None:
    """Blend an object into the canvas, in two colours that stand off from each other and from what lies below it."""
    here, there = _overlap(sprite.coverage.shape, item.corner, canvas.shape[:2])
    cover, tone = sprite.coverage[there][..., None], sprite.tone[there][..., None]
    ground = (canvas[here] * cover).sum((0, 1)) / cover.sum()
    share = float((tone * cover).sum() / cover.sum())
    for _ in range(50):
        first, second = draw.random_colour(rng), draw.random_colour(rng)
        mean = first * (1 - share) + second * share
        apart = abs(draw.luminance(first) - draw.luminance(second))
        if apart >= 0.25 and abs(mean - ground).max() >= 0.2:
            break
    light = rng.uniform(-0.15, 0.15, 2)
    rows, columns = np.linspace(-1, 1, tone.shape[0]), np.linspace(-1, 1, tone.shape[1])
    shading = 1 + light[0] * rows[:, None, None] + light[1] * columns[None, :, None]
    colour = np.clip((first * (1 - tone) + second * tone) * shading, 0, 1)
    canvas[here] = canvas[here] * (1 - cover) + colour * cover
