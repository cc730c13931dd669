"""The builder of mmcv: what it compiles with, what its cache is keyed by, and that a damaged wheel is never used."""
import json
import os
import subprocess
import zipfile

import pytest

COMPILER = dict(version='c++ 12.2.0', abi='1017')


@pytest.fixture
def wheel(tmp_path):
    path = tmp_path / 'onedl_mmcv-2.3.6-cp311-cp311-linux_x86_64.whl'
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('mmcv/_ext.so', b'machine code' * 1000)
    return path


@pytest.mark.parametrize(('line', 'version', 'standard'), [
    ('#if !defined(_MSC_VER) && __cplusplus < 201703L', '2.13.0+cpu', 17),
    ('#if !defined(_MSC_VER) && __cplusplus < 202002L', '2.14.1+cu130', 20),
    ('#if !defined(_MSC_VER) && __cplusplus < 202302L', '2.20.0', 23),
    ('#if !defined(_MSC_VER) && __cplusplus < 201402L', '2.0.0', 17),
    ('#pragma once', '2.14.0', 20),
    ('#pragma once', '2.4.1', 17),
])
def test_the_standard_is_what_the_headers_demand(tool, facts, tmp_path, line, version, standard):
    (tmp_path / 'ATen').mkdir()
    (tmp_path / 'ATen' / 'ATen.h').write_text(f'{line}\n#error newer compiler\n#endif\n')
    torch = facts(version=version, include_paths=['/nowhere', str(tmp_path)])
    assert tool('torch_facts').cxx_standard(torch) == standard


def test_the_standard_of_the_installed_torch_compiles(tool):
    """torch itself says it: the flag that its own builder adds must not be below ours."""
    import sys

    import torch.utils.cpp_extension
    found = tool('torch_facts').torch_facts(sys.executable)
    assert found.version == torch.__version__ and found.include_paths == torch.utils.cpp_extension.include_paths()
    text = open(torch.utils.cpp_extension.__file__).read()
    assert f'-std=c++{tool("torch_facts").cxx_standard(found)}' in text or '-std=c++20' in text


def test_setup_py_gets_the_standard_for_both_compilers(tool, tmp_path):
    build_mmcv = tool('build_mmcv')
    text = "cxx = ['-std=c++17']\nwindows = ['/std:c++17']\nnvcc += ['-std=c++17']\nold = '-std=c++14'\n"
    (tmp_path / 'setup.py').write_text(text)
    build_mmcv.set_standard(tmp_path, 20)
    assert (tmp_path / 'setup.py').read_text() == text.replace('-std=c++17', '-std=c++20')
    with pytest.raises(tool('processes').SetupError, match='names no -std=c\\+\\+17'):
        build_mmcv.set_standard(tmp_path, 20)


def test_every_part_of_the_key_makes_another_wheel(tool, facts, monkeypatch):
    build_mmcv, digest_of = tool('build_mmcv'), tool('wheel_cache').digest_of
    monkeypatch.delenv('TORCH_CUDA_ARCH_LIST', raising=False)
    monkeypatch.setattr(build_mmcv, 'nvcc_of', lambda facts: ('/cuda/bin/nvcc', '13.0, V13.0.88'))

    def key(ops='cpu', compiler=COMPILER, **changes):
        return digest_of(build_mmcv.cache_key(facts(**changes), ops, compiler))

    plain = key()
    assert plain == key()
    others = [
        key(version='2.14.1+cpu'), key(version='2.14.2+cu130'), key(git='0000'), key(cxx11_abi=False),
        key(soabi='cpython-312-x86_64-linux-gnu'), key(cflags='-O3 -Wall'),
        key(compiler=dict(COMPILER, version='c++ 13')), key(compiler=dict(COMPILER, abi='1018')),
        key(ops='cuda'), key(ops='cuda', archs=['9.0']),
        key(ops='cuda', cuda='12.9')
    ]
    for name in ('VERSION', 'SDIST_SHA256', 'RECIPE'):
        with monkeypatch.context() as patch:
            patch.setattr(build_mmcv, name, 'another')
            others.append(key())
    with monkeypatch.context() as patch:
        patch.setattr(build_mmcv, 'nvcc_of', lambda facts: ('/cuda/bin/nvcc', '13.1'))
        others.append(key(ops='cuda'))
    with monkeypatch.context() as patch:
        patch.setenv('TORCH_CUDA_ARCH_LIST', '8.0')
        others.append(key(ops='cuda'))
    assert len({plain, *others}) == 1 + len(others)
    # where only the CPU's operators are built, the GPUs of the machine are no part of the key
    assert key(archs=['9.0']) == plain


