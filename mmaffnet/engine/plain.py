"""Checkpoints as plain data: what we write loads with ``torch.load(f, weights_only=True)`` where only torch is known.

mmengine pickles its own classes (HistoryBuffer), numpy's and whatever a hook or data set left in the state. Here these
become dicts with a tag and tensors, and come back exactly; what cannot is an error while saving, not while resuming.
"""
from collections import OrderedDict
from pathlib import PurePath
from types import FunctionType

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer

from mmaffnet.registry import HOOKS

from .errors import UserError

TAG = '__mmaffnet__'  # the key that marks a dict as the plain form of something else
TENSORS = (torch.Tensor, torch.nn.Parameter)
# Written as they are: torch's weights-only reader knows them since torch 2.4.
ATOMS = (type(None), bool, int, float, str, torch.dtype, torch.Size)

# What is neither a container nor an array: (name of the tag, to plain parts, back).
TAGGED = {
    set: ('set', list, set),
    frozenset: ('frozenset', list, frozenset),
    range: ('range', lambda value: [value.start, value.stop, value.step], lambda parts: range(*parts)),
    slice: ('slice', lambda value: [value.start, value.stop, value.step], lambda parts: slice(*parts)),
    complex: ('complex', lambda value: [value.real, value.imag], lambda parts: complex(*parts)),
    torch.device: ('device', lambda value: [str(value)], lambda parts: torch.device(*parts)),
    bytes: ('bytes', list, bytes),
    bytearray: ('bytearray', list, bytearray),
}
BACK = {name: back for name, _, back in TAGGED.values()}


def to_plain(checkpoint):
    """Copy a checkpoint as plain data; tensors are shared, containers are new.

    Args:
        checkpoint (dict): As ``Runner.save_checkpoint`` builds it.

    Returns:
        dict: Of tensors, None, bool, int, float, str, torch's dtypes and sizes, in dicts, ordered dicts, lists and
        tuples. numpy scalars become Python's, paths strings, ``ConfigDict`` a dict; arrays, histories, sets, bytes,
        complex numbers, devices, ranges and slices become tagged dicts that :func:`from_plain` turns back.

    Raises:
        UserError: Where something is none of these; names its keys and its type.
    """
    return _Writer().plain(_without_functions(checkpoint), ())


def from_plain(checkpoint):
    """Turn the tagged dicts of :func:`to_plain` back, in place; other checkpoints stay as they are.

    Args:
        checkpoint (dict): As read from a file, on any device.

    Returns:
        dict: The same object.

    Raises:
        UserError: Where a tag is unknown or does not hold what its kind needs.
    """
    return _restored(checkpoint, ())


class _Writer:
    """One walk: an object met twice stays one object, as in pickle; one that holds itself is refused."""

    def __init__(self):
        self.done, self.open = {}, set()

    def plain(self, value, path):
        if type(value) in ATOMS or type(value) in TENSORS:
            return value
        if isinstance(value, np.generic):
            return self._scalar(value, path)
        if isinstance(value, PurePath):
            return str(value)
        if id(value) in self.open:
            raise UserError(f'the checkpoint cannot be saved: {_name(path)} contains itself')
        if id(value) not in self.done:
            self.open.add(id(value))
            # The original is kept too, so that its id stays its own during the walk.
            self.done[id(value)] = self._compound(value, path), value
            self.open.remove(id(value))
        return self.done[id(value)][0]

    def _scalar(self, value, path):
        item = value.item()
        if isinstance(item, np.generic):  # longdouble, void
            raise _not_plain(value, path)
        return self.plain(item, path)

    def _compound(self, value, path):
        if type(value) in (dict, OrderedDict, ConfigDict):
            return self._dict(value, path)
        if type(value) in (list, tuple):
            return type(value)(self.plain(item, (*path, index)) for index, item in enumerate(value))
        if type(value) in TAGGED:
            name, parts, _ = TAGGED[type(value)]
            return {TAG: name, 'parts': [self.plain(item, path) for item in parts(value)]}
        if type(value) is HistoryBuffer:
            log, count = value.data
            return {TAG: 'HistoryBuffer', 'log': self.plain(log, path), 'count': self.plain(count, path),
                    'max_length': self.plain(value.max_length, path)}
        if type(value) is np.ndarray:
            return _plain_array(value, path)
        raise _not_plain(value, path)

    def _dict(self, value, path):
        if TAG in value:
            raise UserError(f'the checkpoint cannot be saved: {_name(path)} has the key {TAG}, which marks what '
                            'mmaffnet writes itself: rename it')
        plain = OrderedDict() if type(value) is OrderedDict else {}
        for key, item in value.items():
            plain[self._key(key, path)] = self.plain(item, (*path, key))
        if type(value) is OrderedDict:  # a model's state dict carries its versions as the attribute _metadata
            for name, item in vars(value).items():
                setattr(plain, name, self.plain(item, (*path, name)))
        return plain

    def _key(self, key, path):
        plain = self.plain(key, (*path, f'key {key!r}'))
        if isinstance(plain, dict):  # a tag: no longer something that can be a key
            raise _not_plain(key, (*path, f'key {key!r}'))
        return plain


