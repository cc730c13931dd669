"""The converter of the authors' released checkpoints: read one, convert it, write it with its provenance."""

import hashlib
import io
import json
from pathlib import Path

import torch

from mmaffnet.checkpoint.release import ACTIVATIONS, NORMS, ReleasedWeights, chosen, convert_release
from mmaffnet.version import __version__

from .atomic import write_atomically
from .errors import UserError, say
from .paths import find_config
from .safe_file import load_file

# The shipped config that each task's snippet builds on; segmentors by their number of classes.
CONFIGS = {
    'classification': 'imagenet/affnet-{}_8xb128-300e_in1k-256px.py',
    'detection': 'ssdlite/ssdlite_affnet-{}_8xb16-200e_coco.py',
    'segmentation': 'deeplabv3/deeplabv3_affnet-{}_8xb16-50e_voc12aug-coco-512x512.py',
    'segmentation 150': 'deeplabv3/deeplabv3_affnet-{}_8xb2-120e_ade20k-512x512.py',
}


def add_released_arguments(parser):
    """Add the arguments of ``tools/model_converters/affnet_to_mmaffnet.py``.

    Args:
        parser (argparse.ArgumentParser): Changed in place.
    """
    parser.add_argument('src', metavar='SRC', help="the authors' checkpoint: a .pt file that their trainer wrote")
    parser.add_argument('dst', metavar='DST', help='file to write: .pth, or .safetensors')
    parser.add_argument('--token-norm', choices=tuple(NORMS), default='gn',
                        help="norm of the AFF blocks: gn, the release's layer_norm_2d (default), or channel, its "
                             'layer_norm; the tensors do not tell')
    parser.add_argument('--act', choices=tuple(ACTIVATIONS), default='silu',
                        help='activation of convolutions and mask alike (default: silu); the tensors do not tell')
    parser.add_argument('--safetensors', nargs='?', const='', metavar='FILE',
                        help='write safetensors too (default: DST with that suffix)')


def convert_file(src, dst, token_norm='gn', act='silu', safetensors=None):
    """Convert a released checkpoint file, and print what it is and how to load it.

    Args:
        src (str | Path): The authors' file.
        dst (str | Path): ``.safetensors`` for that format, any other suffix for torch's, which mmengine reads.
        token_norm (str): 'gn' or 'channel'; neither this nor ``act`` can be told from the tensors.
        act (str): 'silu' or 'relu', of convolutions and mask alike.
        safetensors (str | Path | None): A further file to write; '' for ``dst`` with the suffix ``.safetensors``.

    Returns:
        dict: What was written: ``state_dict`` and ``meta``.

    Raises:
        UserError: The source cannot be read, needs more than tensors, or is not what was released.
    """
    src, dst = Path(src), Path(dst)
    targets = [dst] if safetensors is None else [dst, Path(safetensors or dst.with_suffix('.safetensors'))]
    if src.resolve() in [target.resolve() for target in targets]:
        raise UserError(f'{src} is source and target: give another name to write to')
    source = read_source(src)
    try:
        weights = convert_release(source)
    except (KeyError, ValueError) as error:
        raise UserError(f'{src} is no released AFFNet checkpoint that can be converted: {error.args[0]}') from error
    state = {key: value.detach().clone(memory_format=torch.contiguous_format)   # a view would save all it is a view of
             for key, value in weights.state_dict.items()}
    meta = provenance(weights, src, token_norm, act)
    checkpoint = dict(meta=meta, state_dict=state)
    for target in dict.fromkeys(targets):
        write_atomically(target, serialised(checkpoint, as_safetensors=target.suffix == '.safetensors'))
    _report(weights, src, list(dict.fromkeys(targets)), meta)
    return checkpoint


