"""Anchors of SSDLite in units of the picture."""

import math
from collections.abc import Sequence

import torch
from mmdet.models.task_modules import AnchorGenerator
from torch import Tensor

from mmaffnet.registry import TASK_UTILS


@TASK_UTILS.register_module()
class SSDLiteAnchorGenerator(AnchorGenerator):
    """SSD's anchors as fractions of the picture, with sides clipped to the picture.

    mmdet's ``SSDAnchorGenerator`` places its anchors by strides in pixels, which is off where a map's side is not
    input / stride (20, 10, 5, 3, 2, 1 at 320), ties their size to one input size, and clips none.

    With scales s_1 … s_{L+1}, level k has at the centre ((x + 0.5)/W, (y + 0.5)/H) of each cell of its (H, W) map, as
    (width, height): (s_k, s_k), then sqrt(s_k s_{k+1}) square, then for each ratio r (s_k sqrt(r), s_k / sqrt(r)) and
    its transpose. Sides are clipped to 1; corners may stand outside the picture. Cells are ordered by y, then x.

    Source: SSD (Liu et al., ECCV 2016, Sec. 2.2), with ml-cvnets' order, clipping and default scales.

    Args:
        ratios (Sequence[Sequence[float]]): Ratios of each level besides 1; the number of levels L is its length.
            Defaults to (2, 3) on five levels and (2,) on the last, 6 and 4 anchors a cell.
        min_scale (float): s_1, a fraction of the picture's side. Defaults to 0.1.
        max_scale (float): s_{L+1}; those between are equally spaced. Defaults to 1.05.
        scales (Sequence[float], optional): All L + 1 scales, instead of ``min_scale`` and ``max_scale``.

    Raises:
        ValueError: If ``scales`` has not L + 1 entries, all positive.
    """

    def __init__(
            self,
            ratios: Sequence[Sequence[float]] = ((2, 3), ) * 5 + ((2, ), ),
            min_scale: float = 0.1,
            max_scale: float = 1.05,
            scales: Sequence[float] | None = None,
    ) -> None:
        self.ratios = tuple(tuple(level) for level in ratios)
        if scales is None:
            step = (max_scale - min_scale) / len(self.ratios)
            scales = [min_scale + step * level for level in range(len(self.ratios) + 1)]
        if len(scales) != len(self.ratios) + 1 or min(scales) <= 0:
            raise ValueError(f'SSDLiteAnchorGenerator: {len(self.ratios)} levels (one per entry of ratios) need '
                             f'{len(self.ratios) + 1} positive scales, got {list(scales)}.')
        self.scales = tuple(scales)
        self.use_box_type = False
        self.base_anchors = self.gen_base_anchors()

    @property
    def num_levels(self) -> int:
        """int: Number of feature levels."""
        return len(self.ratios)

    def gen_base_anchors(self) -> list[Tensor]:
        """Widths and heights of each level's anchors.

        Returns:
            list[Tensor]: (A_k, 4) for each level: corners around the origin, in units of the picture.
        """
        base_anchors = []
        for ratios, scale, next_scale in zip(self.ratios, self.scales[:-1], self.scales[1:], strict=True):
            sizes = [(scale, scale), (math.sqrt(scale * next_scale), ) * 2]
            for ratio in ratios:
                wide, narrow = scale * math.sqrt(ratio), scale / math.sqrt(ratio)
                sizes += [(wide, narrow), (narrow, wide)]
            half = torch.tensor(sizes, dtype=torch.float64).clamp(max=1) / 2
            base_anchors.append(torch.cat([-half, half], dim=1).float())
        return base_anchors

    def single_level_grid_priors(
            self,
            featmap_size: tuple[int, int],
            level_idx: int,
            dtype: torch.dtype = torch.float32,
            device: torch.device | str = 'cpu',
    ) -> Tensor:
        """Anchors of one level.

        Args:
            featmap_size (tuple[int, int]): (H, W) of the level's map.
            level_idx (int): Index of the level.
            dtype (torch.dtype): Defaults to float32.
            device (torch.device or str): Defaults to ``'cpu'``.

        Returns:
            Tensor: (H·W·A, 4) as (x1, y1, x2, y2) in units of the picture.
        """
        height, width = featmap_size
        base_anchors = self.base_anchors[level_idx].to(device=device, dtype=dtype)
        centre_x = (torch.arange(width, device=device).to(dtype) + 0.5) / width
        centre_y = (torch.arange(height, device=device).to(dtype) + 0.5) / height
        grid_x, grid_y = self._meshgrid(centre_x, centre_y)
        centres = torch.stack([grid_x, grid_y, grid_x, grid_y], dim=-1)
        return (centres[:, None] + base_anchors[None]).view(-1, 4)

    def sparse_priors(
            self,
            prior_idxs: Tensor,
            featmap_size: tuple[int, int],
            level_idx: int,
            dtype: torch.dtype = torch.float32,
            device: torch.device | str = 'cpu',
    ) -> Tensor:
        """Anchors of one level at given indices.

        Args:
            prior_idxs (Tensor): Indices (n,) into the level's anchors.
            featmap_size (tuple[int, int]): (H, W) of the level's map.
            level_idx (int): Index of the level.
            dtype (torch.dtype): Defaults to float32.
            device (torch.device or str): Defaults to ``'cpu'``.

        Returns:
            Tensor: (n, 4) as (x1, y1, x2, y2) in units of the picture.
        """
        return self.single_level_grid_priors(featmap_size, level_idx, dtype, device)[prior_idxs.to(device)]

    def valid_flags(
            self,
            featmap_sizes: list[tuple[int, int]],
            pad_shape: tuple[int, int],
            device: torch.device | str = 'cpu',
    ) -> list[Tensor]:
        """Every anchor is valid: its sides are clipped, and its centre lies in the picture.

        Args:
            featmap_sizes (list[tuple[int, int]]): (H, W) of each level's map.
            pad_shape (tuple[int, int]): Not needed.
            device (torch.device or str): Defaults to ``'cpu'``.

        Returns:
            list[Tensor]: True, (H·W·A,) for each level.
        """
        return [
            torch.ones(height * width * num_anchors, dtype=torch.bool, device=device)
            for (height, width), num_anchors in zip(featmap_sizes, self.num_base_priors, strict=True)
        ]

    def __repr__(self) -> str:
        return f'{type(self).__name__}(ratios={self.ratios}, scales={self.scales})'
