import pytest

from mmaffnet.engine.errors import UserError, cli, say


@cli
def broken(argv=None):
    raise UserError('no such thing')


def test_a_users_mistake_is_one_line_and_exit_code_2(capsys):
    with pytest.raises(SystemExit) as stop:
        broken()
    assert stop.value.code == 2
    assert capsys.readouterr().err == 'error: no such thing\n'


def test_other_ranks_are_silent(capsys, monkeypatch):
    monkeypatch.setenv('RANK', '1')
    with pytest.raises(SystemExit):
        broken()
    say('hello')
    assert capsys.readouterr() == ('', '')


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        cli(lambda argv: 1 / 0)()


def test_exit_codes_of_main_are_kept():
    with pytest.raises(SystemExit) as stop:
        cli(lambda argv: 1)()
    assert stop.value.code == 1
    assert cli(lambda argv: 0)() is None
