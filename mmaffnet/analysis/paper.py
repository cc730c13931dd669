"""What the paper prints in its Tables 1 to 9 and 11 to 14: the paper's figures, none of them measured here.

"Adaptive Frequency Filters As Efficient Global Token Mixers", ICCV 2023. Names of models are spelt as printed there;
None stands where the print has a dash. MNet, MOne, MFormer, EFormer and MViT are short for MobileNet, MobileOne,
MobileFormer, EfficientFormer and MobileViT.
"""

from typing import NamedTuple

YES, NO = '✓', '✗'
# The columns of Table 1, and what it ticks.
TABLE_1_OPERATORS = ('FFC', 'AFNO', 'GFNet', 'FNO', 'DFF', 'Ours')
TABLE_1 = {
    'Semantic-adaptive': (NO, NO, NO, NO, YES, YES),
    'Variable-size input': (YES, YES, NO, NO, YES, YES),
    'Channel-wise mix': (YES, YES, YES, YES, NO, YES),
}

# Rows of AFFNet by the arch of our configs.
AFFNET = {'AFFNet-ET': 'et', 'AFFNet-T': 't', 'AFFNet': 'base'}


class ImageNetRow(NamedTuple):
    """A row of Table 2: model, publication, side of the input, parameters (M), FLOPs (G, multiply-adds), top-1 (%)."""

    model: str
    publication: str | None
    resolution: int
    parameters: float
    flops: float
    top1: float


TABLE_2 = tuple(ImageNetRow(*row) for row in (
    ('MNetv1-0.5', 'arXiv17', 224, 1.3, 0.2, 63.7),
    ('MViT-XXS', 'ICLR22', 256, 1.3, 0.4, 69.0),
    ('EdgeNext-XXS', 'ECCV22', 256, 1.3, 0.3, 71.2),
    ('MViTv2-0.5', 'TMLR23', 256, 1.4, 0.5, 70.2),
    ('AFFNet-ET', None, 256, 1.4, 0.4, 73.0),
    ('MNetv3-L-0.5', 'ICCV19', 224, 2.6, 0.1, 68.8),
    ('MFormer-52', 'CVPR22', 224, 3.6, 0.1, 68.7),
    ('PVTv2-B0', 'CVM22', 224, 3.7, 0.6, 70.5),
    ('MViT-XS', 'ICLR22', 256, 2.3, 1.0, 74.8),
    ('EdgeNext-XS', 'ECCV22', 256, 2.3, 0.5, 75.0),
    ('EFormer-S0', 'arXiv22', 224, 3.5, 0.4, 75.7),
    ('MViTv2-0.75', 'TMLR23', 256, 2.9, 1.0, 75.6),
    ('AFFNet-T', None, 256, 2.6, 0.8, 77.0),
    ('MNetv2', 'CVPR18', 224, 6.9, 0.6, 74.7),
    ('ShuffleNetV2', 'ECCV18', 224, 5.5, 0.6, 74.5),
    ('MNetv3', 'ICCV19', 224, 5.4, 0.2, 75.2),
    ('T2T-ViT', 'ICCV21', 224, 6.9, 1.8, 76.5),
    ('DeiT-T', 'ICML21', 224, 5.7, 1.3, 72.2),
    ('CoaT-Lite-T', 'ICCV21', 224, 5.7, 1.6, 77.5),
    ('LeViT-128', 'ICCV21', 224, 9.2, 0.4, 78.6),
    ('GFNet-Ti', 'NeurIPS21', 224, 7.0, 1.3, 74.6),
    ('EFormer-L1', 'NeurIPS22', 224, 12.3, 1.3, 79.2),
    ('EFormer-S1', 'arXiv22', 224, 6.1, 0.7, 79.0),
    ('Mformer', 'CVPR22', 224, 9.4, 0.2, 76.7),
    ('EfficientViT', 'arXiv22', 224, 7.9, 0.4, 78.6),
    ('EdgeViT-XS', 'ECCV22', 256, 6.7, 1.1, 77.5),
    ('MOne-S3', 'arXiv22', 224, 10.1, 1.9, 78.1),
    ('MViT-S', 'ICLR22', 256, 5.6, 2.0, 78.4),
    ('EdgeNext-S', 'ECCV22', 256, 5.6, 1.3, 79.4),
    ('MViTv2-1.0', 'TMLR23', 256, 4.9, 1.8, 78.1),
    ('AFFNet', None, 256, 5.5, 1.5, 79.8),
))


