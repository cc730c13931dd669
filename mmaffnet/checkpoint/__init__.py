"""The authors' released checkpoints in our names. What reads and writes files is :mod:`mmaffnet.engine.released`."""

from .deeplabv3 import convert_deeplabv3_state
from .names import convert_backbone_key, convert_backbone_state, convert_classifier_state
from .release import ReleasedWeights, convert_release, convert_release_state_dict
from .ssdlite import convert_ssdlite_state

__all__ = [
    'ReleasedWeights', 'convert_backbone_key', 'convert_backbone_state', 'convert_classifier_state',
    'convert_deeplabv3_state', 'convert_release', 'convert_release_state_dict', 'convert_ssdlite_state'
]
