"""Checkpoints as plain data: what torch alone can read, and what comes back from it."""
import pickle
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer
from mmengine.registry import HOOKS, RUNNERS

from mmaffnet.analysis.toy_training import toy_config
from mmaffnet.engine.errors import UserError
from mmaffnet.engine.plain import TAG, from_plain, to_plain


def through_file(value, path):
    torch.save(dict(value=to_plain(dict(meta=value))['meta']), path)
    return from_plain(torch.load(path, weights_only=True))['value']


ARRAYS = [np.arange(6.).reshape(2, 3), np.array(3.5, np.float32), np.array([], dtype=np.int8),
          np.arange(4, dtype='>i4'), np.asfortranarray(np.arange(6).reshape(2, 3)), np.array([True, False]),
          np.array(['grün', 'b']), np.array([1 + 2j]), np.array([7], dtype=np.uint16), np.arange(9)[::-2]]


@pytest.mark.parametrize('array', ARRAYS, ids=lambda array: f'{array.dtype}{list(array.shape)}')
def test_arrays_come_back_with_dtype_and_shape(array, tmp_path):
    got = through_file(array, tmp_path / 'f')
    assert type(got) is np.ndarray and got.dtype == array.dtype and got.dtype.byteorder == array.dtype.byteorder
    assert got.shape == array.shape and np.array_equal(got, array)


def test_everything_else_comes_back_too(tmp_path):
    value = OrderedDict(none=None, yes=True, number=-2 ** 70, real=float('inf'), text='ß', pair=(1, [2, (3, )]),
                        size=torch.Size([1, 2]), dtype=torch.float16, device=torch.device('cpu'), set={1, 2},
                        frozen=frozenset('a'), range=range(1, 9, 2), slice=slice(None, 3), complex=1 - 2j,
                        bytes=b'\0\xff', array=bytearray(b'x'), deep={3: {(1, 'k'): np.arange(2)}})
    got = through_file(value, tmp_path / 'f')
    assert type(got) is OrderedDict and list(got) == list(value)
    arrays = got['deep'][3].pop((1, 'k')), value['deep'][3].pop((1, 'k'))
    assert np.array_equal(*arrays) and got == value
    assert [type(item) for item in got.values()] == [type(item) for item in value.values()]


def test_scalars_of_numpy_paths_and_config_dicts_become_pythons_own(tmp_path):
    value = dict(a=np.float32(.1), b=np.int64(3), c=np.bool_(True), d=np.str_('x'), path=Path('a') / 'b',
                 config=ConfigDict(x=dict(y=1)))
    got = through_file({**value, np.int64(7): 'key'}, tmp_path / 'f')
    assert got == dict(a=float(np.float32(.1)), b=3, c=True, d='x', path='a/b', config=dict(x=dict(y=1))) | {7: 'key'}
    assert [type(item) for item in got.values()] == [float, int, bool, str, str, dict, str]
    assert type(got['config']['x']) is dict and all(type(key) in (str, int) for key in got)


@pytest.mark.parametrize('values', [[], [1.5, float('nan'), -0.], [1, 2, 3]])
def test_history_buffers_keep_values_type_and_length_limit(values, tmp_path):
    buffer = HistoryBuffer(values, [1] * len(values), max_length=7)
    got = through_file(dict(loss=buffer), tmp_path / 'f')['loss']
    assert type(got) is HistoryBuffer and got.max_length == 7
    for old, new in zip(buffer.data, got.data, strict=True):
        assert old.dtype == new.dtype and old.tobytes() == new.tobytes()
    got.update(4.)  # works on: it is no bare copy of the arrays
    assert got.statistics('current') == 4


def test_state_dicts_keep_versions_and_shared_tensors_stay_shared(tmp_path):
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    net[0].bias = torch.nn.Parameter(net[0].weight[0])
    state = net.state_dict()
    got = through_file(state, tmp_path / 'f')
    assert type(got) is OrderedDict and got._metadata == state._metadata and got._metadata['1'] == dict(version=2)
    got['0.weight'][0, 0] = 5
    assert got['0.bias'][0] == 5


