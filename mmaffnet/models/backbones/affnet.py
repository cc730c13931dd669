"""AFFNet, the backbone of "Adaptive Frequency Filters As Efficient Global Token Mixers" (ICCV 2023).

Paper Table 8 and Fig. 2. Official code: the folder "Adaptive Frequency Filters" of github.com/microsoft/TokenMixers, on
github.com/apple/ml-cvnets. What differs from it: ``variant='paper'`` (default) wires the blocks as the paper's Eq. 8
does, ``variant='release'`` as the released weights need; convolutions start from Kaiming normal numbers as Table 9
says, where the released initialiser leaves torch's default; options that nothing read are gone.
"""

from collections.abc import Sequence

import torch
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule, Sequential, initialize
from mmengine.utils.dl_utils.parrots_wrapper import _BatchNorm
from torch import Tensor

from mmaffnet.registry import MODELS, TOKEN_MIXERS

from ..layers import AFFBlock, AFFStage, MBConv

# channels: conv_1, layer_1 … layer_5 | mbconvs: in layer_1, layer_2 | blocks: AFF blocks in layer_3 … layer_5 |
# expand_ratio: of the MBConvs outside the blocks | mlp_ratio: of those inside | fusion: in layer_3 … layer_5 |
# exp_channels: width of conv_1x1_exp, None for min(4 · C, 960)
ARCH_DEFAULTS = dict(
    mbconvs=(1, 3), blocks=(2, 4, 3), mlp_ratio=2, fusion=(True, True, True), exp_channels=None)
ARCH_SETTINGS = {
    'et': dict(channels=(16, 32, 48, 64, 104, 144), expand_ratio=2, **ARCH_DEFAULTS),
    't': dict(channels=(16, 32, 48, 96, 160, 192), expand_ratio=4, **ARCH_DEFAULTS),
    'base': dict(channels=(16, 32, 64, 128, 256, 320), expand_ratio=4, **ARCH_DEFAULTS),
}
LAYERS = ('layer_1', 'layer_2', 'layer_3', 'layer_4', 'layer_5', 'conv_1x1_exp')
# What the released weights need beyond the wiring of the blocks.
RELEASE_MIXER = dict(softshrink=0.01, with_skip=True)