def read_source(path):
    """Read a checkpoint without running anything of it.

    Args:
        path (str | Path): A file of ``torch.save``, or ``.safetensors``.

    Returns:
        object: What it holds, on the CPU.

    Raises:
        UserError: The file is missing, damaged, or needs more than tensors and plain containers.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f'checkpoint {path} not found (looked for {path.absolute()})')
    return load_file(path, 'cpu')


def serialised(checkpoint, as_safetensors=False):
    """A checkpoint as the bytes of a file.

    Args:
        checkpoint (dict): ``state_dict`` and ``meta``.
        as_safetensors (bool): Or in torch's format. Safetensors knows strings only: other values are JSON there.

    Returns:
        bytes: The file.

    Raises:
        UserError: The package safetensors is missing.
    """
    if not as_safetensors:
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        return buffer.getvalue()
    meta = {key: value if isinstance(value, str) else json.dumps(value) for key, value in checkpoint['meta'].items()}
    return _safetensors().torch.save(checkpoint['state_dict'], metadata=meta)


def provenance(weights, src, token_norm, act):
    """What DST says about itself.

    Args:
        weights (ReleasedWeights): The converted weights.
        src (Path): The authors' file.
        token_norm (str): 'gn' or 'channel'.
        act (str): 'silu' or 'relu'.

    Returns:
        dict: Plain values: where the weights are from, what was told, what was chosen, the config (``model``), and
        ``dataset_meta`` where the number of classes is that of a known set whose host is installed.
    """
    meta = dict(
        source=src.name, source_sha256=hashlib.sha256(src.read_bytes()).hexdigest(), source_part=weights.part,
        variant='release', norm=token_norm, activation=act, task=weights.task, arch=weights.arch,
        num_classes=weights.num_classes, mmaffnet_version=__version__, model=model_config(weights, token_norm, act))
    known = known_classes(weights.task, weights.num_classes)
    return dict(meta, dataset_meta=known) if known else meta


def model_config(weights: ReleasedWeights, token_norm='gn', act='silu'):
    """What a config of ours must say for these weights.

    Args:
        weights (ReleasedWeights): The converted weights.
        token_norm (str): 'gn' or 'channel'.
        act (str): 'silu' or 'relu'.

    Returns:
        dict: ``model`` of a config that inherits from one of our recipes.
    """
    for name, value, allowed in (('token_norm', token_norm, NORMS), ('act', act, ACTIVATIONS)):
        if value not in allowed:
            raise UserError(f'{name} must be one of {", ".join(allowed)}, got {value!r}')
    backbone = dict(weights.model['backbone'], variant='release', act_cfg=dict(ACTIVATIONS[act]),
                    token_mixer=dict(type='AFF', act_cfg=dict(ACTIVATIONS[act])),
                    token_norm_cfg=dict(NORMS[token_norm]))
    return dict(weights.model, backbone=backbone)


def snippet(weights: ReleasedWeights, model):
    """A config file that loads the weights.

    Args:
        weights (ReleasedWeights): The converted weights.
        model (dict): See :func:`model_config`.

    Returns:
        str: Its text: our recipe of the task and size as base, and ``model``.
    """
    from mmengine.config import Config
    arch = weights.arch
    if isinstance(arch, dict):   # stands in the place of a name, which a dict cannot inherit from
        model = dict(model, backbone=dict(model['backbone'], arch=dict(arch, _delete_=True)))
    key = f'{weights.task} {weights.num_classes}'
    base = CONFIGS.get(key, CONFIGS[weights.task]).format(arch if isinstance(arch, str) else 'base')
    return f'_base_ = {str(find_config(base))!r}\n\n' + Config(dict(model=model)).pretty_text


def known_classes(task, num_classes):
    """Names of the classes of the set that the release was trained on, in the order of its outputs.

    Args:
        task (str): 'classification', 'detection' or 'segmentation'.
        num_classes (int): What the checkpoint has.

    Returns:
        dict | None: ``classes``, and ``palette`` where the host has one; None where the number is another set's, or
        the host that knows the names is not installed.
    """
    try:
        if (task, num_classes) == ('classification', 1000):
            from mmpretrain.datasets.categories import IMAGENET_CATEGORIES
            meta = dict(classes=IMAGENET_CATEGORIES)
        elif (task, num_classes) == ('detection', 80):
            from mmdet.datasets import CocoDataset
            meta = CocoDataset.METAINFO
        elif (task, num_classes) == ('segmentation', 21):
            from mmseg.datasets import PascalVOCDataset
            meta = PascalVOCDataset.METAINFO
        elif (task, num_classes) == ('segmentation', 150):
            from mmseg.datasets import ADE20KDataset
            meta = ADE20KDataset.METAINFO
        else:
            return None
    except ImportError as error:
        say(f'names of the {num_classes} classes: left out, since they are its host\'s, which cannot be imported '
            f'({error})')
        return None
    palette = {'palette': [tuple(colour) for colour in meta['palette']]} if 'palette' in meta else {}
    return dict(classes=tuple(meta['classes']), **palette)


def _report(weights, src, targets, meta):
    if weights.left:
        say(chosen(weights))
    size = weights.arch if isinstance(weights.arch, str) else 'of its own size'
    say(f'{src}: {weights.task}, AFFNet {size}, {weights.num_classes} classes, '
        f'{len(weights.state_dict)} tensors; norm {meta["norm"]}, activation {meta["activation"]} (chosen, the tensors '
        'do not tell: docs/released_weights.md)')
    say('written: ' + ', '.join(map(str, targets)))
    stride = ' (its output stride and rates are the config\'s: the tensors do not tell)' \
        if weights.task == 'segmentation' else ''
    say(f'config to load it with{stride}:\n\n{snippet(weights, meta["model"])}')


def _safetensors():
    try:
        import safetensors.torch
    except ImportError as error:
        raise UserError('safetensors files need the package safetensors: pip install safetensors') from error
    return safetensors
