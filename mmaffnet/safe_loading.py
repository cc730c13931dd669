"""Importing this module lets this process load checkpoints without running anything of them.

Every config of ours names it in ``custom_imports``, so that the hosts' own functions are safe with it too::

    custom_imports = dict(imports=['mmaffnet', 'mmaffnet.safe_loading'], allow_failed_imports=False)
"""
from .engine.safe_load import register_safe_schemes

register_safe_schemes()
