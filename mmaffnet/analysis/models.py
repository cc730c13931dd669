"""Models of our configs, built by their hosts' registries, and counted."""

import contextlib
import copy
import logging
from pathlib import Path

from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from mmaffnet.engine.config import HOSTS, import_host, load_config
from mmaffnet.engine.errors import UserError

from .counting import Complexity, count

# Transforms that set a picture's size; Pad comes on top of them.
RESIZING = ('RandomResizedCrop', 'Resize', 'ResizeEdge', 'RandomCrop', 'CenterCrop')


class HostMissing(UserError):
    """A config's host cannot be imported: rows that need it say so, and the rest of a table stands."""


def read_config(name: str | Path) -> tuple[Config, str]:
    """A config with its host imported.

    Args:
        name (str | Path): Path or shipped name.

    Returns:
        tuple[Config, str]: The config, and the host's name.

    Raises:
        HostMissing: The host that the config names cannot be imported.
        UserError: The config is missing or cannot be read.
    """
    cfg = load_config(name)
    if cfg.get('default_scope') not in HOSTS:
        return cfg, import_host(cfg)   # which says what is wrong with it
    try:
        with DefaultScope.overwrite_default_scope(cfg.default_scope):   # the host would make its own the default
            return cfg, import_host(cfg)
    except UserError as error:
        raise HostMissing(str(error)) from error


def build(cfg: Config, scope: str) -> nn.Module:
    """Build the model of a config, in evaluation mode and with SyncBN as plain BN, so that it runs anywhere.

    Args:
        cfg (Config): See :func:`read_config`; it is not changed.
        scope (str): Its host.

    Returns:
        nn.Module: With fresh weights, not initialised as ``init_cfg`` says.
    """
    with DefaultScope.overwrite_default_scope(scope), quiet():
        model = MODELS.build(copy.deepcopy(cfg.model))
    return revert_sync_batchnorm(model).eval()


@contextlib.contextmanager
def quiet():
    """Keep what libraries log while they build a model out of a table."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        yield
    finally:
        logging.disable(before)


def input_size(cfg: Config, part: str = 'test') -> int:
    """Side that a config's pipeline gives a square picture, as the model sees it.

    Args:
        cfg (Config): With data loaders.
        part (str): Whose pipeline: 'test', in whose size costs are given (YOLOX trains on larger pictures than it is
            evaluated on), or 'train'. Defaults to 'test'.

    Returns:
        int: The side in pixels. A picture that is not square, and keeps its shape, has another size.

    Raises:
        UserError: The pipeline fixes no square size.
    """
    size = None
    for step in cfg[f'{part}_dataloader'].dataset.pipeline:
        kind = step['type'].split('.')[-1]
        if kind in RESIZING:
            size = step.get('scale', step.get('crop_size'))
            if step.get('keep_ratio') and isinstance(size, list | tuple):
                size = min(size)   # fitted into a box of that width and height, or its transpose
        elif kind == 'Pad' and step.get('size'):
            size = step['size']
        elif kind == 'Pad' and step.get('size_divisor') and isinstance(size, int):
            size += -size % step['size_divisor']
    side = {size} if isinstance(size, int) else set(size or ())
    if len(side) != 1:
        raise UserError(f'the {part} pipeline of {cfg.filename} sets no square input size, but {size!r}')
    return side.pop()


def count_config(name: str | Path, size: int | None = None, counter: str | None = None) -> Complexity:
    """Count the model of a config: what the tables print and the model index claims.

    A detector's and segmentor's multiply-adds end with the head's maps: anchors, non-maximum suppression and the
    enlargement to the picture are not among them; a segmentor's auxiliary head counts in neither figure.

    Args:
        name (str | Path): Path or shipped name of a config.
        size (int, optional): Side of the picture. Defaults to the one that the config is evaluated on.
        counter (str, optional): See :func:`mmaffnet.analysis.counting.count`.

    Returns:
        Complexity: The counts.

    Raises:
        UserError: The config cannot be read, or its host is missing.
    """
    cfg, scope = read_config(name)
    return count(build(cfg, scope), size or input_size(cfg), counter)
