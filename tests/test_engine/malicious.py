"""Files that try to run something when they are loaded: here a harmless ``os.mkdir`` of a marker, or only an attempt.

No file here gets further with any host than full unpickling does; what uses an allowed global stops at the attempt.
"""
import io
import json
import os
import pickle
import tarfile
import warnings
import zipfile
from collections import OrderedDict

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

GLOBAL_OF_MKDIR = f'{os.mkdir.__module__}.mkdir'


class Mkdir:
    """Pickles as a call of ``os.mkdir``."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return os.mkdir, (self.marker, )


class Op(bytes):
    """Hand-written opcodes, put into a pickle where an object would stand."""


class _OpPickler(pickle._Pickler):
    """Python's own pickler with :class:`Op`; torch's way with tensors is not needed."""

    dispatch = dict(pickle._Pickler.dispatch)

    def _save_op(self, op):
        self.write(op)

    dispatch[Op] = _save_op


def checkpoint():
    """dict: What mmengine's runner saves, in small."""
    return dict(
        meta=dict(epoch=1, iter=2, dataset_meta=dict(classes=('a', 'b'))), state_dict=OrderedDict(w=torch.ones(2)),
        optimizer=dict(state={0: dict(step=torch.tensor(1.), exp_avg=torch.zeros(2))}, param_groups=[dict(lr=0.1)]),
        message_hub=dict(log_scalars=dict(loss=HistoryBuffer([1., 2.], [1, 1])), runtime_info={}, resumed_keys={}))


def _saved(value, **kwargs):
    buffer = io.BytesIO()
    torch.save(value, buffer, **kwargs)
    return buffer.getvalue()


def made_of(*ops):
    """A checkpoint whose state dict is made by opcodes, in a zip as torch writes it."""
    buffer = io.BytesIO()
    _OpPickler(buffer, 2).dump(dict(state_dict=Op(b''.join(ops)), meta={}))
    return _zip({'archive/data.pkl': buffer.getvalue(), 'archive/version': b'3\n', 'archive/byteorder': b'little'})


def _zip(records):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as archive, warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of two records of one name
        for name, data in records.items() if isinstance(records, dict) else records:
            archive.writestr(name, data)
    return buffer.getvalue()


def records_of(data):
    """dict[str, bytes]: The records of a zip."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewritten(data, change):
    """A zip with its records changed by a function from dict to dict."""
    return _zip(change(records_of(data)))


def plain_reduce(marker):
    return _saved(dict(state_dict=Mkdir(marker)))


def in_optimizer_state(marker):
    value = checkpoint()
    value['optimizer']['state'][0]['exp_avg'] = Mkdir(marker)
    return _saved(value)


def in_meta(marker):
    value = checkpoint()
    value['meta']['dataset_meta']['palette'] = [Mkdir(marker)]
    return _saved(value)


def in_message_hub(marker):
    value = checkpoint()
    value['message_hub']['log_scalars']['loss'].extra = Mkdir(marker)
    return _saved(value)


def as_dict_key(marker):
    """The value is the result of a call, as a key inside a set inside a tuple: places that a walk forgets."""
    return _saved(dict(state_dict={}, meta=dict(x=({(Mkdir(marker), 1): 0}, ))))


def in_statistics(marker):
    """An allowed class, HistoryBuffer, with a statistic of its own, which mmengine would call by name."""
    value = checkpoint()
    value['message_hub']['log_scalars']['loss'].__dict__['_statistics_methods'] = {'mean': os.mkdir}
    return _saved(value)


def by_getattr(marker):
    """The allowed getattr on the allowed HistoryBuffer, but for another attribute: the first step out, and no more."""
    return made_of(b'cbuiltins\ngetattr\ncmmengine.logging.history_buffer\nHistoryBuffer\n',
                   b'X\x08\x00\x00\x00__init__\x86R')


def numpy_scalar_of_objects(marker):
    """numpy.scalar gives back any object for the dtype of objects."""
    return made_of(b'cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nX\x02\x00\x00\x00O8\x89\x88\x87R'
                + _reduce(marker) + b'\x86R')


def numpy_array_of_objects(marker):
    return _saved(dict(state_dict={}, meta=dict(a=np.array([Mkdir(marker), 1], dtype=object))))


def numpy_array_that_lies(marker):
    """A shape beyond the data: numpy reads what lies behind it."""
    return made_of(b'cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85',
                b'c_codecs\nencode\nX\x01\x00\x00\x00bX\x06\x00\x00\x00latin1\x86R\x87R(K\x01J\x00\x00\x10\x00\x85',
                b'cnumpy\ndtype\nX\x02\x00\x00\x00f8\x89\x88\x87R(K\x03X\x01\x00\x00\x00<NNNJ\xff\xff\xff\xff',
                b'J\xff\xff\xff\xffK\x00tb\x89c_codecs\nencode\nX\x01\x00\x00\x00bX\x06\x00\x00\x00latin1\x86Rtb')


def build_on_ordered_dict(marker):
    """BUILD on an allowed class: ``copy``, which mmengine calls on a state dict, becomes a value of the file."""
    return made_of(b'ccollections\nOrderedDict\n)R}X\x04\x00\x00\x00copyctorch._utils\n_rebuild_tensor_v2\nsb')


def build_on_class(marker):
    """BUILD on an allowed class itself, not on an object of it."""
    return made_of(b'cmmengine.logging.history_buffer\nHistoryBuffer\nN}X\x04\x00\x00\x00meanK\x01s\x86b')


def tensor_subclass(marker):
    """On torch's own list, not on ours: sets attributes on what it rebuilds."""
    return made_of(b'ctorch._tensor\n_rebuild_from_type_v2\nNNNN(tR')


