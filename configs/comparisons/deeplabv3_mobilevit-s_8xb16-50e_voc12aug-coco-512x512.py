"""DeepLabV3-MobileViT-S on VOC by DeepLabV3-AFFNet-base's recipe: 6,357,941 parameters without auxiliary head.

The paper prints 79.1 mIoU and 6.4 M parameters for MViT-S (Table 3): ours, rounded. No weights of
ours exist yet.

    tools/dist_train.sh configs/comparisons/deeplabv3_mobilevit-s_8xb16-50e_voc12aug-coco-512x512.py 8
"""
_base_ = '../deeplabv3/deeplabv3_affnet-base_8xb16-50e_voc12aug-coco-512x512.py'

sync_bn = 'timm'  # timm's batch norms take their activation along, which torch's own conversion would lose

# RGB / 255 as in the recipe. Weights that were trained with a mean and a deviation want those: data_preprocessor.
model = dict(
    backbone=dict(
        # timm's, since mmpretrain's always ends with the 1x1 layer to 640 channels and has no output stride
        # (num_features=0 leaves it out). ImageNet weights, fetched: pretrained=True, pretrained_strict=False.
        _delete_=True, type='mmpretrain.TIMMBackbone', model_name='mobilevit_s', features_only=True, num_features=0,
        out_indices=(3, 4), output_stride=16),
    decode_head=dict(in_channels=160),
    auxiliary_head=dict(in_channels=128))
