"""DeepLabV3-MobileViT-S on ADE20K by DeepLabV3-AFFNet-base's recipe: 6,391,094 parameters without auxiliary head.

The paper prints no mIoU for MViT-S here, and 6.4 M parameters for its VOC model (Table 3). No weights of ours exist
yet.

    tools/dist_train.sh configs/comparisons/deeplabv3_mobilevit-s_8xb2-120e_ade20k-512x512.py 8
"""
_base_ = '../deeplabv3/deeplabv3_affnet-base_8xb2-120e_ade20k-512x512.py'

sync_bn = 'timm'  # timm's batch norms take their activation along, which torch's own conversion would lose

# RGB / 255 as in the recipe. Weights that were trained with a mean and a deviation want those: data_preprocessor.
model = dict(
    backbone=dict(
        # timm's, since mmpretrain's always ends with the 1x1 layer to 640 channels and has no output stride
        # (num_features=0 leaves it out). ImageNet weights, fetched: pretrained=True, pretrained_strict=False.
        _delete_=True, type='mmpretrain.TIMMBackbone', model_name='mobilevit_s', features_only=True, num_features=0,
        out_indices=(3, 4), output_stride=8),
    decode_head=dict(in_channels=160),
    auxiliary_head=dict(in_channels=128))
