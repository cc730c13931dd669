"""DeepLabV3-EdgeNeXt-S on VOC by DeepLabV3-AFFNet-base's recipe: 7,875,197 parameters without auxiliary head.

The paper prints 80.2 mIoU and 6.5 M parameters for EdgeNext (Table 3). No weights of ours exist yet.

    tools/dist_train.sh configs/comparisons/deeplabv3_edgenext-s_8xb16-50e_voc12aug-coco-512x512.py 8
"""
_base_ = '../deeplabv3/deeplabv3_affnet-base_8xb16-50e_voc12aug-coco-512x512.py'

# RGB / 255 as in the recipe. Weights that were trained with a mean and a deviation want those: data_preprocessor.
model = dict(
    backbone=dict(
        # Strides 16 and 32: neither mmpretrain's nor timm's can be dilated. Its first norm is in no classifier's
        # checkpoint: ImageNet weights come in by init_cfg=dict(type='Pretrained', checkpoint=FILE, prefix='backbone.').
        _delete_=True, type='mmpretrain.EdgeNeXt', arch='small', out_indices=(2, 3), gap_before_final_norm=False),
    # rates of the recipe (6, 12, 18 at stride 16) brought to stride 32
    decode_head=dict(in_channels=304, dilations=(1, 3, 6, 9)),
    auxiliary_head=dict(in_channels=160))
