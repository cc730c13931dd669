"""Nothing in a file runs: malicious files through every way in, at the loader and at the hosts' own functions."""
import functools
import http.server
import importlib.util
import io
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import mmengine.runner.checkpoint as mmengine_checkpoint
import pytest
import torch
from mmengine.config import Config
from mmengine.fileio import BaseStorageBackend, register_backend
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.runner import CheckpointLoader

from mmaffnet.engine import AFFNetRunner, safe_file
from mmaffnet.engine.cli import predict_main, train_main
from mmaffnet.engine.cli import test_main as run_test
from mmaffnet.engine.config import load_config
from mmaffnet.engine.errors import UserError
from mmaffnet.engine.safe_load import SCHEMES, load_file, register_safe_schemes
from mmaffnet.engine.weights import read_checkpoint

_spec = importlib.util.spec_from_file_location('malicious', Path(__file__).with_name('malicious.py'))
malicious = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(malicious)
ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
default_scope = '{scope}'
custom_imports = dict(imports=['mmaffnet', 'mmaffnet.safe_loading'], allow_failed_imports=False)
model = dict(type='ModelOfOneWeight', backbone=dict())
"""


@MODELS.register_module()
class ModelOfOneWeight(BaseModel):
    """What the hosts build here: the load is what is tested."""

    def __init__(self, **kwargs):
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(2))

    def forward(self, inputs, data_samples=None, mode='tensor'):
        """Not called."""


class Bucket(BaseStorageBackend):
    """A fake object store: file names are read below one folder."""

    folder = None

    def __init__(self, **kwargs):
        pass

    def get(self, filepath):
        return (self.folder / filepath.split('://bucket/')[1]).read_bytes()

    def get_text(self, filepath, encoding='utf-8'):
        return self.get(filepath).decode(encoding)


@pytest.fixture(scope='module', autouse=True)
def schemes():
    """Ours during this module, as before after it."""
    before = dict(CheckpointLoader._schemes)
    register_safe_schemes()
    yield
    for prefix, loader in before.items():
        CheckpointLoader.register_scheme(prefix, loader, force=True)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """All files of malicious.py and a sound one; markers would appear beside them."""
    root = tmp_path_factory.mktemp('files')
    for name, (maker, _, _) in malicious.FILES.items():
        (root / f'{name}.pth').write_bytes(maker(root / f'{name}.marker'))
    torch.save(malicious.checkpoint(), root / 'sound.pth')
    return root


@pytest.fixture(scope='module')
def bucket(folder):
    from mmengine.fileio.backends.registry_utils import backends
    former = backends['petrel']
    register_backend('petrel', Bucket, force=True)
    Bucket.folder = folder
    yield 's3://bucket/'
    register_backend('petrel', former, force=True)


@pytest.fixture(scope='module')
def server(folder, tmp_path_factory):
    """A server on this machine; downloads go into a hub folder of the test's own."""
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    httpd = http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('NO_PROXY', '*')
        patch.setattr(torch.hub, '_hub_dir', str(tmp_path_factory.mktemp('hub')))
        yield f'http://127.0.0.1:{httpd.server_port}/'
    httpd.shutdown()


def expect_refusal(name, folder, load):
    """Load; the sentence must name what is wrong, and nothing may have run."""
    with pytest.raises(UserError) as caught:
        load()
    assert malicious.FILES[name][1] in str(caught.value)
    assert f'{name}.pth' in str(caught.value)
    assert '\n' not in str(caught.value)
    assert not (folder / f'{name}.marker').exists()


every_file = pytest.mark.parametrize('name', malicious.FILES)
live_file = pytest.mark.parametrize('name', [name for name, (_, _, live) in malicious.FILES.items() if live])


@live_file
def test_the_files_are_armed(name, tmp_path):
    """Full unpickling makes the marker: the tests below do not pass because a file is harmless."""
    maker = malicious.FILES[name][0]
    path = tmp_path / 'armed.pth'
    path.write_bytes(maker(tmp_path / 'marker'))
    try:
        torch.load(path, weights_only=False)
    except (RuntimeError, AttributeError, TypeError, pickle.UnpicklingError):
        pass  # what comes back from mkdir is no checkpoint
    assert (tmp_path / 'marker').is_dir()