def renamed_pickle(marker):
    return rewritten(plain_reduce(marker), lambda records: {
        name.replace('data.pkl', 'model.pkl'): data for name, data in records.items()})


def second_pickle(marker):
    """A sound pickle, and another one beside it."""
    evil = records_of(plain_reduce(marker))['archive/data.pkl']
    return rewritten(_saved(checkpoint()), lambda records: {**records, 'archive/extra.pkl': evil})


def two_of_one_name(marker):
    """Two records data.pkl: Python's reader of zips takes the last, others the first."""
    evil = records_of(plain_reduce(marker))['archive/data.pkl']
    sound = records_of(_saved(checkpoint()))
    return _zip([('archive/data.pkl', evil), *sound.items()])


def larger_than_its_data(marker):
    """A tensor of more bytes than its record holds; torch before 2.10 reads and writes beyond."""
    return rewritten(_saved(dict(state_dict=dict(w=torch.zeros(4096)))), lambda records: {
        name: data[:64] if name == 'archive/data/0' else data for name, data in records.items()})


def torchscript(marker):
    return rewritten(plain_reduce(marker), lambda records: {
        **records, 'archive/constants.pkl': b'\x80\x02).', 'archive/code/__torch__.py': b'op_version_set = 1\n'})


def legacy_format(marker):
    return _saved(dict(state_dict=Mkdir(marker)), _use_new_zipfile_serialization=False)


def raw_pickle(marker):
    return pickle.dumps(dict(state_dict=Mkdir(marker)), 2)


def raw_pickle_protocol_0(marker):
    return pickle.dumps(Mkdir(marker), 0)


def raw_pickle_protocol_4(marker):
    """Names on the stack (STACK_GLOBAL), which a search for the opcode GLOBAL misses."""
    return pickle.dumps(Mkdir(marker), 4)


def legacy_tar(marker):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode='w', format=tarfile.PAX_FORMAT) as tar:
        for name in ('storages', 'tensors', 'pickle'):
            data = pickle.dumps(Mkdir(marker), 2)
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def truncated(marker):
    return in_optimizer_state(marker)[:-300]


def truncated_legacy(marker):
    return _saved(checkpoint(), _use_new_zipfile_serialization=False)[:-9]


def not_a_checkpoint(marker):
    return b'<html><body>404: this is the page that a download gave instead</body></html>'


def empty(marker):
    return b''


def _safetensors(header, data=b'\0' * 16, length=None):
    text = json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, 'little') + text + data


def safetensors_of_huge_header(marker):
    return _safetensors({'w': dict(dtype='F32', shape=[4], data_offsets=[0, 16])}, length=1 << 62)


def safetensors_beyond_the_file(marker):
    return _safetensors({'w': dict(dtype='F32', shape=[1 << 20], data_offsets=[0, 1 << 22])})


def safetensors_that_overlap(marker):
    return _safetensors({'a': dict(dtype='F32', shape=[3], data_offsets=[0, 12]),
                         'b': dict(dtype='F32', shape=[3], data_offsets=[4, 16])})


def _reduce(marker):
    path = str(marker).encode()
    return b'cposix\nmkdir\nX' + len(path).to_bytes(4, 'little') + path + b'\x85R'


# name -> (maker, what the sentence must name, whether full unpickling makes the marker)
MKDIR = GLOBAL_OF_MKDIR
FILES = {maker.__name__: (maker, named, live) for maker, named, live in (
    (plain_reduce, MKDIR, True),
    (in_optimizer_state, MKDIR, True),
    (in_meta, MKDIR, True),
    (in_message_hub, MKDIR, True),
    (as_dict_key, MKDIR, True),
    (in_statistics, MKDIR, False),
    (by_getattr, 'builtins.getattr', False),
    (numpy_scalar_of_objects, MKDIR, True),
    (numpy_array_of_objects, MKDIR, True),
    (numpy_array_that_lies, 'numpy array whose type, shape and data do not agree', False),
    (build_on_ordered_dict, 'OrderedDict with attributes', False),
    (build_on_class, 'damaged, incomplete or no checkpoint', False),
    (tensor_subclass, 'torch._tensor._rebuild_from_type_v2', False),
    (renamed_pickle, 'model.pkl', False),
    (second_pickle, 'extra.pkl', False),
    (two_of_one_name, "a record 'archive/data.pkl'", False),
    (larger_than_its_data, 'only 64 in the file', False),
    (torchscript, 'TorchScript', False),
    (legacy_format, MKDIR, True),
    (raw_pickle, MKDIR, True),
    (raw_pickle_protocol_0, MKDIR, True),
    (raw_pickle_protocol_4, MKDIR, True),
    (legacy_tar, 'tar archive', True),
    (truncated, 'damaged, incomplete', False),
    (truncated_legacy, 'cannot be loaded', False),
    (not_a_checkpoint, 'is no checkpoint', False),
    (empty, 'is empty', False),
    (safetensors_of_huge_header, 'no safetensors file', False),
    (safetensors_beyond_the_file, 'no safetensors file', False),
    (safetensors_that_overlap, 'no safetensors file', False),
)}
