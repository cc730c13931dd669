import pytest

from mmaffnet.engine.cli import config_main
from mmaffnet.engine.errors import UserError
from mmaffnet.engine.paths import assigned_value, config_chain, find_config, shipped_configs


@pytest.mark.parametrize('name', [
    'configs/ssdlite_affnet_coco.py', 'ssdlite_affnet_coco.py', 'ssdlite_affnet_coco', './configs/ssdlite_affnet_coco'])
def test_a_shipped_config_is_found_from_any_directory(name, tmp_path, monkeypatch, config_root):
    monkeypatch.chdir(tmp_path)
    assert find_config(name).resolve() == config_root / 'ssdlite_affnet_coco.py'


def test_a_shipped_config_is_found_without_its_folder(tmp_path, monkeypatch, config_root):
    monkeypatch.chdir(tmp_path)
    found = find_config('ssdlite_affnet-et_8xb16-200e_coco')
    assert found.resolve() == config_root / 'ssdlite' / 'ssdlite_affnet-et_8xb16-200e_coco.py'


def test_a_file_wins_over_a_shipped_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'ssdlite_affnet_coco.py').write_text('')
    assert find_config('ssdlite_affnet_coco.py').resolve() == tmp_path / 'ssdlite_affnet_coco.py'


def test_a_missing_config_names_where_it_was_looked_for_and_similar_ones():
    with pytest.raises(UserError, match=r'/ssdlite_affnet_koko\.py and in .*configs\); similar ones: ssdlite_affnet'):
        find_config('ssdlite_affnet_koko.py')


def test_base_files_are_not_listed():
    assert 'ssdlite_affnet_coco.py' in shipped_configs()
    assert not any('_base_' in name for name in shipped_configs())


def test_chain_and_assigned_values(tmp_path):
    (tmp_path / 'a.py').write_text("root = 'A'\nsize = 2 * 3\n")
    (tmp_path / 'b.py').write_text("_base_ = ['a.py']\nroot = 'B'\n")
    (tmp_path / 'c.py').write_text("_base_ = './b.py'\n")
    assert [path.name for path in config_chain(tmp_path / 'c.py')] == ['c.py', 'b.py', 'a.py']
    assert [assigned_value(path, 'root') for path in config_chain(tmp_path / 'c.py')] == [None, 'B', 'A']
    assert assigned_value(tmp_path / 'a.py', 'size', default=7) == 7  # an expression is no literal


def test_config_command_lists_and_copies_what_can_be_read(tmp_path, monkeypatch, capsys):
    from mmengine.config import Config
    monkeypatch.chdir(tmp_path)
    config_main(['path', 'ssdlite_affnet_coco'])
    assert capsys.readouterr().out == f'{find_config("ssdlite_affnet_coco").absolute()}\n'
    config_main(['list'])
    assert 'ssdlite/ssdlite_affnet-et_8xb16-200e_coco.py' in capsys.readouterr().out.split()
    config_main(['copy', 'ssdlite_affnet_coco'])
    copy = Config.fromfile(tmp_path / 'configs' / 'ssdlite_affnet_coco.py')
    assert copy.to_dict() == Config.fromfile(find_config('ssdlite/ssdlite_affnet-base_8xb16-200e_coco')).to_dict()
    config_main(['copy', 'ssdlite_affnet_coco'])  # nothing differs, nothing is lost
    (tmp_path / 'configs' / 'ssdlite_affnet_coco.py').write_text('# mine\n')
    with pytest.raises(SystemExit) as stop:
        config_main(['copy', 'ssdlite_affnet_coco'])
    assert stop.value.code == 2 and '--force' in capsys.readouterr().err
    assert (tmp_path / 'configs' / 'ssdlite_affnet_coco.py').read_text() == '# mine\n'


def test_config_command_prints_what_is_inherited(capsys):
    config_main(['print', 'ssdlite_affnet_coco'])
    printed = capsys.readouterr().out
    assert "type='mmaffnet.SSDLiteHead'" in printed and '_base_' not in printed
