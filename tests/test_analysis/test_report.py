"""A page holds what it was given, and nothing of it as markup."""

import base64

import pytest
from PIL import Image

from mmaffnet.analysis.report import Section, write_page


def test_page_holds_tables_and_pictures(tmp_path):
    Image.new('RGB', (4, 4), 'red').save(tmp_path / 'red.png')
    page = write_page(tmp_path / 'new' / 'index.html', 'A <title>', [
        Section('First', text='1 < 2', header=('', 'value'), rows=[('mAP', '0.512')]),
        Section('Second', pictures={'red': tmp_path / 'red.png'}, code='a && b')]).read_text()
    assert 'A &lt;title&gt;' in page and '1 &lt; 2' in page and 'a &amp;&amp; b' in page
    assert '<td>0.512</td>' in page
    assert base64.b64encode((tmp_path / 'red.png').read_bytes()).decode() in page


def test_what_cannot_stand_in_a_page(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_page(tmp_path / 'index.html', 'x', [Section('s', pictures={'p': tmp_path / 'missing.png'})])
    with pytest.raises(ValueError, match='.jpeg'):
        write_page(tmp_path / 'index.html', 'x', [Section('s', pictures={'p': tmp_path / 'data.pkl'})])
    assert not (tmp_path / 'index.html').exists()
