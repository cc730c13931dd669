"""The other models of the paper's Tables 2 and 3, built by timm or mmpretrain where these have them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module

from torch import nn

from .counting import label
from .models import quiet


class NotOffered(Exception):
    """A peer cannot be built here; the sentence says why."""


@dataclass(frozen=True)
class Source:
    """Where a peer comes from.

    Args:
        library (str): 'timm' or 'mmpretrain'.
        name (str): Its name there.
        options (Mapping): What mmpretrain's config is changed by.
        generator (str): timm's function for the family, for a width that it has no name for.
        width (float): That width.
        deploy (bool): Merge the branches that serve in training only.
        note (str): Where it is not what the paper prints.
    """

    library: str
    name: str
    options: Mapping = field(default_factory=dict)
    generator: str = ''
    width: float = 1.
    deploy: bool = False
    note: str = ''

    def build(self) -> nn.Module:
        """The model with fresh weights, in evaluation mode.

        Raises:
            NotOffered: The library is not installed, or this version of it has no such model.
        """
        require(self.library)
        with quiet():
            model = (self._from_timm() if self.library == 'timm' else self._from_mmpretrain()).eval()
        return model

    def _from_timm(self) -> nn.Module:
        import timm
        if self.generator:
            module, name = self.generator.rsplit('.', 1)
            generate = getattr(import_module(module), name, None)
            if generate is None:
                raise NotOffered(f'{label("timm")} has no {self.generator}')
            return generate(self.name, self.width)
        if not timm.is_model(self.name):
            raise NotOffered(f'{label("timm")} has no {self.name}')
        model = timm.create_model(self.name)
        if self.deploy:
            from timm.utils.model import reparameterize_model
            model = reparameterize_model(model)
        return model

    def _from_mmpretrain(self) -> nn.Module:
        from mmpretrain import get_model
        try:
            model = get_model(self.name, pretrained=False, **self.options)
        except ValueError as error:   # how it says that it has no such name
            raise NotOffered(f'{label("mmpretrain")} has no {self.name}') from error
        if self.deploy:
            model.backbone.switch_to_deploy()
        return model

    def __str__(self) -> str:
        changed = f', width {self.width:g}' if self.generator else ''
        return f'{label(self.library)}: {self.name}{changed}'


def require(library: str) -> None:
    """Import a library.

    Args:
        library (str): 'timm' or 'mmpretrain'.

    Raises:
        NotOffered: It cannot be imported.
    """
    try:
        import_module(library)
    except ImportError as error:
        raise NotOffered(f'{library} would count it and cannot be imported here') from error


def build_first(sources: tuple[Source, ...]) -> tuple[nn.Module, Source]:
    """The first of several sources that can be built.

    Args:
        sources (tuple[Source, ...]): In order of preference.

    Returns:
        tuple[nn.Module, Source]: The model, and where it is from.

    Raises:
        NotOffered: None can; the sentence is the reason of the first.
    """
    reasons = []
    for source in sources:
        try:
            return source.build(), source
        except NotOffered as error:
            reasons.append(str(error))
    raise NotOffered(reasons[0] if reasons else 'neither timm nor mmpretrain has it')


def _t(name: str, **options) -> Source:
    return Source('timm', name, **options)


def _m(name: str, note: str = '', deploy: bool = False, **options) -> Source:
    return Source('mmpretrain', name, options, deploy=deploy, note=note)


WIDTH_14 = ('width 1.4, the one of 0.6 G; the print is what MobileNetV2\'s own paper says of it')
SHUFFLE = 'width 2.0, the only one of 0.6 G'
TWO_HEADS = 'with both classifiers, the second of which was trained by distillation'
MERGED = 'its branches merged, as for inference'

# Row of Table 2 -> where it may be had, the preferred first. Rows that are not here are in neither library.
TABLE_2 = {
    'MNetv1-0.5': (_t('mobilenetv1_100', generator='timm.models.efficientnet._gen_mobilenet_v1', width=0.5), ),
    'MViT-XXS': (_t('mobilevit_xxs'), _m('mobilevit-xxsmall_3rdparty_in1k')),
    'EdgeNext-XXS': (_t('edgenext_xx_small'), _m('edgenext-xxsmall_3rdparty_in1k')),
    'MViTv2-0.5': (_t('mobilevitv2_050'), ),
    'MNetv3-L-0.5': (_t('mobilenetv3_large_100', generator='timm.models.mobilenetv3._gen_mobilenet_v3', width=0.5), ),
    'PVTv2-B0': (_t('pvt_v2_b0'), ),
    'MViT-XS': (_t('mobilevit_xs'), _m('mobilevit-xsmall_3rdparty_in1k')),
    'EdgeNext-XS': (_t('edgenext_x_small'), _m('edgenext-xsmall_3rdparty_in1k')),
    'EFormer-S0': (_t('efficientformerv2_s0', note=TWO_HEADS), ),
    'MViTv2-0.75': (_t('mobilevitv2_075'), ),
    'MNetv2': (_t('mobilenetv2_140', note=WIDTH_14),
               _m('mobilenet-v2_8xb32_in1k', WIDTH_14, backbone=dict(widen_factor=1.4), head=dict(in_channels=1792))),
    'ShuffleNetV2': (_m('shufflenet-v2-1x_16xb64_in1k', SHUFFLE, backbone=dict(widen_factor=2.0),
                        head=dict(in_channels=2048)), ),
    'MNetv3': (_t('mobilenetv3_large_100'), _m('mobilenet-v3-large_3rdparty_in1k')),
    'T2T-ViT': (_m('t2t-vit-t-14_8xb64_in1k', 'as T2T-ViT-12 (12 layers of 256 channels); mmpretrain\'s '
                   'tokens come from attention, those of the print from the cheaper Performer',
                   backbone=dict(num_layers=12, embed_dims=256,
                                 layer_cfgs=dict(num_heads=4, feedforward_channels=512)),
                   head=dict(in_channels=256)), ),
    'DeiT-T': (_t('deit_tiny_patch16_224'), _m('deit-tiny_4xb256_in1k')),
    'CoaT-Lite-T': (_t('coat_lite_tiny'), ),
    'LeViT-128': (_t('levit_128'), _m('levit-128_3rdparty_in1k')),
    'EFormer-L1': (_t('efficientformer_l1'), _m('efficientformer-l1_3rdparty_8xb128_in1k')),
    'EFormer-S1': (_t('efficientformerv2_s1', note=TWO_HEADS), ),
    'MOne-S3': (_t('mobileone_s3', deploy=True, note=MERGED), _m('mobileone-s3_8xb32_in1k', MERGED, deploy=True)),
    'MViT-S': (_t('mobilevit_s'), _m('mobilevit-small_3rdparty_in1k')),
    'EdgeNext-S': (_t('edgenext_small'), _m('edgenext-small_3rdparty_in1k')),
    'MViTv2-1.0': (_t('mobilevitv2_100'), ),
}
# Why a row of Table 2 is not counted although a library has something of that name.
OTHERS = {
    'EfficientViT': 'timm has a later version of it only, B1 with 9.1 M',
}

# Row of Table 3 -> the name that our comparison configs give it, or timm's name where there is no such config.
TABLE_3_CONFIGS = {
    'ResNet-50': 'r50', 'MNetv2': 'mobilenet-v2', 'MViT-S': 'mobilevit-s', 'MViTv2-1.0': 'mobilevitv2-100',
    'EdgeNext': 'edgenext-s',
}
TABLE_3_TIMM = {
    'MViT-XXS': 'mobilevit_xxs', 'MViTv2-0.5': 'mobilevitv2_050', 'MViT-XS': 'mobilevit_xs',
    'MViTv2-0.75': 'mobilevitv2_075', 'MNetv1': 'mobilenetv1_100',
}


def timm_features(name: str) -> tuple[nn.Module, list[int]]:
    """One of timm's backbones without anything behind its last stage, and the widths of its maps.

    Raises:
        NotOffered: timm is not installed, or has no such model.
    """
    require('timm')
    import timm
    if not timm.is_model(name):
        raise NotOffered(f'{label("timm")} has no {name}')
    # MobileViT's last map would come through a 1x1 layer that belongs to its classifier
    options = dict(num_features=0) if name.startswith('mobilevit_') else {}
    with quiet():
        model = timm.create_model(name, features_only=True, **options)
    return model, list(model.feature_info.channels())
