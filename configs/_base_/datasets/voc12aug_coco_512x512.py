# VOC 2012 + SBD + the pictures of COCO that hold its 20 classes, merged by tools/dataset_converters/voc12aug_coco.py.
_base_ = './segmentation_512x512.py'

data_root = 'data/voc12aug_coco/'
train_dataloader = dict(
    batch_size=16,
    dataset=dict(
        type='PascalVOCDataset',
        data_root=data_root,
        data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
        ann_file='ImageSets/Segmentation/train_aug_coco.txt'))
val_dataloader = dict(
    dataset=dict(
        type='PascalVOCDataset',
        data_root=data_root,
        data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
        ann_file='ImageSets/Segmentation/val.txt'))
test_dataloader = val_dataloader