class DenseRow(NamedTuple):
    """A row of Table 3: model, detector's parameters (M), COCO mAP (%), segmentor's parameters (M), ADE20K and VOC
    mIoU (%)."""

    model: str
    detector: float
    coco: float
    segmentor: float
    ade20k: float | None
    voc: float


TABLE_3 = tuple(DenseRow(*row) for row in (
    ('MViT-XXS', 1.9, 18.5, 1.9, None, 73.6),
    ('MViTv2-0.5', 2.0, 21.2, 3.6, 31.2, 75.1),
    ('AFFNet-ET', 1.9, 21.8, 2.2, 33.0, 76.1),
    ('MViT-XS', 2.7, 24.8, 2.9, None, 77.1),
    ('MViTv2-0.75', 3.6, 24.6, 6.2, 34.7, 75.1),
    ('AFFNet-T', 3.0, 25.3, 3.5, 36.9, 77.8),
    ('ResNet-50', 22.9, 25.2, 68.2, 36.2, 76.8),
    ('MNetv1', 5.1, 22.2, 11.2, None, 75.3),
    ('MNetv2', 4.3, 22.1, 18.7, 34.1, 75.7),
    ('MViT-S', 5.7, 27.7, 6.4, None, 79.1),
    ('MViTv2-1.0', 5.6, 26.5, 9.4, 37.0, 78.9),
    ('EdgeNext', 6.2, 27.9, 6.5, None, 80.2),
    ('AFFNet', 5.6, 28.4, 6.9, 38.4, 80.5),
))


class LayerRow(NamedTuple):
    """A row of Table 8: layer, side of its map, times that it down-samples (None: a dash), blocks, and channels of
    AFFNet-ET, AFFNet-T and AFFNet."""

    layer: str
    resolution: int
    downsample: int | None
    blocks: int
    channels: tuple[int, int, int]


TABLE_8 = (
    LayerRow('Image', 256, None, 1, (16, 16, 16)),
    LayerRow('Conv Stem', 128, 2, 1, (32, 32, 32)),
    LayerRow('Conv Stem', 64, 2, 4, (48, 48, 64)),
    LayerRow('Down-sampling', 32, 2, 1, (64, 96, 128)),
    LayerRow('AFF Block', 32, None, 2, (64, 96, 128)),
    LayerRow('Down-sampling', 16, 2, 1, (104, 160, 256)),
    LayerRow('AFF Block', 16, None, 4, (104, 160, 256)),
    LayerRow('Down-sampling', 8, 2, 1, (144, 192, 320)),
    LayerRow('AFF Block', 8, None, 3, (144, 192, 320)),
)
TABLE_8_PARAMETERS = (1.4, 2.6, 5.5)   # M
TABLE_8_FLOPS = (0.4, 0.8, 1.5)        # G, multiply-adds

class AblationRow(NamedTuple):
    """A row of Tables 4 to 7 and 12 to 14: its name, parameters (M), FLOPs (G, multiply-adds), top-1 (%)."""

    row: str
    parameters: float
    flops: float
    top1: float


