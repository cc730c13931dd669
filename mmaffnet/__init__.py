"""AFFNet ("Adaptive Frequency Filters As Efficient Global Token Mixers", ICCV 2023) as an OpenMMLab extension.

Importing this package registers the backbone in mmengine's root registry as ``AFFNet`` and makes ``mmaffnet.AFFNet``
known to every OpenMMLab registry. Detection parts are imported by the registries when their host is asked for them.
"""

from .version import __version__

# mmengine swallows an ImportError behind a registry lookup and then reports "not in the registry". A RuntimeError
# passes, so that a broken installation is named by its cause.
try:
    from mmengine.registry import MODELS as _ROOT_MODELS

    from .models.backbones.affnet import AFFNet
except ImportError as error:
    raise RuntimeError(
        f'mmaffnet needs torch, mmengine and mmcv, and importing one of them failed: {error}. '
        '"python tools/doctor.py" in a checkout of mmaffnet says what is missing.') from error

if _ROOT_MODELS.module_dict.get('AFFNet') is not AFFNet:
    _ROOT_MODELS.register_module(module=AFFNet, force=True)

__all__ = ['AFFNet', '__version__', 'create_model']  # noqa: F822  create_model: __getattr__

_DETECTION_PARTS = ('SSDLiteNeck', 'SSDLiteHead', 'SSDLiteAnchorGenerator', 'SmoothedBboxOverlaps2D',
                    'BiFPN', 'EfficientDetHead', 'CocoDataset', 'BatchSyncRandomResize')


def __getattr__(name: str):
    if name == 'create_model':  # only who asks for it imports what reads checkpoints
        from .factory import create_model
        return create_model
    # Reached through mmengine's lookup of a name that no registry holds: say why.
    if name in _DETECTION_PARTS:
        cause = _import_error(name)
        raise RuntimeError(f'mmaffnet.{name} needs mmdet, and importing it failed: {cause}. '
                           '"python tools/doctor.py" in a checkout of mmaffnet says what is missing.') from cause
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def _import_error(name: str) -> ImportError | None:
    try:
        if name == 'CocoDataset':
            from .datasets import detection
        else:
            from .models import detection
    except ImportError as error:  # the package around it needs mmdet where mmdet is there
        return error
    return detection.import_error
