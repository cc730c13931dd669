"""SSDLite-AFFNet-et on COCO at 320x320: 1,999,226 parameters.

The paper prints 21.8 mAP and 1.9 M parameters (Table 3); no weights of ours exist yet.

    tools/dist_train.sh configs/ssdlite/ssdlite_affnet-et_8xb16-200e_coco.py 8
"""
_base_ = [
    '../_base_/models/ssdlite_affnet.py', '../_base_/datasets/coco_ssd_320x320.py',
    '../_base_/schedules/ssdlite_adamw_200e.py', '../_base_/default_runtime_det.py'
]

# What users change most
data_root = 'data/coco/'
classes = None  # COCO's 80; or a tuple of names: data sets, metric and head follow
pretrained = None  # a checkpoint of an AFFNet-et backbone; the recipe starts from ImageNet-1k weights
train_dataloader = dict(batch_size=16)  # on each GPU, 128 on all 8
train_cfg = dict(max_epochs=200)  # the learning rate's schedule follows
optim_wrapper = dict(optimizer=dict(lr=7e-4))  # for batch 128; --auto-scale-lr for another

model = dict(
    backbone=dict(arch='et'),
    neck=dict(in_channels=(104, 144), out_channels=(104, 144, 256, 256, 256, 256)),
    bbox_head=dict(in_channels=(104, 144, 256, 256, 256, 256)))
