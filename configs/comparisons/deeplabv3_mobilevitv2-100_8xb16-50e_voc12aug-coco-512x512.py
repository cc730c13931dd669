"""DeepLabV3-MobileViTv2-1.0 on VOC by DeepLabV3-AFFNet-base's recipe: 8,526,078 parameters without auxiliary head.

The paper prints 78.9 mIoU and 9.4 M parameters for MViTv2-1.0 (Table 3). No setting tried gives the printed 9.4 M
(512 channels: 13.4 M). No weights of ours exist yet.

    tools/dist_train.sh configs/comparisons/deeplabv3_mobilevitv2-100_8xb16-50e_voc12aug-coco-512x512.py 8
"""
_base_ = '../deeplabv3/deeplabv3_affnet-base_8xb16-50e_voc12aug-coco-512x512.py'

sync_bn = 'timm'  # timm's batch norms take their activation along, which torch's own conversion would lose

# RGB / 255 as in the recipe. Weights that were trained with a mean and a deviation want those: data_preprocessor.
model = dict(
    backbone=dict(
        # ImageNet weights, fetched: pretrained=True.
        _delete_=True, type='mmpretrain.TIMMBackbone', model_name='mobilevitv2_100', features_only=True,
        out_indices=(3, 4), output_stride=16),
    decode_head=dict(in_channels=512),
    auxiliary_head=dict(in_channels=384))
