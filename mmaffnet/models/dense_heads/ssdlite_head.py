"""SSDLite's head: one convolution for classes and boxes, matching and mining in units of the picture."""

import math
from collections.abc import Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmcv.cnn import ConvModule, DepthwiseSeparableConvModule
from mmdet.models.dense_heads import SSDHead
from mmdet.models.losses import smooth_l1_loss
from mmdet.structures.bbox import get_box_tensor, scale_boxes
from mmdet.utils import reduce_mean
from mmengine.dist import get_world_size
from mmengine.structures import InstanceData
from torch import Tensor

from mmaffnet.registry import MODELS


@MODELS.register_module()
class SSDLiteHead(SSDHead):
    """SSD head of separable convolutions that matches, mines and decodes as the reference detector.

    mmdet's ``SSDHead`` lacks: prediction (it has no ``loss_cls``), one convolution for classes and boxes, a width for
    each level, anchors that follow the input's size, negatives ranked by their background loss, a normalisation that
    counts the positives of the whole batch and of all GPUs (an empty picture counts 0, not 1), and the candidates per
    class before NMS.

    Level k: where ``in_channels[k]`` differs from ``feat_channels[k]``, a 1x1 convolution + norm + activation to it;
    then 3x3 depthwise + norm (no activation), 1x1 with bias to A_k·(num_classes + 1) class values, background last,
    and A_k·4 box values. On the last level, a 1x1 map, the latter is one 1x1 convolution with bias.

    Loss, with N = max(1, positives of the batch, averaged over the GPUs):
    (sum of cross-entropy over positives and the ``neg_pos_ratio``·n hardest negatives of each picture with n positives
    + sum of smooth-L1 over positives) / N.

    Source: Sec. 4.2 of the paper; ml-cvnets, on which the authors' release stands.

    Args:
        num_classes (int): Classes without background. Defaults to 80.
        in_channels (Sequence[int]): Channels of each level's map.
        feat_channels (Sequence[int]): Width of each level's depthwise convolution. On the last level, a 1x1 map,
            a width that differs from ``in_channels`` brings a norm that cannot train on a batch of one.
        norm_cfg (dict): Defaults to ``dict(type='BN')``.
        act_cfg (dict): Defaults to ``dict(type='ReLU')``.
        anchor_generator (dict): Must give anchors in units of the picture. Defaults to ``SSDLiteAnchorGenerator``'s
            six levels.
        bbox_coder (dict): With ``clip_border`` boxes are clipped to the picture, after NMS. Defaults to mmdet's
            ``DeltaXYWHBBoxCoder`` with standard deviations (0.1, 0.1, 0.2, 0.2).
        train_cfg (dict, optional): ``assigner``, ``neg_pos_ratio``, ``smoothl1_beta``, ``pos_weight``,
            ``allowed_border`` (-1), and optionally ``label_smoothing`` in [0, 1), default 0.
        test_cfg (dict, optional): ``score_thr``; ``nms_pre``, the most boxes of **each class** that NMS gets (-1: all);
            ``nms``; ``max_per_img``; ``min_bbox_size``.
        prior_prob (float, optional): In (0, 1): the probability that an anchor holds an object at the start. The
            prediction layers then start from N(0, 0.01²), the background's bias as this probability asks (RetinaNet,
            Lin et al., ICCV 2017, Sec. 4.1, for a softmax). Helps short runs. Defaults to None: ``init_cfg`` alone.
        init_cfg (dict or list[dict], optional): Defaults to Xavier uniform with zero bias.

    Raises:
        ValueError: If ``prior_prob`` is outside (0, 1), or the number of levels differs between ``in_channels``,
            ``feat_channels`` and the anchors.
    """

    def __init__(
            self,
            num_classes: int = 80,
            in_channels: Sequence[int] = (104, 144, 256, 256, 256, 256),
            feat_channels: Sequence[int] = (512, 256, 256, 256, 256, 256),
            norm_cfg: dict | None = None,
            act_cfg: dict | None = None,
            anchor_generator: dict | None = None,
            bbox_coder: dict | None = None,
            train_cfg: dict | None = None,
            test_cfg: dict | None = None,
            prior_prob: float | None = None,
            init_cfg: dict | list | None = None,
    ) -> None:
        if prior_prob is not None and not 0 < prior_prob < 1:
            raise ValueError(f'SSDLiteHead: prior_prob must lie between 0 and 1, or be None, got {prior_prob}.')
        super().__init__(
            num_classes=num_classes,
            in_channels=tuple(in_channels),
            feat_channels=tuple(feat_channels),
            use_depthwise=True,
            norm_cfg=norm_cfg or dict(type='BN'),
            act_cfg=act_cfg or dict(type='ReLU'),
            anchor_generator=anchor_generator or dict(type='mmaffnet.SSDLiteAnchorGenerator'),
            bbox_coder=bbox_coder or dict(
                type='DeltaXYWHBBoxCoder', clip_border=True, target_stds=(0.1, 0.1, 0.2, 0.2)),
            train_cfg=train_cfg,
            test_cfg=test_cfg,
            init_cfg=init_cfg or dict(type='Xavier', layer='Conv2d', distribution='uniform', bias=0))
        self.prior_prob = prior_prob
        if self.train_cfg and self.train_cfg['allowed_border'] >= 0:
            raise ValueError('SSDLiteHead: train_cfg.allowed_border must be -1, since the anchors\' sides are clipped '
                             f'already and their unit is the picture, not the pixel; got '
                             f"{self.train_cfg['allowed_border']}.")

    def _init_layers(self) -> None:
        levels = len(self.num_base_priors)
        if not len(self.in_channels) == len(self.feat_channels) == levels:
            raise ValueError(f'SSDLiteHead: {levels} levels of anchors need as many in_channels and feat_channels, got '
                             f'{self.in_channels} and {self.feat_channels}.')
        self.proj_convs = nn.ModuleList()
        self.pred_convs = nn.ModuleList()
        for level, (channels, width) in enumerate(zip(self.in_channels, self.feat_channels, strict=True)):
            same = channels == width
            self.proj_convs.append(
                nn.Identity() if same else ConvModule(
                    channels, width, 1, norm_cfg=self.norm_cfg, act_cfg=self.act_cfg))
            out = self.num_base_priors[level] * (self.cls_out_channels + 4)
            if level < levels - 1:
                layer = DepthwiseSeparableConvModule(
                    width, out, 3, padding=1, norm_cfg=self.norm_cfg, act_cfg=None, pw_norm_cfg=None)
            else:
                layer = ConvModule(width, out, 1, act_cfg=None)
            self.pred_convs.append(layer)

    def init_weights(self) -> None:
        """Initialise as ``init_cfg`` and ``prior_prob`` say."""
        super().init_weights()
        if self.prior_prob is None:
            return
        bias = math.log(self.num_classes * (1 - self.prior_prob) / self.prior_prob)
        for level, layer in enumerate(self.pred_convs):
            conv = getattr(layer, 'pointwise_conv', layer).conv
            nn.init.normal_(conv.weight, std=0.01)
            nn.init.zeros_(conv.bias)
            scores = conv.bias.data[:self.num_base_priors[level] * self.cls_out_channels]
            scores.view(-1, self.cls_out_channels)[:, -1] = bias

    def forward(self, x: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Predict classes and boxes on each level.

        Args:
            x (Sequence[Tensor]): One map (B, C_k, H_k, W_k) for each level.

        Returns:
            tuple[list[Tensor], list[Tensor]]: Class values (B, A_k·(num_classes + 1), H_k, W_k) with background last,
            and box values (B, A_k·4, H_k, W_k), for each level.
        """
        cls_scores, bbox_preds = [], []
        for feat, proj_conv, pred_conv, anchors in zip(
                x, self.proj_convs, self.pred_convs, self.num_base_priors, strict=True):
            scores, boxes = pred_conv(proj_conv(feat)).split([anchors * self.cls_out_channels, anchors * 4], dim=1)
            cls_scores.append(scores)
            bbox_preds.append(boxes)
        return cls_scores, bbox_preds

    def get_targets(self, anchor_list: list, valid_flag_list: list, batch_gt_instances: list, batch_img_metas: list,
                    **kwargs) -> tuple:
        """Match the anchors in units of the picture, and count the positives of the batch.

        Args:
            anchor_list (list[list[Tensor]]): Anchors (N_k, 4) of each picture and level.
            valid_flag_list (list[list[Tensor]]): Flags (N_k,) of each picture and level.
            batch_gt_instances (list[InstanceData]): ``bboxes`` (G, 4) in pixels of the input, ``labels`` (G,).
            batch_img_metas (list[dict]): Meta data of each picture.
            **kwargs: See ``AnchorHead.get_targets``.

        Returns:
            tuple: Labels, label weights, box targets and box weights of each level, and N of the class's docstring.
        """
        relative_gt_instances = []
        for gt_instances, img_meta in zip(batch_gt_instances, batch_img_metas, strict=True):
            bboxes = get_box_tensor(gt_instances.bboxes)
            relative_gt_instances.append(
                InstanceData(bboxes=bboxes / bboxes.new_tensor(_input_whwh(img_meta)), labels=gt_instances.labels))
        *targets, _ = super().get_targets(
            anchor_list, valid_flag_list, relative_gt_instances, batch_img_metas, **kwargs)
        num_pos = sum((labels < self.num_classes).sum() for labels in targets[0])
        # DDP averages gradients, so the sum over all GPUs divided by the mean count is what one GPU would compute.
        avg_factor = reduce_mean(num_pos.float()).clamp(min=1 / get_world_size())
        return *targets, avg_factor

    def loss_by_feat_single(self, cls_score: Tensor, bbox_pred: Tensor, anchor: Tensor, labels: Tensor,
                            label_weights: Tensor, bbox_targets: Tensor, bbox_weights: Tensor,
                            avg_factor: Tensor) -> tuple[Tensor, Tensor]:
        """Loss of one picture.

        Args:
            cls_score (Tensor): Class values (N, num_classes + 1), background last.
            bbox_pred (Tensor): Box values (N, 4).
            anchor (Tensor): Anchors (N, 4).
            labels (Tensor): (N,) in [0, num_classes], the last being background.
            label_weights (Tensor): (N,), 0 where an anchor counts as neither.
            bbox_targets (Tensor): (N, 4).
            bbox_weights (Tensor): (N, 4), 0 but for positives.
            avg_factor (Tensor): N of the class's docstring.

        Returns:
            tuple[Tensor, Tensor]: Classification loss (1,) and box loss.
        """
        positive = labels < self.num_classes
        negative = (labels == self.num_classes) & (label_weights > 0)
        background_loss = -F.log_softmax(cls_score.detach().float(), dim=-1)[:, -1]
        # Whatever is no negative ranks last: a loss is at least 0.
        rank = background_loss.masked_fill(~negative, -1).argsort(descending=True).argsort()
        hardest = rank < self.train_cfg['neg_pos_ratio'] * positive.sum()
        loss_cls = F.cross_entropy(
            cls_score, labels, reduction='none', label_smoothing=self.train_cfg.get('label_smoothing', 0.0))
        loss_cls = (loss_cls * label_weights)[positive | hardest].sum() / avg_factor
        loss_bbox = smooth_l1_loss(
            bbox_pred, bbox_targets, bbox_weights, beta=self.train_cfg['smoothl1_beta'], avg_factor=avg_factor)
        return loss_cls[None], loss_bbox

    def predict_by_feat(self, cls_scores: list[Tensor], bbox_preds: list[Tensor], *args, **kwargs) -> list:
        """Turn the maps of a batch into detections, in float32 whatever the maps' type.

        Args:
            cls_scores (list[Tensor]): Class values (B, A_k·(num_classes + 1), H_k, W_k) of each level.
            bbox_preds (list[Tensor]): Box values (B, A_k·4, H_k, W_k) of each level.
            *args: See ``BaseDenseHead.predict_by_feat``.
            **kwargs: See ``BaseDenseHead.predict_by_feat``.

        Returns:
            list[InstanceData]: ``bboxes`` (n, 4) in pixels, ``scores`` (n,) falling, ``labels`` (n,) of each picture.
        """
        return super().predict_by_feat([score.float() for score in cls_scores],
                                       [boxes.float() for boxes in bbox_preds], *args, **kwargs)

    def _predict_by_feat_single(self, cls_score_list: list[Tensor], bbox_pred_list: list[Tensor],
                                score_factor_list: list, mlvl_priors: list[Tensor], img_meta: dict, cfg: dict,
                                rescale: bool = False, with_nms: bool = True) -> InstanceData:
        cfg = self.test_cfg if cfg is None else cfg
        scores = torch.cat([s.permute(1, 2, 0).reshape(-1, self.cls_out_channels) for s in cls_score_list])
        deltas = torch.cat([b.permute(1, 2, 0).reshape(-1, 4) for b in bbox_pred_list])
        # Without max_shape nothing is clipped here: NMS compares the boxes as predicted.
        bboxes = self.bbox_coder.decode(torch.cat(mlvl_priors), deltas)
        bboxes = bboxes * bboxes.new_tensor(_input_whwh(img_meta))

        nms_pre = cfg.get('nms_pre', -1)
        num_candidates = min(nms_pre, len(scores)) if nms_pre > 0 else len(scores)
        scores, anchor_idxs = scores.softmax(-1)[:, :-1].topk(num_candidates, dim=0)
        labels = torch.arange(self.num_classes, device=scores.device).expand_as(scores)
        keep = scores > cfg.get('score_thr', 0)
        results = InstanceData(bboxes=bboxes[anchor_idxs[keep]], scores=scores[keep], labels=labels[keep])
        return self._bbox_post_process(results, cfg, rescale=rescale, with_nms=with_nms, img_meta=img_meta)

    def _bbox_post_process(self, results: InstanceData, cfg: dict, rescale: bool = False, with_nms: bool = True,
                           img_meta: dict | None = None) -> InstanceData:
        height, width = img_meta['img_shape'][:2]
        if rescale:
            factor_w, factor_h = img_meta['scale_factor']
            results.bboxes = scale_boxes(results.bboxes, (1 / factor_w, 1 / factor_h))
            height, width = height / factor_h, width / factor_w
        if len(results) == 0:
            return results
        # mmcv keeps classes apart by adding label·(largest coordinate + 1), which takes coordinates from 0 up.
        lowest = results.bboxes.min()
        results.bboxes = results.bboxes - lowest
        results = super()._bbox_post_process(results, cfg, rescale=False, with_nms=with_nms, img_meta=img_meta)
        results.bboxes = results.bboxes + lowest
        if self.bbox_coder.clip_border:
            results.bboxes = torch.minimum(
                results.bboxes.clamp(min=0), results.bboxes.new_tensor((width, height, width, height)))
        return results


def _input_whwh(img_meta: dict) -> tuple[int, int, int, int]:
    """Size that the anchors' unit stands for: the network's input, padding included, as (width, height) twice."""
    height, width = img_meta.get('batch_input_shape', img_meta['img_shape'])[:2]
    return width, height, width, height
