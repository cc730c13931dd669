"""What sound files hold comes back as it was: mmengine's own checkpoints, older formats, numpy, safetensors."""
import importlib.util
import io
import re
import resource
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.runner import CheckpointLoader, Runner
from safetensors.torch import save_file
from torch.utils.data import DataLoader, Dataset

from mmaffnet.engine.errors import UserError
from mmaffnet.engine.safe_file import _only_recorders, load_file
from mmaffnet.engine.safe_load import register_safe_schemes
from mmaffnet.engine.safe_pickle import RECORDERS, FirstReading, Refused
from mmaffnet.engine.safe_values import settle
from mmaffnet.engine.weights import read_checkpoint

_spec = importlib.util.spec_from_file_location('malicious', Path(__file__).with_name('malicious.py'))
malicious = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(malicious)


@pytest.fixture(autouse=True)
def schemes():
    before = dict(CheckpointLoader._schemes)
    register_safe_schemes()
    yield
    for prefix, loader in before.items():
        CheckpointLoader.register_scheme(prefix, loader, force=True)


class Points(Dataset):
    """Eight points; the classes carry an array, as a data set may."""

    metainfo = dict(classes=('a', 'b'), palette=[(1, 2, 3)], weights=np.array([0.5, 2.0]))

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return dict(inputs=torch.tensor([index, 1.]), data_samples=0)


class Line(BaseModel):

    def __init__(self):
        super().__init__()
        self.norm, self.line = torch.nn.BatchNorm1d(2), torch.nn.Linear(2, 1)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return dict(loss=self.line(self.norm(torch.stack(inputs))).square().mean())


def mmengine_run(work_dir, epochs, **kwargs):
    """mmengine's runner with nothing of ours, EMA and two schedulers."""
    return Runner(
        Line(), str(work_dir), DataLoader(Points(), batch_size=4, collate_fn=pseudo_collate),
        train_cfg=dict(by_epoch=True, max_epochs=epochs), experiment_name=f'line{epochs}',
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.1)),
        param_scheduler=[dict(type='MultiStepLR', milestones=[1, 2]), dict(type='CosineAnnealingLR', T_max=2)],
        custom_hooks=[dict(type='EMAHook')], default_hooks=dict(logger=dict(type='LoggerHook', interval=1)), **kwargs)


@pytest.fixture(scope='module')
def written(tmp_path_factory):
    """A checkpoint that mmengine's runner wrote."""
    folder = tmp_path_factory.mktemp('run')
    mmengine_run(folder, 2).train()
    return folder / 'epoch_2.pth'


def old_numpy(data):
    """A file of torch.save as numpy 1 writes it, whose module had another name."""
    names = b'cnumpy._core.multiarray\n', b'cnumpy.core.multiarray\n'
    assert names[0] in data or names[1] in data
    if not data.startswith(b'PK'):
        return data.replace(*names)
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(out := io.BytesIO(), 'w') as target:
        for name in source.namelist():
            target.writestr(name, source.read(name).replace(*names) if name.endswith('.pkl') else source.read(name))
    return out.getvalue()


