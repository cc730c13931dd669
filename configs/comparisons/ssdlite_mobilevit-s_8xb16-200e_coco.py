"""SSDLite-MobileViT-S on COCO by the recipe of SSDLite-AFFNet-base: 6,078,666 parameters.

The paper prints 27.7 mAP and 5.7 M parameters for MViT-S (Table 3). With the widths of the framework's yaml (512,
256, 256, 128, 128, 64) it has 5,738,826: the print. No weights of ours exist yet.

    tools/dist_train.sh configs/comparisons/ssdlite_mobilevit-s_8xb16-200e_coco.py 8
"""
_base_ = '../ssdlite/ssdlite_affnet-base_8xb16-200e_coco.py'

sync_bn = 'timm'  # timm's batch norms take their activation along, which torch's own conversion would lose

# RGB / 255 as in the recipe. Weights that were trained with a mean and a deviation want those: data_preprocessor.
model = dict(
    backbone=dict(
        # timm's, since mmpretrain's always ends with the 1x1 layer to 640 channels and has no output stride
        # (num_features=0 leaves it out). ImageNet weights, fetched: pretrained=True, pretrained_strict=False.
        _delete_=True, type='mmpretrain.TIMMBackbone', model_name='mobilevit_s', features_only=True, num_features=0,
        out_indices=(3, 4)),
    neck=dict(in_channels=(128, 160), out_channels=(128, 160, 256, 256, 256, 256)),
    bbox_head=dict(in_channels=(128, 160, 256, 256, 256, 256)))
