"""Turn what torch's weights-only unpickler gave into plain values: checked numpy arrays, scalars and histories.

numpy's own ways back from a pickle trust the file's sizes and types, so they are not used: the bytes are taken where
type, shape and length agree.
"""
import re
from collections import Counter, OrderedDict
from math import prod

import numpy as np
import torch

from .safe_pickle import HISTORY_BUFFER, RECONSTRUCT, RECORDERS, SCALAR, Recorder, Refused, check_statistic

MAX_DEPTH = 100  # containers in containers; a checkpoint of mmengine has about ten
PLAIN = (str, int, float, bool, type(None), bytes, bytearray, complex, torch.Size, torch.dtype, torch.device)
DTYPE = re.compile(r'b1|[iu][1248]|f(2|4|8|16)|c(8|16|32)|[SU][1-9]\d{0,5}')  # no objects, records or dates


def settle(value):
    """Check everything in a loaded tree, and put real values for the recorders in it.

    Args:
        value (object): As ``torch.load`` gave it. Lists, dicts and sets are changed in place.

    Returns:
        object: Made of tensors, plain containers and values, numpy arrays and scalars, and HistoryBuffers.

    Raises:
        Refused: Where it holds anything else.
    """
    return _Settler()(value, 0)


class _Settler:

    def __init__(self):
        # Each object is settled once: shared ones stay shared, cycles end. The object is kept beside its result,
        # since the id of one that is gone would be given to another.
        self.done = {}

    def __call__(self, value, depth):
        kind = type(value)
        if kind in PLAIN:
            return value
        if depth > MAX_DEPTH:
            raise Refused(f'more than {MAX_DEPTH} containers in one another')
        if id(value) in self.done:
            return self._known(value)
        self.done[id(value)] = (value, Ellipsis)
        if kind in (dict, OrderedDict, Counter, list, set):
            self.done[id(value)] = (value, value)
            self._fill(value, depth + 1)
            result = value
        elif kind is tuple:
            result = tuple(self(item, depth + 1) for item in value)
        elif isinstance(value, Recorder):
            result = self._build(value, depth + 1)
        elif kind in (torch.Tensor, torch.nn.Parameter):
            result = _checked_tensor(value)
        else:
            raise Refused(_name(value))
        self.done[id(value)] = (value, result)
        return result

    def _known(self, value):
        result = self.done[id(value)][1]
        if result is Ellipsis:
            raise Refused('a tuple or a value that holds itself')
        return result

    def _fill(self, value, depth):
        if isinstance(value, dict):
            items = [(self(key, depth), self(item, depth)) for key, item in value.items()]
            attributes = vars(value) if type(value) is not dict else {}
            if set(attributes) - {'_metadata'}:
                raise Refused(f'an {type(value).__name__} with attributes of its own')
            for key, item in attributes.items():
                attributes[key] = self(item, depth)
            value.clear()
            dict.update(value, items) if type(value) is Counter else value.update(items)  # a Counter's adds
        elif isinstance(value, list):
            value[:] = [self(item, depth) for item in value]
        else:
            items = [self(item, depth) for item in value]
            value.clear()
            value.update(items)

    def _build(self, value, depth):
        path = f'{type(value).__module__}.{type(value).__name__}'
        if path in RECONSTRUCT:
            return self._array(value, depth)
        if path in SCALAR:
            return self._scalar(value, depth)
        if path == 'numpy.dtype':
            return _dtype(value)
        if path == HISTORY_BUFFER:
            return self._history(value, depth)
        return self._of_python(path, value, depth)

    def _of_python(self, path, value, depth):
        """What torch 2.4 does not make by itself, with the arguments that protocol 2 writes."""
        args = tuple(self(arg, depth) for arg in value.args)
        kinds = tuple(type(arg) for arg in args)
        if value.state is not None:
            raise Refused(path)
        if path == 'builtins.bytes' and not args:
            return b''
        if path == '_codecs.encode' and kinds == (str, str) and args[1] == 'latin1':
            return args[0].encode('latin1')
        if path == 'builtins.bytearray' and kinds == (str, str) and args[1] == 'latin-1':
            return bytearray(args[0], 'latin-1')
        if path == 'builtins.bytearray' and kinds in ((), (bytes, )):
            return bytearray(*args)
        if path == 'builtins.set' and kinds == (list, ):
            return set(args[0])
        if path == 'builtins.complex' and kinds == (float, float):
            return complex(*args)
        if path == 'torch.device' and kinds in ((str, ), (str, int)):
            return torch.device(*args)
        raise Refused(path)

    def _array(self, value, depth):
        state = value.state
        if value.args[:1] != (RECORDERS['numpy.ndarray'], ) or type(state) is not tuple or len(state) != 5:
            raise Refused('a malformed numpy array')
        _, shape, dtype, fortran, data = state
        dtype, data = self(dtype, depth), self(data, depth)
        if not isinstance(dtype, np.dtype) or type(shape) is not tuple or type(data) is not bytes \
                or not all(type(size) is int and size >= 0 for size in shape) \
                or prod(shape) * dtype.itemsize != len(data):
            raise Refused('a numpy array whose type, shape and data do not agree')
        if not data:
            return np.empty(shape, dtype)
        return np.frombuffer(data, dtype).reshape(shape, order='F' if fortran else 'C').copy('K')

    def _scalar(self, value, depth):
        dtype, data = (self(arg, depth) for arg in value.args) if len(value.args) == 2 else (None, None)
        if not isinstance(dtype, np.dtype) or type(data) is not bytes or len(data) != dtype.itemsize:
            raise Refused('a numpy scalar whose type and data do not agree')
        return np.frombuffer(data, dtype)[0]

    def _history(self, value, depth):
        from mmengine.logging import HistoryBuffer
        state = value.state
        known = {'max_length', '_log_history', '_count_history', 'statistics_methods'}
        if value.args or type(state) is not dict or not known - {'statistics_methods'} <= set(state) <= known:
            raise Refused('a malformed HistoryBuffer')
        methods = state.get('statistics_methods', {})
        if type(methods) is not dict:
            raise Refused('a malformed HistoryBuffer')
        for name, method in methods.items():
            if type(method) is not RECORDERS['builtins.getattr'] or method.args[1:] != (name, ):
                raise Refused('a HistoryBuffer with statistics of its own')
            check_statistic(method.args)
        log, count = (self(state[key], depth) for key in ('_log_history', '_count_history'))
        sound = all(isinstance(a, np.ndarray) and a.ndim == 1 and a.dtype.kind in 'biuf' for a in (log, count))
        if not sound or len(log) != len(count) or type(state['max_length']) is not int or state['max_length'] < 1:
            raise Refused('a HistoryBuffer whose values and counts do not agree')
        return HistoryBuffer(log, count, state['max_length'])


def _dtype(value):
    args, state = value.args, value.state
    # numpy writes ('f8', False, True) and (3, '<', no part, no names, no fields, size, alignment, flags)
    if not args or type(args[0]) is not str or not DTYPE.fullmatch(args[0]):
        raise Refused(f'numpy.dtype {args[0]!r}' if args and type(args[0]) is str else 'a malformed numpy.dtype')
    if state is None:
        return np.dtype(args[0])
    if type(state) is not tuple or len(state) < 5 or state[1] not in ('<', '>', '|', '=') \
            or any(part is not None for part in state[2:5]):
        raise Refused('a malformed numpy.dtype')
    return np.dtype(state[1] + args[0])


def _checked_tensor(tensor):
    if tensor.layout != torch.strided or tensor.is_quantized or tensor._backward_hooks or vars(tensor):
        raise Refused('a tensor with hooks or attributes, or one that is not dense')
    return tensor


def _name(value):
    kind = value if isinstance(value, type) or callable(value) else type(value)
    return f'{getattr(kind, "__module__", "?")}.{getattr(kind, "__qualname__", type(value).__qualname__)}'