def same(one, other):
    """Whether two trees are equal in values and types."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one) \
            and same(getattr(one, '_metadata', None), getattr(other, '_metadata', None))
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and one.stride() == other.stride() and torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, HistoryBuffer):
        return same(one.data, other.data) and one.max_length == other.max_length
    return one == other


@pytest.mark.parametrize('numpy', [1, 2])
@pytest.mark.parametrize('zipped', [True, False])
def test_a_checkpoint_of_mmengine_comes_back_whole(written, zipped, numpy, tmp_path):
    expected = torch.load(written, weights_only=False)
    if zipped:
        data = written.read_bytes()
    else:
        torch.save(expected, out := io.BytesIO(), _use_new_zipfile_serialization=False)
        data = out.getvalue()
    (tmp_path / 'c.pth').write_bytes(old_numpy(data) if numpy == 1 else data)
    loaded = load_file(tmp_path / 'c.pth', 'cpu')

    assert loaded['meta'].pop('cfg_text') == expected['meta'].pop('cfg')
    expected['message_hub']['runtime_info'].pop('cfg', None)
    assert isinstance(loaded['param_schedulers'][0]['milestones'], Counter) and 'ema_state_dict' in loaded
    assert len(loaded['message_hub']['log_scalars']['train/loss'].data[0]) == 4
    assert same(loaded, expected)
    assert same(load_file(io.BytesIO(data)), load_file(tmp_path / 'c.pth'))


def test_mmengines_runner_goes_on_from_it(written, tmp_path, monkeypatch):
    """Also where the file carries the text of a config, which mmengine would run as Python while resuming."""
    checkpoint = torch.load(written, weights_only=False)
    checkpoint['meta']['config'] = 'gpu_ids = [0]'
    torch.save(checkpoint, tmp_path / 'c.pth')
    monkeypatch.setattr(Config, 'fromstring', lambda *args, **kwargs: pytest.fail('the text was run'))
    runner = mmengine_run(tmp_path, 3, load_from=str(tmp_path / 'c.pth'), resume=True)
    runner.train()
    assert runner.iter == 6
    history = runner.message_hub.log_scalars['train/loss'].data[0]
    assert len(history) == 6 and same(history[:4], checkpoint['message_hub']['log_scalars']['train/loss'].data[0])


ODD = dict(
    scalars=[np.float32(1.5), np.int64(3), np.bool_(True), np.complex64(1 + 1j), np.str_('é'), np.bytes_(b'ab')],
    arrays=[np.arange(6, dtype='>f8').reshape(2, 3), np.arange(6).reshape(2, 3, order='F'), np.array(['a', 'bcd']),
            np.zeros((0, 3)), np.array(3.0), np.array([True]), np.ones(2, 'f2')],
    dtype=np.dtype('f4'), empty_history=HistoryBuffer(),
    plain=[1 << 100, 1.5, None, b'\0\xff', bytearray(b'x'), 2j, 'ü'],
    torch=[torch.Size([1, 2]), torch.float16, torch.device('cpu'), torch.nn.Parameter(torch.ones(2))],
    tensors=[torch.zeros(0), torch.arange(6).view(2, 3).t(), torch.tensor(True), torch.ones(2, dtype=torch.bfloat16),
             torch.ones(2, dtype=torch.complex64), torch.ones(2, dtype=torch.float64)[1:]],
    sets=[{1, 'a'}, set()], keys={np.int64(3): 1, (1, 'x'): 2, 1.5: 3}, ordered=OrderedDict(b=1, a=2),
    counter=Counter(a=2, b=-1))


@pytest.mark.parametrize('zipped', [True, False])
def test_values_come_back_with_their_types(zipped, tmp_path):
    torch.save(ODD, tmp_path / 'c.pth', _use_new_zipfile_serialization=zipped)
    loaded = load_file(tmp_path / 'c.pth')
    for name, value in ODD.items():
        assert same(loaded[name], value), name
    loaded['arrays'][0][0, 0] = 7  # the array owns its data


def test_every_type_of_tensor_that_torch_stores(tmp_path):
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16,
                  torch.int8, torch.uint8, torch.bool, torch.complex64, torch.complex128,
                  torch.float8_e4m3fn):
        torch.save(torch.ones(3).to(dtype), tmp_path / 'c.pth')
        loaded = load_file(tmp_path / 'c.pth')
        assert loaded.dtype == dtype and loaded.to(torch.float64 if not dtype.is_complex else dtype).sum() == 3


def test_shared_and_circular_containers(tmp_path):
    shared, circle = [np.float64(1)], []
    circle.append(circle)
    loop = []
    loop.append((loop, shared))  # a tuple inside its own list is built before the list is filled
    weight = torch.ones(2)
    torch.save(dict(a=shared, b=[shared], c=circle, e=loop, w=[weight, weight]), tmp_path / 'c.pth')
    loaded = load_file(tmp_path / 'c.pth')
    assert loaded['a'] is loaded['b'][0] and type(loaded['a'][0]) is np.float64
    assert loaded['c'][0] is loaded['c']
    assert loaded['e'][0][1] is loaded['a'] and loaded['e'][0][0] is loaded['e']
    assert loaded['w'][0] is loaded['w'][1]


def test_what_is_nested_without_end_is_refused(tmp_path):
    (tmp_path / 'c.pth').write_bytes(malicious.made_of(b']' * 100000, b'a' * 99999))  # lists, each in the one before
    with pytest.raises(UserError, match='more than 100 containers in one another'):
        load_file(tmp_path / 'c.pth')


def test_a_number_in_a_file_takes_no_memory(tmp_path):
    """Python's unpickler in C makes a table of twice as many entries: 4 GB for this one."""
    (tmp_path / 'c.pth').write_bytes(malicious.made_of(b']r' + (1 << 28).to_bytes(4, 'little')))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert load_file(tmp_path / 'c.pth')['state_dict'] == []
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KB


