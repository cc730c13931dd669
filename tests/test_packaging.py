"""The wheel: what it ships and what it leaves out."""
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope='module')
def names(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def read(wheel, suffix):
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(next(name for name in archive.namelist() if name.endswith(suffix))).decode()


def test_the_wheel_is_what_ci_expects(check_wheel, wheel):
    assert check_wheel.inspect(wheel, ROOT) == []


@pytest.mark.parametrize('name', [
    'mmaffnet/models/backbones/affnet.py', 'mmaffnet/.mim/configs/ssdlite_affnet_coco.py',
    'mmaffnet/.mim/model-index.yml', 'mmaffnet/.mim/configs/ssdlite/metafile.yml',
    'mmaffnet/.mim/configs/_base_/models/ssdlite_affnet.py',
    'mmaffnet/.mim/tools/train.py', 'mmaffnet/.mim/tools/dist_train.sh', 'mmaffnet/.mim/tools/doctor.py',
])
def test_what_users_need_is_shipped(names, name):
    assert name in names


def test_nothing_else_is_shipped(names):
    assert {name.split('/')[0] for name in names} == {'mmaffnet', 'mmaffnet-0.1.0.dist-info'}
    assert not [name for name in names if 'removed' in name or name.endswith(('.jpg', '.pth', '.pyc', '.txt')) and
                '.dist-info/' not in name]
    assert not [name for name in names if name.startswith('mmaffnet/.mim/tools/setup/')]


def test_ci_sees_what_is_missing_and_what_is_too_much(check_wheel, wheel, tmp_path):
    other = tmp_path / wheel.name
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(other, 'w') as new:
        for name in old.namelist():
            if not name.endswith(('.mim/tools/train.py', 'entry_points.txt')):
                new.writestr(name, old.read(name))
        new.writestr('mmaffnet/tests/test_x.py', '')
    wrong = check_wheel.inspect(other, ROOT)
    assert 'mmaffnet/.mim/tools/train.py is missing.' in wrong
    assert 'mmaffnet/tests/test_x.py must not be shipped.' in wrong
    assert 'The command mmaffnet-train is missing.' in wrong


def test_commands(wheel):
    lines = read(wheel, 'entry_points.txt').split('\n')
    for name in ('train', 'test', 'predict', 'config'):
        assert f'mmaffnet-{name} = mmaffnet.engine.cli:{name}_main' in lines


def test_metadata(wheel):
    from mmaffnet.version import __version__
    metadata = Parser().parsestr(read(wheel, 'METADATA'))
    assert metadata['Version'] == __version__ and metadata['License-Expression'] == 'Apache-2.0'
    assert {part.strip() for part in metadata['Requires-Python'].split(',')} == {'>=3.11', '<3.13'}
    needed = [line for line in metadata.get_all('Requires-Dist') if 'extra ==' not in line]
    assert sorted(needed) == ['numpy', 'torch>=2.4']


def test_no_host_is_a_hard_dependency_and_extras_pin_them(checkout_project):
    extras = checkout_project['optional-dependencies']
    assert set(extras) == {'onedl', 'classic', 'safetensors', 'tensorboard', 'timm', 'analysis', 'dev'}
    assert {line for line in extras['classic'] if '==' in line} == {
        'mmengine==0.10.7', 'mmcv==2.1.0', 'mmdet==3.3.0', 'mmsegmentation==1.2.2', 'mmpretrain==1.2.0'}
    # the extra and the lock must name the same versions
    lock = set((ROOT / 'requirements' / 'lock.txt').read_text().splitlines())
    pinned = {line for line in extras['onedl'] if '==' in line}
    assert len(pinned) == 5 and pinned - lock == {'onedl-mmcv==2.3.6'}
    assert "NAME, VERSION = 'onedl-mmcv', '2.3.6'" in (ROOT / 'tools' / 'setup' / 'build_mmcv.py').read_text()


@pytest.fixture(scope='module')
def checkout_project():
    return tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']


def test_the_model_index_leads_to_every_config_and_claims_no_weights():
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    entries = [entry for file in index['Import'] for entry in yaml.safe_load((ROOT / file).read_text())['Models']]
    listed = {entry['Config'] for entry in entries}
    # not the origin encoders and those of comparisons/: others' models, of whose recipes the printed figures are not;
    # nor the ablations, which are no models of their own
    recipes = {path.relative_to(ROOT).as_posix() for path in (ROOT / 'configs').glob('*/*affnet*_8xb*.py')
               if path.parent.name != 'ablations'}
    assert listed == recipes
    for entry in entries:
        assert entry['Name'] == Path(entry['Config']).stem and 'Weights' not in entry
        assert all('of the paper' in result['Dataset'] for result in entry.get('Results', []))


def test_the_citation_names_the_papers_authors():
    citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text())
    paper = citation['preferred-citation']
    assert [author['family-names'] for author in paper['authors']] == ['Huang', 'Zhang', 'Lan', 'Zha', 'Lu', 'Guo']
    assert paper['year'] == 2023 and citation['license'] == 'Apache-2.0'
    from mmaffnet.version import __version__
    assert str(citation['version']) == __version__


def test_an_editable_installation_finds_the_configs_of_the_checkout():
    from mmaffnet.engine.paths import find_config
    assert find_config('ssdlite_affnet_coco').name == 'ssdlite_affnet_coco.py'
