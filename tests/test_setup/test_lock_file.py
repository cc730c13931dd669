"""The lock file's grammar, and the comparison with what an environment holds."""
import hashlib

import pytest


def write_distribution(site, name, version, files=(('module.py', 'x = 1\n'), ), record=True):
    """Lay a distribution out as pip does; RECORD, which pip writes last, may be left away."""
    info = site / f'{name}-{version}.dist-info'
    info.mkdir(parents=True)
    (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n')
    rows = []
    for path, text in files:
        (site / path).write_text(text)
        rows.append(f'{path},sha256={hashlib.sha256(text.encode()).hexdigest()},{len(text)}')
    if record:
        (info / 'RECORD').write_text('\n'.join([*rows, f'{info.name}/RECORD,,', '']))


def test_sections_names_and_versions(tool, tmp_path):
    lock = tmp_path / 'lock.txt'
    lock.write_text('# why\n\n# [build] tools\nninja==1.13.2\n# a remark\n'
                    '# [hosts]\nTyping_Extensions==4.16.0\nA.b==1\n')
    assert tool('lock_file').read_lock(lock) == {
        'build': {'ninja': '1.13.2'},
        'hosts': {'typing-extensions': '4.16.0', 'a-b': '1'},
    }


@pytest.mark.parametrize(('text', 'sentence'), [
    ('# [build]\nninja>=1.13\n', 'line 2: "ninja>=1.13" is not of the form name==version'),
    ('# [build]\nninja==1.13 ; python_version > "3"\n', 'line 2: .* is not of the form'),
    ('ninja==1.13\n# [build]\n', 'line 1: "ninja==1.13" stands before the first'),
    ('# [build]\nmy_tool==1\n# [dev]\nMy.Tool==2\n', 'line 4: my-tool is pinned in line 2 already'),
])
def test_a_bad_line_is_named(tool, tmp_path, text, sentence):
    lock = tmp_path / 'lock.txt'
    lock.write_text(text)
    with pytest.raises(tool('processes').SetupError, match=sentence):
        tool('lock_file').read_lock(lock)


def test_our_lock_holds_what_the_set_up_relies_on(tool, checkout):
    sections = tool('lock_file').read_lock(checkout / 'requirements' / 'lock.txt')
    assert list(sections) == ['build', 'torch', 'libraries', 'hosts', 'dev', 'nvcc']
    assert sections['torch']['torch'] == '2.14.1' and sections['torch']['torchvision'] == '0.29.1'
    assert sections['hosts'] == {
        'imagecorruptions-imaug': '1.1.5', 'imaug': '0.4.3', 'onedl-mmdetection': '3.5.1', 'onedl-mmengine': '0.10.12',
        'onedl-mmpretrain': '1.3.6', 'onedl-mmsegmentation': '1.4.2'
    }
    # mmcv comes from the builder alone, transformers 5 breaks mmpretrain, and one OpenCV is enough
    names = {name for section in sections.values() for name in section}
    assert not names & {'onedl-mmcv', 'mmcv', 'transformers', 'opencv-python', 'opencv-contrib-python'}


def test_what_is_missing_old_or_cut_off_is_installed_again(tool, tmp_path):
    lock_file = tool('lock_file')
    write_distribution(tmp_path, 'right', '1.0', [('right.py', 'x = 1\n')])
    write_distribution(tmp_path, 'Old_One', '1.0', [('old.py', 'x = 1\n')])
    write_distribution(tmp_path, 'cut-off', '1.0', [('cut.py', 'x = 1\n')], record=False)
    write_distribution(tmp_path, 'shortened', '1.0', [('short.py', 'x = 1\n')])
    (tmp_path / 'short.py').write_text('x')
    write_distribution(tmp_path, 'torch', '2.14.1+cu130', [('torch.py', 'x = 1\n')])
    (tmp_path / 'empty-1.dist-info').mkdir()  # as an installation leaves that was cut off at once
    present = lock_file.installed([str(tmp_path)], thorough=True)
    assert len(present) == 5
    pins = {'right': '1.0', 'old-one': '2.0', 'cut-off': '1.0', 'shortened': '1.0', 'absent': '3', 'torch': '2.14.1'}
    assert lock_file.outstanding(pins, present) == ({'old-one': '2.0', 'absent': '3'},
                                                    {'cut-off': '1.0', 'shortened': '1.0'})
    # the quick look takes RECORD's word for the files
    assert lock_file.installed([str(tmp_path)])['shortened'].complete


def test_the_first_directory_on_the_path_counts(tool, tmp_path):
    write_distribution(tmp_path / 'first', 'twice', '2.0')
    write_distribution(tmp_path / 'second', 'twice', '1.0')
    found = tool('lock_file').installed([str(tmp_path / 'first'), str(tmp_path / 'second')])
    assert found['twice'].version == '2.0'


def test_the_classic_set_in_an_environment_is_refused(tool):
    packages, lock_file = tool('packages'), tool('lock_file')
    have = {name: lock_file.Installed('1', True) for name in ('mmcv', 'mmdet', 'onedl-mmengine')}
    with pytest.raises(tool('processes').SetupError, match=r'/env/python has mmcv, mmdet installed, .*'
                       r'onedl-mmcv, onedl-mmdetection .*pip uninstall mmcv mmdet'):
        packages.check_stack(have, '/env/python')
    packages.check_stack({'onedl-mmcv': lock_file.Installed('1', True)}, '/env/python')


def test_an_opencv_that_is_there_is_kept_and_replacements_are_named(tool):
    packages, installed = tool('packages'), tool('lock_file').Installed
    pins = {'numpy': '2.4.6', 'opencv-python-headless': '5.0.0.93'}
    assert packages.keep_opencv(pins, {'opencv-contrib-python': installed('4.9', True)}) == {'numpy': '2.4.6'}
    assert packages.keep_opencv(pins, {'opencv-python-headless': installed('4.9', True)}) == pins
    assert packages.changes(pins, {'numpy': installed('1.26.4', True)}) == ['numpy 1.26.4 -> 2.4.6']
    assert packages.changes(pins, {'numpy': installed('2.4.6', True)}) == []
