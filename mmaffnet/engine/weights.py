"""Compare a file's tensors with a model's before they are loaded: nothing is dropped or kept without a word."""
from pathlib import Path

from mmengine.model import is_model_wrapper
from mmengine.model.test_time_aug import BaseTTAModel
from mmengine.runner import CheckpointLoader

from .errors import UserError, say
from .safe_load import register_safe_schemes

COUNTER = 'num_batches_tracked'  # BatchNorm's counter: old and converted files lack it, and nothing here reads it


def read_checkpoint(path, purpose):
    """Load a checkpoint on the CPU, running nothing of it (:mod:`mmaffnet.engine.safe_load`).

    Args:
        path (str): A file, or an address that mmengine knows.
        purpose (str): What it is for, as the user named it ('checkpoint', 'pretrained', 'load_from').

    Returns:
        dict: With the keys ``state_dict`` and ``meta``; a bare state dict is put into that form.

    Raises:
        UserError: Where the file is missing, damaged, refused or is no checkpoint.
    """
    check_file(path, purpose)
    register_safe_schemes()
    try:
        checkpoint = CheckpointLoader.load_checkpoint(str(path), map_location='cpu')
    except UserError as error:
        raise UserError(f'{purpose} {error}') from error
    except Exception as error:  # what storage backends raise is of many kinds, all about this one file
        raise UserError(f'{purpose} {path} cannot be read as a checkpoint: {type(error).__name__}: '
                        f'{" ".join(str(error).split())[:200]}') from error
    return normalised(checkpoint, path, purpose)


def check_file(path, purpose):
    """Refuse a local file that is not there.

    Args:
        path (str): A file, or an address that mmengine knows (left to it).
        purpose (str): What it is for, as the user named it.

    Raises:
        UserError: Saying where it was looked for and how to get one.
    """
    if '://' in str(path) or Path(path).expanduser().is_file():
        return
    how = {
        'pretrained': 'no trained weights are published yet; pretrained=None trains from scratch, and any checkpoint '
                      'that tools/train.py wrote can stand here',
        'resume': 'give a checkpoint of this run, or --resume alone for the newest in its work directory',
    }.get(purpose, 'tools/train.py writes checkpoints into its work directory as epoch_N.pth or iter_N.pth')
    raise UserError(f'{purpose} {path} not found (looked for {Path(path).expanduser().absolute()}): {how}')


def normalised(checkpoint, path, purpose):
    """Bring a checkpoint into mmengine's form, in place.

    Args:
        checkpoint (dict): A checkpoint of mmengine, or a bare state dict.
        path (str): Where it is from, for the message.
        purpose (str): What it is for, for the message.

    Returns:
        dict: The same object with ``state_dict`` (no ``module.`` prefix of a parallel wrapper) and ``meta``.

    Raises:
        UserError: Where it holds no tensors.
    """
    if not isinstance(checkpoint, dict):
        raise UserError(f'{purpose} {path} holds a {type(checkpoint).__name__}, not a dict of tensors')
    if 'state_dict' not in checkpoint:
        tensors = dict(checkpoint)
        checkpoint.clear()
        checkpoint['state_dict'] = tensors
    checkpoint.setdefault('meta', {})
    state = checkpoint['state_dict']
    if not state or not all(hasattr(value, 'shape') for value in state.values()):
        raise UserError(f'{purpose} {path} has no tensors under "state_dict", and is no dict of tensors itself')
    for key in [key for key in state if key.startswith('module.')]:
        state[key.removeprefix('module.')] = state.pop(key)
    return checkpoint


def load_backbone(backbone, path):
    """Load pretrained weights into a backbone; every one of its tensors must be in the file with its shape.

    Args:
        backbone (torch.nn.Module): Changed in place.
        path (str): A classifier, detector or segmentor checkpoint (tensors below ``backbone.`` are taken) or a bare
            state dict of a backbone. Parts that this backbone does not have (``conv_1x1_exp``, a classifier) are
            dropped, and named in the line that is printed.

    Returns:
        int: Number of tensors loaded.

    Raises:
        UserError: Where a tensor is missing, has another shape, or belongs to a deeper part of the same kind.
    """
    checkpoint = read_checkpoint(path, 'pretrained')
    state = checkpoint['state_dict']
    inside = {key.removeprefix('backbone.'): value for key, value in state.items() if key.startswith('backbone.')}
    dropped = [key for key in state if inside and not key.startswith('backbone.')]
    inside = inside or dict(state)
    parts = {name for name, _ in backbone.named_children()}
    foreign = [key for key in inside if key.split('.')[0] not in parts]
    dropped += foreign
    inside = {key: value for key, value in inside.items() if key not in foreign}

    missing, unexpected, mismatched = compare(backbone.state_dict(), inside)
    if missing or unexpected or mismatched:
        raise UserError(f'pretrained {path} does not fit the backbone {type(backbone).__name__}: '
                        f'{describe(missing, unexpected, mismatched)}; use weights of the same arch and variant')
    backbone.load_state_dict(inside, strict=False)  # only counters can be missing now
    say(f'pretrained: {len(inside)} of {len(backbone.state_dict())} backbone tensors loaded from {path}'
        + (f'; not used: {_summary(dropped)}' if dropped else ''))
    return len(inside)


