"""``mmaffnet.create_model``: AFFNet as a plain module, from scratch or from any of its checkpoints.

Needs torch, mmengine and the cnn part of mmcv (mmcv-lite has it); no host, and no compiled operator.
"""

import ast
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmengine.logging import print_log
from torch import Tensor, nn

from .checkpoint.names import convert_backbone_key
from .checkpoint.release import ACTIVATIONS, chosen, convert_release, select_state
from .engine.errors import UserError
from .engine.released import read_source
from .engine.weights import compare, describe
from .models.plain import MODEL_NAMES, AFFNetFeatures, AFFNetModel

# What a checkpoint says about its backbone and its tensors do not show.
HIDDEN = ('variant', 'token_mixer', 'token_norm_cfg', 'act_cfg')
RELEASE = dict(variant='release', act_cfg=ACTIVATIONS['silu'],
               token_mixer=dict(type='AFF', act_cfg=ACTIVATIONS['silu']))


def create_model(name: str | dict = 'affnet_base',
                 num_classes: int = 1000,
                 features_only: bool = False,
                 checkpoint: str | Path | Mapping | None = None,
                 variant: str | None = None,
                 in_chans: int = 3,
                 out_indices: Sequence[int] = (0, 1, 2, 3, 4),
                 drop_rate: float = 0.,
                 global_pool: str = 'avg',
                 **backbone) -> nn.Module:
    """Build AFFNet as a plain ``torch.nn.Module``.

    Args:
        name (str | dict): 'affnet_et', 'affnet_t', 'affnet_base', or an ``arch`` of :class:`mmaffnet.AFFNet`.
        num_classes (int): 0 for pooled features. Defaults to 1000.
        features_only (bool): Return the maps of ``out_indices`` instead of logits. Defaults to False.
        checkpoint (str | Path | Mapping, optional): File, or what was read from one: of our runs, converted, or as the
            authors released it. Its wiring, norm and activations are used where it tells them; a released one is taken
            to be SiLU with group norm, which its tensors do not tell (docs/released_weights.md).
        variant (str, optional): 'paper' or 'release'. Defaults to the checkpoint's, without one to 'paper'.
        in_chans (int): Channels of the input. Defaults to 3.
        out_indices (Sequence[int]): Layers that ``features_only`` returns: 0 … 4, strides 2, 4, 8, 16, 32. Defaults to
            all.
        drop_rate (float): Dropout before the classifier. Defaults to 0.
        global_pool (str): 'avg', or '' for none, which needs ``num_classes=0``. Defaults to 'avg'.
        **backbone: Further arguments of :class:`mmaffnet.AFFNet`: ``drop_path_rate``, ``output_stride``, ``act_cfg`` …

    Returns:
        nn.Module: :class:`~mmaffnet.models.plain.AFFNetModel`, or with ``features_only``
        :class:`~mmaffnet.models.plain.AFFNetFeatures`; in training mode.

    Raises:
        ValueError: An argument has a value that is not allowed.
        UserError: The checkpoint cannot be read, or does not fit; the message names what does not.
    """
    if isinstance(name, str) and name not in MODEL_NAMES:
        raise ValueError(f'name must be one of {", ".join(MODEL_NAMES)}, or a dict of the sizes, got {name!r}')
    arch = MODEL_NAMES[name] if isinstance(name, str) else name
    state, told = (None, {}) if checkpoint is None else read_weights(checkpoint)
    if variant and variant != told.get('variant', variant):
        raise UserError(f'variant={variant!r} does not fit {_called(checkpoint)}, whose weights are of '
                        f'{told["variant"]!r}: leave variant out')
    backbone = {**told, **({'variant': variant} if variant else {}), **backbone}
    if features_only:
        model = AFFNetFeatures(arch, in_chans, out_indices, **backbone)
    else:
        model = AFFNetModel(arch, num_classes, in_chans, drop_rate, global_pool, **backbone)
    if state is not None:
        load_weights(model, state, _called(checkpoint))
    return model


def read_weights(checkpoint: str | Path | Mapping) -> tuple[dict[str, Tensor], dict]:
    """A checkpoint in the names of :class:`~mmaffnet.models.plain.AFFNetModel`.

    Args:
        checkpoint (str | Path | Mapping): A file, or what was read from one.

    Returns:
        tuple[dict[str, Tensor], dict]: The tensors, and what it tells of the backbone's wiring, norm and activations.

    Raises:
        UserError: It cannot be read, or is of no AFFNet.
    """
    source = checkpoint if isinstance(checkpoint, Mapping) else read_source(checkpoint)
    held = source.get('state_dict') if isinstance(source, Mapping) else None
    try:
        # An mmengine checkpoint has the averaged weights under state_dict, and the trained ones beside it.
        state, _, _ = select_state(held if isinstance(held, Mapping) else source)
        if any(convert_backbone_key(key.removeprefix('encoder.')) for key in state):
            return _released(source)
    except (KeyError, ValueError) as error:
        raise UserError(f'{_called(checkpoint)} is no checkpoint of AFFNet: {error.args[0]}') from error
    if not any(key.startswith('backbone.') for key in state):   # of a backbone alone
        state = {f'backbone.{key}': value for key, value in state.items()}
    return state, _told_by(source.get('meta') or {})


