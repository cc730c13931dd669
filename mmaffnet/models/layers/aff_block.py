"""AFF block (paper Eq. 8) and the stage unit made of such blocks (paper Fig. 2)."""

from collections.abc import Sequence

import torch
from mmcv.cnn import ConvModule, build_norm_layer
from mmcv.cnn.bricks import DropPath
from mmengine.model import BaseModule, ModuleList
from torch import Tensor, nn

from mmaffnet.registry import TOKEN_MIXERS

from .ffn import FFN
from .mbconv import MBConv
from .recompute import recomputed


def build_norm(norm_cfg: dict, num_channels: int) -> nn.Module:
    """Build a norm layer from its config, without mmcv's name."""
    return build_norm_layer(norm_cfg, num_channels)[1]


def build_mixer(token_mixer: dict, embed_dims: int) -> nn.Module:
    """Build a token mixer from its config."""
    cfg = dict(token_mixer)
    # Registry.build would search the host's registries for the mixer, or with our scope named build its activation
    # there too, for which mmengine imports every host that is installed.
    mixer = TOKEN_MIXERS.get(cfg.pop('type'))
    if mixer is None:
        raise KeyError(f'token mixer {token_mixer["type"]!r} is not registered; there are: '
                       f'{", ".join(sorted(TOKEN_MIXERS.module_dict))}')
    return mixer(embed_dims=embed_dims, **cfg)


