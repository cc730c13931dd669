"""No token mixer at all: the baseline of Tables 4 and 5."""

from mmengine.model import BaseModule
from torch import Tensor

from mmaffnet.registry import TOKEN_MIXERS


@TOKEN_MIXERS.register_module()
class Identity(BaseModule):
    """Leave the tokens as they are: Y = X, of shape (B, C, H, W).

    The block's norm and skip around it stay, so that AFFNet without mixers differs in nothing else ("Base."). No row
    of Table 1; by its experiments: not adaptive, any size, and the same for all channels.

    Args:
        embed_dims (int): Channels C; not used.
        init_cfg (dict, optional): mmengine initialisation.

    Source: paper Table 4, "Base.".
    """

    def __init__(self, embed_dims: int, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)

    def forward(self, x: Tensor) -> Tensor:
        """Return the map itself."""
        return x
