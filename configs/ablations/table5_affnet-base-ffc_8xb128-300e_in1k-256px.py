"""Table 5, "Base. + FFC": 7,676,088 parameters.

The paper prints 7.7 M, 1.7 G and 79.1 top-1; not trained here. The recipe is Table 2's: the paper names no other.
FFC's Fourier unit alone; its whole block would have other counts.

    tools/dist_train.sh configs/ablations/table5_affnet-base-ffc_8xb128-300e_in1k-256px.py 8
"""
_base_ = '../imagenet/affnet-base_8xb128-300e_in1k-256px.py'

model = dict(backbone=dict(token_mixer=dict(type='FFC')))
