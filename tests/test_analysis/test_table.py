"""One table in three formats: the same numbers, footnotes in their places, nothing taken for markup."""

import io
import json

import pytest

from mmaffnet.analysis.paper_tables import write_tables
from mmaffnet.analysis.table import Column, Noted, Table, render
from mmaffnet.engine.errors import UserError


@pytest.fixture
def table():
    table = Table('A table', (Column('name', 'Name'), Column('x', 'x', 2, signed=True)), 'What x means.')
    table.add('a|b [c]', 1.234)
    table.add(Noted('d', 'why'), None)
    table.add(Noted('e', 'why'), Noted(-1.0, 'another'))
    return table


def test_markdown(table):
    lines = table.markdown().splitlines()
    assert lines[0] == '**A table**' and lines[2:4] == ['| Name | x |', '| --- | --- |']
    assert lines[4:7] == [r'| a\|b [c] | +1.23 |', '| d [1] | – |', '| e [1] | -1.00 [2] |']
    assert lines[-2:] == ['[1] why  ', '[2] another'] and lines[-3] == 'What x means.  '


def test_json(table):
    text = io.StringIO()
    render([table], 'json', text)
    given, = json.loads(text.getvalue())
    assert given['rows'] == [dict(name='a|b [c]', x=1.234, notes={}), dict(name='d', x=None, notes=dict(name='why')),
                             dict(name='e', x=-1.0, notes=dict(name='why', x='another'))]
    assert given['notes'] == ['why', 'another'] and given['conventions'] == 'What x means.'


def test_terminal(table, capsys):
    write_tables([table])
    out = capsys.readouterr().out
    assert 'a|b [c]' in out and 'd [1]' in out and '+1.23' in out and 'What x means.' in out and '[1] why' in out


def test_mistakes(table, tmp_path):
    with pytest.raises(ValueError, match='2 values, got 1'):
        table.add(1)
    with pytest.raises(UserError, match='terminal, markdown, json'):
        write_tables([table], 'html')
    with pytest.raises(UserError, match='cannot be written'):
        write_tables([table], out=tmp_path)
    write_tables([table], 'markdown', tmp_path / 'x.md')
    assert (tmp_path / 'x.md').read_text() == table.markdown() + '\n'
