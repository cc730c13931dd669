"""DeepLabV3's head as the paper's framework builds it: a 1x1 projection behind the pyramid."""

from collections.abc import Sequence

from mmcv.cnn import ConvModule
from mmseg.models.decode_heads import ASPPHead

from mmaffnet.registry import MODELS


@MODELS.register_module()
class DeepLabV3Head(ASPPHead):
    """Atrous spatial pyramid pooling with a 1x1 projection.

    mmseg's ``ASPPHead`` projects with a 3x3 convolution (at 256 channels 2.6 M more parameters than the 1x1 one, more
    than AFFNet-et's whole model has).

    Input (B, C, H/s, W/s) with the backbone's output stride s; branches: 1x1 convolution, three 3x3 convolutions at
    their rates, global average pooling + 1x1; each with norm and activation to ``channels``; concatenation, 1x1
    projection + norm + activation, dropout of whole channels, 1x1 classifier.

    Args:
        dilations (Sequence[int]): Rate of each branch, the first 1 (its convolution is 1x1). ADE20K at output stride 8:
            (1, 12, 24, 36); VOC at 16: (1, 6, 12, 18). Defaults to (1, 6, 12, 18).
        **kwargs: Of ``mmseg.models.decode_heads.ASPPHead``: ``in_channels``, ``channels``, ``num_classes``,
            ``dropout_ratio``, ``norm_cfg``, ``align_corners`` …

    Source: Sec. 4.3 of the paper; ml-cvnets, on which the authors' release stands (Chen et al., arXiv:1706.05587).
    """

    def __init__(self, dilations: Sequence[int] = (1, 6, 12, 18), **kwargs) -> None:
        super().__init__(dilations=dilations, **kwargs)
        self.bottleneck = ConvModule((len(dilations) + 1) * self.channels, self.channels, 1, conv_cfg=self.conv_cfg,
                                     norm_cfg=self.norm_cfg, act_cfg=self.act_cfg)
