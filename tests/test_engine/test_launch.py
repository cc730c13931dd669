"""The report of a run that failed, from what torchrun hands over."""
import json
import subprocess
import sys

import pytest
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

from mmaffnet.engine import launch


@pytest.fixture
def failure(tmp_path):
    """Make what torchrun makes of a rank: failure(exit code, line, detail, time, bug) -> ProcessFailure."""
    def make(code, line=None, detail='', time=0.0, bug=False):
        path = tmp_path / f'{len(list(tmp_path.iterdir()))}.json'
        if line:
            path.write_text(json.dumps(dict(message=dict(message=line, extraInfo=dict(
                py_callstack=detail, timestamp=str(int(time)), exact_time=time, bug=bug)))))
        return ProcessFailure(local_rank=0, pid=7, exitcode=code, error_file=str(path))

    return make


def test_the_earlier_of_two_errors_in_one_second_is_first(failure):
    failures = {0: failure(1, 'B: late', 'Traceback B', 100.9, bug=True),
                1: failure(1, 'A: early', 'Traceback A', 100.2, bug=True)}
    lines = launch.report(launch.in_order(failures))
    assert lines[0].startswith('error: rank 1 (pid 7) ended with exit code 1 at 1970-01-0')
    assert lines[1:] == ['Traceback A', 'then: rank 0 (pid 7) B: late']


def test_what_follows_from_a_lost_rank_is_not_first(failure):
    """The killed rank wrote nothing, and torchrun noticed it later than the other one wrote that it was alone."""
    failures = {0: failure(134, 'error: rank 0 lost contact', time=100.0), 1: failure(-9), 2: failure(-15)}
    order = launch.in_order(failures)
    assert [rank for rank, _ in order] == [1, 0, 2] and launch.exit_code(order[0][1]) == 137
    lines = launch.report(order)
    assert 'rank 1 (pid 7) was killed by SIGKILL' in lines[0]
    assert lines[1:] == ['then: rank 0 (pid 7) error: rank 0 lost contact',
                         'then: rank 2 (pid 7) was killed by SIGTERM']


def test_a_mistake_of_the_user_is_one_line(failure):
    failures = launch.in_order({0: failure(-15), 1: failure(2, 'error: no such file', 'error: no such file', 5.0)})
    assert launch.report(failures) == ['error: no such file']
    assert launch.report(failures, several_hosts=True)[0].startswith('error: no such file [rank 1 on ')
    assert launch.exit_code(failures[0][1]) == 2


def test_torchrun_runs_the_script_and_its_success_is_ours(tmp_path):
    (tmp_path / 'script.py').write_text('import os, sys\nprint(os.environ["RANK"], *sys.argv[1:])\n')
    done = subprocess.run([sys.executable, '-m', 'mmaffnet.engine.launch', '--standalone', '--nproc_per_node', '1',
                           tmp_path / 'script.py', '--a', 'b c'], text=True, capture_output=True, cwd=tmp_path)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, '0 --a b c'), done.stderr