@pytest.mark.parametrize('value', [
    torch.ones(2).to_sparse(), np.array(['2020-01-01'], 'M8[D]'), np.zeros(1, [('a', 'f4')]), np.array([{}]),
    torch.nn.Linear(1, 1), Path('x'), torch.Tensor, len])
def test_other_values_are_refused_and_named(value, tmp_path):
    torch.save(dict(state_dict={}, meta=dict(x=value)), tmp_path / 'c.pth')
    with pytest.raises(UserError, match='c.pth is refused, and nothing of it was run'):
        load_file(tmp_path / 'c.pth')


def test_a_history_keeps_its_own_statistics(tmp_path, monkeypatch):
    """Each name may stand for mmengine's method of that name only."""
    monkeypatch.setattr(HistoryBuffer, '_statistics_methods', dict(mean=HistoryBuffer.min))
    torch.save(HistoryBuffer([1., 2.], [1, 1]), tmp_path / 'c.pth')
    with pytest.raises(UserError, match='a HistoryBuffer with statistics of its own'):
        load_file(tmp_path / 'c.pth')


def test_each_guard_by_itself():
    """Each of these is stopped by two: here the one without the other."""
    odd = OrderedDict(a=1)
    odd.copy = len
    with pytest.raises(Refused, match='OrderedDict with attributes'):
        settle(odd)
    with pytest.raises(Refused, match='OrderedDict with attributes'):
        FirstReading(io.BytesIO(b'\x80\x02ccollections\nOrderedDict\n)R}X\x04\x00\x00\x00copyNsb.')).load()
    with pytest.raises(Refused, match='builtins.len'):
        settle([len])
    torch.serialization.add_safe_globals([OrderedDict])
    try:
        with _only_recorders():
            assert set(torch.serialization.get_safe_globals()) == set(RECORDERS.values())
    finally:
        torch.serialization.clear_safe_globals()
    with pytest.raises(Refused, match='copyreg extension 1'):
        FirstReading(io.BytesIO(b'\x80\x02\x82\x01.')).load()


@pytest.mark.parametrize('suffix', ['.safetensors', '.pth'])
def test_safetensors_stand_wherever_a_pth_does(suffix, tmp_path):
    path = tmp_path / f'c{suffix}'
    save_file({'w': torch.arange(3.), 'module.v': torch.ones(2, dtype=torch.float16)}, path,
              dict(dataset_meta='{"classes": ["cat", "dog"]}', epoch='3', cfg='x = 1'))
    loaded = read_checkpoint(str(path), 'checkpoint')
    assert loaded['state_dict']['w'].tolist() == [0, 1, 2] and loaded['state_dict']['v'].dtype == torch.float16
    assert loaded['meta'] == dict(dataset_meta=dict(classes=['cat', 'dog']), epoch='3', cfg_text='x = 1')
    # mmengine's own way, and a buffer
    assert CheckpointLoader.load_checkpoint(str(path), 'cpu')['state_dict']['w'].sum() == 3
    assert load_file(io.BytesIO(path.read_bytes()), torch.device('cpu'))['state_dict']['w'].sum() == 3


def test_missing_and_unreadable_files_are_named(tmp_path):
    with pytest.raises(UserError, match=rf'looked for {re.escape(str(tmp_path))}/no.pth'):
        CheckpointLoader.load_checkpoint(f'{tmp_path}/no.pth')
    with pytest.raises(UserError, match='cannot be opened: Is a directory'):
        load_file(tmp_path)


def test_device_of_another_machine_is_no_damage(tmp_path):
    if torch.cuda.is_available():
        pytest.skip('this machine has the device')
    torch.save(torch.ones(1), out := io.BytesIO())
    data = malicious.rewritten(out.getvalue(), lambda records: {
        name: data.replace(b'X\x03\x00\x00\x00cpu', b'X\x06\x00\x00\x00cuda:0') for name, data in records.items()})
    with pytest.raises(UserError, match='cannot be loaded: RuntimeError.*CUDA'):
        load_file(io.BytesIO(data))
    assert load_file(io.BytesIO(data), 'cpu') == 1