def fit_checkpoint(model, checkpoint, path, reinit_classes, num_old=None, num_new=None):
    """Make a checkpoint fit a model, or say why it does not.

    Args:
        model (torch.nn.Module): The model, wrapped or not.
        checkpoint (dict): Normalised; tensors that depend on the classes are replaced in place by the model's own
            (freshly initialised) where ``reinit_classes`` allows it.
        path (str): Where it is from, for messages.
        reinit_classes (bool): Whether another number of classes is allowed (fine-tuning) or a mistake (testing).
        num_old (int | None): Number of classes in the file, None where it does not say.
        num_new (int | None): Number of classes of the model.

    Returns:
        list[str]: Names of the tensors that were not taken from the file (whole or in part).

    Raises:
        UserError: Where anything else differs.
    """
    model = unwrap(model)
    state = checkpoint['state_dict']
    target = model.state_dict()
    missing, unexpected, mismatched = compare(target, state)
    by_class = [key for key in mismatched if _depends_on_classes(key, state[key], target[key], num_old, num_new)]
    if missing or unexpected or (mismatched and not (reinit_classes and len(by_class) == len(mismatched))):
        classes = f' (the file was trained on {num_old} classes, the model has {num_new})' \
            if num_old and num_new and num_old != num_new else ''
        raise UserError(f'checkpoint {path} does not fit the model{classes}: '
                        f'{describe(missing, unexpected, mismatched)}; '
                        + ('give the classes that it was trained on (classes=…)' if classes and not reinit_classes else
                           'use the config that it was trained with, or for the backbone alone pretrained=FILE'))
    for key in by_class:
        state[key] = _class_free_rows(model, key, state[key], target[key], num_old, num_new)
    return by_class


def compare(target, state):
    """Compare names and shapes.

    Args:
        target (dict[str, torch.Tensor]): The model's tensors.
        state (dict[str, torch.Tensor]): The file's.

    Returns:
        tuple[list[str], list[str], dict[str, tuple]]: Missing in the file, unexpected in it, and those of another
        shape with (shape in file, shape in model).
    """
    missing = [key for key in target if key not in state and not key.endswith(COUNTER)]
    unexpected = [key for key in state if key not in target]
    mismatched = {key: (tuple(state[key].shape), tuple(value.shape)) for key, value in target.items()
                  if key in state and state[key].shape != value.shape}
    return missing, unexpected, mismatched


def describe(missing, unexpected, mismatched):
    """str: The first few differences found by :func:`compare`, in words."""
    shapes = [f'{key} {there} instead of {here}' for key, (there, here) in mismatched.items()]
    parts = [(missing, 'missing in the file'), (unexpected, 'unknown to the model'), (shapes, 'of another shape')]
    return '; '.join(f'{len(names)} tensors {what} ({", ".join(names[:3])}{", …" if len(names) > 3 else ""})'
                     for names, what in parts if names)


def unwrap(model):
    """torch.nn.Module: The model inside wrappers for parallel training and test-time augmentation."""
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model


def _depends_on_classes(key, there, here, num_old, num_new):
    """Whether a difference of shape is what another number of classes makes: more or fewer rows of a head's layer."""
    if key.startswith(('backbone.', 'neck.')) or there.shape[1:] != here.shape[1:] or num_new is None:
        return False
    if num_old is None:
        return True
    return num_old != num_new and (len(here) - len(there)) % (num_new - num_old) == 0


def _class_free_rows(model, key, there, here, num_old, num_new):
    """The model's own values, but the box rows of the file where one layer predicts classes and boxes."""
    merged = here.detach().clone().cpu()
    if key.startswith('bbox_head.pred_convs.') and type(model.bbox_head).__name__ == 'SSDLiteHead':
        # SSDLiteHead.forward: class rows of all anchors first, then 4 rows for each anchor.
        boxes = 4 * model.bbox_head.num_base_priors[int(key.split('.')[2])]
        merged[-boxes:] = there[-boxes:]
    return merged


def _summary(keys):
    counts = {}
    for key in keys:
        counts[key.split('.')[0]] = counts.get(key.split('.')[0], 0) + 1
    return ', '.join(f'{part} ({count})' for part, count in counts.items())
