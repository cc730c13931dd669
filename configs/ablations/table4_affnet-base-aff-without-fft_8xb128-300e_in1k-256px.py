"""Table 4, "Base. + AFF w/o FFT": 5,568,696 parameters.

The paper prints 5.5 M, 1.5 G and 78.4 top-1; not trained here. The recipe is Table 2's: the paper names no other.
The same network on the tokens themselves, with an imaginary part of zero.

    tools/dist_train.sh configs/ablations/table4_affnet-base-aff-without-fft_8xb128-300e_in1k-256px.py 8
"""
_base_ = '../imagenet/affnet-base_8xb128-300e_in1k-256px.py'

model = dict(backbone=dict(token_mixer=dict(type='AFF', transform='none')))
