# AFFNet in the place of CSPDarknet; neck, head and their output widths (96) are YOLOX-Tiny's. Inside, the neck is as
# wide as the maps that it gets: et (64, 104, 144), t (96, 160, 192), base (128, 256, 320).
_base_ = './yolox_tiny.py'

model = dict(
    data_preprocessor=dict(  # RGB in [0, 1], as everywhere with AFFNet; YOLOX's own is BGR in 0 to 255
        mean=[0.0, 0.0, 0.0],
        std=[255.0, 255.0, 255.0],
        bgr_to_rgb=True,
        # YOLOX's grey, which Mosaic, RandomAffine and Pad draw before this division. Here it would be needed only by
        # pictures whose sides are no multiple of 32.
        pad_value=114 / 255),
    backbone=dict(
        _delete_=True, type='mmaffnet.AFFNet', arch='base', out_indices=(2, 3, 4), norm_cfg=dict(type='BN')),
    neck=dict(in_channels=(128, 256, 320)))
