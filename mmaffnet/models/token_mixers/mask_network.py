"""The network that learns a mask from a spectrum: two complex layers over the channels (paper Sec. 3.2, Fig. 2)."""

import torch
from mmcv.cnn import build_activation_layer
from torch import Tensor, nn
from torch.nn import functional as F

from .frequency_mixer import FrequencyMixer


class MaskNetwork(FrequencyMixer):
    r"""Base of the mixers that learn from a spectrum by two complex layers.

    .. math::
        \mathcal M(Z) = W_2\,\sigma(W_1 Z + b_1) + b_2

    :math:`W Z + b` is complex, :math:`(A + iB)(\mathrm{Re} Z + i\,\mathrm{Im} Z)`, over the channels at each frequency
    and block-diagonal in ``groups`` blocks; with a kernel wider than 1 it also reads the frequencies around, with
    zeros beyond the spectrum's border. :math:`\sigma` acts on real and imaginary part.

    ============  =================================  ====================================
    parameter     shape                              axes
    ============  =================================  ====================================
    ``w1, w2``    (2, g, C/g, C/g)                   real and imaginary, group, in, out
    \             (2, g, C/g, C/g, K, K)             for K > 1
    ``b1, b2``    (2, g, C/g)                        real and imaginary, group, out
    ============  =================================  ====================================

    Together 4·C²·K²/g + 4·C real numbers. The network comes in three forms, which agree: for a complex map
    (:meth:`complex_mask`), for real and imaginary part apart (:meth:`token_mask`), and for a map that is real
    (:meth:`real_mask`), of which the real part of the result is all that is used.

    Args:
        embed_dims (int): Channels C.
        groups (int | str): Blocks of the layers, a divisor of ``embed_dims``, or 'channels': one for each channel.
            Defaults to 8 (Table 7).
        kernel_size (int): K, odd. Defaults to 1.
        act_cfg (dict): The activation :math:`\sigma`. Defaults to ``dict(type='ReLU')``.
        softshrink (float): Threshold of a soft shrinkage of the result's real and imaginary part. Defaults to 0: none.
        init_std (float): Standard deviation of the initial weights and biases. Defaults to 0.02.
        init_cfg (dict, optional): mmengine initialisation.

    Raises:
        ValueError: ``embed_dims`` is no multiple of ``groups``; ``kernel_size`` is even; ``softshrink`` is negative.

    Source: paper Fig. 2 and Table 7; layout of the parameters as released.
    """

    def __init__(self,
                 embed_dims: int,
                 groups: int | str = 8,
                 kernel_size: int = 1,
                 act_cfg: dict | None = None,
                 softshrink: float = 0.,
                 init_std: float = 0.02,
                 init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        if groups == 'channels':
            groups = embed_dims
        if not isinstance(groups, int) or groups < 1 or embed_dims % groups:
            raise ValueError(f"embed_dims must be a multiple of groups, or groups 'channels' for one a channel; got "
                             f'embed_dims={embed_dims}, groups={groups!r}')
        if not isinstance(kernel_size, int) or kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f'kernel_size must be odd (1, 3, 5, ...), so that the mask keeps its size; '
                             f'got {kernel_size!r}')
        if softshrink < 0:
            raise ValueError(f'softshrink must be 0 (none) or positive, got {softshrink}')
        self.groups = groups
        self.kernel_size = kernel_size
        self.init_std = init_std
        act_cfg = dict(act_cfg or dict(type='ReLU'))
        if act_cfg['type'] == 'ReLU':
            act_cfg.setdefault('inplace', True)
        self.act = build_activation_layer(act_cfg)
        self.shrink = nn.Softshrink(softshrink) if softshrink > 0 else None
        block = embed_dims // groups
        # Not of five axes: Module.to(memory_format=torch.channels_last) fails on such a parameter.
        shape = (2, groups, block, block, *((kernel_size, kernel_size) if kernel_size > 1 else ()))
        self.w1 = nn.Parameter(torch.empty(shape))
        self.b1 = nn.Parameter(torch.empty(2, groups, block))
        self.w2 = nn.Parameter(torch.empty(shape))
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

    # A complex map

    def complex_mask(self, spectrum: Tensor) -> Tensor:
        """The network on a complex map.

        Args:
            spectrum (Tensor): Complex, of shape (B, C, H, V).

        Returns:
            Tensor: Complex, of the same shape.
        """
        if self.kernel_size > 1:
            return torch.complex(*self.pair_mask(spectrum.real, spectrum.imag))
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

    # Real and imaginary part apart

    def token_mask(self, real: Tensor, imag: Tensor, b: int, h: int) -> tuple[Tensor, Tensor]:
        """The network on the real and imaginary part of a spectrum whose frequencies lie as tokens.

        Args:
            real, imag (Tensor): Each (B·H·V, g, C/g).
            b (int): B.
            h (int): H.

        Returns:
            tuple[Tensor, Tensor]: Real and imaginary part, each of the same shape.
        """
        if self.kernel_size > 1:
            shape = real.shape
            parts = (part.reshape(b, h, -1, shape[1] * shape[2]).permute(0, 3, 1, 2) for part in (real, imag))
            return tuple(part.permute(0, 2, 3, 1).reshape(shape) for part in self.pair_mask(*parts))
        real, imag = real.transpose(0, 1), imag.transpose(0, 1)
        r, i = self._real_linear(real, imag, self.w1, self.b1)
        r, i = self._real_linear(self.act(r), self.act(i), self.w2, self.b2)
        if self.shrink is not None:
            r, i = self.shrink(r), self.shrink(i)
        return r.transpose(0, 1), i.transpose(0, 1)

    @staticmethod
    def _real_linear(real: Tensor, imag: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """The complex product of :meth:`_complex_linear` on real and imaginary parts (g, B·N, C/g)."""
        weight_real, weight_imag = weight.to(real.dtype)
        bias_real, bias_imag = bias.to(real.dtype).unsqueeze(2)          # (g, 1, C/g)
        r = torch.baddbmm(bias_real, real, weight_real).baddbmm_(imag, weight_imag, alpha=-1)
        i = torch.baddbmm(bias_imag, imag, weight_real).baddbmm_(real, weight_imag)
        return r, i

    # As real layers: wider kernels, and real maps

    def pair_mask(self, real: Tensor, imag: Tensor) -> tuple[Tensor, Tensor]:
        """The network on the real and imaginary part of a map.

        Args:
            real, imag (Tensor): Each (B, C, H, V).

        Returns:
            tuple[Tensor, Tensor]: Real and imaginary part, each (B, C, H, V).
        """
        grouped = (self.groups, -1)
        # In each group the real channels, then the imaginary ones.
        z = torch.stack([part.unflatten(1, grouped) for part in (real, imag)], dim=2).flatten(1, 3)
        z = self.act(self._real_layer(z, self.w1, self.b1))
        z = self._shrunk(self._real_layer(z, self.w2, self.b2))
        real, imag = z.unflatten(1, (self.groups, 2, -1)).unbind(2)
        return real.flatten(1, 2), imag.flatten(1, 2)

    def real_mask(self, x: Tensor) -> Tensor:
        """The real part of the network's result on a map without an imaginary part.

        The imaginary half of ``b2`` does not take part: it gets a gradient of zero.

        Args:
            x (Tensor): Real, of shape (B, C, H, W).

        Returns:
            Tensor: Real, of the same shape.
        """
        x = self.act(self._real_layer(x, self.w1, self.b1, real_input=True))
        return self._shrunk(self._real_layer(x, self.w2, self.b2, real_output=True))

    def _shrunk(self, mask: Tensor) -> Tensor:
        return mask if self.shrink is None else self.shrink(mask)

    def _real_layer(self, x: Tensor, weight: Tensor, bias: Tensor, real_input: bool = False,
                    real_output: bool = False) -> Tensor:
        """W·z + b as one real layer: in each group [[A, -B], [B, A]] times its [Re, Im] (B, 2·C/g, H, W).

        Without an imaginary input the right half of that matrix falls away, without an imaginary output the lower one.
        """
        real, imag = weight.to(x.dtype).transpose(2, 3)                  # (g, out, in[, K, K])
        columns = [torch.cat((real, imag), dim=1)]
        if not real_input:
            columns.append(torch.cat((-imag, real), dim=1))
        matrix = torch.cat(columns, dim=2)
        bias = bias.to(x.dtype).transpose(0, 1).flatten(1)               # (g, 2·out)
        if real_output:
            matrix, bias = matrix[:, :real.shape[1]], bias[:, :real.shape[1]]
        if self.kernel_size > 1:
            return F.conv2d(x, matrix.flatten(0, 1), bias.flatten(), padding=self.kernel_size // 2, groups=self.groups)
        b, _, h, w = x.shape
        z = x.reshape(b * self.groups, -1, h * w)
        z = torch.baddbmm(bias.repeat(b, 1).unsqueeze(-1), matrix.repeat(b, 1, 1), z)
        return z.view(b, -1, h, w)
