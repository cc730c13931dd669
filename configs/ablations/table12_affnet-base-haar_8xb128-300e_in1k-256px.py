"""Table 12, "Wavelet": Haar filters: 5,568,696 parameters.

The paper prints 5.5 M, 1.5 G and 78.6 top-1; not trained here. The recipe is Table 2's: the paper names no other.
One level; the paper gives no number of levels.

    tools/dist_train.sh configs/ablations/table12_affnet-base-haar_8xb128-300e_in1k-256px.py 8
"""
_base_ = '../imagenet/affnet-base_8xb128-300e_in1k-256px.py'

model = dict(backbone=dict(token_mixer=dict(type='AFF', transform='haar', levels=1)))
