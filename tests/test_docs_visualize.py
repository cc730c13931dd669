"""docs/visualize.md: its commands are understood, its example runs, its snippet gives a mixer its kernel."""

import argparse
import re
import shlex
from pathlib import Path

import torch
from torch import nn

from mmaffnet.analysis import prediction_sheet, visualize_kernels
from mmaffnet.analysis.kernels import equivalent_kernel
from mmaffnet.registry import TOKEN_MIXERS

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / 'docs'
PAGE = (DOCS / 'visualize.md').read_text()
BLOCKS = re.findall(r'```python\n(.*?)```', PAGE, re.DOTALL)


def test_commands_are_understood():
    modules = dict(visualize_kernels=visualize_kernels, prediction_sheet=prediction_sheet)
    scripts = [(ROOT / 'tools' / 'analysis_tools' / f'{name}.py').read_text() for name in modules]
    texts = [PAGE, *(script.split('"""')[1].replace('\\\\', '\\') for script in scripts)]
    commands = [command for text in texts
                for command in re.findall(r'python tools/analysis_tools/((?:.*\\\n)*.*)', text)]
    assert len(commands) == 9
    for command in commands:
        script, *args = shlex.split(command.replace('\\\n', ''))
        parser = argparse.ArgumentParser()
        modules[script.removesuffix('.py')].add_arguments(parser)
        assert parser.parse_args(args).images


def test_the_example(capsys):
    exec(compile(BLOCKS[0], 'visualize.md', 'exec'), {})
    printed = re.findall(r'\(([\d, ]+)\)|\[([\d, ]+)\]', capsys.readouterr().out)
    said = re.findall(r'print\(.*# \(([\d, ]+)\)', BLOCKS[0])
    assert [''.join(shape) for shape in printed] == said == ['1, 3, 32, 17', '1, 3, 32, 32']


def test_a_mixer_of_ones_own():
    """The page's five lines, and the mixer of the other page: a convolution with the kernel is the mixer."""
    blocks = re.findall(r'```python\n(.*?)```', (DOCS / 'operators.md').read_text(), re.DOTALL)
    names = {}
    try:
        exec(next(block for block in blocks if block.startswith('# power_gate.py')), names)
        exec(BLOCKS[1], names)
    finally:
        TOKEN_MIXERS.module_dict.pop('PowerGate', None)
    mixer, x = names['PowerGate'](3).double(), torch.randn(1, 3, 5, 6).double()
    for parameter in mixer.parameters():
        nn.init.normal_(parameter)
    k = equivalent_kernel(mixer, x).kernel
    y = sum(k[..., i:i + 1, j:j + 1] * x.roll((i, j), (-2, -1)) for i in range(5) for j in range(6))
    with torch.no_grad():
        torch.testing.assert_close(y, mixer(x))
