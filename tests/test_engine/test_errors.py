import json
import socket

import pytest

from mmaffnet.engine.cli import train_main
from mmaffnet.engine.errors import LAUNCHED, UserError, cli, say


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


@pytest.mark.parametrize(('local_rank', 'said'), [('0', True), ('1', False)])
def test_the_first_rank_of_another_machine_speaks_for_it(local_rank, said, capsys, monkeypatch):
    """srun shows no report, and the mistake (a missing file) may be this machine's alone."""
    monkeypatch.setenv('SLURM_PROCID', '9')
    monkeypatch.setenv('SLURM_LOCALID', local_rank)
    with pytest.raises(SystemExit):
        broken()
    assert capsys.readouterr().err == said * f'rank 9 on {socket.gethostname()}: error: no such thing\n'


def test_torchrun_is_told_one_line_of_a_mistake_and_the_traceback_of_a_bug(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv('TORCHELASTIC_ERROR_FILE', str(tmp_path / 'error.json'))
    monkeypatch.setenv('RANK', '1')

    def recorded(main):
        with pytest.raises((SystemExit, ZeroDivisionError)) as stop:
            cli(main)()
        return stop, json.loads((tmp_path / 'error.json').read_text())['message']

    stop, message = recorded(broken.__wrapped__)
    assert stop.value.code == 2 and message['message'] == 'error: no such thing'
    assert message['extraInfo']['py_callstack'] == 'error: no such thing'
    assert message['extraInfo']['timestamp'] == str(int(message['extraInfo']['exact_time']))
    assert capsys.readouterr() == ('', '')  # torchrun's report has it

    stop, message = recorded(lambda argv: 1 / 0)
    assert stop.type is ZeroDivisionError and message['message'] == 'ZeroDivisionError: division by zero'
    assert message['extraInfo']['py_callstack'].startswith('Traceback')

    monkeypatch.setenv(LAUNCHED, '1')
    stop, message = recorded(lambda argv: 1 / 0)
    assert stop.value.code == 1 and capsys.readouterr() == ('', '')  # our launcher prints it


def test_a_rank_that_lost_another_one_says_so_in_one_line(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv('TORCHELASTIC_ERROR_FILE', str(tmp_path / 'error.json'))

    def main(argv):
        raise RuntimeError('[…/gloo/transport/tcp/pair.cc:545] Read error [127.0.0.1]:3257: Connection reset by peer')

    with pytest.raises(SystemExit) as stop:
        cli(main)()
    assert stop.value.code == 134
    assert capsys.readouterr().err.startswith('error: rank 0 lost contact with another one')


def test_an_unknown_flag_is_one_line_too(capsys):
    """argparse would print it with the usage, once for each of several ranks."""
    with pytest.raises(SystemExit) as stop:
        train_main(['config.py', '--batchsize', '4'])
    said = capsys.readouterr().err
    assert stop.value.code == 2 and said.startswith('error: unrecognized arguments: --batchsize 4; ')
    assert said.count('\n') == 1
