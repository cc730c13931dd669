"""YOLOX-AFFNet-et on COCO, with YOLOX-Tiny's neck, head and schedule: 2,222,783 parameters.

Trained at 320 to 640, evaluated at 416. The paper prints 35.9 mAP for one AFFNet in YOLOX (Table 11), which we read as
base, and none for this size. No weights of ours exist yet.

    tools/dist_train.sh configs/yolox/yolox_affnet-et_8xb8-300e_coco.py 8
"""
_base_ = [
    '../_base_/models/yolox_affnet.py', '../_base_/datasets/coco_yolox_640x640.py',
    '../_base_/schedules/yolox_sgd_300e.py', '../_base_/default_runtime_det.py'
]

# What users change most
data_root = 'data/coco/'
classes = None  # COCO's 80; or a tuple of names: data sets, metric and head follow
pretrained = None  # a checkpoint of an AFFNet-et backbone, such as ImageNet-1k weights; YOLOX starts from scratch
train_dataloader = dict(batch_size=8)  # on each GPU, 64 on all 8
train_cfg = dict(max_epochs=300)  # the learning rate's schedule follows
optim_wrapper = dict(optimizer=dict(lr=0.01))  # for batch 64; --auto-scale-lr for another

model = dict(backbone=dict(arch='et'), neck=dict(in_channels=(64, 104, 144)))
