"""Table 5, "Base.": the blocks without a token mixer: 5,258,680 parameters.

The paper prints 5.2 M, 1.3 G and 77.9 top-1; not trained here. The recipe is Table 2's: the paper names no other.
As the row of Table 4; 1.43 G by fvcore's rules.

    tools/dist_train.sh configs/ablations/table5_affnet-base-identity_8xb128-300e_in1k-256px.py 8
"""
_base_ = '../imagenet/affnet-base_8xb128-300e_in1k-256px.py'

model = dict(backbone=dict(token_mixer=dict(type='Identity')))
