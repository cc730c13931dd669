"""EfficientDet-D1 with AFFNet (base) on COCO at 640x640: 4,844,656 parameters.

The paper prints 41.6 mAP for EfficientDet with AFFNet (Table 11), and not which AFFNet: base is our reading. No weights
of ours exist yet.

    tools/dist_train.sh configs/efficientdet/efficientdet-d1_affnet-base_8xb16-300e_coco.py 8
"""
_base_ = [
    '../_base_/models/efficientdet_affnet.py', '../_base_/datasets/coco_efficientdet.py',
    '../_base_/schedules/efficientdet_sgd_300e.py', '../_base_/default_runtime_det.py'
]

# What users change most
data_root = 'data/coco/'
classes = None  # COCO's 80; or a tuple of names: data sets, metric and head follow
pretrained = None  # a checkpoint of an AFFNet-base backbone; the recipe starts from ImageNet-1k weights
train_dataloader = dict(batch_size=16)  # on each GPU, 128 on all 8
train_cfg = dict(max_epochs=300)  # the learning rate's schedule follows
optim_wrapper = dict(optimizer=dict(lr=0.16))  # for batch 128; --auto-scale-lr for another
image_size = 640  # the side of the square input, a multiple of 128
