"""AFFNet for timm: after ``import mmaffnet.timm``, ``timm.create_model('affnet_t')`` works.

The models are those of :mod:`mmaffnet.models.plain`; no pretrained weights are published.
"""

from functools import partial

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model

from .models.plain import MODEL_NAMES, AFFNetModel

__all__ = ['affnet_et', 'affnet_t', 'affnet_base']


def _cfg() -> dict:
    # Table 9 of the paper: RGB / 255; evaluated at 256 cut from 288, bicubic
    return dict(
        url='', num_classes=1000, input_size=(3, 256, 256), pool_size=(8, 8), crop_pct=256 / 288,
        interpolation='bicubic', mean=(0., 0., 0.), std=(1., 1., 1.), first_conv='backbone.conv_1.conv',
        classifier='head.fc', paper_ids='arXiv:2307.14008',
        origin_url='https://github.com/microsoft/TokenMixers')


default_cfgs = generate_default_cfgs({name: _cfg() for name in MODEL_NAMES})


def _create(name: str, pretrained: bool, variant: str = 'paper', **kwargs) -> AFFNetModel:
    # timm's own argument "variant" is the model's name, ours the wiring of the blocks.
    return build_model_with_cfg(
        partial(AFFNetModel, arch=MODEL_NAMES[name], variant=variant), name, pretrained,
        feature_cfg=dict(out_indices=(0, 1, 2, 3, 4), feature_cls='getter'), **kwargs)


@register_model
def affnet_et(pretrained: bool = False, **kwargs) -> AFFNetModel:
    """AFFNet-et, 1.4 M parameters (paper Table 2).

    Args:
        pretrained (bool): Load weights, of which ``pretrained_cfg_overlay=dict(file=…)`` must name a file.
        **kwargs: Of timm, and of :class:`~mmaffnet.models.plain.AFFNetModel`.
    """
    return _create('affnet_et', pretrained, **kwargs)


@register_model
def affnet_t(pretrained: bool = False, **kwargs) -> AFFNetModel:
    """AFFNet-t, 2.7 M parameters (paper Table 2); arguments as in :func:`affnet_et`."""
    return _create('affnet_t', pretrained, **kwargs)


@register_model
def affnet_base(pretrained: bool = False, **kwargs) -> AFFNetModel:
    """AFFNet-base, 5.6 M parameters (paper Table 2); arguments as in :func:`affnet_et`."""
    return _create('affnet_base', pretrained, **kwargs)
