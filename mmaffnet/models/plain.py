"""AFFNet as plain modules for people without the hosts, with the methods that timm's users expect.

The names of the tensors are those of an mmpretrain ``ImageClassifier`` with our backbone (``backbone.*``,
``head.fc.*``), so that checkpoints go from one to the other.
"""

from collections import OrderedDict
from collections.abc import Sequence

from mmengine.model import initialize
from torch import Tensor, nn
from torch.nn import functional as F

from .backbones.affnet import LAYERS, AFFNet

MODEL_NAMES = {'affnet_et': 'et', 'affnet_t': 't', 'affnet_base': 'base'}
POOLINGS = ('avg', '')
FEATURES = LAYERS[:5]   # conv_1x1_exp belongs to the classifier


class FeatureInfo:
    """What timm's users ask of a feature extractor about its maps.

    Args:
        info (Sequence[dict]): ``num_chs``, ``reduction`` and ``module`` of each layer.
        out_indices (Sequence[int]): The layers that are returned.
    """

    def __init__(self, info: Sequence[dict], out_indices: Sequence[int]) -> None:
        self.info = list(info)
        self.out_indices = tuple(out_indices)

    def channels(self, idx: int | Sequence[int] | None = None):
        """Channels of the returned maps, or of the layers ``idx``."""
        return self._get('num_chs', idx)

    def reduction(self, idx: int | Sequence[int] | None = None):
        """Strides of the returned maps, or of the layers ``idx``."""
        return self._get('reduction', idx)

    def module_name(self, idx: int | Sequence[int] | None = None):
        """Names of the modules that make the returned maps, or of the layers ``idx``."""
        return self._get('module', idx)

    def _get(self, key: str, idx: int | Sequence[int] | None):
        if isinstance(idx, int):
            return self.info[idx][key]
        return [self.info[i][key] for i in (self.out_indices if idx is None else idx)]

    def __getitem__(self, index: int) -> dict:
        return self.info[index]

    def __len__(self) -> int:
        return len(self.info)


