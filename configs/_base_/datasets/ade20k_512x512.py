# ADE20K, 150 classes, at 512x512. Label 0 of the masks is no class: the data set says so to LoadAnnotations.
_base_ = './segmentation_512x512.py'

data_root = 'data/ade/ADEChallengeData2016/'
train_dataloader = dict(
    batch_size=2,
    dataset=dict(
        type='ADE20KDataset',
        data_root=data_root,
        data_prefix=dict(img_path='images/training', seg_map_path='annotations/training')))
val_dataloader = dict(
    dataset=dict(
        type='ADE20KDataset',
        data_root=data_root,
        data_prefix=dict(img_path='images/validation', seg_map_path='annotations/validation')))
test_dataloader = val_dataloader