@MODELS.register_module()
class AFFNet(BaseModule):
    """AFFNet backbone.

    ============  ==================================================  ======  =======  =======  =========
    index         content                                             stride  ``et``   ``t``    ``base``
    ============  ==================================================  ======  =======  =======  =========
    –             conv_1: 3×3 convolution                             2       16       16       16
    0             layer_1: 1 MBConv                                   2       32       32       32
    1             layer_2: 3 MBConv, the first with stride 2          4       48       48       64
    2             layer_3: MBConv with stride 2, then 2 AFF blocks    8       64       96       128
    3             layer_4: MBConv with stride 2, then 4 AFF blocks    16      104      160      256
    4             layer_5: MBConv with stride 2, then 3 AFF blocks    32      144      192      320
    5             conv_1x1_exp: 1×1 convolution                       32      576      768      960
    ============  ==================================================  ======  =======  =======  =========

    Input: RGB divided by 255, without mean and standard deviation, (B, 3, H, W) with any H, W from 32 on.

    Args:
        arch (str | dict): 'et', 't', 'base', or a dict with ``channels`` (six widths, conv_1 to layer_5) and
            ``expand_ratio``, and optionally ``mbconvs`` (layer_1, layer_2), ``blocks`` and ``fusion`` (layer_3 to
            layer_5), ``mlp_ratio`` and ``exp_channels``.
        variant (str): 'paper' (Eq. 8) or 'release': a preset of block wiring and mixer options (soft shrinkage 0.01,
            the mixer's own skip), which the released weights need; options given in ``token_mixer`` win.
        token_mixer (dict): Config of the token mixer. Defaults to ``dict(type='AFF')``.
        out_indices (int | Sequence[int]): Layers to return, in this order; negative ones count from conv_1x1_exp.
            conv_1x1_exp is built only where it is asked for. Defaults to (2, 3, 4).
        output_stride (int): 32, 16 or 8. At 16 layer_5 does not down-sample; at 8 neither does layer_4, and the
            depthwise convolution of layer_5's first MBConv has dilation 2. Defaults to 32.
        frozen_stages (int): -1: none; 0: conv_1; k: conv_1 and layer_1 … layer_k; 6: everything. Defaults to -1.
        norm_cfg (dict): Norm of the convolutions. Defaults to ``dict(type='BN')``.
        token_norm_cfg (dict): Norm of the AFF blocks. Defaults to ``dict(type='GN', num_groups=1)``; the release's
            other norm is ``dict(type='mmaffnet.ChannelNorm')``.
        act_cfg (dict): Activation of the convolutions. Defaults to ``dict(type='SiLU')``. The mixer has its own.
        conv_cfg (dict, optional): Type of the convolutions.
        drop_path_rate (float): Probability in [0, 1) of dropping a residual branch in the last AFF block, growing
            linearly from 0 in the first. Defaults to 0, as in the paper's recipes.
        norm_eval (bool): Keep batch norms in evaluation mode while training. Defaults to False.
        with_cp (bool): Recompute MBConvs and blocks in the backward pass to save memory; nothing else changes, batch
            norms' running statistics included. Defaults to False.
        img_size (int | tuple[int, int], optional): (H, W) of the input, needed only by token mixers that are bound to
            one size: they get ``map_size`` from it. Defaults to None.
        in_channels (int): Channels of the input. Defaults to 3.
        order (str): Of the two branches of an AFF block: 'channel_first' (Eq. 8) or 'token_first' (Table 13). Defaults
            to 'channel_first'.
        channel_mixer (str): Of the AFF blocks: 'mbconv', or 'ffn', two linear layers (Table 14). Defaults to 'mbconv'.
        init_cfg (dict | list[dict], optional): Defaults to Kaiming normal (fan out) for convolutions, 1 and 0 for
            norms (Table 9).

    Raises:
        ValueError: An argument has a value that is not allowed; the message says which are.

    Source: paper Sec. 3.4, Tables 8 and 9; released code for what they leave open.
    """

    def __init__(self,
                 arch: str | dict = 'base',
                 variant: str = 'paper',
                 token_mixer: dict | None = None,
                 out_indices: int | Sequence[int] = (2, 3, 4),
                 output_stride: int = 32,
                 frozen_stages: int = -1,
                 norm_cfg: dict | None = None,
                 token_norm_cfg: dict | None = None,
                 act_cfg: dict | None = None,
                 conv_cfg: dict | None = None,
                 drop_path_rate: float = 0.,
                 norm_eval: bool = False,
                 with_cp: bool = False,
                 img_size: int | tuple[int, int] | None = None,
                 in_channels: int = 3,
                 order: str = 'channel_first',
                 channel_mixer: str = 'mbconv',
                 init_cfg: dict | list[dict] | None = None) -> None:
        if init_cfg is None:
            init_cfg = [
                dict(type='Kaiming', layer='Conv2d', mode='fan_out', distribution='normal'),
                dict(type='Constant', val=1, bias=0, layer=['_BatchNorm', 'GroupNorm', 'LayerNorm']),
            ]
        super().__init__(init_cfg)
        self.arch = _arch(arch)
        self.out_indices = _indices(out_indices)
        _check_choice('variant', variant, ('paper', 'release'))
        _check_choice('output_stride', output_stride, (32, 16, 8))
        _check_choice('frozen_stages', frozen_stages, range(-1, 7))
        if not 0 <= drop_path_rate < 1:
            raise ValueError(f'drop_path_rate must be at least 0 and less than 1, got {drop_path_rate}')
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval

        self._conv = dict(conv_cfg=conv_cfg, norm_cfg=norm_cfg or dict(type='BN'),
                          act_cfg=act_cfg or dict(type='SiLU'))
        mixer = dict(token_mixer or dict(type='AFF'))
        if variant == 'release' and mixer.get('type') == 'AFF':
            mixer = {**RELEASE_MIXER, **mixer}
        self._block = dict(token_mixer=mixer, variant=variant, mlp_ratio=self.arch['mlp_ratio'], with_cp=with_cp,
                           token_norm_cfg=token_norm_cfg or dict(type='GN', num_groups=1), order=order,
                           channel_mixer=channel_mixer)
        drop_paths = torch.linspace(0, drop_path_rate, sum(self.arch['blocks']), device='cpu').tolist()

        channels, mbconvs = self.arch['channels'], self.arch['mbconvs']
        strides, dilations = {32: ((2, 2), (1, 1)), 16: ((2, 1), (1, 1)), 8: ((1, 1), (1, 2))}[output_stride]
        sizes = _map_sizes(img_size, (2, *strides))
        self.conv_1 = ConvModule(in_channels, channels[0], 3, stride=2, padding=1, **self._conv)
        self.layer_1 = self._mbconvs(channels[0], channels[1], mbconvs[0], with_cp)
        self.layer_2 = self._mbconvs(channels[1], channels[2], mbconvs[1], with_cp, stride=2)
        for k, (stride, dilation) in enumerate(zip((2, *strides), (1, *dilations), strict=True)):
            rates, drop_paths = drop_paths[:self.arch['blocks'][k]], drop_paths[self.arch['blocks'][k]:]
            self.add_module(LAYERS[2 + k], self._aff_layer(k, stride, dilation, rates, sizes[k]))
        if 5 in self.out_indices:
            exp_channels = self.arch['exp_channels'] or min(4 * channels[5], 960)
            self.conv_1x1_exp = ConvModule(channels[5], exp_channels, 1, **self._conv)
        self._freeze()

    def _mbconvs(self, in_channels: int, out_channels: int, num: int, with_cp: bool, stride: int = 1) -> Sequential:
        """MBConvs of one layer; the first changes width and stride."""
        return Sequential(*(MBConv(
            in_channels if i == 0 else out_channels, out_channels, self.arch['expand_ratio'],
            stride=stride if i == 0 else 1, with_cp=with_cp, **self._conv) for i in range(num)))

    def _aff_layer(self, k: int, stride: int, dilation: int, drop_paths: list[float],
                   map_size: tuple[int, int] | None) -> Sequential:
        """Down-sampling MBConv, then the AFF stage."""
        in_channels, out_channels = self.arch['channels'][2 + k:4 + k]
        block = dict(self._block)
        if getattr(TOKEN_MIXERS.get(block['token_mixer']['type']), 'needs_map_size', False):
            if map_size is None:
                raise ValueError(f'the token mixer {block["token_mixer"]["type"]!r} is bound to one input size: '
                                 'give img_size=(H, W)')
            block['token_mixer'] = dict(map_size=map_size, **block['token_mixer'])
        return Sequential(
            MBConv(in_channels, out_channels, self.arch['expand_ratio'], stride, dilation,
                   with_cp=block['with_cp'], **self._conv),
            AFFStage(out_channels, drop_paths, with_fusion=self.arch['fusion'][k], **self._conv, **block))

    def init_weights(self) -> None:
        """Initialise as ``init_cfg`` says, but token mixers with an ``init_cfg`` or ``init_weights`` as theirs does."""
        first = not self.is_init   # a second call does nothing, as everywhere in mmengine
        super().init_weights()
        cfgs = [self.init_cfg] if isinstance(self.init_cfg, dict) else self.init_cfg
        # mmcv's ConvModule draws its weights anew after its parents have: without this init_cfg would not reach them.
        if first and not any('Pretrained' in str(cfg['type']) for cfg in cfgs):
            mixers = [m.token_mixer for m in self.modules() if isinstance(m, AFFBlock)]
            own = [(m, {name: value.clone() for name, value in m.state_dict().items()}) for m in mixers
                   if getattr(type(m), 'init_weights', None) not in (None, BaseModule.init_weights)]
            initialize(self, cfgs)
            for mixer, drawn in own:
                mixer.load_state_dict(drawn)
            for mixer in mixers:
                if getattr(mixer, 'init_cfg', None):
                    initialize(mixer, mixer.init_cfg)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Features of an image.

        Args:
            x (Tensor): Of shape (B, 3, H, W), RGB in [0, 1].

        Returns:
            tuple[Tensor, ...]: One map (B, C, ceil(H / s), ceil(W / s)) for each of ``out_indices``, in their order.
        """
        x = self.conv_1(x)
        outs = {}
        for index, name in enumerate(LAYERS[:max(self.out_indices) + 1]):
            x = getattr(self, name)(x)
            outs[index] = x
        return tuple(outs[index] for index in self.out_indices)

    def _freeze(self) -> None:
        names = (('conv_1', ) + LAYERS)[:self.frozen_stages + 1]
        for module in (getattr(self, name) for name in names if hasattr(self, name)):
            module.eval()
            for parameter in module.parameters():
                parameter.requires_grad = False

    def train(self, mode: bool = True) -> 'AFFNet':
        """Set the mode; frozen stages, and with ``norm_eval`` all batch norms, stay in evaluation mode."""
        super().train(mode)
        self._freeze()
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self


def _check_choice(name: str, value, allowed: Sequence) -> None:
    if isinstance(value, bool) or value not in allowed:
        raise ValueError(f'{name} must be one of {tuple(allowed)}, got {value!r}')


def _arch(arch: str | dict) -> dict:
    """Settings of an arch, checked."""
    if isinstance(arch, str):
        _check_choice('arch', arch, tuple(ARCH_SETTINGS))
        return ARCH_SETTINGS[arch]
    settings = {**ARCH_DEFAULTS, **arch}
    keys = set(ARCH_DEFAULTS) | {'channels', 'expand_ratio'}
    if set(settings) != keys:
        raise ValueError(f'arch as a dict has the keys {sorted(keys)}, of which channels and expand_ratio must be '
                         f'given; got {sorted(arch)}')
    for key, length in (('channels', 6), ('mbconvs', 2), ('blocks', 3), ('fusion', 3)):
        if len(settings[key]) != length:
            raise ValueError(f'arch[{key!r}] must have {length} entries, got {settings[key]!r}')
    if min(settings['mbconvs']) < 1 or min(settings['blocks']) < 1:
        raise ValueError(f"arch['mbconvs'] and arch['blocks'] must be 1 or more, got {settings['mbconvs']} and "
                         f"{settings['blocks']}")
    return settings


def _indices(out_indices: int | Sequence[int]) -> tuple[int, ...]:
    """Non-negative output indices in the order asked for."""
    given = (out_indices, ) if isinstance(out_indices, int) else out_indices
    numbers = isinstance(given, Sequence) and all(isinstance(i, int) for i in given)
    indices = tuple(i + len(LAYERS) if i < 0 else i for i in given) if numbers else ()
    if not indices or any(not 0 <= i < len(LAYERS) for i in indices) or len(set(indices)) != len(indices):
        raise ValueError(f'out_indices must be different numbers from -6 to 5 ({", ".join(LAYERS)}), '
                         f'got {out_indices!r}')
    return indices


def _map_sizes(img_size: int | tuple[int, int] | None, strides: Sequence[int]) -> list[tuple[int, int] | None]:
    """Sizes (H, W) of the maps in layer_3 … layer_5 for an input size."""
    if img_size is None:
        return [None] * len(strides)
    h, w = (img_size, img_size) if isinstance(img_size, int) else img_size
    if h < 32 or w < 32:
        raise ValueError(f'img_size must be 32 or more in height and width, got {img_size!r}')
    stride, sizes = 4, []
    for step in strides:
        stride *= step
        sizes.append((-(-h // stride), -(-w // stride)))
    return sizes