@every_file
def test_local_and_remote_files_are_refused(name, folder, bucket, server):
    for place in (f'{folder}/', bucket, 'cluster:' + bucket, bucket.replace('s3', 'petrel'), server):
        expect_refusal(name, folder, lambda place=place: CheckpointLoader.load_checkpoint(f'{place}{name}.pth', 'cpu'))


@every_file
@pytest.mark.parametrize('host', ['mmdet', 'mmseg', 'mmpretrain'])
def test_the_hosts_own_functions_refuse(name, host, entry, folder, bucket, server):
    for place in (f'{folder}/', bucket, server):
        expect_refusal(name, folder, lambda place=place: entry(host, f'{place}{name}.pth'))


@pytest.mark.parametrize('host', ['mmdet', 'mmseg', 'mmpretrain'])
def test_the_hosts_own_functions_load_what_is_sound(host, entry, folder, bucket, server):
    for place in (f'{folder}/', bucket, server):
        assert entry(host, f'{place}sound.pth').w.tolist() == [1, 1]


@pytest.fixture(scope='module')
def entry(tmp_path_factory):
    """entry(host, checkpoint): what a user of that host calls."""
    root = tmp_path_factory.mktemp('configs')

    def load(host, checkpoint):
        config = root / f'{host}.py'
        config.write_text(CONFIG.format(scope=host))
        if host == 'mmdet':
            from mmdet.apis import init_detector
            return init_detector(str(config), checkpoint, palette='random', device='cpu')
        if host == 'mmseg':
            from mmseg.apis import init_model
            return init_model(str(config), checkpoint, device='cpu')
        from mmpretrain import get_model
        return get_model(str(config), pretrained=checkpoint, device='cpu')

    return load


@live_file
def test_torchs_own_reading_is_the_second_guard(name, folder, monkeypatch):
    """Without the first reading everything stops all the same, at torch's list, which holds ours only."""
    if name == 'legacy_tar':
        return  # torch 2.4 would trust it
    monkeypatch.setattr(safe_file, '_read_first', lambda file, size, name: io.BytesIO(file.seek(0) or file.read()))
    with pytest.raises(UserError):
        load_file(folder / f'{name}.pth')
    assert not (folder / f'{name}.marker').exists()


def test_what_others_allowed_is_not_allowed_and_stays_theirs(folder):
    class Theirs:
        pass

    torch.serialization.add_safe_globals([os.mkdir, Theirs])
    try:
        before = set(torch.serialization.get_safe_globals())
        expect_refusal('plain_reduce', folder, lambda: load_file(folder / 'plain_reduce.pth'))
        load_file(folder / 'sound.pth')
        assert set(torch.serialization.get_safe_globals()) == before >= {os.mkdir, Theirs}
    finally:
        torch.serialization.clear_safe_globals()


def test_every_scheme_of_mmengine_is_ours():
    assert set(SCHEMES) == set(CheckpointLoader._schemes)
    assert {loader.__module__ for loader in CheckpointLoader._schemes.values()} == {'mmaffnet.engine.safe_load'}
    # the line in mmengine's log is made of the loader's name
    assert all(loader.__name__.startswith('load_from_') for loader in SCHEMES.values())


@pytest.mark.parametrize('name', ['plain_reduce', 'sound'])
def test_schemes_that_look_up_an_address(name, server, folder, monkeypatch):
    """mmengine's own loaders for these call its HTTP loader directly."""
    url = f'{server}{name}.pth'
    for function in ('get_torchvision_models', 'get_external_models', 'get_mmcls_models'):
        monkeypatch.setattr(mmengine_checkpoint, function, lambda: dict(model=url))
    monkeypatch.setattr(mmengine_checkpoint, 'get_deprecated_model_names', lambda: dict(old='model'))
    for address in ('torchvision://model', 'modelzoo://model', 'openmmlab://model', 'open-mmlab://old',
                    'mmcls://model'):
        if name == 'sound':
            state = CheckpointLoader.load_checkpoint(address, 'cpu')['state_dict']
            assert list(state) == ([] if address.startswith('mmcls') else ['w'])
        else:
            expect_refusal(name, folder, lambda address=address: CheckpointLoader.load_checkpoint(address))
    with pytest.raises(UserError, match="no model 'modle'; similar ones: model"):
        CheckpointLoader.load_checkpoint('openmmlab://modle')


