"""What all mixers in a frequency domain share: the precision that they compute in."""

import torch
from mmengine.model import BaseModule
from torch import Tensor

HALF = (torch.float16, torch.bfloat16)


class FrequencyMixer(BaseModule):
    """Base of token mixers that transform a map: a subclass writes :meth:`mix`.

    No FFT library serves half precision at all sizes, and under autocast the products on a spectrum would run in half
    silently. The mixer therefore computes in float32 or wider and returns the dtype of its input:

    * under autocast, which is switched off for the device that the input lies on,
    * in a half-precision model,
    * where input and parameters differ, in the wider of both.

    In :meth:`mix` parameters are to be cast to the dtype of its argument. A subclass may leave half precision to parts
    that can compute in it: AFF's and AFNO's form 'dft', the convolution and norm of FFC and DFF.

    Args:
        init_cfg (dict, optional): mmengine initialisation.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Mix the tokens of a map.

        Args:
            x (Tensor): Of shape (B, C, H, W).

        Returns:
            Tensor: Of the same shape and dtype.
        """
        if torch.is_autocast_enabled(x.device.type):
            with torch.autocast(x.device.type, enabled=False):
                return self.mix(x.float()).to(x.dtype)
        dtype = self.computes_in(x)
        return self.mix(x) if dtype == x.dtype else self.mix(x.to(dtype)).to(x.dtype)

    def computes_in(self, x: Tensor) -> torch.dtype:
        """The dtype in which the mixer computes a map outside autocast."""
        parameter = next(self.parameters(), x)
        return torch.promote_types(torch.promote_types(x.dtype, parameter.dtype), torch.float32)

    def mix(self, x: Tensor) -> Tensor:
        """The operator itself, from (B, C, H, W) to the same shape, in the dtype of its argument."""
        raise NotImplementedError
