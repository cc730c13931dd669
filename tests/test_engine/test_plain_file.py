"""The one way to trust a file on purpose."""
import importlib.util
import pickle
from pathlib import Path

import pytest
import torch

from mmaffnet.engine.errors import UserError
from mmaffnet.engine.plain_file import make_plain, names_in
from mmaffnet.engine.safe_file import load_file

ROOT = Path(__file__).resolve().parents[2]


def module_of(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


malicious = module_of(Path(__file__).with_name('malicious.py'))
main = module_of(ROOT / 'tools' / 'model_converters' / 'plain_checkpoint.py').main


@pytest.fixture
def strange(tmp_path):
    """A sound checkpoint whose maker also pickled what makes a folder."""
    value = malicious.checkpoint()
    value['meta']['made'] = malicious.Mkdir(tmp_path / 'marker')
    torch.save(value, tmp_path / 'strange.pth')
    return tmp_path / 'strange.pth'


def test_names_are_listed_and_nothing_runs(strange, capsys):
    main([str(strange)])
    said = capsys.readouterr().out
    assert f'UNKNOWN  {malicious.GLOBAL_OF_MKDIR}\n' in said and '1 unknown names: loading it needs --trust' in said
    assert 'known    torch._utils._rebuild_tensor_v2' in said
    assert not (strange.parent / 'marker').exists()


@pytest.mark.parametrize('name', [name for name, (_, _, live) in malicious.FILES.items()
                                  if live and name != 'legacy_tar'])
def test_names_of_every_kind_of_file(name, tmp_path):
    (tmp_path / 'c.pth').write_bytes(malicious.FILES[name][0](tmp_path / 'marker'))
    assert malicious.GLOBAL_OF_MKDIR in names_in(tmp_path / 'c.pth')[1]
    assert not (tmp_path / 'marker').exists()


def test_trust_runs_it_once_and_writes_a_copy_that_needs_none(strange, tmp_path, capsys):
    main([str(strange), str(tmp_path / 'out.pth'), '--trust'])
    assert f'written: {tmp_path / "out.pth"}' in capsys.readouterr().out
    assert (tmp_path / 'marker').is_dir()  # the user asked for it
    plain = torch.load(tmp_path / 'out.pth', weights_only=True)
    assert plain['state_dict']['w'].tolist() == [1, 1] and plain['meta']['made'] is None
    assert names_in(tmp_path / 'out.pth')[1] == []
    assert load_file(tmp_path / 'out.pth')['meta']['epoch'] == 1


def test_without_trust_it_is_refused(strange, tmp_path):
    with pytest.raises(SystemExit) as stop:
        main([str(strange), str(tmp_path / 'out.pth')])
    assert stop.value.code == 2 and not (tmp_path / 'marker').exists() and not (tmp_path / 'out.pth').exists()


@pytest.mark.parametrize(('content', 'hint'), [
    (None, 'not found'), (b'text', 'damaged, incomplete or no checkpoint'), (pickle.dumps([1]), 'not a dict'),
    (b'\x80\x02cno_such_module\nThing\n.', 'not installed here')])
def test_mistakes_are_named(content, hint, tmp_path):
    path = tmp_path / 'c.pth'
    if content == pickle.dumps([1]):
        torch.save([1], path)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=hint):
        names_in(path)
        make_plain(path, tmp_path / 'out.pth', trust=True)
    assert not (tmp_path / 'out.pth').exists()


def test_no_file_is_replaced(strange):
    with pytest.raises(UserError, match='is there already'):
        make_plain(strange, strange, trust=True)