def load_weights(model: nn.Module, state: Mapping[str, Tensor], name: str) -> None:
    """Load tensors into a model; what it has no place for by its construction is left, and a printed line says so.

    Args:
        model (nn.Module): Made by :func:`create_model`, changed in place.
        state (Mapping[str, Tensor]): See :func:`read_weights`.
        name (str): What messages call the checkpoint.

    Raises:
        UserError: A tensor is missing, unknown, or of another shape; a classifier for another number of classes is
            replaced by a fresh one instead.
    """
    target = model.state_dict()
    without_head = not any(key.startswith('head.') for key in target)
    parts = {key.split('.')[1] for key in target if key.startswith('backbone.')}
    layers = {f'layer_{k}' for k in range(1, 6)} | {'conv_1x1_exp'}
    features_only = isinstance(model, AFFNetFeatures)

    def left(key: str) -> bool:
        part = key.split('.')
        if part[0] == 'backbone':
            return features_only and part[1] in layers - parts
        return part[0] == 'head' and without_head or features_only   # a detector's or segmentor's own parts

    unused = sorted({'.'.join(key.split('.')[:2]) for key in state if left(key)})
    inside = {key: value for key, value in state.items() if not left(key)}
    missing, unexpected, mismatched = compare(target, inside)
    if 'head.fc.weight' in mismatched and set(mismatched) <= {'head.fc.weight', 'head.fc.bias'}:
        (rows, columns), (wanted, width) = mismatched['head.fc.weight']
        if columns == width:
            print_log(f'{name}: its classifier has {rows} classes, the model {wanted}: a fresh classifier stays in it')
            inside = {key: value for key, value in inside.items() if key not in mismatched}
            mismatched = {}
    if missing or unexpected or mismatched:
        hint = '; num_classes=0 and reset_classifier(n) need no classifier in the file' \
            if any(key.startswith('head.') for key in missing) else ''
        raise UserError(f'{name} does not fit the model: {describe(missing, unexpected, mismatched)}{hint}')
    if unused:
        print_log(f'{name}: not used: {", ".join(unused)}')
    model.load_state_dict(inside, strict=False)   # what is missing was checked above


def _released(source: Mapping) -> tuple[dict[str, Tensor], dict]:
    weights = convert_release(source)
    if weights.left:
        print_log(chosen(weights))
    print_log("released layout: taken to be variant 'release' with SiLU and group norm, which the tensors do not tell")
    return weights.state_dict, dict(RELEASE)


def _told_by(meta: Mapping) -> dict:
    """Arguments of the backbone that a checkpoint of ours names: the converter's, or its run's config."""
    told = meta.get('model') or {}
    if isinstance(told, str):   # in safetensors
        told = json.loads(told)
    text = meta.get('cfg') or meta.get('cfg_text')
    if not told and isinstance(text, str):
        try:
            told = _literal_assignment(text, 'model') or {}
        except (SyntaxError, ValueError) as error:   # no config that mmengine wrote
            print_log(f'the config in the checkpoint cannot be read ({error}): what it says of variant, norm and '
                      'activations is not used')
    backbone = told.get('backbone')
    if not backbone:
        return {}
    return {'variant': 'paper', **{key: backbone[key] for key in HIDDEN if backbone.get(key) is not None}}


def _literal_assignment(text: str, name: str):
    """The value of a variable of a config's text, which is read and not run: literals and ``dict(…)`` only."""
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], 'id', None) == name:
            return _literal(node.value)
    return None


def _literal(node: ast.expr):
    if isinstance(node, ast.Call) and getattr(node.func, 'id', None) == 'dict':
        return {word.arg: _literal(word.value) for word in node.keywords}
    if isinstance(node, ast.Dict):
        return {ast.literal_eval(key): _literal(value) for key, value in zip(node.keys, node.values, strict=True)}
    if isinstance(node, ast.List | ast.Tuple):
        return [_literal(item) for item in node.elts]
    return ast.literal_eval(node)


def _called(checkpoint: str | Path | Mapping) -> str:
    return 'the checkpoint' if isinstance(checkpoint, Mapping) else f'checkpoint {checkpoint}'
