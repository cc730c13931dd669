"""The scripts as a user calls them. What they do is tested in-process in test_engine; here: that they start it."""
import json
import os
import subprocess
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / 'tools'


@pytest.mark.parametrize('args', [
    ['train.py', 'ssdlite_affnet_coco'],
    ['test.py', 'ssdlite_affnet_coco', 'nowhere.pth'],
    ['predict.py', 'nowhere.jpg', '--config', 'ssdlite_affnet_coco', '--checkpoint', 'c.pth', '--out', 'out']])
def test_missing_things_end_with_one_line_and_exit_code_2(args, run_tool, tmp_path):
    done = run_tool(args, cwd=tmp_path, env=dict(PYTHONPATH=str(TOOLS.parent)))
    assert done.returncode == 2, done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith('error: ')] == [done.stderr.splitlines()[-1]]
    assert 'Traceback' not in done.stderr and 'looked for' in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_plot_logs_writes_a_picture(run_tool, tmp_path):
    record = dict(loss=1.0, iter=1, step=1)
    (tmp_path / 'scalars.json').write_text(json.dumps(record) + '\n')
    done = run_tool(['analysis_tools/plot_logs.py', 'scalars.json', '--out', 'c.png'], cwd=tmp_path,
                    env=dict(PYTHONPATH=str(TOOLS.parent)))
    assert done.returncode == 0 and (tmp_path / 'c.png').stat().st_size > 1000, done.stderr


@pytest.fixture
def echo(tmp_path):
    """A stand-in for Python and srun that prints its arguments, one a line; echo(script, *args, **env) -> lines."""
    for name in ('python', 'srun'):
        path = tmp_path / name
        path.write_text('#!/bin/sh\nfor a in "$@"; do printf "%s\\n" "$a"; done\necho "path=$PYTHONPATH"\n')
        path.chmod(0o755)

    def run(script, *args, **env):
        clean = {k: v for k, v in os.environ.items() if k not in ('PORT', 'NNODES', 'NODE_RANK', 'MASTER_ADDR',
                                                                  'GPUS', 'PYTHONPATH')}
        done = subprocess.run([TOOLS / script, *args], text=True, capture_output=True, cwd=tmp_path, env={
            **clean, 'PYTHON': str(tmp_path / 'python'), 'PATH': f"{tmp_path}:{os.environ['PATH']}", **env})
        return done.returncode, done.stdout.splitlines(), done.stderr

    return run


def test_dist_train_passes_everything_on_unbroken(echo):
    code, lines, _ = echo('dist_train.sh', 'my config.py', '2', '--work-dir', 'a b', '--cfg-options', 'x="[1, 2]"')
    assert code == 0
    assert lines[:5] == ['-m', 'mmaffnet.engine.launch', '--standalone', '--nproc_per_node', '2']
    assert lines[5] == str(TOOLS / 'train.py')
    assert lines[6:-1] == ['my config.py', '--launcher', 'pytorch', '--work-dir', 'a b', '--cfg-options', 'x="[1, 2]"']
    assert Path(lines[-1].removeprefix('path=')).resolve() == TOOLS.parent


def test_dist_test_on_the_second_of_two_machines(echo):
    code, lines, _ = echo('dist_test.sh', 'c.py', 'k.pth', '8', '--tta', NNODES='2', NODE_RANK='1',
                          MASTER_ADDR='10.0.0.1', PORT='1234')
    assert code == 0
    assert lines[2:12] == ['--nnodes', '2', '--node_rank', '1', '--master_addr', '10.0.0.1', '--master_port', '1234',
                           '--nproc_per_node', '8']
    assert lines[12:-1] == [str(TOOLS / 'test.py'), 'c.py', 'k.pth', '--launcher', 'pytorch', '--tta']


def test_slurm_train(echo):
    code, lines, _ = echo('slurm_train.sh', 'gpu', 'my job', 'c.py', 'out dir', '--seed', '1', GPUS='4',
                          SRUN_ARGS='--time=1:00 --qos=high')
    assert code == 0
    assert {'--partition=gpu', '--job-name=my job', '--ntasks=4', '--gres=gpu:4', '--qos=high'} <= set(lines)
    assert lines[-9:-1] == [
        str(TOOLS / 'train.py'), 'c.py', '--work-dir', 'out dir', '--launcher', 'slurm', '--seed', '1']


@pytest.mark.parametrize('script', ['dist_train.sh', 'dist_test.sh', 'slurm_train.sh'])
def test_too_few_arguments_are_answered_with_the_usage(echo, script):
    code, _, error = echo(script, 'c.py')
    assert code == 2 and error.startswith('usage: ')
