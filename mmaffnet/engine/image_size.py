"""Put a config's top-level ``image_size`` where transforms and the data preprocessor read it."""
from .errors import UserError

SIZE_KEYS = ('crop_size', 'pad_size_divisor', 'scale', 'size')
PARTS = ('model', 'train_dataloader', 'val_dataloader', 'test_dataloader', 'tta_pipeline')


def apply_image_size(cfg, former_sizes):
    """Change the side of the network's square input in all that was written with the variable; idempotent.

    mmengine copies the variable's value into pipelines while it reads the file that uses it, so that a config that
    inherits and changes it, or ``--cfg-options image_size=512``, would change nothing. Sizes that the variable never
    had are left as they are.

    Args:
        cfg (Config): Changed in place; one that has no ``image_size``, or one of another kind, stays as it is.
        former_sizes (set): What the variable was in the config's files.

    Raises:
        UserError: Where ``image_size`` is no number of pixels.
    """
    size = cfg.get('image_size')
    former_sizes = {former for former in former_sizes if isinstance(former, int)} - {size}
    if size is None or not former_sizes:
        return
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise UserError(f'image_size is {size!r}; it must be the side of the square input in pixels, such as 640')
    for part in PARTS:
        _resize(cfg.get(part), former_sizes, size)


def _resize(node, former_sizes, size):
    if isinstance(node, dict):
        for key in SIZE_KEYS:
            if _side(node.get(key)) in former_sizes:
                node[key] = size if isinstance(node[key], int) else (size, size)
        node = list(node.values())
    if isinstance(node, list | tuple):
        for child in node:
            _resize(child, former_sizes, size)


def _side(value):
    """The side of a square, given as one number or as two equal ones."""
    if isinstance(value, list | tuple) and len(value) == 2 and value[0] == value[1]:
        value = value[0]
    return value if isinstance(value, int) else None
