"""EfficientDet-D1 as it is, with EfficientNet-B1, by the recipe of EfficientDet-D1 with AFFNet: 6,614,016 parameters.

The origin of the paper's row, which prints 40.2 mAP for it (Table 11). No weights of ours exist yet.

    tools/dist_train.sh configs/efficientdet/efficientdet-d1_efficientnet-b1_8xb16-300e_coco.py 8
"""
_base_ = './efficientdet-d1_affnet-base_8xb16-300e_coco.py'

# a checkpoint of this backbone: mmpretrain's EfficientNet-B1 classifiers without their last convolution
# (backbone.layers.6.*), which a detector does not have
pretrained = None

model = dict(
    # What EfficientNet's weights were trained with; what is padded becomes 0, the mean colour.
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
    backbone=dict(
        _delete_=True,
        type='EfficientNet',
        arch='b1',
        out_indices=(3, 4, 5),  # strides 8, 16, 32
        drop_path_rate=0.2,
        norm_cfg=dict(type='SyncBN', eps=1e-3, momentum=0.01)),
    neck=dict(in_channels=(40, 112, 320)))
