"""EfficientDet's head: separable convolutions that all levels share, with norms that they do not."""

from collections.abc import Sequence

import torch
import torch.nn as nn
from mmcv.cnn import build_activation_layer, build_norm_layer
from mmdet.models.dense_heads import AnchorHead
from mmdet.utils import reduce_mean
from mmengine.dist import get_world_size
from mmengine.structures import InstanceData
from torch import Tensor

from mmaffnet.models.layers import SeparableConv
from mmaffnet.registry import MODELS


class SharedTower(nn.Module):
    """Separable convolutions shared by all levels, each followed by the level's own norm and the activation.

    Args:
        in_channels (int): Channels of every level.
        feat_channels (int): Width of the convolutions.
        num_levels (int): Levels.
        stacked_convs (int): Convolutions.
        conv_bias (bool): Of the 1×1 convolutions.
        norm_cfg (dict): Norm.
        act_cfg (dict): Activation.
    """

    def __init__(self, in_channels: int, feat_channels: int, num_levels: int, stacked_convs: int, conv_bias: bool,
                 norm_cfg: dict, act_cfg: dict) -> None:
        super().__init__()
        widths = (in_channels, *(feat_channels, ) * stacked_convs)
        self.convs = nn.ModuleList(
            SeparableConv(width, feat_channels, bias=conv_bias) for width in widths[:stacked_convs])
        self.norms = nn.ModuleList(
            nn.ModuleList(build_norm_layer(norm_cfg, feat_channels)[1] for _ in range(stacked_convs))
            for _ in range(num_levels))
        self.act = build_activation_layer(act_cfg)

    def forward(self, x: Tensor, level: int) -> Tensor:
        """Map (B, C_in, H, W) of one level to (B, C, H, W)."""
        for conv, norm in zip(self.convs, self.norms[level], strict=True):
            x = self.act(norm(conv(x)))
        return x