class AFFNetFeatures(nn.Module):
    """AFFNet that returns the maps of some of its layers; those behind the last one are not built.

    Args:
        arch (str | dict): Of :class:`mmaffnet.AFFNet`.
        in_chans (int): Channels of the input. Defaults to 3.
        out_indices (Sequence[int]): 0 … 4, strides 2, 4, 8, 16, 32; negative ones count from layer_5. Defaults to all.
        **backbone: Further arguments of :class:`mmaffnet.AFFNet`.
    """

    def __init__(self, arch: str | dict = 'base', in_chans: int = 3, out_indices: Sequence[int] = (0, 1, 2, 3, 4),
                 **backbone) -> None:
        super().__init__()
        indices = take_indices(out_indices)
        self.backbone = AFFNet(arch, out_indices=indices, in_channels=in_chans, **backbone)
        cut_backbone(self.backbone, max(indices))
        self.feature_info = FeatureInfo(layer_info(self.backbone, backbone.get('output_stride', 32)), indices)
        initialize_quietly(self.backbone)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map pictures (B, in_chans, H, W), RGB in [0, 1], to one map for each of ``out_indices``, in their order."""
        return list(self.backbone(x))


class AFFNetModel(nn.Module):
    """AFFNet with a linear classifier.

    Args:
        arch (str | dict): Of :class:`mmaffnet.AFFNet`.
        num_classes (int): 0 for no classifier: the pooled features are returned. Defaults to 1000.
        in_chans (int): Channels of the input. Defaults to 3.
        drop_rate (float): Dropout before the classifier. Defaults to 0.
        global_pool (str): 'avg', or '' for none, which needs ``num_classes=0``. Defaults to 'avg'.
        **backbone: Further arguments of :class:`mmaffnet.AFFNet` (``variant``, ``drop_path_rate``, ``act_cfg`` …).

    Raises:
        ValueError: ``global_pool`` is neither of both, or there is none for a classifier.
    """

    def __init__(self, arch: str | dict = 'base', num_classes: int = 1000, in_chans: int = 3, drop_rate: float = 0.,
                 global_pool: str = 'avg', **backbone) -> None:
        super().__init__()
        self.backbone = AFFNet(arch, out_indices=5, in_channels=in_chans, **backbone)
        self.num_features = self.head_hidden_size = self.backbone.conv_1x1_exp.out_channels
        self.feature_info = layer_info(self.backbone, backbone.get('output_stride', 32))
        self.drop_rate = drop_rate
        self.head = nn.Sequential(OrderedDict(drop=nn.Dropout(drop_rate), fc=nn.Identity()))
        self.reset_classifier(num_classes, global_pool)
        initialize_quietly(self.backbone)

    def forward(self, x: Tensor) -> Tensor:
        """Map pictures (B, in_chans, H, W), RGB in [0, 1], to logits (B, num_classes)."""
        return self.forward_head(self.forward_features(x))

    def forward_features(self, x: Tensor) -> Tensor:
        """The last map, (B, num_features, H / 32, W / 32)."""
        return self.backbone(x)[0]

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits of the last map, or with ``pre_logits`` what the classifier gets."""
        if self.global_pool:
            x = F.adaptive_avg_pool2d(x, 1).flatten(1)
        return self.head.drop(x) if pre_logits else self.head(x)

    def forward_intermediates(self, x: Tensor, indices: int | Sequence[int] | None = None, norm: bool = False,
                              stop_early: bool = False, output_fmt: str = 'NCHW', intermediates_only: bool = False):
        """Maps of some layers, and the last map; the arguments are timm's.

        Args:
            x (Tensor): Pictures.
            indices (int | Sequence[int] | None): Layers 0 … 4, or how many of the last ones; None: all.
            norm (bool): Without effect: there is no final norm.
            stop_early (bool): Compute nothing behind the last layer asked for.
            output_fmt (str): 'NCHW', the only one.
            intermediates_only (bool): Leave out the last map.

        Returns:
            list[Tensor] | tuple[Tensor, list[Tensor]]: Maps in the order of the layers, and before them the last map.
        """
        if output_fmt != 'NCHW':
            raise ValueError(f"output_fmt must be 'NCHW', got {output_fmt!r}")
        wanted = take_indices(indices)
        stop = max(wanted) if stop_early or intermediates_only else len(LAYERS) - 1
        x, maps = self.backbone.conv_1(x), []
        for index, name in enumerate(LAYERS[:stop + 1]):
            x = getattr(self.backbone, name)(x) if hasattr(self.backbone, name) else x
            if index in wanted:
                maps.append(x)
        return maps if intermediates_only else (x, maps)

    def prune_intermediate_layers(self, indices: int | Sequence[int] = 1, prune_norm: bool = False,
                                  prune_head: bool = True) -> list[int]:
        """Remove what no map of ``indices`` needs, the classifier too; returns the layers' numbers."""
        wanted = take_indices(indices)
        cut_backbone(self.backbone, max(wanted))
        self.backbone.out_indices = (max(wanted), )
        if prune_head:
            self.num_features = self.head_hidden_size = self.feature_info[max(wanted)]['num_chs']
            self.reset_classifier(0, '')
        return list(wanted)

    def get_classifier(self) -> nn.Module:
        """The linear layer, or an identity where there are no classes."""
        return self.head.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put a fresh classifier in place: weights from a truncated N(0, 0.02²), biases 0."""
        if global_pool is not None:
            if global_pool not in POOLINGS:
                raise ValueError(f'global_pool must be one of {POOLINGS}, got {global_pool!r}')
            self.global_pool = global_pool
        if num_classes and not self.global_pool:
            raise ValueError(f"global_pool='' leaves a map, which needs num_classes=0; got {num_classes}")
        self.num_classes = num_classes
        self.head.fc = nn.Identity()
        if num_classes:
            like = next(self.backbone.parameters())
            self.head.fc = nn.Linear(self.num_features, num_classes, device=like.device, dtype=like.dtype)
            nn.init.trunc_normal_(self.head.fc.weight, std=0.02)
            nn.init.zeros_(self.head.fc.bias)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute MBConvs and blocks in the backward pass, or not."""
        for module in self.backbone.modules():
            if hasattr(module, 'with_cp'):
                module.with_cp = enable

    def no_weight_decay(self) -> set[str]:
        """The mixers' biases, which have three dimensions and would be taken for weights."""
        return {name for name, _ in self.named_parameters() if name.endswith(('token_mixer.b1', 'token_mixer.b2'))}

    def group_matcher(self, coarse: bool = False) -> dict:
        """Patterns of timm's groups of layers, from the stem to the classifier."""
        if coarse:
            return dict(stem=r'^backbone\.conv_1\.', blocks=r'^backbone\.layer_(\d)\.')
        return dict(stem=r'^backbone\.conv_1\.', blocks=[
            (r'^backbone\.layer_(\d)\.1\.blocks\.(\d+)\.', None),
            # behind the blocks of its stage; a stage's MBConv before them
            (r'^backbone\.layer_(\d)\.1\.(?:norm|conv_proj|fusion)\.', (1000, )),
            (r'^backbone\.layer_([345])\.0\.', (-1, )),
            (r'^backbone\.layer_(\d)\.(\d+)\.', None)])


def take_indices(indices: int | Sequence[int] | None) -> tuple[int, ...]:
    """Numbers of layers from 0 on, of what timm allows: None for all, n for the last n, or a sequence."""
    num = len(FEATURES)
    if indices is None or isinstance(indices, int):
        last = num if indices is None else indices
        given = tuple(range(num - last, num))
    else:
        given = tuple(i + num if i < 0 else i for i in indices)
    if not given or any(not 0 <= i < num for i in given) or len(set(given)) != len(given):
        raise ValueError(f'out_indices must be different numbers from -{num} to {num - 1} ({", ".join(FEATURES)}), '
                         f'got {indices!r}')
    return given


def layer_info(backbone: AFFNet, output_stride: int) -> list[dict]:
    """Channels, stride and name of layer_1 … layer_5, as timm has them."""
    strides = (2, 4, 8, min(16, output_stride), min(32, output_stride))
    return [dict(num_chs=channels, reduction=stride, module=f'backbone.{name}')
            for channels, stride, name in zip(backbone.arch['channels'][1:], strides, FEATURES, strict=True)]


def cut_backbone(backbone: AFFNet, last: int) -> None:
    """Remove the layers behind number ``last``."""
    for name in LAYERS[last + 1:]:
        if hasattr(backbone, name):
            delattr(backbone, name)


def initialize_quietly(backbone: AFFNet) -> None:
    """Initialise as ``init_cfg`` says; ``init_weights`` would print a paragraph for every tensor."""
    cfgs = [backbone.init_cfg] if isinstance(backbone.init_cfg, dict) else backbone.init_cfg
    initialize(backbone, cfgs)
