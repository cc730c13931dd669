from .aff_block import AFFBlock, AFFStage
from .channel_norm import ChannelNorm
from .mbconv import MBConv

__all__ = ['AFFBlock', 'AFFStage', 'ChannelNorm', 'MBConv']
