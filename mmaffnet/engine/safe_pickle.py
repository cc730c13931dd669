"""What the pickle of a checkpoint may name, and a first reading of it in which nothing is built.

A pickle is a program: it names functions and calls them. A checkpoint needs few of them, listed here one by one.
torch's weights-only unpickler has a wider list of its own, and before torch 2.10 it believes what a pickle says about
the sizes of its tensors. So every pickle is first read by Python's own unpickler with names that lead to inert classes:
what is not on the list is found, and sizes are compared with the file, before torch sees it.

Left out on purpose: ``builtins.getattr`` (but for the four statistics of a HistoryBuffer), tensor subclasses, sparse,
quantised and nested tensors, and whatever other packages have added to torch's list.
"""
import pickle

import torch

HISTORY_BUFFER = 'mmengine.logging.history_buffer.HistoryBuffer'
STATISTICS = ('min', 'max', 'current', 'mean')  # HistoryBuffer._set_default_statistics
RECONSTRUCT = ('numpy.core.multiarray._reconstruct', 'numpy._core.multiarray._reconstruct')  # numpy 1, numpy 2
SCALAR = ('numpy.core.multiarray.scalar', 'numpy._core.multiarray.scalar')

STORAGE_BYTES = dict(
    DoubleStorage=8, FloatStorage=4, HalfStorage=2, BFloat16Storage=2, LongStorage=8, IntStorage=4, ShortStorage=2,
    CharStorage=1, ByteStorage=1, BoolStorage=1, ComplexDoubleStorage=16, ComplexFloatStorage=8)


class Refused(Exception):
    """A file asks for something that no checkpoint needs.

    Args:
        what (str): The global, as the file names it, or what else was found.
    """


class Recorder:
    """Stands in for a numpy or mmengine global: keeps what it was called with, and does nothing.

    :mod:`mmaffnet.engine.safe_values` builds the real value from it after checking.
    """

    __slots__ = ('args', 'state')

    def __new__(cls, *args):
        self = object.__new__(cls)
        self.args, self.state = args, None
        return self

    def __setstate__(self, state):
        self.state = state


def _recorder(path):
    module, _, name = path.rpartition('.')
    # torch finds a class of its list by these two (2.4 by __name__)
    return type(name, (Recorder, ), {'__slots__': (), '__module__': module, '__qualname__': name})


RECORDERS = {path: _recorder(path) for path in (
    *RECONSTRUCT, *SCALAR, 'numpy.dtype', 'numpy.ndarray', HISTORY_BUFFER, 'builtins.getattr',
    'builtins.bytes',  # protocol 2 calls bytes() for those of length 0, as in an array without elements
    # on torch's own list since 2.5, where these here are not used
    '_codecs.encode', 'builtins.set', 'builtins.bytearray', 'builtins.complex', 'torch.device')}


class _Inert:
    """What an allowed name of torch or Python makes in the first reading: takes arguments, refuses to be changed.

    Each class has ``__setstate__``: the unpickler could otherwise write attributes into the class itself.
    """

    __slots__ = ()

    def __new__(cls, *args, **kwargs):
        return object.__new__(cls)

    def __setstate__(self, state):
        raise Refused('a state set on what takes none')


class _InertDict(_Inert):
    """An OrderedDict or Counter; the only attribute that one carries is ``_metadata`` of a state dict."""

    __slots__ = ()

    def __setitem__(self, key, value):
        pass

    def __setstate__(self, state):
        if not isinstance(state, dict) or set(state) - {'_metadata'}:
            raise Refused('an OrderedDict with attributes of its own')


class _InertEncode(_Inert):
    """``_codecs.encode``, which pickle's protocol 2 calls to make bytes from text, with this one encoding."""

    __slots__ = ()

    def __new__(cls, text, encoding):
        if not isinstance(text, str) or encoding != 'latin1':
            raise Refused(f'_codecs.encode to {encoding!r}')
        return object.__new__(cls)


class _InertGetattr(_Inert):
    __slots__ = ()

    def __new__(cls, *args):
        check_statistic(args)
        return object.__new__(cls)


