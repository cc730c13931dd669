"""AFF, the adaptive frequency filter: the token mixer of AFFNet (paper Sec. 3.2)."""

import torch
from mmcv.cnn import build_activation_layer
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmaffnet.registry import TOKEN_MIXERS

from .spectral import irdft2, irfft2, is_traced, rdft2, rfft2

TRANSFORMS = ('fft', 'dft', 'auto')


@TOKEN_MIXERS.register_module()
class AFF(BaseModule):
    r"""Mix all tokens of a map by a filter that is learned from the map's own spectrum.

    .. math::
        \mathrm{AFF}(X) = \mathcal F^{-1}\left[\mathcal M(\mathcal F(X)) \odot \mathcal F(X)\right]
        \qquad \text{(paper Eq. 4)}

    with the mask network :math:`\mathcal M(Z) = W_2\,\sigma(W_1 Z + b_1) + b_2`: two complex linear layers over the
    channels, block-diagonal in ``groups`` blocks, at each frequency; :math:`\sigma` acts on real and imaginary part.
    :math:`\mathcal F` is the unitary transform of a real map, of which the half spectrum is kept. By the convolution
    theorem (Eq. 6) this is a circular depthwise convolution as large as the map, with a kernel made from the map.

    The same numbers are computed in one of two forms. 'fft' uses ``rfft2`` and complex products. 'dft' uses real
    matrices only: it has no complex tensor, so that it exports to formats without them, and it is the faster one on
    small maps; the map's size is then fixed in a trace. 'auto' takes the faster one where that was measured (CPU),
    'fft' under tracing and export, and 'dft' for half-precision models, which FFT libraries do not serve.

    Under autocast the mixer computes in float32 and returns the dtype of its input.

    Args:
        embed_dims (int): Channels C, a multiple of ``groups``.
        groups (int): Blocks of the two linear layers. Defaults to 8 (Table 7).
        act_cfg (dict): The activation :math:`\sigma`. Defaults to ``dict(type='ReLU')``.
        softshrink (float): Threshold of a soft shrinkage of the mask's real and imaginary part; the release has 0.01.
            Defaults to 0: none, as in the paper.
        with_skip (bool): Add the input to the output, as the release does inside its mixer. Defaults to False.
        transform (str): 'fft', 'dft' or 'auto'. Defaults to 'auto'.
        init_std (float): Standard deviation of the initial weights and biases. Defaults to 0.02.
        init_cfg (dict, optional): mmengine initialisation.

    Raises:
        ValueError: ``embed_dims`` is no multiple of ``groups``; ``transform`` is unknown; ``softshrink`` is negative.

    Source: paper Eq. 4 and Fig. 2; layout of the parameters (real and imaginary part, group, in, out) as released.
    """

    def __init__(self,
                 embed_dims: int,
                 groups: int = 8,
                 act_cfg: dict | None = None,
                 softshrink: float = 0.,
                 with_skip: bool = False,
                 transform: str = 'auto',
                 init_std: float = 0.02,
                 init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        if groups < 1 or embed_dims % groups:
            raise ValueError(f'embed_dims must be a multiple of groups, got embed_dims={embed_dims}, groups={groups}')
        if transform not in TRANSFORMS:
            raise ValueError(f'transform must be one of {TRANSFORMS}, got {transform!r}')
        if softshrink < 0:
            raise ValueError(f'softshrink must be 0 (none) or positive, got {softshrink}')
        self.groups = groups
        self.transform = transform
        self.with_skip = with_skip
        self.init_std = init_std
        act_cfg = dict(act_cfg or dict(type='ReLU'))
        if act_cfg['type'] == 'ReLU':
            act_cfg.setdefault('inplace', True)
        self.act = build_activation_layer(act_cfg)
        self.shrink = nn.Softshrink(softshrink) if softshrink > 0 else None
        block = embed_dims // groups
        self.w1 = nn.Parameter(torch.empty(2, groups, block, block))
        self.b1 = nn.Parameter(torch.empty(2, groups, block))
        self.w2 = nn.Parameter(torch.empty(2, groups, block, block))
        self.b2 = nn.Parameter(torch.empty(2, groups, block))
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        for parameter in (self.w1, self.b1, self.w2, self.b2):
            nn.init.normal_(parameter, std=self.init_std)

    def init_weights(self) -> None:
        """Draw weights and biases from N(0, init_std²), then apply ``init_cfg``."""
        self._reset_parameters()
        super().init_weights()

    def _apply(self, fn, *args, **kwargs):
        # Module.to(memory_format=torch.channels_last) takes the 4-d weights for images; batched products of matrices
        # that lie so fall back to a loop, which costs more than the whole layout gains.
        super()._apply(fn, *args, **kwargs)
        for weight in (self.w1, self.w2):
            weight.data = weight.data.contiguous()
        return self

    def extra_repr(self) -> str:
        """Show what the parameters' shapes do not tell."""
        return f'groups={self.groups}, transform={self.transform!r}, with_skip={self.with_skip}'

    def forward(self, x: Tensor) -> Tensor:
        """Filter a map.

        Args:
            x (Tensor): Of shape (B, C, H, W), any H and W.

        Returns:
            Tensor: Of the same shape and dtype.
        """
        if torch.is_autocast_enabled(x.device.type):
            with torch.autocast(x.device.type, enabled=False):
                return self._filter(x.float()).to(x.dtype)
        if x.dtype == self.w1.dtype:
            return self._filter(x)
        return self._filter(x.to(torch.promote_types(x.dtype, self.w1.dtype))).to(x.dtype)

    def _filter(self, x: Tensor) -> Tensor:
        form = self._form(x)
        if form == 'fft' and x.dtype in (torch.float16, torch.bfloat16):
            out = self._filter_fft(x.float()).to(x.dtype)   # no FFT library serves half precision at all sizes
        else:
            out = self._filter_fft(x) if form == 'fft' else self._filter_dft(x)
        return x + out if self.with_skip else out

    def _form(self, x: Tensor) -> str:
        """Which form computes this map."""
        if self.transform != 'auto':
            return self.transform
        if is_traced():
            return 'fft'
        if x.dtype in (torch.float16, torch.bfloat16):
            return 'dft'
        if x.device.type != 'cpu':
            return 'fft'
        # Measured by benchmark_mixer.py: a channels-last map needs a copy before an FFT, and none before a product.
        side = max(x.shape[-2:])
        copied = x.shape[0] == 1 and side <= 16 and not x.is_contiguous()
        return 'dft' if side <= 8 or copied else 'fft'

    def mask(self, spectrum: Tensor) -> Tensor:
        """The filter's mask at each channel and frequency.

        Args:
            spectrum (Tensor): Complex half spectrum, of shape (B, C, H, W // 2 + 1), unitary scale.

        Returns:
            Tensor: Complex, of the same shape.
        """
        b, c, h, w = spectrum.shape
        z = spectrum.reshape(b * self.groups, c // self.groups, h * w)   # (B·g, C/g, N)
        z = self._complex_linear(z, self.w1, self.b1, b)
        z = torch.view_as_complex(self.act(torch.view_as_real(z)))
        z = self._complex_linear(z, self.w2, self.b2, b)
        if self.shrink is not None:
            z = torch.view_as_complex(self.shrink(torch.view_as_real(z)))
        return z.view(b, c, h, w)

    @staticmethod
    def _complex_linear(z: Tensor, weight: Tensor, bias: Tensor, b: int) -> Tensor:
        """W·z + b in each group; one batched product over samples and groups is faster than a broadcast one."""
        weight, bias = weight.to(z.real.dtype), bias.to(z.real.dtype)
        weight = torch.complex(weight[0], weight[1]).transpose(-1, -2)   # (g, out, in)
        bias = torch.complex(bias[0], bias[1]).unsqueeze(-1)
        if b != 1 or torch.jit.is_tracing():   # a trace serves every batch size
            weight, bias = weight.repeat(b, 1, 1), bias.repeat(b, 1, 1)
        return torch.baddbmm(bias, weight, z)

    def _filter_fft(self, x: Tensor) -> Tensor:
        spectrum = rfft2(x)
        return irfft2(self.mask(spectrum) * spectrum, x.shape[-2:])

    def _filter_dft(self, x: Tensor) -> Tensor:
        real, imag = rdft2(x)                                      # (B, N, C)
        shape = real.shape
        grouped = (-1, self.groups, shape[-1] // self.groups)
        real, imag = real.view(grouped), imag.view(grouped)        # (B·N, g, C/g)
        r, i = self._real_linear(real.transpose(0, 1), imag.transpose(0, 1), self.w1, self.b1)
        r, i = self._real_linear(self.act(r), self.act(i), self.w2, self.b2)
        if self.shrink is not None:
            r, i = self.shrink(r), self.shrink(i)
        r, i = r.transpose(0, 1), i.transpose(0, 1)
        # The spectrum stands first: an elementwise product takes the layout of its first operand.
        filtered = (torch.addcmul(real * r, imag, i, value=-1), torch.addcmul(imag * r, real, i))
        channels_last = not x.is_contiguous()
        size = int(x.shape[2]), int(x.shape[3])
        return irdft2(*(part.reshape(shape) for part in filtered), size, channels_last)

    @staticmethod
    def _real_linear(real: Tensor, imag: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """The complex product of :meth:`_complex_linear` on real and imaginary parts (g, B·N, C/g)."""
        weight_real, weight_imag = weight.to(real.dtype)
        bias_real, bias_imag = bias.to(real.dtype).unsqueeze(2)          # (g, 1, C/g)
        r = torch.baddbmm(bias_real, real, weight_real).baddbmm_(imag, weight_imag, alpha=-1)
        i = torch.baddbmm(bias_imag, imag, weight_real).baddbmm_(real, weight_imag)
        return r, i
