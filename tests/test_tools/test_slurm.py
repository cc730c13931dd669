"""tools/slurm_train.sh with stand-ins for Slurm's commands."""
import os
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / 'tools' / 'slurm_train.sh'
OPTIONS = ['gpu', 'my job', 'c.py', 'out dir', '--cfg-options', 'x="[1, 2]" y']


@pytest.fixture
def slurm(tmp_path):
    """Stand-ins that write their arguments into a file of their name; srun then does what it is told."""
    def start(*args, wait=True, srun='exit 0', **env):
        for name in ('srun', 'sbatch', 'scontrol'):
            path = tmp_path / 'bin' / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(f'#!/bin/bash\nprintf "%s\\n" "$@" > "{tmp_path}/{name}"\n{srun if name == "srun" else ""}')
            path.chmod(0o755)
        clean = {k: v for k, v in os.environ.items() if not k.startswith(('SLURM', 'SBATCH')) and k not in (
            'REQUEUE', 'GPUS', 'GPUS_PER_NODE', 'SRUN_ARGS', 'MMAFFNET_IN_BATCH')}
        process = subprocess.Popen(args, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path, env={
            **clean, 'PATH': f'{tmp_path}/bin:{os.environ["PATH"]}', 'PYTHON': 'my python', **env})
        return (process.communicate(timeout=30), process.returncode) if wait else process

    def arguments(name):
        path = tmp_path / name
        return path.read_text().splitlines() if path.exists() else None

    start.arguments = arguments
    return start


def test_without_requeue_it_runs_at_once(slurm):
    _, code = slurm(SCRIPT, *OPTIONS, GPUS='4', srun='exit 143')
    assert code == 143 and slurm.arguments('sbatch') is None and slurm.arguments('scontrol') is None
    assert slurm.arguments('srun')[-7:] == ['c.py', '--work-dir', 'out dir', '--launcher', 'slurm', *OPTIONS[-2:]]
    assert '--partition=gpu' in slurm.arguments('srun') and '--ntasks=4' in slurm.arguments('srun')


def submit(slurm):
    _, code = slurm(SCRIPT, *OPTIONS, GPUS='4', REQUEUE='1', SBATCH_ARGS='--time=4:00:00 --qos=low', GRACE='60')
    assert code == 0 and slurm.arguments('srun') is None
    return slurm.arguments('sbatch')


def test_requeue_submits_a_job_that_is_warned_before_its_end(slurm, tmp_path):
    sent = submit(slurm)
    assert {'--requeue', '--open-mode=append', '--signal=TERM@60', '--partition=gpu', '--job-name=my job', '--ntasks=4',
            '--gres=gpu:4', '--time=4:00:00', '--qos=low', '--output=out dir/slurm-%j.out', '--export=ALL'} <= set(sent)
    assert (tmp_path / 'out dir').is_dir()
    assert sent[-2] == '--wrap' and shlex.split(sent[-1]) == ['exec', 'bash', str(SCRIPT), *OPTIONS]


@pytest.mark.parametrize(('srun', 'requeued'), [(143, True), (0, False), (1, False), (2, False), (3, False)])
def test_the_job_resumes_and_queues_again_only_where_it_was_asked_to_end(slurm, srun, requeued):
    wrapped = submit(slurm)[-1]
    (_, error), code = slurm('sh', '-c', wrapped, srun=f'exit {srun}', REQUEUE='1', MMAFFNET_IN_BATCH='1',
                             SLURM_JOB_ID='17', SRUN_ARGS='--mpi=none')
    assert code == srun
    ran = slurm.arguments('srun')
    assert ran[:3] == ['--kill-on-bad-exit=1', '--mpi=none', 'my python']
    assert ran[-8:] == ['c.py', '--work-dir', 'out dir', '--launcher', 'slurm', *OPTIONS[-2:], '--resume']
    assert slurm.arguments('scontrol') == (['requeue', '17'] if requeued else None)
    assert ('job 17 queues again' in error) == requeued


def test_a_cancelled_job_does_not_come_back(slurm, tmp_path):
    """scancel sends SIGTERM to the batch shell as well."""
    process = slurm('bash', SCRIPT, *OPTIONS, wait=False, srun=f'touch "{tmp_path}/up"; sleep 0.5; exit 143',
                    REQUEUE='1', MMAFFNET_IN_BATCH='1', SLURM_JOB_ID='17')
    while not (tmp_path / 'up').exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 143 and slurm.arguments('scontrol') is None