@pytest.mark.parametrize(('changes', 'wanted', 'force', 'ops'), [
    (dict(gpu=True), 'auto', '', 'cuda'),
    (dict(gpu=False), 'auto', '', 'cpu'),
    (dict(gpu=False), 'auto', '1', 'cuda'),
    (dict(cuda=None), 'auto', '1', 'cpu'),
    (dict(gpu=True), 'cpu', '', 'cpu'),
    (dict(gpu=False), 'cuda', '', 'cuda'),
])
def test_operators_follow_torch_and_the_gpu(tool, facts, monkeypatch, changes, wanted, force, ops):
    monkeypatch.setenv('FORCE_CUDA', force)
    assert tool('build_mmcv').choose_ops(facts(**changes), wanted) == ops


def test_cuda_from_a_torch_without_it_is_refused(tool, facts):
    with pytest.raises(tool('processes').SetupError, match='a build without CUDA'):
        tool('build_mmcv').choose_ops(facts(cuda=None), 'cuda')


def test_nvcc_must_be_of_torchs_major_version(tool, facts, tmp_path):
    cuda = tool('cuda_compiler')
    for folder, version in (('system', '12.4, V12.4.1'), ('site/nvidia/cu13', '13.0, V13.0.88')):
        nvcc = tmp_path / folder / 'bin' / 'nvcc'
        nvcc.parent.mkdir(parents=True)
        nvcc.write_text(f'#!/bin/sh\necho "Cuda compilation tools, release {version}"\n')
        nvcc.chmod(0o755)
    old_only = facts(cuda='13.0', cuda_home=str(tmp_path / 'system'), purelib='/nowhere')
    assert cuda.is_missing(old_only)
    with pytest.raises(tool('processes').SetupError, match=r'CUDA 13\.0 \(.*nvcc is 12\.4, V12\.4\.1\).*OPS=cpu'):
        cuda.nvcc_of(old_only)
    both = facts(cuda='13.0', cuda_home=str(tmp_path / 'system'), purelib=str(tmp_path / 'site'))
    assert cuda.nvcc_of(both) == (tmp_path / 'site/nvidia/cu13/bin/nvcc', '13.0, V13.0.88')
    assert cuda.cuda_environment(facts(cuda='12.1', cuda_home=str(tmp_path / 'system')), tmp_path) == {
        'CUDA_HOME': str(tmp_path / 'system')}


def test_pips_cuda_gets_the_layout_of_a_toolkit(tool, facts, tmp_path):
    home = tmp_path / 'site' / 'nvidia' / 'cu13'
    for name in ('bin', 'include', 'nvvm', 'lib'):
        (home / name).mkdir(parents=True)
    (home / 'bin' / 'nvcc').write_text('#!/bin/sh\necho "release 13.0, V13.0.88"\n')
    (home / 'bin' / 'nvcc').chmod(0o755)
    (home / 'lib' / 'libcudart.so.13').write_text('')
    torch = facts(cuda='13.0', purelib=str(tmp_path / 'site'))
    made = tool('cuda_compiler').cuda_environment(torch, tmp_path)['CUDA_HOME']
    assert os.path.realpath(f'{made}/lib64/libcudart.so') == str(home / 'lib' / 'libcudart.so.13')
    assert os.path.realpath(f'{made}/bin/nvcc') == str(home / 'bin' / 'nvcc')


def test_a_stored_wheel_is_found_again(tool, tmp_path, wheel):
    cache = tool('wheel_cache').WheelCache(tmp_path / 'cache')
    key = dict(mmcv='2.3.6', torch='2.14.1')
    assert cache.find(key) == (None, '')
    stored = cache.store(key, wheel)
    assert cache.find(key) == (stored, '') and stored.read_bytes() == wheel.read_bytes()
    assert cache.find(dict(key, torch='2.14.2')) == (None, '')
    assert [entry.name for entry in cache.root.iterdir()] == [stored.parent.name]  # nothing half-written stays


@pytest.mark.parametrize(('damage', 'why'), [
    (lambda stored: stored.write_bytes(stored.read_bytes()[:-100]), 'checksum'),
    (lambda stored: stored.unlink(), 'FileNotFoundError'),
    (lambda stored: (stored.parent / 'build.json').write_text('{"wheel"'), 'JSONDecodeError'),
    (lambda stored: (stored.parent / 'build.json').unlink(), 'FileNotFoundError'),
])
def test_a_damaged_wheel_is_refused_and_replaced(tool, tmp_path, wheel, damage, why):
    cache = tool('wheel_cache').WheelCache(tmp_path / 'cache')
    key = dict(mmcv='2.3.6')
    stored = cache.store(key, wheel)
    damage(stored)
    found, reason = cache.find(key)
    assert found is None and why in reason
    assert cache.find(key)[0] != cache.store(key, wheel) == cache.find(key)[0]


