"""Table 14, "FFN" as channel mixer: 5,512,696 parameters.

The paper prints 5.5 M, 1.5 G and 79.5 top-1; not trained here. The recipe is Table 2's: the paper names no other.
Two linear layers of hidden width 2·C, the only ratio of those tried that fits.

    tools/dist_train.sh configs/ablations/table14_affnet-base-ffn_8xb128-300e_in1k-256px.py 8
"""
_base_ = '../imagenet/affnet-base_8xb128-300e_in1k-256px.py'

model = dict(backbone=dict(channel_mixer='ffn'))
