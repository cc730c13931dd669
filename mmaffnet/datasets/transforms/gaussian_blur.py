"""Gaussian blur of a random radius, by Pillow."""

from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from PIL import Image, ImageFilter

from mmaffnet.registry import TRANSFORMS


@TRANSFORMS.register_module()
class RandomGaussianBlur(BaseTransform):
    """Blur the picture, not its masks and boxes; mmseg and mmdet have no blur of their own.

    Required and modified key: ``img`` (H, W) or (H, W, 3), uint8.

    Args:
        radius (Sequence[float]): Range of the standard deviation in pixels, drawn uniformly. Defaults to (0, 1).
        prob (float): Probability. Defaults to 0.5.

    Raises:
        ValueError: If the range is empty or negative, or ``prob`` outside [0, 1].

    Source: Table 9 of the paper, which calls it "gaussian noise"; the authors' framework blurs.
    """

    def __init__(self, radius: Sequence[float] = (0., 1.), prob: float = 0.5) -> None:
        low, high = radius
        if not 0 <= low <= high:
            raise ValueError(f'RandomGaussianBlur: radius is a range (low, high) with 0 <= low <= high, got {radius}')
        if not 0 <= prob <= 1:
            raise ValueError(f'RandomGaussianBlur: prob lies in [0, 1], got {prob}')
        self.radius, self.prob = (low, high), prob

    @cache_randomness
    def _draw(self) -> float | None:
        if np.random.rand() >= self.prob:
            return None
        return np.random.uniform(*self.radius)

    def transform(self, results: dict) -> dict:
        """Blur ``results['img']``.

        Args:
            results (dict): With ``img``.

        Returns:
            dict: The same, with a new ``img`` where it was blurred.
        """
        radius = self._draw()
        if radius:
            blurred = Image.fromarray(results['img']).filter(ImageFilter.GaussianBlur(radius))
            results['img'] = np.array(blurred)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(radius={self.radius}, prob={self.prob})'