def test_an_object_met_twice_stays_one_so_that_mmengine_compares_data_sets_as_equal(tmp_path):
    colours = [(1, 2, 3)]
    meta = dict(palette=colours, colors=colours, classes=('a', ))
    assert pickle.dumps(through_file(meta, tmp_path / 'f')) == pickle.dumps(meta)


class Foo:
    pass


@pytest.mark.parametrize(('value', 'kind'), [
    (Foo(), 'test_plain.Foo'), (print, 'builtin_function_or_method'), (np.array([Foo()]), 'of object'),
    (np.datetime64('2020-01-01'), 'date'), (np.longdouble(1), 'longdouble'), (np.ma.masked_array([1]), 'MaskedArray'),
    (lambda: 0, 'function'), (type('Sub', (dict, ), {})(), 'Sub'), (HistoryBuffer([1], [Foo()]), 'of object')])
def test_what_cannot_be_plain_is_named_while_saving(value, kind):
    with pytest.raises(UserError, match=r'meta\.dataset_meta\.1\.foo') as error:
        to_plain(dict(meta=dict(dataset_meta=[0, dict(foo=value)])))
    assert kind in str(error.value) and 'cannot be saved' in str(error.value)


def test_what_contains_itself_or_takes_our_mark_is_refused():
    loop = []
    loop.append(loop)
    with pytest.raises(UserError, match=r'meta\.x\.0 contains itself'):
        to_plain(dict(meta=dict(x=loop)))
    with pytest.raises(UserError, match=r'meta\.x has the key __mmaffnet__'):
        to_plain(dict(meta=dict(x={TAG: 1})))


@pytest.mark.parametrize('damaged', [{TAG: 'Foo'}, {TAG: 'HistoryBuffer'}, {TAG: []}, {TAG: 'set', 'parts': [[]]},
                                     {TAG: 'ndarray', 'values': 1, 'dtype': 'nonsense'},
                                     {TAG: 'device', 'parts': ['nowhere']}])
def test_a_mark_that_is_not_ours_is_refused_at_loading(damaged):
    with pytest.raises(UserError, match=r'meta\.x\.1'):
        from_plain(dict(meta=dict(x=[0, damaged])))


def test_functions_that_a_scheduler_keeps_are_left_out_and_found_again(tmp_path):
    one_cycle = [dict(type='OneCycleLR', eta_max=0.1, total_steps=12, by_epoch=False)]
    keep_all = dict(checkpoint=dict(type='CheckpointHook', interval=1))
    lrs = []
    for start in (None, str(tmp_path / 'epoch_1.pth')):
        runner = RUNNERS.build(toy_config(tmp_path, param_scheduler=one_cycle, resume=bool(start), load_from=start,
                                          default_hooks=keep_all))
        runner.train()
        lrs.append(runner.optim_wrapper.get_lr()['lr'])
    assert lrs[0] == lrs[1] and lrs[0][0] < 0.01


PROBE = """
import sys, torch
checkpoint = torch.load(sys.argv[1], weights_only=True)
assert not {'numpy', 'mmengine', 'mmaffnet'} & ({name.split('.')[0] for name in sys.modules} - BEFORE), sys.modules
print(sorted(checkpoint), checkpoint['meta']['iter'])
"""