# By the table's number: the heading of its first column (of the first two in Table 7), and its rows.
ABLATIONS = {
    4: ('Method', (
        AblationRow('Base.', 5.2, 1.3, 77.9),
        AblationRow('Base. + Conv-mixer (3×3)', 10.7, 2.7, 78.6),
        AblationRow('Base. + AFF w/o FFT', 5.5, 1.5, 78.4),
        AblationRow('Base. + AFF (Our AFFNet)', 5.5, 1.5, 79.8))),
    5: ('Method', (
        AblationRow('Base.', 5.2, 1.3, 77.9),
        AblationRow('Base. + AFNO', 5.5, 1.5, 78.8),
        AblationRow('Base. + GFN', 6.5, 1.5, 79.1),
        AblationRow('Base. + FFC', 7.7, 1.7, 79.1),
        AblationRow('Base. + DFF', 7.7, 1.7, 79.3),
        AblationRow('Base. + FNO', 141.0, 1.5, 79.7),
        AblationRow('Base. + AFF w. SUM', 5.5, 1.5, 78.8),
        AblationRow('Base. + AFF (AFFNet)', 5.5, 1.5, 79.8))),
    6: ('Mask Shape', (
        AblationRow('1×H×W', 5.5, 1.5, 79.3),
        AblationRow('C×H×W', 5.5, 1.5, 79.8))),
    7: ('Spatial K-Size, N_group', (
        AblationRow('1×1, C', 5.3, 1.4, 79.4),
        AblationRow('1×1, 1', 7.7, 2.0, 79.9),
        AblationRow('3×3, 8', 7.9, 2.0, 79.8),
        AblationRow('1×1, 8', 5.5, 1.5, 79.8))),
    12: ('Frequency Transformations', (
        AblationRow('Baseline', 5.5, 1.5, 78.4),
        AblationRow('Wavelet', 5.5, 1.5, 78.6),
        AblationRow('DCT', 5.5, 1.5, 79.6),
        AblationRow('FFT (Ours)', 5.5, 1.5, 79.8))),
    13: ('Order', (
        AblationRow('Token-mixing first', 5.5, 1.5, 79.7),
        AblationRow('Channel-mixing first (Ours)', 5.5, 1.5, 79.8))),
    14: ('Channel-mixing Design', (
        AblationRow('FFN', 5.5, 1.5, 79.5),
        AblationRow('MBCConv (Ours)', 5.5, 1.5, 79.8))),
}

# The columns of Table 9: task, data set, and the model that it is printed for.
TABLE_9_COLUMNS = ('ImageNet-1k ET', 'ImageNet-1k T', 'ImageNet-1k', 'COCO', 'ADE20k', 'PASCAL VOC')
TABLE_9 = {
    'EMA': (YES, ) * 6,
    'Weight Initialization': ('Kaiming normal', ) * 3 + ('ImageNet-1k pretrain', ) * 3,
    'Dataset': ('ImageNet-1k', ) * 3 + ('COCO', 'ADE20k', 'PASCAL VOC'),
    'Resolution': (256, 256, 256, 320, 512, 512),
    'RandAug': (NO, NO, YES, NO, NO, NO),
    'CutMix': (NO, NO, YES, NO, NO, NO),
    'MixUp': (NO, NO, YES, NO, NO, NO),
    'Random Resized Crop': (YES, YES, YES, NO, YES, YES),
    'Random Horizontal Flip': (YES, YES, YES, NO, YES, YES),
    'Random Erase': (NO, NO, YES, NO, NO, NO),
    'Gaussian Noise': (NO, NO, NO, NO, YES, YES),
    'Label Smoothing': (YES, YES, YES, NO, NO, NO),
    'Loss': ('CE', 'CE', 'CE', 'Ssd Multibox', 'CE', 'CE'),
    'Optimizer': ('AdamW', ) * 6,
    'Weight Decay': (0.008, 0.02, 0.05, 0.05, 0.05, 0.05),
    'Warm-up Iterations': (20_000, 20_000, 20_000, 500, 500, 500),
    'LR Scheduler': ('Cosine', ) * 6,
    'Base LR': (0.009, 0.0049, 0.002, 0.0007, 0.0005, 0.0005),
    'Minimal LR': (0.0009, 0.00049, 0.0002, 0.00007, 1e-6, 1e-6),
    'Number of Epochs': (300, 300, 300, 200, 120, 50),
    'Batch Size': (1024, 1024, 1024, 128, 16, 128),
}


class FrameworkColumn(NamedTuple):
    """A column of Table 11: framework, data, metric, and its values (%) with the framework's own encoder and with
    AFFNet. The print names no size of AFFNet, no parameters and no multiply-adds."""

    framework: str
    data: str
    metric: str
    origin: float
    affnet: float


TABLE_11 = (
    FrameworkColumn('yolox', 'COCO', 'mAP', 32.8, 35.9),
    FrameworkColumn('efficientdet', 'COCO', 'mAP', 40.2, 41.6),
    FrameworkColumn('van', 'ADE20K', 'mIoU', 38.5, 43.2),
    FrameworkColumn('moat', 'ADE20K', 'mIoU', 41.2, 41.5),
)
