"""What a token mixer gets to see of a picture, in a model of any host or of ``mmaffnet.create_model``."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device
from PIL import Image
from torch import Tensor, nn

from mmaffnet.engine.errors import UserError
from mmaffnet.engine.predict import LoadedModel
from mmaffnet.engine.predictions import read_rgb
from mmaffnet.models.plain import MODEL_NAMES

from .models import quiet

PLAIN_SIZE = (256, 256)   # what the classifiers are evaluated at
SEED = 0                  # of fresh weights
MIXER = re.compile(r'(?P<layer>layer_\d+)\.1\.blocks\.(?P<block>\d+)\.token_mixer$')


class Net:
    """A backbone whose token mixers can be looked at.

    A picture goes through the test pipeline of the config, as in an evaluation, unless ``size`` is given: then it is
    resized to that size, whatever its shape, with bicubic interpolation.

    Args:
        config (str): Config of one of the hosts, path or shipped name; or 'affnet_et', 'affnet_t', 'affnet_base' for
            the plain model, which takes the authors' released checkpoints too and pictures of 256 × 256 pixels.
        checkpoint (str, optional): Weights; all of the backbone must fit. Defaults to None: fresh ones of seed 0.
        size (tuple[int, int], optional): (H, W) of the picture that the net gets.
        device (str, optional): Defaults to None: what mmengine finds.
        cfg_options (dict, optional): Changes to the config.

    Attributes:
        mixers (dict[str, nn.Module]): Token mixers by their names in the backbone.

    Raises:
        UserError: Config or checkpoint are missing or do not fit; the model has no token mixer.
    """

    def __init__(self, config: str, checkpoint: str | None = None, size: tuple[int, int] | None = None,
                 device: str | None = None, cfg_options: dict | None = None) -> None:
        self.config, self.checkpoint, self.size = config, checkpoint, size
        self._loaded = None
        with torch.random.fork_rng(devices=[]), quiet():
            torch.manual_seed(SEED)
            if config in MODEL_NAMES:
                self._build_plain(device, cfg_options)
            else:
                self._loaded = LoadedModel(config, checkpoint, device, cfg_options)
                self.model = self._loaded.model
        backbone = getattr(self.model, 'backbone', None)
        named = backbone.named_modules() if isinstance(backbone, nn.Module) else ()
        self.mixers = {name: module for name, module in named if name.rsplit('.', 1)[-1] == 'token_mixer'}
        if not self.mixers:
            raise UserError(f'the model of {config} has no token mixer in its backbone: take a config of AFFNet')

    @property
    def name(self) -> str:
        """The config's name without its recipe: 'table5_affnet-base-gfn'."""
        return re.split(r'_\d+xb', Path(self.config).stem)[0]

    @property
    def weights(self) -> str:
        """Where the weights are from, in words."""
        if self.checkpoint is None:
            return f'fresh weights, not trained (seed {SEED})'
        path = Path(self.checkpoint)
        return f'weights: {"/".join(path.parts[-2:])}'

    def find(self, layer: str) -> str:
        """The full name of a token mixer.

        Args:
            layer (str): 'layer_4.2' for the third block of layer_4, or the name of a module, with or without
                'backbone.' and '.token_mixer': 'layer_4.1.blocks.2.token_mixer'.

        Returns:
            str: A key of ``mixers``.

        Raises:
            UserError: There is none; the sentence lists those that there are.
        """
        wanted = layer.removeprefix('backbone.').removesuffix('.token_mixer')
        for name in self.mixers:
            if wanted in (name.removesuffix('.token_mixer'), short_name(name)):
                return name
        raise UserError(f'--layer {layer}: {self.name} has no such token mixer; there are: '
                        f'{", ".join(map(short_name, self.mixers))} (in full: {next(iter(self.mixers))}, …)')

    @torch.no_grad()
    def look(self, image: str | Path, layer: str) -> tuple[np.ndarray, Tensor]:
        """Feed a picture, up to a token mixer's input.

        Args:
            image (str | Path): The file.
            layer (str): See :meth:`find`.

        Returns:
            tuple[numpy.ndarray, Tensor]: The picture as the net gets it, RGB (H, W, 3) of 8 bits, and the map
            (1, C, h, w) that the mixer gets.

        Raises:
            BadPicture: The file cannot be read.
            UserError: There is no such layer; the net does not take pictures of this size.
        """
        mixer = self.mixers[self.find(layer)]
        picture, inputs = self._inputs(image)
        seen = []
        hook = mixer.register_forward_pre_hook(lambda module, args: seen.append(args[0].clone()))
        try:
            self.model.backbone(inputs)
        except ValueError as error:   # a size-bound mixer's, which names both sizes
            raise UserError(f'{self.name} cannot take {image} at {inputs.shape[-2]} x {inputs.shape[-1]}: '
                            f'{error}') from error
        finally:
            hook.remove()
        return picture, seen[0]

    def _build_plain(self, device: str | None, cfg_options: dict | None) -> None:
        if cfg_options:
            raise UserError(f'--cfg-options change a config, and {self.config} is none')
        from mmaffnet.factory import create_model
        self.model = create_model(self.config, checkpoint=self.checkpoint).to(device or get_device()).eval()
        self.size = self.size or PLAIN_SIZE

    def _inputs(self, image: str | Path) -> tuple[np.ndarray, Tensor]:
        """The picture, and what the backbone gets of it."""
        if self._loaded is None:
            picture = resized(read_rgb(image), self.size)
            inputs = torch.from_numpy(picture).permute(2, 0, 1).unsqueeze(0) / 255
            return picture, inputs.to(next(self.model.parameters()).device)
        results = self._loaded.read(image)
        if self.size is None:
            batch = pseudo_collate([self._loaded.transform(results)])
        else:
            pixels = torch.from_numpy(resized(results['img'], self.size)).permute(2, 0, 1).contiguous()
            batch = dict(inputs=[pixels], data_samples=None)
        picture = batch['inputs'][0].permute(1, 2, 0).flip(-1).numpy()   # BGR to RGB
        return picture.clip(0, 255).astype(np.uint8), self.model.data_preprocessor(batch, False)['inputs']


def short_name(name: str) -> str:
    """'layer_4.2' for 'layer_4.1.blocks.2.token_mixer'; another name as it is."""
    match = MIXER.match(name)
    return f'{match["layer"]}.{match["block"]}' if match else name


def resized(pixels: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """A picture (H, W, 3) of 8 bits at another size (H, W), antialiased."""
    return np.array(Image.fromarray(np.ascontiguousarray(pixels)).resize((size[1], size[0]), Image.Resampling.BICUBIC))