@MODELS.register_module()
class EfficientDetHead(AnchorHead):
    r"""Anchor head of two towers, for classes and boxes, with EfficientDet's anchors, losses and candidates.

    mmdet's ``RetinaSepBNHead`` has norms of its own for each level too, but full convolutions with ReLU, no choice of
    initialisation, and a normalisation in which a picture without objects counts one.

    A tower is ``stacked_convs`` times: depthwise 3×3, 1×1, norm of the level, activation. Its prediction is a
    separable convolution with bias, without norm, to 9·num_classes or 9·4 values. The names in the state dict:
    ``{cls,reg}_tower.convs.{depth}``, ``{cls,reg}_tower.norms.{level}.{depth}``, ``{cls,reg}_predict``.

    Loss, with N = 1 + positives of the batch (of all GPUs):

    .. math:: \frac{1}{N} \sum \mathrm{Focal}_{\alpha=0.25, \gamma=1.5} +
        \frac{50}{4N} \sum \mathrm{Huber}_{\delta=0.1}

    over anchors and classes, and over the four values of the positives. Huber's loss is δ times smooth L1 with β = δ,
    so mmdet's ``SmoothL1Loss`` takes the weight 50·0.1/4 = 1.25.

    The anchors lie in the middle of the cells, (x + 1/2, y + 1/2)·stride: mmdet's generator with ``center_offset=0.5``;
    ``scale_major=False`` and the order of the ratios (height/width) give the order of Google's anchors, whose sides of
    1.4 and 0.7 are √2 and 1/√2 here. Boxes are coded without means and standard deviations.

    Source: EfficientDet (Tan et al., CVPR 2020), Sec. 4 and 5.1; what the paper leaves out from Google's code.

    Args:
        num_classes (int): Classes. Defaults to 80.
        in_channels (int): Channels of every level. Defaults to 64 (D0).
        feat_channels (int, optional): Width of the towers. Defaults to None: ``in_channels``, as in the paper.
        stacked_convs (int): Convolutions of each tower: 3 for D0 to D2, 4 for D3. Defaults to 3.
        conv_bias (bool): Google's models have a bias in front of each norm, which the norm takes away again: True
            gives their parameters. Defaults to False.
        norm_cfg (dict): Defaults to ``dict(type='BN', eps=1e-3, momentum=0.01)``.
        act_cfg (dict): Defaults to ``dict(type='SiLU')``.
        anchor_generator (dict): Its strides tell the number of levels. Defaults to 3 scales × 3 ratios at strides 8 to
            128, the smallest anchor being 4 strides wide.
        loss_cls (dict): Defaults to ``FocalLoss`` as above.
        loss_bbox (dict): Defaults to ``SmoothL1Loss`` as above.
        test_cfg (dict, optional): As of ``AnchorHead``, but ``nms_pre`` is the most candidates (an anchor with a class)
            of the whole picture, not of a level: 5000 in Google's code.
        init_cfg (dict or list[dict], optional): Defaults to N(0, 1/inputs) for every kernel, bias 0, and -log((1 -
            π)/π) with π = 0.01 for the classes (RetinaNet, Lin et al., ICCV 2017, Sec. 4.1), as effdet does.
        **kwargs: See ``AnchorHead``.

    Raises:
        ValueError: If ``stacked_convs`` is negative, the losses ask for a background class, or the anchors differ in
            number between levels.
    """

    def __init__(
            self,
            num_classes: int = 80,
            in_channels: int = 64,
            feat_channels: int | None = None,
            stacked_convs: int = 3,
            conv_bias: bool = False,
            norm_cfg: dict | None = None,
            act_cfg: dict | None = None,
            anchor_generator: dict | None = None,
            loss_cls: dict | None = None,
            loss_bbox: dict | None = None,
            init_cfg: dict | list | None = None,
            **kwargs,
    ) -> None:
        if stacked_convs < 0:
            raise ValueError(f'EfficientDetHead: stacked_convs must be at least 0, got {stacked_convs}.')
        self.stacked_convs = stacked_convs
        self.conv_bias = conv_bias
        self.norm_cfg = norm_cfg or dict(type='BN', eps=1e-3, momentum=0.01)
        self.act_cfg = act_cfg or dict(type='SiLU')
        fan_in = dict(type='Kaiming', mode='fan_in', nonlinearity='linear', distribution='normal')
        super().__init__(
            num_classes=num_classes,
            in_channels=in_channels,
            feat_channels=feat_channels or in_channels,
            anchor_generator=anchor_generator or dict(
                type='AnchorGenerator',
                octave_base_scale=4,
                scales_per_octave=3,
                ratios=[1.0, 0.5, 2.0],
                strides=[8, 16, 32, 64, 128],
                center_offset=0.5,
                scale_major=False),
            loss_cls=loss_cls or dict(type='FocalLoss', use_sigmoid=True, alpha=0.25, gamma=1.5),
            loss_bbox=loss_bbox or dict(type='SmoothL1Loss', beta=0.1, loss_weight=50 * 0.1 / 4),
            init_cfg=init_cfg or dict(
                fan_in, layer='Conv2d', bias=0, override=dict(fan_in, name='cls_predict', bias_prob=0.01)),
            **kwargs)

    def _init_layers(self) -> None:
        anchors = set(self.prior_generator.num_base_priors)
        if len(anchors) > 1:
            raise ValueError('EfficientDetHead: its convolutions are shared, so every level needs as many anchors, got '
                             f'{self.prior_generator.num_base_priors}.')
        if not self.use_sigmoid_cls:
            raise ValueError('EfficientDetHead: loss_cls must have use_sigmoid=True, since there is no background '
                             'class.')
        tower = (self.in_channels, self.feat_channels, self.prior_generator.num_levels, self.stacked_convs,
                 self.conv_bias, self.norm_cfg, self.act_cfg)
        width = self.feat_channels if self.stacked_convs else self.in_channels
        self.cls_tower = SharedTower(*tower)
        self.reg_tower = SharedTower(*tower)
        self.cls_predict = SeparableConv(width, self.num_base_priors * self.cls_out_channels)
        self.reg_predict = SeparableConv(width, self.num_base_priors * self.bbox_coder.encode_size)

    def forward(self, x: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Predict classes and boxes on each level.

        Args:
            x (Sequence[Tensor]): One map (B, in_channels, H_l, W_l) for each level.

        Returns:
            tuple[list[Tensor], list[Tensor]]: Class logits (B, A·num_classes, H_l, W_l) and box values
            (B, A·4, H_l, W_l) for each level, A anchors at each cell. At least float32, as losses and coordinates need:
            a half has 11 binary digits, and an anchor's focal loss starts at 1e-5.

        Raises:
            ValueError: If the number of maps is not that of the anchors' strides.
        """
        levels = self.prior_generator.num_levels
        if len(x) != levels:
            raise ValueError(f'EfficientDetHead has {levels} levels, the strides of its anchor_generator '
                             f"{[stride[0] for stride in self.prior_generator.strides]}, but got {len(x)} maps: make "
                             "the neck's num_outs agree.")
        dtype = torch.promote_types(x[0].dtype, torch.float32)
        cls_scores = [self.cls_predict(self.cls_tower(feat, level)).to(dtype) for level, feat in enumerate(x)]
        bbox_preds = [self.reg_predict(self.reg_tower(feat, level)).to(dtype) for level, feat in enumerate(x)]
        return cls_scores, bbox_preds

    def get_targets(self, *args, **kwargs) -> tuple:
        """Match anchors, and count positives as the class's docstring says; see ``AnchorHead.get_targets``."""
        labels, label_weights, bbox_targets, bbox_weights, _, *rest = super().get_targets(*args, **kwargs)
        num_pos = sum((level < self.num_classes).sum() for level in labels)
        # DDP averages gradients: the sum over all GPUs divided by this mean is what one GPU would compute.
        avg_factor = reduce_mean(num_pos.float()) + 1 / get_world_size()
        return labels, label_weights, bbox_targets, bbox_weights, avg_factor, *rest

    def _bbox_post_process(self, results: InstanceData, cfg: dict, *args, **kwargs) -> InstanceData:
        nms_pre = cfg.get('nms_pre', -1)  # of each level so far
        if 0 < nms_pre < len(results):
            results = results[results.scores.topk(nms_pre).indices]
        # mmcv's soft-NMS divides 0 by 0 between two boxes without area: clipped away, or slivers that vanish when it
        # moves the classes apart.
        cfg.setdefault('min_bbox_size', 0)
        results = super()._bbox_post_process(results, cfg, *args, **kwargs)
        return results[results.scores.isfinite()]
