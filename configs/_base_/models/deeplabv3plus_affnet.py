# DeepLabV3+ on AFFNet: mmseg's separable pyramid on layer_5 at output stride 16, and the map of layer_2 (stride 4,
# before the others in out_indices: the head takes its low-level features from the first one). Widths of the maps of
# layer_2, layer_4 and layer_5: et (48, 104, 144), t (48, 160, 192), base (64, 256, 320).
_base_ = './deeplabv3_affnet.py'

model = dict(
    backbone=dict(out_indices=(1, 3, 4), output_stride=16),
    decode_head=dict(
        type='DepthwiseSeparableASPPHead',
        in_index=2,
        dilations=(1, 6, 12, 18),  # half of DeepLabV3's at output stride 8, as in its recipe at 16 for VOC
        c1_in_channels=64,
        c1_channels=48),
    auxiliary_head=dict(in_index=1))
