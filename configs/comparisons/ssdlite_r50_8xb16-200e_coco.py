"""SSDLite-ResNet-50 on COCO by the recipe of SSDLite-AFFNet-base: 26,198,922 parameters.

The paper prints 25.2 mAP and 22.9 M parameters for ResNet-50 (Table 3). The backbone alone has 23,508,032, more than
the printed model: it must have been another, shortened one. No weights of ours exist yet.

    tools/dist_train.sh configs/comparisons/ssdlite_r50_8xb16-200e_coco.py 8
"""
_base_ = '../ssdlite/ssdlite_affnet-base_8xb16-200e_coco.py'

pretrained = None  # a checkpoint of this backbone; mmpretrain's ResNet-50 classifiers fit

# RGB / 255 as in the recipe. Weights that were trained with a mean and a deviation want those: data_preprocessor.
model = dict(
    backbone=dict(
        _delete_=True, type='mmpretrain.ResNet', depth=50, out_indices=(2, 3), norm_cfg=dict(type='SyncBN')),
    neck=dict(in_channels=(1024, 2048), out_channels=(1024, 2048, 256, 256, 256, 256)),
    bbox_head=dict(in_channels=(1024, 2048, 256, 256, 256, 256)))
