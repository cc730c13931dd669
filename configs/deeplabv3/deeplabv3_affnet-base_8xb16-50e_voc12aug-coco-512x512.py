"""DeepLabV3-AFFNet-base on VOC 2012 + SBD + COCO at 512x512: 7,010,405 parameters without the auxiliary head.

The paper prints 80.5 mIoU and 6.9 M parameters (Table 3); no weights of ours exist yet.

    tools/dist_train.sh configs/deeplabv3/deeplabv3_affnet-base_8xb16-50e_voc12aug-coco-512x512.py 8
"""
_base_ = [
    '../_base_/models/deeplabv3_affnet.py', '../_base_/datasets/voc12aug_coco_512x512.py',
    '../_base_/schedules/voc12aug_coco_adamw_50e.py', '../_base_/default_runtime_seg.py'
]

# What users change most
data_root = 'data/voc12aug_coco/'
classes = None  # the 21 of VOC; or a tuple of names: data sets and heads follow
pretrained = None  # a checkpoint of an AFFNet-base backbone; the recipe starts from ImageNet-1k weights
train_dataloader = dict(batch_size=16)  # on each GPU, 128 on all 8
train_cfg = dict(max_epochs=50)  # the learning rate's schedule follows
optim_wrapper = dict(optimizer=dict(lr=5e-4))  # for batch 128; --auto-scale-lr for another

model = dict(
    backbone=dict(output_stride=16),
    decode_head=dict(dilations=(1, 6, 12, 18), num_classes=21),
    auxiliary_head=dict(num_classes=21))
