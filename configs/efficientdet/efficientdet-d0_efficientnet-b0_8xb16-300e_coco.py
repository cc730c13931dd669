"""EfficientDet-D0 as it is, with EfficientNet-B0, on COCO at 512x512: 3,871,913 parameters.

No weights of ours exist yet. Any other compound coefficient is made of D1 as this one is:

    |    | image_size | channels | BiFPN layers | head depth | EfficientNet | its channels |
    | -- | ---------- | -------- | ------------ | ---------- | ------------ | ------------ |
    | D0 | 512        | 64       | 3            | 3          | b0           | 40, 112, 320 |
    | D1 | 640        | 88       | 4            | 3          | b1           | 40, 112, 320 |
    | D2 | 768        | 112      | 5            | 3          | b2           | 48, 120, 352 |
    | D3 | 896        | 160      | 6            | 4          | b3           | 48, 136, 384 |

    tools/dist_train.sh configs/efficientdet/efficientdet-d0_efficientnet-b0_8xb16-300e_coco.py 8
"""
_base_ = './efficientdet-d1_efficientnet-b1_8xb16-300e_coco.py'

image_size = 512

model = dict(
    data_preprocessor=dict(pad_size_divisor=image_size),
    backbone=dict(arch='b0'),
    neck=dict(out_channels=64, num_repeats=3),
    bbox_head=dict(in_channels=64))

# The size, written out where it is used: our tools put image_size there by themselves, the hosts' do not.
size = (image_size, image_size)
pipelines = [[dict(step, **{key: size for key in ('scale', 'crop_size') if key in step}) for step in steps]
             for steps in (_base_.train_pipeline, _base_.test_pipeline)]
train_dataloader = dict(dataset=dict(pipeline=pipelines[0]))
val_dataloader = dict(dataset=dict(pipeline=pipelines[1]))
test_dataloader = val_dataloader
