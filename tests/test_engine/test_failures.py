"""A rank that raises, dies or hangs ends the whole run with the first error on top, and the run resumes."""
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

TOOLS = Path(__file__).resolve().parents[2] / 'tools'

# What goes wrong, in the rank and the iteration that the environment names.
FAULT = '''
import os
import signal
import time

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from mmaffnet.engine.errors import UserError


@HOOKS.register_module()
class Fault(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        kind, rank, iteration = os.environ.get('FAULT', 'none 9 9').split()
        if get_rank() == int(rank) and runner.iter == int(iteration):
            print(f'fault at {time.time()}', flush=True)
            getattr(self, kind)()

    def raises(self):
        raise ValueError('a bug in rank 1')

    def is_killed(self):
        os.kill(os.getpid(), signal.SIGKILL)

    def hangs(self):
        time.sleep(600)

    def is_slow(self):
        time.sleep(2)

    def stops(self):
        raise UserError('a mistake that only rank 1 meets')
'''
EXTRA = """classes = ('bolt', 'nut')
custom_imports = dict(imports=['mmaffnet', 'fault'], allow_failed_imports=False)
custom_hooks = [dict(type='Fault')]
watchdog = dict(limit=4, grace=2)
val_cfg = val_dataloader = val_evaluator = None
"""


@pytest.fixture
def start(tmp_path, small_config, own_set):
    """Start tools/dist_train.sh on 8 pictures, 6 epochs of 2 iterations: start(fault, processes, …) -> Popen."""
    (tmp_path / 'fault.py').write_text(FAULT)
    config = small_config(own_set(('bolt', 'nut')), epochs=6, batch=2, size=64, extra=EXTRA)
    clean = {key: value for key, value in os.environ.items() if key not in ('PORT', 'NNODES', 'NODE_RANK')}

    def run(fault='none 9 9', processes=2, options=(), **env):
        return subprocess.Popen(
            [TOOLS / 'dist_train.sh', config, str(processes), '--work-dir', tmp_path / 'run', '--seed', '1', *options],
            cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=dict(clean, PYTHON=sys.executable, PYTHONPATH=f'{tmp_path}:{TOOLS.parent}', OMP_NUM_THREADS='1',
                     FAULT=fault, **env))

    return run


def finish(process):
    """Wait for a run; returns (exit code, standard error from the launcher's report on, seconds since the fault)."""
    out, err = process.communicate(timeout=180)
    end = time.time()
    began = [float(line.split()[-1]) for line in out.splitlines() if line.startswith('fault at ')]
    return process.returncode, err[err.find('error: '):] if 'error: ' in err else '', end - began[0] if began else None


def trained(run_dir):
    """Iterations in the logs of all starts, in order of writing."""
    logs = sorted(run_dir.glob('*/vis_data/scalars.json'))
    return [json.loads(line)['step'] for log in logs for line in log.read_text().splitlines()]


def test_each_failure_ends_the_run_and_the_next_start_goes_on(start, tmp_path):
    """Rank 1 fails in epoch 2, 3, 4 and 5, each time in another way; every start but the first resumes.

    Before the last the launcher gets SIGTERM: saved within the epoch, and nothing but that is said.
    """
    resume = ['--resume']
    took = {}

    code, err, took['raises'] = finish(start('raises 1 3'))
    lines = err.splitlines()
    assert code == 1 and lines[0].startswith('error: rank 1 (pid ') and 'ended with exit code 1 at 20' in lines[0]
    assert lines[1].startswith('Traceback') and lines[-2:-1] == ['ValueError: a bug in rank 1']
    assert lines[-1].startswith('then: rank 0 (pid ') and err.count('Traceback') == 1

    code, err, took['is killed'] = finish(start('is_killed 1 5', options=resume))
    assert code == 137 and 'Traceback' not in err
    assert err.splitlines()[0].startswith('error: rank 1 (pid ') and 'was killed by SIGKILL' in err.splitlines()[0]

    code, err, took['hangs'] = finish(start('hangs 1 7', options=resume))
    assert code == 134 and err.splitlines()[0].startswith('error: rank 1 (pid ')
    assert f'rank 1 on {socket.gethostname()} hangs before batch 2 of train epoch 4: ' in err.splitlines()[1]
    assert 'time.sleep(600)' in err  # where it hangs

    process = start('is_slow 0 7', options=resume)
    next(line for line in process.stdout if line.startswith('fault at '))
    began = time.time()
    process.terminate()  # the launcher hands it on, and waits until the ranks have saved
    _, err = process.communicate(timeout=120)
    took['SIGTERM'] = time.time() - began
    assert process.returncode == 143 and 'Traceback' not in err and 'error' not in err
    assert err.count('stopped: ') == 1 and (tmp_path / 'run' / 'interrupted_iter_9.pth').is_file()

    code, err, took['stops'] = finish(start('stops 1 9', options=resume))
    assert (code, err) == (2, 'error: a mistake that only rank 1 meets\n')

    print({kind: round(seconds, 1) for kind, seconds in took.items()})
    assert max(took.values()) < 60
    code, err, _ = finish(start(options=resume))
    assert (code, err) == (0, '')
    # an iteration is done twice where its epoch had no checkpoint yet; after SIGTERM none is
    assert trained(tmp_path / 'run') == [1, 2, 3, 3, 4, 5, 5, 6, 7, 7, 8, 9, 10, 11, 12]
    assert (tmp_path / 'run' / 'epoch_6.pth').is_file()


def test_two_machines(start, tmp_path):
    """Two groups of processes with one rank each; a rank killed on the second ends the first, and both resume."""
    def both(fault, options=()):
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            port = str(free.getsockname()[1])
        nodes = [start(fault, 1, options, NNODES='2', NODE_RANK=str(node), MASTER_ADDR='127.0.0.1', PORT=port)
                 for node in (0, 1)]
        second = finish(nodes[1])
        ended = time.time()
        first = finish(nodes[0])
        return first[:2], second, time.time() - ended

    first, second, later = both('is_killed 1 3')
    print(f'node 1 ended {second[2]:.1f} s after the fault, node 0 {later:.1f} s later')
    assert second[0] == 137 and f'error: rank 1 on {socket.gethostname()} (pid ' in second[1]
    assert first[0] == 134 and 'rank 0 lost contact with another one' in first[1] and 'Traceback' not in first[1]
    assert second[2] + later < 60
    first, second, _ = both('none 9 9', ['--resume'])
    assert (first, second[:2]) == ((0, ''), (0, ''))
    assert trained(tmp_path / 'run') == [1, 2, 3, *range(3, 13)]
