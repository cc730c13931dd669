"""SSDLite-MobileViTv2-1.0 on COCO by the recipe of SSDLite-AFFNet-base: 5,948,723 parameters.

The paper prints 26.5 mAP and 5.6 M parameters for MViTv2-1.0 (Table 3). With the widths of the framework's yaml (512,
256, 256, 128, 128, 64) it has 5,608,883: the print. No weights of ours exist yet.

    tools/dist_train.sh configs/comparisons/ssdlite_mobilevitv2-100_8xb16-200e_coco.py 8
"""
_base_ = '../ssdlite/ssdlite_affnet-base_8xb16-200e_coco.py'

sync_bn = 'timm'  # timm's batch norms take their activation along, which torch's own conversion would lose

# RGB / 255 as in the recipe. Weights that were trained with a mean and a deviation want those: data_preprocessor.
model = dict(
    backbone=dict(
        # ImageNet weights, fetched: pretrained=True.
        _delete_=True, type='mmpretrain.TIMMBackbone', model_name='mobilevitv2_100', features_only=True,
        out_indices=(3, 4)),
    neck=dict(in_channels=(384, 512), out_channels=(384, 512, 256, 256, 256, 256)),
    bbox_head=dict(in_channels=(384, 512, 256, 256, 256, 256)))
