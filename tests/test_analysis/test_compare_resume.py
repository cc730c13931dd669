"""The comparison finds what differs, to the last bit, and says where a run never comes."""
import importlib.util
import math

import pytest
import torch
from mmengine.logging import HistoryBuffer

from mmaffnet.analysis.compare_resume import Comparison, compare_lines, compare_resume, compare_values, table
from mmaffnet.analysis.toy_training import toy_config
from mmaffnet.engine.errors import UserError


def state():
    """A final state like a checkpoint's."""
    return dict(meta=dict(time='now'), state_dict=dict(a=torch.tensor([1., math.nan, 0.]), n=torch.tensor(3)),
                optimizer=dict(state={0: dict(step=4)}), param_schedulers=[dict(last=0.5)],
                message_hub=dict(runtime_info=dict(cfg='x'), log_scalars={
                    'train/loss': HistoryBuffer([1., 2.], [1, 1]), 'train/time': HistoryBuffer([9.], [1])}))


@pytest.mark.parametrize(('change', 'name'), [
    (lambda s: s['state_dict']['a'].add_(torch.tensor([2**-23, 0, 0])), '.state_dict.a'),  # the last bit
    (lambda s: s['state_dict']['a'][2].neg_(), '.state_dict.a'),  # -0
    (lambda s: s['state_dict'].update(n=torch.tensor(3.)), '.state_dict.n'),
    (lambda s: s['state_dict'].pop('n'), '.state_dict.n'),
    (lambda s: s['optimizer']['state'][0].update(step=5), '.optimizer.state.0.step'),
    (lambda s: s['param_schedulers'].append({'last': 1}), '.param_schedulers.1.last'),
    (lambda s: s['message_hub']['log_scalars']['train/loss'].update(3), '.message_hub.log_scalars.train/loss.values')])
def test_a_changed_value_is_found(change, name):
    other, result = state(), Comparison('epoch:1')
    change(other)
    compare_values(state(), other, result)
    assert name in result.differing_values and not result.equal


def test_equal_states_and_lines():
    other, result = state(), Comparison('epoch:1')
    other['meta']['time'] = 'later'
    other['message_hub']['log_scalars']['train/time'].update(3)
    compare_values(state(), other, result)
    line = dict(loss=1., step=1, nan=math.nan)
    compare_lines([dict(line, time=1, data_time=1, memory=3)], [dict(line, time=2)], result)
    assert result.equal and (result.lines, result.tensors) == (1, 6)


def test_lines_that_differ_lack_or_are_too_many():
    for expected, got in (([1, 2], [1, 3]), ([1, 2], [1]), ([1], [1, 2])):
        result = Comparison('iter:3')
        compare_lines([dict(loss=v) for v in expected], [dict(loss=v) for v in got], result)
        assert len(result.differing_lines) == 1 and not result.equal
        assert 'iter:3' in table([result]) and result.differing_lines[0] in table([result])


def test_default_points(tmp_path):
    points = [result.point for result in compare_resume(toy_config(tmp_path / 'a'))]
    assert points == ['epoch:1', 'epoch:1+val', 'iter:6']
    by_iteration = dict(train_cfg=dict(by_epoch=False, max_iters=6, val_interval=3), param_scheduler=[])
    assert [result.point for result in compare_resume(toy_config(tmp_path / 'b', **by_iteration))] == [
        'iter:3', 'iter:3+val']
    assert {path.name for path in (tmp_path / 'b').iterdir()} == {'straight', 'snapshots', 'iter_3', 'iter_3_val'}


@pytest.mark.parametrize('point', ['epoch', 'epoch:0', 'step:3', 'iter:x', 'iter:1+val'])
def test_malformed_points(tmp_path, point):
    with pytest.raises(UserError, match='must be epoch:N or iter:N'):
        compare_resume(toy_config(tmp_path), [point])


def test_points_never_reached_and_a_used_folder(tmp_path):
    with pytest.raises(UserError, match='iter:13: the run never comes there; it has 3 epochs and 12 iterations'):
        compare_resume(toy_config(tmp_path), ['iter:13'])
    with pytest.raises(UserError, match='holds an earlier comparison'):
        compare_resume(toy_config(tmp_path), ['iter:2'])


def test_tool_exit_code(monkeypatch, config_root, capsys):
    path = config_root.parent / 'tools' / 'analysis_tools' / 'compare_resume.py'
    spec = importlib.util.spec_from_file_location('compare_resume_tool', path)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    monkeypatch.setattr(tool, 'prepare', lambda args: toy_config('runs'))
    results = [Comparison('iter:5', lines=3, tensors=9)]
    monkeypatch.setattr(tool, 'compare_resume', lambda cfg, points: results)
    tool.main(['some.py', '--interrupt', 'iter:5'])
    assert 'iter:5' in capsys.readouterr().out
    results.append(Comparison('epoch:1', differing_values=['.state_dict.a']))
    with pytest.raises(SystemExit) as stop:
        tool.main(['some.py'])
    assert stop.value.code == 1