_INERT = {
    **RECORDERS,
    'builtins.getattr': _InertGetattr,  # and the following instead of those in RECORDERS
    'collections.OrderedDict': _InertDict,
    'collections.Counter': _InertDict,
    '_codecs.encode': _InertEncode,
    'torch.storage.UntypedStorage': 1,
    **{f'{module}.{name}': size for module in ('torch', 'torch.cuda') for name, size in STORAGE_BYTES.items()},
    **{name: _Inert for name in (
        'builtins.set', 'builtins.bytearray', 'builtins.complex', 'torch.Size', 'torch.device',
        'torch._utils._rebuild_tensor', 'torch._utils._rebuild_tensor_v2', 'torch._utils._rebuild_tensor_v3',
        'torch._utils._rebuild_parameter')},
    **{str(value): str(value) for value in vars(torch).values() if isinstance(value, torch.dtype)},
}
ALLOWED = frozenset(_INERT)


def check_statistic(args):
    """Allow ``getattr`` for HistoryBuffer's own statistics only, which is how protocol 2 writes its methods.

    Args:
        args (tuple): What the file calls it with.

    Raises:
        Refused: For anything else.
    """
    if len(args) != 2 or args[0] is not RECORDERS[HISTORY_BUFFER] or args[1] not in STATISTICS:
        raise Refused('builtins.getattr')


def full_name(module, name):
    """str: A global's name of today; protocol 2, which torch.save writes, knows ``builtins`` by its old name."""
    return f'builtins.{name}' if module == '__builtin__' else f'{module}.{name}'


class _Reading(pickle._Unpickler):
    """Python's unpickler in Python: the one in C makes a table as long as a file says, and a few bytes say gigabytes.

    Args:
        file (BinaryIO): At the pickle's first byte.
    """

    def __init__(self, file):
        super().__init__(file, encoding='utf-8')  # as torch reads strings of Python 2

    def get_extension(self, code):
        """Refuse names by number (``copyreg.add_extension``), which would not pass ``find_class``.

        Args:
            code (int): From the file.

        Raises:
            Refused: Always.
        """
        raise Refused(f'copyreg extension {code}')


class FirstReading(_Reading):
    """Read one pickle without building anything.

    Args:
        file (BinaryIO): At the pickle's first byte.
        check_storage (Callable | None): Called with a storage's key and its number of bytes; raises ``Refused``
            where the file holds less.
    """

    def __init__(self, file, check_storage=None):
        super().__init__(file)
        self.check_storage = check_storage

    def find_class(self, module, name):
        """The inert class of an allowed name.

        Args:
            module (str): As in the file.
            name (str): As in the file.

        Returns:
            type | str | int: An inert class, a dtype's name, or the bytes of a storage's element.

        Raises:
            Refused: For every other name.
        """
        path = full_name(module, name)
        if path not in _INERT:
            raise Refused(path)
        return _INERT[path]

    def persistent_load(self, pid):
        """Check a tensor's storage: ``('storage', type, key, location, number of elements)``.

        Args:
            pid (tuple): From the file; old files add a view.

        Returns:
            object: Stands for the storage.

        Raises:
            Refused: Where it is something else, or larger than the file's data.
        """
        if not isinstance(pid, tuple) or len(pid) not in (5, 6) or pid[0] != 'storage' or self.check_storage is None:
            raise Refused('a persistent object that is no storage of a tensor')
        _, element, key, _, numel = pid[:5]
        if type(element) is not int or type(key) is not str or type(numel) is not int or numel < 0:
            raise Refused('a malformed storage of a tensor')
        self.check_storage(key, element * numel)
        return _Inert()


class _Anything:
    """What every name makes in :class:`NameReading`: takes all, gives itself."""

    __slots__ = ()

    def __new__(cls, *args, **kwargs):
        return object.__new__(cls)

    def __call__(self, *args, **kwargs):
        return self

    def __setitem__(self, key, value):
        pass

    def __setstate__(self, state):
        pass

    append = extend = add = __call__


class NameReading(_Reading):
    """Read one pickle without building anything, and note all names in it.

    Args:
        file (BinaryIO): At the pickle's first byte.
        names (list[str]): Names are added here, each once, in the order of the file.
    """

    def __init__(self, file, names):
        super().__init__(file)
        self.names = names

    def find_class(self, module, name):
        """Note a name.

        Args:
            module (str): As in the file.
            name (str): As in the file.

        Returns:
            type: A class that does nothing.
        """
        path = full_name(module, name)
        if path not in self.names:
            self.names.append(path)
        return _Anything

    def persistent_load(self, pid):
        """object: Stands for a storage."""
        return _Anything()
