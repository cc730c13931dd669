"""The demonstration from beginning to end, on a few pictures."""

import json
import re
from pathlib import Path

import pytest

from mmaffnet.demo import describe, run_demo
from mmaffnet.engine.cli import test_main as run_test
from mmaffnet.engine.errors import UserError


@pytest.mark.slow
def test_quick_demo(tmp_path):
    result = run_demo(tmp_path / 'demo', quick=True)
    page = result['page'].read_text()
    # curves and eight validation pictures, inside the page
    assert page.count('data:image/png;base64,') == 1 and page.count('data:image/jpeg;base64,') == 8
    for net in ('trained', 'untrained'):
        for name in ('bbox_mAP', 'bbox_mAP_50', 'bbox_mAP_75'):
            assert f'>{result[net]["coco/" + name]:.3f}<' in page
    assert '32 drawn pictures for training, 8 others' in page

    text = describe(result)
    assert 'quick run' in text and str(result['page']) in text and 'configs/ssdlite_affnet_coco.py' in text
    assert re.search(r'mAP_50 +\d\.\d{3} +\(untrained \d\.\d{3}\)', text)

    # the same figures as tools/test.py gives for the checkpoint that is named
    run_test(['ssdlite_affnet-et_shapes', str(result['checkpoint']), '--work-dir', str(tmp_path), '--out',
              str(tmp_path / 'metrics.json'), '--cfg-options', f'data_root={tmp_path}/demo/shapes/'])
    metrics = json.loads((tmp_path / 'metrics.json').read_text())
    assert metrics['coco/bbox_mAP_50'] == pytest.approx(result['trained']['coco/bbox_mAP_50'], abs=1e-3)


def test_verdict():
    metrics = {f'coco/bbox_{name}': value for name, value in dict(mAP=0.3, mAP_50=0.4, mAP_75=0.2).items()}
    result = dict(trained=metrics, untrained=metrics, page='p', minutes=1., reached=False,
                  checkpoint=Path('run/epoch_1.pth'))
    assert 'BELOW 0.5' in describe(result)
    assert 'at least 0.5' in describe({**result, 'reached': True})


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    (tmp_path / 'shapes').mkdir()
    (tmp_path / 'shapes' / 'mine.txt').write_text('keep')
    with pytest.raises(UserError, match='not a shapes data set'):
        run_demo(tmp_path, quick=True)
    assert (tmp_path / 'shapes' / 'mine.txt').read_text() == 'keep'
