from .aff import AFF
from .afno import AFNO
from .conv_mixer import ConvMixer
from .dff import DFF
from .ffc import FFC
from .fno import FNO, TruncatedFNO
from .gfn import GFN
from .identity import Identity
from .size_bound import SizeBoundMixer
from .spectral_mixer import SpectralMixer

__all__ = ['AFF', 'AFNO', 'ConvMixer', 'DFF', 'FFC', 'FNO', 'GFN', 'Identity', 'SizeBoundMixer', 'SpectralMixer',
           'TruncatedFNO']
