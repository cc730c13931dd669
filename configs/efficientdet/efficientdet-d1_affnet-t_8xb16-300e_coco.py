"""EfficientDet-D1 with AFFNet-t on COCO at 640x640: 2,228,816 parameters.

The paper prints no figure for this size: the 41.6 mAP of its Table 11 are, in our reading, base's. No weights of ours
exist yet.

    tools/dist_train.sh configs/efficientdet/efficientdet-d1_affnet-t_8xb16-300e_coco.py 8
"""
_base_ = [
    '../_base_/models/efficientdet_affnet.py', '../_base_/datasets/coco_efficientdet.py',
    '../_base_/schedules/efficientdet_sgd_300e.py', '../_base_/default_runtime_det.py'
]

# What users change most
data_root = 'data/coco/'
classes = None  # COCO's 80; or a tuple of names: data sets, metric and head follow
pretrained = None  # a checkpoint of an AFFNet-t backbone; the recipe starts from ImageNet-1k weights
train_dataloader = dict(batch_size=16)  # on each GPU, 128 on all 8
train_cfg = dict(max_epochs=300)  # the learning rate's schedule follows
optim_wrapper = dict(optimizer=dict(lr=0.16))  # for batch 128; --auto-scale-lr for another
image_size = 640  # the side of the square input, a multiple of 128

model = dict(backbone=dict(arch='t'), neck=dict(in_channels=(96, 160, 192)))
