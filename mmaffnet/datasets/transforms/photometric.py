"""Photometric distortion of SSD, by torchvision."""

from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import avoid_cache_randomness
from PIL import Image
from torchvision.transforms import v2

from mmaffnet.registry import TRANSFORMS


@TRANSFORMS.register_module()
@avoid_cache_randomness
class RandomPhotometricDistort(BaseTransform):
    """torchvision's ``RandomPhotometricDistort`` for the pipelines of OpenMMLab.

    The ``PhotoMetricDistortion`` of mmdet and mmseg adds brightness (up to ±32) where the recipe multiplies it, shifts
    hue by ±18 degrees, and computes on floats without rounding in between. Here brightness, contrast, saturation and
    hue are each changed with probability ``prob``, contrast before or after the latter two with equal chance; then
    the channels are permuted with probability ``prob``. Pillow computes, on RGB, as in the reference.

    Randomness is torch's (``torch.manual_seed``; mmengine seeds it in every worker).

    Source: Table 9 of the paper; ranges of ml-cvnets' photometric distortion, which are torchvision's defaults.

    Required and modified key: ``img`` (H, W, 3), uint8.

    Args:
        brightness (Sequence[float]): Range of the factor. Defaults to (0.875, 1.125).
        contrast (Sequence[float]): Range of the factor. Defaults to (0.5, 1.5).
        saturation (Sequence[float]): Range of the factor. Defaults to (0.5, 1.5).
        hue (Sequence[float]): Range of the shift in turns, within [-0.5, 0.5]. Defaults to (-0.05, 0.05).
        prob (float): Probability of each distortion. Defaults to 0.5.
        channel_order (str): Order of the channels of ``img``, ``'bgr'`` (what mmcv loads) or ``'rgb'``.

    Raises:
        ValueError: If ``channel_order`` is neither.
    """

    def __init__(
            self,
            brightness: Sequence[float] = (0.875, 1.125),
            contrast: Sequence[float] = (0.5, 1.5),
            saturation: Sequence[float] = (0.5, 1.5),
            hue: Sequence[float] = (-0.05, 0.05),
            prob: float = 0.5,
            channel_order: str = 'bgr',
    ) -> None:
        if channel_order not in ('bgr', 'rgb'):
            raise ValueError(f"RandomPhotometricDistort: channel_order is 'bgr' or 'rgb', got {channel_order!r}.")
        self.channel_order = channel_order
        self.distort = v2.RandomPhotometricDistort(
            brightness=tuple(brightness), contrast=tuple(contrast), saturation=tuple(saturation), hue=tuple(hue),
            p=prob)

    def transform(self, results: dict) -> dict:
        """Distort ``results['img']``.

        Args:
            results (dict): With ``img`` (H, W, 3), uint8.

        Returns:
            dict: The same, with a new ``img``.

        Raises:
            TypeError: If the picture is not (H, W, 3) of uint8.
        """
        img = results['img']
        if img.dtype != np.uint8 or img.ndim != 3 or img.shape[2] != 3:
            raise TypeError(f'RandomPhotometricDistort needs a uint8 picture (H, W, 3), got {img.dtype} {img.shape}: '
                            'put it behind LoadImageFromFile (color_type color, to_float32 False).')
        step = -1 if self.channel_order == 'bgr' else 1
        distorted = np.asarray(self.distort(Image.fromarray(np.ascontiguousarray(img[..., ::step]))))
        results['img'] = np.ascontiguousarray(distorted[..., ::step])
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.distort}, channel_order={self.channel_order!r})'