class AFFBlock(BaseModule):
    r"""Channel mixing by an MBConv, then token mixing by an adaptive frequency filter.

    ``variant='paper'`` is Eq. 8:

    .. math::
        \hat X = \mathrm{MBConv}(\mathrm{LN}(X)) + X, \qquad
        Y = \mathrm{AFF}(\mathrm{LN}(\hat X)) + \hat X

    ``variant='release'`` is what the released weights were trained with: one outer skip, an inner one around the
    MBConv, and a third inside the mixer (an option of the mixer).

    .. math::
        A = \mathrm{LN}(X), \qquad B = A + \mathrm{MBConv}(A), \qquad Y = X + \mathrm{AFF}(\mathrm{LN}(B))

    ``order='token_first'`` exchanges the two branches of Eq. 8 (Table 13):

    .. math::
        \hat X = \mathrm{AFF}(\mathrm{LN}(X)) + X, \qquad
        Y = \mathrm{MBConv}(\mathrm{LN}(\hat X)) + \hat X

    In both orders ``norm1`` stands before the channel mixer ``mlp`` and ``norm2`` before ``token_mixer``.

    Args:
        embed_dims (int): Channels C.
        token_mixer (dict): Config in the registry ``TOKEN_MIXERS``, without ``embed_dims``.
        variant (str): 'paper' or 'release'.
        mlp_ratio (float): Hidden width of the channel mixer over C. Defaults to 2.
        drop_path (float): Probability of dropping a residual branch of a sample. Defaults to 0.
        token_norm_cfg (dict): The two norms. Defaults to ``dict(type='GN', num_groups=1)``.
        conv_cfg, norm_cfg, act_cfg (dict, optional): Of the channel mixer; an FFN has no norm.
        with_cp (bool): Recompute the block in the backward pass.
        order (str): 'channel_first' or 'token_first'. Defaults to 'channel_first'.
        channel_mixer (str): 'mbconv', or 'ffn' (Table 14): two linear layers. Defaults to 'mbconv'.
        init_cfg (dict, optional): mmengine initialisation.

    Raises:
        ValueError: An argument has a value that is not allowed.
    """

    def __init__(self,
                 embed_dims: int,
                 token_mixer: dict,
                 variant: str = 'paper',
                 mlp_ratio: float = 2.,
                 drop_path: float = 0.,
                 token_norm_cfg: dict | None = None,
                 conv_cfg: dict | None = None,
                 norm_cfg: dict | None = None,
                 act_cfg: dict | None = None,
                 with_cp: bool = False,
                 order: str = 'channel_first',
                 channel_mixer: str = 'mbconv',
                 init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        for name, value, allowed in (('variant', variant, ('paper', 'release')),
                                     ('order', order, ('channel_first', 'token_first')),
                                     ('channel_mixer', channel_mixer, ('mbconv', 'ffn'))):
            if value not in allowed:
                raise ValueError(f'{name} must be one of {allowed}, got {value!r}')
        if variant == 'release' and order != 'channel_first':
            raise ValueError(f"order={order!r} exchanges the branches of Eq. 8: it needs variant='paper', got "
                             "variant='release', whose branches lie inside one another")
        self.variant = variant
        self.order = order
        self.with_cp = with_cp
        token_norm_cfg = token_norm_cfg or dict(type='GN', num_groups=1)
        self.norm1 = build_norm(token_norm_cfg, embed_dims)
        mlp = dict(expand_ratio=mlp_ratio, with_skip=variant == 'release', conv_cfg=conv_cfg, act_cfg=act_cfg)
        if channel_mixer == 'ffn':
            self.mlp = FFN(embed_dims, **mlp)
        else:
            self.mlp = MBConv(embed_dims, embed_dims, norm_cfg=norm_cfg, **mlp)
        self.norm2 = build_norm(token_norm_cfg, embed_dims)
        self.token_mixer = build_mixer(token_mixer, embed_dims)
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()

    def _forward(self, x: Tensor) -> Tensor:
        if self.variant == 'release':
            return x + self.drop_path(self.token_mixer(self.norm2(self.mlp(self.norm1(x)))))
        if self.order == 'token_first':
            x = x + self.drop_path(self.token_mixer(self.norm2(x)))
            return x + self.drop_path(self.mlp(self.norm1(x)))
        x = x + self.drop_path(self.mlp(self.norm1(x)))
        return x + self.drop_path(self.token_mixer(self.norm2(x)))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        return recomputed(self, self._forward, x) if self.with_cp else self._forward(x)


class AFFStage(BaseModule):
    """AFF blocks, a closing norm, a projection, and the fusion with the stage's input.

    y = conv_proj(LN(blocks(x))); out = fusion(concat(x, y)), or y where the stage has no fusion.

    Args:
        embed_dims (int): Channels C.
        drop_paths (Sequence[float]): One probability a block; their number is the number of blocks.
        with_fusion (bool): Whether the fusion is there. The release's two larger modes leave it out in two stages.
        token_norm_cfg, conv_cfg, norm_cfg, act_cfg, init_cfg: As in :class:`AFFBlock`.
        block_cfg: Further arguments of :class:`AFFBlock`.

    Source: paper Fig. 2; released code (the kernel of the fusion is 1×1).
    """

    def __init__(self,
                 embed_dims: int,
                 drop_paths: Sequence[float],
                 with_fusion: bool = True,
                 token_norm_cfg: dict | None = None,
                 conv_cfg: dict | None = None,
                 norm_cfg: dict | None = None,
                 act_cfg: dict | None = None,
                 init_cfg: dict | None = None,
                 **block_cfg) -> None:
        super().__init__(init_cfg)
        token_norm_cfg = token_norm_cfg or dict(type='GN', num_groups=1)
        norm_cfg = norm_cfg or dict(type='BN')
        act_cfg = act_cfg or dict(type='SiLU')
        conv = dict(conv_cfg=conv_cfg, norm_cfg=norm_cfg)
        self.blocks = ModuleList([
            AFFBlock(embed_dims, drop_path=rate, token_norm_cfg=token_norm_cfg, act_cfg=act_cfg, **conv, **block_cfg)
            for rate in drop_paths
        ])
        self.norm = build_norm(token_norm_cfg, embed_dims)
        self.conv_proj = ConvModule(embed_dims, embed_dims, 1, act_cfg=None, **conv)
        self.fusion = ConvModule(2 * embed_dims, embed_dims, 1, act_cfg=act_cfg, **conv) if with_fusion else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        y = x
        for block in self.blocks:
            y = block(y)
        y = self.conv_proj(self.norm(y))
        return y if self.fusion is None else self.fusion(torch.cat((x, y), dim=1))
