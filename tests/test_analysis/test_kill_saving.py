"""Trainings that are killed lose nothing; and the check would see it if they did."""
import importlib.util
import os
import shutil
from pathlib import Path

import pytest

from mmaffnet.analysis import kill_saving
from mmaffnet.analysis.kill_at import KillAt
from mmaffnet.analysis.kill_saving import check, kill_at_every_step, kill_at_random
from mmaffnet.engine.atomic import SUFFIX


@pytest.fixture(scope='module', autouse=True)
def _imports():
    kill_saving.prepare()


@pytest.mark.slow
def test_a_kill_at_each_step_of_saving_loses_nothing(tmp_path):
    kills = list(kill_at_every_step(tmp_path / 'steps'))
    assert [kill for kill in kills if kill.problems] == []
    steps = [kill.step for kill in kills]
    # Three checkpoints come (of the iteration, the best one, the former again) and two go; each in its steps.
    write = ['before open', 'before write', 'half-way in write', 'before fsync', 'before replace']
    for kind, times in (('checkpoint', 2), ('best', 1), ('pointer', 2)):
        assert [steps.count(f'{step} of {kind} (temporary)') for step in write] == [times] * 5
    assert steps.count('before remove of checkpoint') == 1 and steps[-1] == 'before remove of best'
    assert steps.count('before fsync of folder') == 5 and len(steps) == 5 * 7 + 2
    assert max(kill.temporary_bytes for kill in kills) > 10_000 and {kill.usable for kill in kills} == {11, 12}


@pytest.mark.slow
def test_kills_at_random_moments_lose_nothing(tmp_path):
    kills = list(kill_at_random(tmp_path / 'random' / 'run', kills=12, seed=0))
    assert [kill for kill in kills if kill.problems] == []
    assert kills[-1].usable > 12 and [kill.usable for kill in kills] == sorted(kill.usable for kill in kills)


@pytest.mark.slow
def test_a_loss_is_seen(tmp_path):
    base, run = tmp_path / 'base', tmp_path / 'run'
    kill_saving._train(run, last=4)
    assert check(run, 'x', 4) == ('x', 4, 4, 0, 0, ())
    shutil.copytree(run, base)
    damages = {
        'no pointer': lambda: (run / 'last_checkpoint').unlink(),
        'is empty': lambda: (run / 'iter_4.pth').write_bytes(b''),
        'is missing': lambda: (run / 'iter_4.pth').unlink(),
        'best checkpoint lost': lambda: (run / 'best_toy_score_iter_4.pth').unlink()}
    for words, damage in damages.items():
        damage()
        assert any(words in problem for problem in check(run, 'x', 4).problems), words
        shutil.rmtree(run)
        shutil.copytree(base, run)
    assert 'announced: 5' in check(run, 'x', 5).problems[0]


def test_the_double_counts_what_touches_the_folder_alone(tmp_path):
    double = KillAt(tmp_path / 'run')
    calls = {name: double._counted(name, getattr(os, name)) for name in KillAt.CALLS}
    for folder in ('other', 'run'):
        (tmp_path / folder).mkdir()
        temporary = tmp_path / folder / f'.iter_1.pth.x{SUFFIX}'
        descriptor = calls['open'](temporary, os.O_WRONLY | os.O_CREAT)
        calls['write'](descriptor, b'1234')
        calls['close'](descriptor)
        calls['replace'](temporary, tmp_path / folder / 'iter_1.pth')
        assert (tmp_path / folder / 'iter_1.pth').read_bytes() == b'1234'
    assert double.moments == ['before open of checkpoint (temporary)', 'before write of checkpoint (temporary)',
                              'half-way in write of checkpoint (temporary)',
                              'before replace of checkpoint (temporary)']


@pytest.mark.slow
@pytest.mark.parametrize('lost', [False, True])
def test_the_tool_counts_and_its_exit_code_tells_of_a_loss(capsys, monkeypatch, lost):
    path = Path(__file__).resolve().parents[2] / 'tools' / 'analysis_tools' / 'kill_saving.py'
    spec = importlib.util.spec_from_file_location('kill_saving_tool', path)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    if lost:
        found = kill_saving.check
        monkeypatch.setattr(kill_saving, 'check', lambda *args: found(*args)._replace(problems=('gone', )))
        with pytest.raises(SystemExit, match='1'):
            tool.main(['--kills', '2', '--no-steps'])
    else:
        tool.main(['--kills', '2', '--no-steps'])
    lines = capsys.readouterr().out.splitlines()
    assert '2 kills (0 steps of saving, 2 random moments) in ' in lines[-1]
    assert f' {2 * lost} with a loss' in lines[-1] and len([line for line in lines if ' usable ' in line]) == 2
    assert all(line.endswith('gone' if lost else 'ok') for line in lines if ' usable ' in line)
