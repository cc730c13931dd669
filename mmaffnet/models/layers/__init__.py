from .aff_block import AFFBlock, AFFStage
from .channel_norm import ChannelNorm
from .ffn import FFN
from .mbconv import MBConv
from .separable_conv import DepthwiseConv2d, SeparableConv

__all__ = ['AFFBlock', 'AFFStage', 'ChannelNorm', 'DepthwiseConv2d', 'FFN', 'MBConv', 'SeparableConv']