def _without_functions(checkpoint):
    """Leave out the functions that some schedulers (OneCycleLR) keep beside their state: building sets them anew."""
    def stripped(part):
        if isinstance(part, dict):
            return {key: stripped(value) for key, value in part.items() if not isinstance(value, FunctionType)}
        return [stripped(item) for item in part] if isinstance(part, list) else part

    if 'param_schedulers' not in checkpoint:
        return checkpoint
    return {**checkpoint, 'param_schedulers': stripped(checkpoint['param_schedulers'])}


def _plain_array(array, path):
    """The tensor of an array, or a list where torch has no such type (text); with its numpy type beside it."""
    if array.dtype.kind == 'U':
        return {TAG: 'ndarray', 'dtype': array.dtype.str, 'values': array.tolist()}
    try:
        # A copy in C order and in this machine's byte order: torch takes neither another nor a read-only one.
        values = torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder('='), order='C'))
    except TypeError as error:  # object, datetime, structured: torch has no such type
        raise _not_plain(array, path) from error
    return {TAG: 'ndarray', 'dtype': array.dtype.str, 'values': values}


def _restored(value, path):
    if type(value) in (dict, OrderedDict):
        for key, item in value.items():
            value[key] = _restored(item, (*path, key))
        return _untagged(value, path) if TAG in value else value
    if type(value) is list:
        value[:] = [_restored(item, (*path, index)) for index, item in enumerate(value)]
    elif type(value) is tuple:
        parts = tuple(_restored(item, (*path, index)) for index, item in enumerate(value))
        return value if all(old is new for old, new in zip(value, parts, strict=True)) else parts
    return value


def _untagged(value, path):
    kind = value[TAG]
    try:
        if kind == 'HistoryBuffer':
            return HistoryBuffer(value['log'], value['count'], value['max_length'])
        if kind == 'ndarray':
            values, dtype = value['values'], np.dtype(value['dtype'])
            return values.cpu().numpy().astype(dtype) if isinstance(values, torch.Tensor) else np.array(values, dtype)
        return BACK[kind](value['parts'])
    except (KeyError, TypeError, ValueError, AttributeError, AssertionError, RuntimeError) as error:
        raise UserError(f'the checkpoint is damaged: {_name(path)} is marked as {kind!r}, which this version of '
                        'mmaffnet does not know or which lacks its parts; take another checkpoint, or a newer '
                        'mmaffnet') from error


def _not_plain(value, path):
    kind = f'{type(value).__module__}.{type(value).__qualname__}'
    detail = f' of {value.dtype}' if isinstance(value, np.ndarray) else ''
    return UserError(f'the checkpoint cannot be saved: {_name(path)} is a {kind}{detail}, but a checkpoint holds '
                     'tensors, numbers, text, and dicts, lists and tuples of them (arrays and histories too); take it '
                     'out, or store it as one of these')


def _name(path):
    return '.'.join(map(str, path)) or 'its top level'


@HOOKS.register_module()
class PlainCheckpointHook(Hook):
    """Make every checkpoint plain data, after all other hooks have put their part into it."""

    priority = 'LOWEST'

    def before_save_checkpoint(self, runner, checkpoint):
        """Replace the checkpoint's contents by their plain form.

        Args:
            runner (Runner): The run.
            checkpoint (dict): Changed in place; nothing below it is.

        Raises:
            UserError: See :func:`to_plain`.
        """
        plain = to_plain(checkpoint)
        checkpoint.clear()
        checkpoint.update(plain)


@HOOKS.register_module()
class RestoreCheckpointHook(Hook):
    """Turn plain data back, before any other hook reads the checkpoint (mmengine gives a hook one place in the row)."""

    priority = 'HIGHEST'

    def after_load_checkpoint(self, runner, checkpoint):
        """Restore histories, arrays and the like.

        Args:
            runner (Runner): The run.
            checkpoint (dict): Changed in place.
        """
        from_plain(checkpoint)
