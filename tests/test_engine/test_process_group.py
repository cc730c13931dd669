"""How a process leaves its group."""
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import atexit
import torch
from mmaffnet.engine.process_group import left_in_order
atexit.register(lambda: print('open' if torch.distributed.is_initialized() else 'closed'))  # runs last
torch.distributed.init_process_group('gloo', store=torch.distributed.HashStore(), rank=0, world_size=1)
with left_in_order():
    {}
"""


@pytest.mark.parametrize(('run', 'state'), [('pass', 'closed'), ('raise SystemExit(1)', 'open')])
def test_the_group_is_closed_after_a_run_that_ended_well(run, state, tmp_path):
    done = subprocess.run([sys.executable, '-c', SCRIPT.format(run)], text=True, capture_output=True, cwd=tmp_path,
                          env=dict(PYTHONPATH=str(Path(__file__).resolve().parents[2])), timeout=120)
    assert done.stdout.split() == [state], done.stderr
