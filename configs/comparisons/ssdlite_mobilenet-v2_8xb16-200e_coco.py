"""SSDLite-MobileNetV2 on COCO by the recipe of SSDLite-AFFNet-base: 4,037,962 parameters.

The paper prints 22.1 mAP and 4.3 M parameters for MNetv2 (Table 3). The widths of the framework's yaml (512, 256,
256, 128, 128, 64) give 3,698,122; the print has others. No weights of ours exist yet.

    tools/dist_train.sh configs/comparisons/ssdlite_mobilenet-v2_8xb16-200e_coco.py 8
"""
_base_ = '../ssdlite/ssdlite_affnet-base_8xb16-200e_coco.py'

pretrained = None  # a checkpoint of this backbone; mmpretrain's MobileNetV2 classifiers fit

# RGB / 255 as in the recipe. Weights that were trained with a mean and a deviation want those: data_preprocessor.
model = dict(
    backbone=dict(
        # strides 16 and 32; the second is the 1x1 layer behind the last stage, where MobileNetV2's own SSDLite starts
        _delete_=True, type='mmpretrain.MobileNetV2', out_indices=(4, 7), norm_cfg=dict(type='SyncBN')),
    neck=dict(in_channels=(96, 1280), out_channels=(96, 1280, 256, 256, 256, 256)),
    bbox_head=dict(in_channels=(96, 1280, 256, 256, 256, 256)))
