"""The benchmark compares forms that compute the same, and prints a row for each."""

import importlib.util
import sys

import pytest
import torch

from mmaffnet.models.token_mixers import AFF


@pytest.fixture(scope='module')
def benchmark(config_root):
    path = config_root.parent / 'tools' / 'analysis_tools' / 'benchmark_mixer.py'
    spec = importlib.util.spec_from_file_location('benchmark_mixer', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_direct_form_is_the_mixer(benchmark):
    direct, mixer = benchmark.DirectAFF(32, init_std=0.3), AFF(32)
    mixer.load_state_dict(direct.state_dict())
    x = torch.randn(2, 32, 9, 12)
    with torch.no_grad():
        torch.testing.assert_close(direct(x), mixer(x), rtol=1e-4, atol=1e-5)


def test_tables(benchmark, monkeypatch, capsys):
    monkeypatch.setattr(benchmark, 'SIZES', ((16, 4, 4), ))
    monkeypatch.setattr(benchmark, 'IMAGE', 64)
    monkeypatch.setattr(sys, 'argv', ['benchmark_mixer.py', '--rounds', '1'])
    threads = torch.get_num_threads()
    try:
        benchmark.main()
    finally:
        torch.set_num_threads(threads)
    out = capsys.readouterr().out
    assert out.count('16, 4, 4') == 6 and out.count('identity') == 4
    # the net's first row is what the others are compared with
    assert '1.00' in next(line for line in out.splitlines() if 'AFF ' in line and 'contiguous' in line)
