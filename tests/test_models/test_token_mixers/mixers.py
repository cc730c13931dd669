"""All token mixers in one table, for the tests beside it: a new mixer is one line in MIXERS."""

from collections.abc import Callable
from typing import NamedTuple

from torch import nn

from mmaffnet.models.layers.aff_block import build_mixer
from mmaffnet.models.token_mixers.frequency_mixer import FrequencyMixer
from mmaffnet.registry import TOKEN_MIXERS


class Line(NamedTuple):
    """A mixer: config, parameters of a block by C, H and W // 2 + 1, parameters of AFFNet and what the paper prints."""

    cfg: dict
    block: Callable[[int, int, int], int]
    total: int | None = None
    printed: float | None = None


def filter_network(c, h, v):
    return c * c // 2 + 4 * c


MIXERS = {
    'AFF': Line(dict(type='AFF'), filter_network, 5_568_696, 5.5),
    'AFF w/o FFT': Line(dict(type='AFF', transform='none'), filter_network, 5_568_696, 5.5),
    'AFF w. SUM': Line(dict(type='AFF', combine='sum'), filter_network, 5_568_696, 5.5),
    'AFF 1xHxW': Line(dict(type='AFF', mask='spatial'), filter_network, 5_568_696, 5.5),
    'AFF g=C': Line(dict(type='AFF', groups='channels'), lambda c, h, v: 8 * c, 5_276_600, 5.3),
    'AFF g=1': Line(dict(type='AFF', groups=1), lambda c, h, v: 4 * c * c + 4 * c, 7_676_088, 7.7),
    'AFF K=3': Line(dict(type='AFF', kernel_size=3), lambda c, h, v: 9 * c * c // 2 + 4 * c, 7_977_144, 7.9),
    'Identity': Line(dict(type='Identity'), lambda c, h, v: 0, 5_258_680, 5.2),
    'ConvMixer': Line(dict(type='ConvMixer'), lambda c, h, v: 9 * c * c, 10_677_688, 10.7),
    'AFNO': Line(dict(type='AFNO'), filter_network, 5_568_696, 5.5),
    'GFN': Line(dict(type='GFN'), lambda c, h, v: 2 * c * h * v, 5_908_920, 6.5),
    'GFN full': Line(dict(type='GFN', spectrum='full'), lambda c, h, v: 2 * c * h * 2 * (v - 1), 6_430_136),
    'GFN 1x1': Line(dict(type='GFN', pointwise=True), lambda c, h, v: 2 * c * h * v + c * c, 6_511_032),
    'FNO': Line(dict(type='FNO'), lambda c, h, v: 2 * c * c * h * v, 140_983_736, 141.0),
    'TruncatedFNO': Line(dict(type='TruncatedFNO', modes=(1, 2)), lambda c, h, v: 2 * c * c * 2 * 2),
    'FFC': Line(dict(type='FFC'), lambda c, h, v: 4 * c * c + 4 * c, 7_676_088, 7.7),
    'DFF': Line(dict(type='DFF'), lambda c, h, v: 4 * c * c + 4 * c + 98, 7_676_970, 7.7),
    'DFF embedding': Line(dict(type='DFF', mask_on='embedding'), lambda c, h, v: 4 * c * c + 4 * c + 98, 7_676_970),
    'DCT': Line(dict(type='AFF', transform='dct'), filter_network, 5_568_696, 5.5),
    'Haar': Line(dict(type='AFF', transform='haar'), filter_network, 5_568_696, 5.5),
}
FOURIER = [name for name, line in MIXERS.items() if issubclass(TOKEN_MIXERS.get(line.cfg['type']), FrequencyMixer)
           and line.cfg.get('transform') is None]
FREQUENCY = [*FOURIER, 'AFF w/o FFT', 'DCT', 'Haar']
SIZE = (8, 6)
ARCHS = {'et': (64, 104, 144), 't': (96, 160, 192), 'base': (128, 256, 320)}
SMALL = dict(channels=(8, 8, 8, 16, 16, 16), expand_ratio=2, blocks=(1, 1, 1))


def is_bound(name: str) -> bool:
    return getattr(TOKEN_MIXERS.get(MIXERS[name].cfg['type']), 'needs_map_size', False)


def build(name: str, dims: int = 16, size: tuple[int, int] = SIZE, std: float | None = 0.3, **cfg) -> nn.Module:
    """A mixer in evaluation mode, its parameters and statistics random where ``std`` is given."""
    bound = dict(map_size=size) if is_bound(name) else {}
    mixer = build_mixer({**MIXERS[name].cfg, **bound, **cfg}, dims).eval()
    if std is not None:
        for parameter in mixer.parameters():
            nn.init.normal_(parameter, std=std)
        for norm in (m for m in mixer.modules() if isinstance(m, nn.BatchNorm2d)):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 1.5)
    return mixer


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