def test_a_whole_run_loads_where_only_torch_is_known_and_resumes_exactly(tmp_path):
    """EMA, schedulers, message hub with histories and infos, and what a hook adds: all back bit by bit."""
    extra = dict(best=np.float64(.3), confusion=np.arange(4).reshape(2, 2))
    first = RUNNERS.build(toy_config(tmp_path, train_cfg=dict(by_epoch=True, max_epochs=2)))
    first.message_hub.update_info('extra', extra)
    first.train()
    path = str(tmp_path / 'epoch_2.pth')

    # torch itself imports numpy where it finds it: what is asked is that nothing of the file does.
    probe = 'import sys, torch\nBEFORE = {name.split(".")[0] for name in sys.modules}\n' + PROBE
    done = subprocess.run([sys.executable, '-P', '-c', probe, path], text=True, capture_output=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split('\n')[0] == ("['ema_state_dict', 'message_hub', 'meta', 'optimizer', 'param_schedulers', "
                                          "'state_dict'] 8")

    second = RUNNERS.build(toy_config(tmp_path / 'b', resume=True, load_from=path,
                                      train_cfg=dict(by_epoch=True, max_epochs=2)))
    seen = []
    second.logger.warning = lambda text, *_: seen.append(text)
    second.train()  # nothing left to train: loads only
    assert not [text for text in seen if 'metainfo' in text]
    assert (second.epoch, second.iter) == (2, 8)
    for old, new in zip(first.model.state_dict().items(), second.model.state_dict().items(), strict=True):
        assert old[0] == new[0] and torch.equal(old[1], new[1])
    emas = [next(hook for hook in run.hooks if type(hook).__name__ == 'EMAHook').ema_model for run in (first, second)]
    assert all(torch.equal(a, b) for a, b in zip(*(ema.state_dict().values() for ema in emas), strict=True))
    assert not torch.equal(emas[0].module.layers[0].weight, first.model.layers[0].weight)
    assert pickle.dumps([s.state_dict() for s in first.param_schedulers]) == pickle.dumps(
        [s.state_dict() for s in second.param_schedulers])
    moments = [run.optim_wrapper.optimizer.state_dict()['state'] for run in (first, second)]
    assert all(torch.equal(moments[0][i][key], moments[1][i][key]) for i in moments[0] for key in moments[0][i])
    hubs = [run.message_hub for run in (first, second)]
    assert set(hubs[0].log_scalars) == set(hubs[1].log_scalars) >= {'train/loss', 'val/toy/score', 'train/lr'}
    for key, buffer in hubs[0].log_scalars.items():
        assert all(np.array_equal(a, b) for a, b in zip(buffer.data, hubs[1].log_scalars[key].data, strict=True)), key
    got = hubs[1].get_info('extra')
    assert got['best'] == .3 and type(got['best']) is float and got['confusion'].dtype == extra['confusion'].dtype
    assert np.array_equal(got['confusion'], extra['confusion']) and hubs[1].get_info('best_score') == 8


def test_the_state_of_a_loss_scaler_comes_back(tmp_path):
    scaler = torch.amp.GradScaler('cpu', init_scale=2. ** 11)
    scaler.scale(torch.ones(1))
    got = through_file(dict(loss_scaler=scaler.state_dict()), tmp_path / 'f')
    assert got == dict(loss_scaler=scaler.state_dict()) and got['loss_scaler']['scale'] == 2048


@pytest.mark.gpu
def test_the_loss_scaler_of_a_run_comes_back(tmp_path):
    scales = []
    for resume in (False, True):
        runner = RUNNERS.build(toy_config(
            tmp_path, optim_wrapper=dict(type='AmpOptimWrapper', loss_scale=dict(init_scale=4096., growth_interval=3),
                                         optimizer=dict(type='SGD', lr=0.01)),
            train_cfg=dict(by_epoch=True, max_epochs=2), resume=resume,
            load_from=str(tmp_path / 'epoch_2.pth') if resume else None))
        runner.train()
        scales.append(runner.optim_wrapper.loss_scaler.state_dict())
    assert scales[0] == scales[1] and scales[0]['scale'] > 4096


def test_ours_is_the_last_to_write_and_the_first_to_read(tmp_path):
    runner = RUNNERS.build(toy_config(tmp_path))
    names = [type(hook).__name__ for hook in runner.hooks]
    assert names.index('RestoreCheckpointHook') == 0
    writers = [name for name, hook in zip(names, runner.hooks, strict=True)
               if 'before_save_checkpoint' in vars(type(hook))]
    assert writers[-1] == 'PlainCheckpointHook' and 'EMAHook' in writers
    assert HOOKS.get('mmaffnet.PlainCheckpointHook') is type(runner.hooks[names.index('PlainCheckpointHook')])
