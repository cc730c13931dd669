"""YOLOX-Tiny on COCO, the origin of YOLOX-AFFNet: 5,055,855 parameters.

Model, data and schedule are mmdet's yolox_tiny_8xb8-300e_coco. Trained at 320 to 640, evaluated at 416. The paper
prints 32.8 mAP (Table 11); no weights of ours exist yet.

    tools/dist_train.sh configs/yolox/yolox-tiny_8xb8-300e_coco.py 8
"""
_base_ = [
    '../_base_/models/yolox_tiny.py', '../_base_/datasets/coco_yolox_640x640.py',
    '../_base_/schedules/yolox_sgd_300e.py', '../_base_/default_runtime_det.py'
]

# What users change most
data_root = 'data/coco/'
classes = None  # COCO's 80; or a tuple of names: data sets, metric and head follow
pretrained = None  # a checkpoint of this backbone; YOLOX starts from scratch
train_dataloader = dict(batch_size=8)  # on each GPU, 64 on all 8
train_cfg = dict(max_epochs=300)  # the learning rate's schedule follows
optim_wrapper = dict(optimizer=dict(lr=0.01))  # for batch 64; --auto-scale-lr for another