def test_a_wheel_under_a_foreign_key_is_refused(tool, tmp_path, wheel):
    """As after a copied folder: the name says one torch, the record another."""
    cache = tool('wheel_cache').WheelCache(tmp_path / 'cache')
    record = cache.store(dict(torch='2.14.1'), wheel).parent / 'build.json'
    values = json.loads(record.read_text())
    record.write_text(json.dumps(dict(values, key=dict(torch='2.13.0'))))
    assert cache.find(dict(torch='2.14.1')) == (None, 'its key is another one')


def test_the_cache_lies_where_xdg_says(tool, monkeypatch, tmp_path):
    root = tool('wheel_cache').cache_root
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    assert root() == tmp_path / 'mmaffnet'
    for value in ('', 'relative/path'):
        monkeypatch.setenv('XDG_CACHE_HOME', value)
        assert root().parts[-2:] == ('.cache', 'mmaffnet')


def test_jobs(tool, monkeypatch):
    cxx = tool('cxx_compiler')
    monkeypatch.setenv('MAX_JOBS', '3')
    assert cxx.jobs() == 3
    monkeypatch.delenv('MAX_JOBS')
    monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: set(range(16)))
    monkeypatch.setattr(os, 'sysconf', {'SC_AVPHYS_PAGES': 5 * 10**9 // 4096, 'SC_PAGE_SIZE': 4096}.get)
    assert cxx.jobs() == 2  # 5 GB of memory carry two compilers


def test_flags_replace_the_defaults_whole(tool, facts):
    flags = tool('cxx_compiler').base_flags(facts(cflags='-O3 -DNDEBUG', cxx11_abi=False))
    assert flags == ['-O3', '-DNDEBUG', '-g0', '-D_GLIBCXX_USE_CXX11_ABI=0']


@pytest.fixture
def fake_torch(facts, tmp_path):
    """A header of torch's name, small enough to compile in a moment."""
    include = tmp_path / 'include'
    (include / 'torch').mkdir(parents=True)
    (include / 'torch' / 'types.h').write_text(
        '#include <cstdint>\nnamespace at { struct Tensor { int64_t dim() const { return 4; } }; }\n')
    return facts(include_paths=[str(include)])


def test_the_precompiled_header_is_made_and_used(tool, fake_torch, tmp_path, monkeypatch):
    monkeypatch.delenv('CXX', raising=False)
    flags = tool('cxx_compiler').compile_header(fake_torch, 20, tmp_path, tmp_path / 'log')
    assert flags == ['-Winvalid-pch', '-include', str(tmp_path / 'torch_types.h')]
    assert (tmp_path / 'torch_types.h.gch').stat().st_size > 0


def test_a_header_that_does_not_compile_is_no_header(tool, fake_torch, tmp_path, monkeypatch):
    monkeypatch.delenv('CXX', raising=False)
    (tmp_path / 'include' / 'torch' / 'types.h').write_text('#error C++23 or later\n')
    assert tool('cxx_compiler').compile_header(fake_torch, 20, tmp_path, tmp_path / 'log') is None
    assert 'C++23 or later' in (tmp_path / 'log').read_text()


@pytest.fixture
def building(tool, monkeypatch, tmp_path, wheel):
    """build() with the download and the compilation replaced; notes which header flags each attempt had."""
    build_mmcv = tool('build_mmcv')
    attempts, said = [], []
    (tmp_path / 'setup.py').write_text("'-std=c++17'")

    def make(header, outcomes):
        results = iter(outcomes)
        monkeypatch.setattr(build_mmcv, 'download_sdist', lambda python, folder, log: tmp_path)
        monkeypatch.setattr(build_mmcv, 'compile_header', lambda *args: header)
        monkeypatch.setattr(build_mmcv, 'compile_wheel', lambda python, facts, ops, source, flags, log, progress:
                            (attempts.append(flags), next(results))[1])
        progress = tool('step_progress').StepProgress([('mmcv', 1.0)])
        monkeypatch.setattr(progress, 'say', said.append)
        progress.start()
        return lambda facts: build_mmcv.build('python', facts, 'cpu', tmp_path, tmp_path / 'log', progress)

    make.attempts, make.said = attempts, said
    return make


def test_without_a_header_it_builds_and_says_so(building, facts, wheel):
    assert building(None, [(wheel, [])])(facts()) == wheel
    assert building.attempts == [None] and 'without that shortcut' in building.said[0]


def test_a_build_that_fails_with_the_header_is_tried_without(building, facts, wheel):
    outcomes = [(None, ['x.cpp:1: error: bad header']), (wheel, [])]
    assert building(['-include', 'x'], outcomes)(facts()) == wheel
    assert building.attempts == [['-include', 'x'], None]
    assert 'error: bad header' in building.said[0] and 'once more without' in building.said[0]


def test_a_build_that_fails_twice_names_the_reason_and_the_log(tool, building, facts, tmp_path):
    failed = (None, ['a.cpp:3: error: no member named z', 'ninja: build stopped'])
    with pytest.raises(tool('processes').SetupError, match=rf'no member named z .*{tmp_path}/log'):
        building(['-include', 'x'], [failed, failed])(facts())


def test_the_build_counts_files_and_hides_the_gpu_from_a_cpu_build(tool, facts, tmp_path, monkeypatch):
    """A stand-in for Python plays pip's and ninja's part: its environment and the progress are what is looked at."""
    fake = tmp_path / 'python'
    fake.write_text('#!/bin/sh\necho "  [1/4] c++ a"\necho "  [3/4] c++ c"\nenv > "$OUT"\n'
                    'mkdir -p wheel && touch wheel/onedl_mmcv-2.3.6-cp311.whl\n')
    fake.chmod(0o755)
    (tmp_path / 'source').mkdir()
    monkeypatch.setenv('OUT', str(tmp_path / 'env.txt'))
    monkeypatch.chdir(tmp_path)
    progress = tool('step_progress').StepProgress([('mmcv', 1.0)])
    progress.start()
    built, _ = tool('build_mmcv').compile_wheel(fake, facts(), 'cpu', tmp_path / 'source', ['-include', 'h'],
                                                tmp_path / 'log', progress)
    assert built == tmp_path / 'wheel' / 'onedl_mmcv-2.3.6-cp311.whl' and progress.note == '3 of 4 files compiled'
    environment = dict(line.split('=', 1) for line in (tmp_path / 'env.txt').read_text().splitlines() if '=' in line)
    assert environment['MMCV_WITH_OPS'] == '1' and environment['CUDA_VISIBLE_DEVICES'] == ''
    assert environment['FORCE_CUDA'] == '0' and environment['CFLAGS'].endswith('-include h')
    assert environment['CFLAGS'].startswith('-O2 -Wall -g0')


def test_mmcv_in_this_environment_passes_the_proof(tool):
    import sys
    assert tool('build_mmcv').prove(sys.executable, 'cpu').split('.')[0] == '2'


def test_an_mmcv_without_operators_fails_the_proof(tool, tmp_path):
    """An interpreter in whose path a package called mmcv has no ops."""
    python = tmp_path / 'python'
    (tmp_path / 'mmcv').mkdir()
    (tmp_path / 'mmcv' / '__init__.py').write_text("__version__ = '2.3.6'\n")
    import sys
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    with pytest.raises(tool('processes').SetupError, match="does not work: .*No module named 'mmcv.ops'"):
        tool('build_mmcv').prove(python, 'cpu')


def test_pip_is_asked_by_version_and_checksum_and_never_from_its_cache(tool, tmp_path, monkeypatch):
    build_mmcv, commands = tool('build_mmcv'), []

    def run_logged(command, log, **options):
        commands.append([str(part) for part in command])
        return 1, ['ERROR: THESE PACKAGES DO NOT MATCH THE HASHES']

    monkeypatch.setattr(build_mmcv, 'run_logged', run_logged)
    with pytest.raises(tool('processes').SetupError, match='could not be fetched: ERROR: THESE PACKAGES'):
        build_mmcv.download_sdist('python', tmp_path, tmp_path / 'log')
    assert {'--require-hashes', '--no-deps', '--no-build-isolation', '--no-cache-dir'} <= set(commands[0])
    assert (tmp_path / 'mmcv.txt').read_text() == (
        'onedl-mmcv==2.3.6 --hash=sha256:8704978a3d492b15cc058742ac3165bd1bcc2dd20678da9ed39e0da3048e3045\n')


def test_the_compiler_is_named_with_its_abi(tool):
    cxx = tool('cxx_compiler')
    identity = cxx.compiler_identity(['c++'])
    assert identity['version'] == subprocess.run(['c++', '--version'], capture_output=True,
                                                 text=True).stdout.splitlines()[0]
    assert identity['abi'].isdigit()
    with pytest.raises(tool('processes').SetupError, match='does not run'):
        cxx.compiler_identity(['/nowhere/c++'])
