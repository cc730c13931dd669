"""AFFNet-base as the authors' released weights need it, for what affnet_to_mmaffnet.py makes of them.

Evaluation is the recipe's: 288 to 256 bicubic, RGB / 255. Which norm and activation the weights were trained with is
not known for certain: docs/released_weights.md says how to find out.

    python tools/model_converters/affnet_to_mmaffnet.py checkpoint_ema_best.pt affnet-base.pth
    python tools/test.py configs/imagenet/affnet-base_release_3rdparty_in1k-256px.py affnet-base.pth
"""
_base_ = './affnet-base_8xb128-300e_in1k-256px.py'

model = dict(
    backbone=dict(
        variant='release',  # block wiring, soft shrinkage, the mixer's own skip
        act_cfg=dict(type='SiLU'),  # one option of the release drives convolutions and mask alike
        token_mixer=dict(type='AFF', act_cfg=dict(type='SiLU')),
        token_norm_cfg=dict(type='GN', num_groups=1)))  # the other one: dict(type='mmaffnet.ChannelNorm')
