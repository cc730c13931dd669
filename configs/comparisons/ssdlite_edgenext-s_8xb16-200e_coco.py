"""SSDLite-EdgeNeXt-S on COCO by the recipe of SSDLite-AFFNet-base: 6,618,562 parameters.

The paper prints 27.9 mAP and 6.2 M parameters for EdgeNext (Table 3). With the widths of the framework's yaml (512,
256, 256, 128, 128, 64) it has 6,278,722: the print, truncated. No weights of ours exist yet.

    tools/dist_train.sh configs/comparisons/ssdlite_edgenext-s_8xb16-200e_coco.py 8
"""
_base_ = '../ssdlite/ssdlite_affnet-base_8xb16-200e_coco.py'

# RGB / 255 as in the recipe. Weights that were trained with a mean and a deviation want those: data_preprocessor.
model = dict(
    backbone=dict(
        # Maps, not pooled vectors, each behind a norm of its own: the first is in no classifier's checkpoint, so that
        # ImageNet weights come in by init_cfg=dict(type='Pretrained', checkpoint=FILE, prefix='backbone.').
        _delete_=True, type='mmpretrain.EdgeNeXt', arch='small', out_indices=(2, 3), gap_before_final_norm=False),
    neck=dict(in_channels=(160, 304), out_channels=(160, 304, 256, 256, 256, 256)),
    bbox_head=dict(in_channels=(160, 304, 256, 256, 256, 256)))