def test_a_tool_ends_with_one_line_and_exit_code_2(folder, capfd, config_root):
    config = config_root / 'ssdlite' / 'ssdlite_affnet-et_8xb16-200e_coco.py'
    (folder / 'picture.jpg').touch()
    with pytest.raises(SystemExit) as stop:
        predict_main([str(folder / 'picture.jpg'), '--config', str(config), '--checkpoint',
                      str(folder / 'in_meta.pth'), '--out', str(folder / 'out')])
    assert stop.value.code == 2
    last = capfd.readouterr().err.splitlines()[-1]
    assert last.startswith('error: checkpoint ') and malicious.GLOBAL_OF_MKDIR in last and '--trust' in last
    assert not (folder / 'in_meta.marker').exists()


def test_every_config_of_ours_loads_safely(config_root):
    from mmaffnet.engine.paths import shipped_configs
    for name in shipped_configs():
        assert 'mmaffnet.safe_loading' in Config.fromfile(config_root / name).custom_imports.imports, name


ACTIVATION = """
from mmengine.runner import CheckpointLoader
import torch
before = dict(CheckpointLoader._schemes)
import mmaffnet, mmaffnet.engine
from mmaffnet.engine.safe_pickle import RECORDERS
assert CheckpointLoader._schemes == before, 'importing the package has changed the loaders'
from mmengine.config import Config
Config.fromfile('configs/ssdlite_affnet_coco.py')
assert not set(before.values()) & set(CheckpointLoader._schemes.values()), 'a loader of mmengine is left'
assert list(CheckpointLoader._schemes) == list(before)
assert not set(RECORDERS.values()) & set(torch.serialization.get_safe_globals())
print('all of it')
"""


def test_importing_the_package_changes_nothing_and_reading_a_config_everything():
    done = subprocess.run([sys.executable, '-c', ACTIVATION], cwd=ROOT, text=True, capture_output=True, timeout=300)
    assert done.returncode == 0 and done.stdout.endswith('all of it\n'), done.stderr


@pytest.mark.parametrize('way', ['load_config', 'read_checkpoint', 'runner'])
def test_our_tools_need_no_custom_imports(way, tmp_path, folder):
    """A config of a user's own may lack the line: whatever of ours reads it, or a file, makes loading safe first."""
    for prefix in SCHEMES:
        CheckpointLoader.register_scheme(prefix, mmengine_checkpoint.load_from_local, force=True)
    try:
        (tmp_path / 'own.py').write_text("default_scope = 'mmdet'\n")
        if way == 'load_config':
            load_config(str(tmp_path / 'own.py'))
        elif way == 'read_checkpoint':
            with pytest.raises(UserError):
                read_checkpoint(folder / 'plain_reduce.pth', 'checkpoint')
        else:
            with pytest.raises(KeyError, match='work_dir'):
                AFFNetRunner.from_cfg(Config(dict(model=dict(type='ModelOfOneWeight'))))
        assert set(CheckpointLoader._schemes.values()) == set(SCHEMES.values())
    finally:
        register_safe_schemes()


@pytest.mark.parametrize('way', ['--resume', 'load_from', 'pretrained', 'init_cfg', 'test'])
def test_training_and_testing_end_with_one_line_and_exit_code_2(way, folder, small_config, own_set, tmp_path, capfd):
    file = str(folder / 'in_optimizer_state.pth')
    extra = f"model = dict(backbone=dict(init_cfg=dict(type='Pretrained', checkpoint='{file}')))"
    config = str(small_config(own_set(('a', 'b')), extra="classes = ('a', 'b')\n" + extra * (way == 'init_cfg')))
    options = {
        '--resume': ['--resume', file], 'load_from': ['--cfg-options', f'load_from={file}'],
        'pretrained': ['--cfg-options', f'pretrained={file}'],
        'init_cfg': [], 'test': [file]}[way]
    with pytest.raises(SystemExit) as stop:
        (run_test if way == 'test' else train_main)([config, *options, '--work-dir', str(tmp_path / 'run')])
    assert stop.value.code == 2
    last = capfd.readouterr().err.splitlines()[-1]
    assert last.startswith('error: ') and malicious.GLOBAL_OF_MKDIR in last and file in last
    assert not (folder / 'in_optimizer_state.marker').exists()
