"""DeepLabV3-ResNet-50 on VOC by DeepLabV3-AFFNet-base's recipe: 39,048,533 parameters without auxiliary head.

The paper prints 76.8 mIoU and 68.2 M parameters for ResNet-50 (Table 3). The printed 68.2 M are mmseg's own
deeplabv3_r50-d8 with its auxiliary head (68,213,900 counted): 512 channels, a 3x3 projection. Here it is the recipe's
256 and 1x1. No weights of ours exist yet.

    tools/dist_train.sh configs/comparisons/deeplabv3_r50_8xb16-50e_voc12aug-coco-512x512.py 8
"""
_base_ = '../deeplabv3/deeplabv3_affnet-base_8xb16-50e_voc12aug-coco-512x512.py'

pretrained = None  # a checkpoint of this backbone; mmpretrain's ResNet-50 classifiers fit

# RGB / 255 as in the recipe. Weights that were trained with a mean and a deviation want those: data_preprocessor.
model = dict(
    backbone=dict(
        _delete_=True, type='mmpretrain.ResNet', depth=50, out_indices=(2, 3), strides=(1, 2, 2, 1),
        dilations=(1, 1, 1, 2), norm_cfg=dict(type='SyncBN')),
    decode_head=dict(in_channels=2048),
    auxiliary_head=dict(in_channels=1024, channels=256))
