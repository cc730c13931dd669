"""The whole way on eight photographs: train until they are learnt, resume, evaluate, predict."""
import json
from pathlib import Path

import pytest

from mmaffnet.analysis.logs import curve, read_scalars
from mmaffnet.engine.cli import predict_main, train_main
from mmaffnet.engine.cli import test_main as run_test


@pytest.mark.slow
def test_eight_photographs_are_learnt_resumed_evaluated_and_predicted(
        tmp_path, data_root, small_config, eight_photographs, capsys):
    truth = eight_photographs(tmp_path / 'eight')
    # 100 iterations of all eight at 128 px; the weights as they are, since the paper's EMA would hold the initial ones.
    config = small_config(tmp_path / 'eight', 'eight', epochs=100, batch=8, size=128, extra=(
        'optim_wrapper = dict(optimizer=dict(lr=3e-3))\n'
        'train_cfg = dict(max_epochs=100, val_interval=50)\n'
        'default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=50))'))
    run = tmp_path / 'run'
    train_main([str(config), '--work-dir', str(run), '--seed', '0'])
    losses = curve(read_scalars(run), 'loss')[1]
    assert len(losses) == 100 and losses[-1] < 0.2 * losses[0]
    assert curve(read_scalars(run), 'coco/bbox_mAP_50')[1][-1] >= 0.9

    # Resuming after iteration 50 goes on where it was: iteration 51, and its learning rate.
    resumed = tmp_path / 'resumed'
    train_main([str(config), '--work-dir', str(resumed), '--resume', str(run / 'epoch_50.pth'), '--cfg-options',
                'train_cfg.max_epochs=52', '--no-validate'])
    steps, rates, _ = curve(read_scalars(resumed), 'lr')
    straight = dict(zip(*curve(read_scalars(run), 'lr')[:2], strict=True))
    assert steps == [51, 52]
    assert rates == [pytest.approx(straight[step]) for step in steps]

    run_test([str(config), str(run / 'epoch_100.pth'), '--work-dir', str(run), '--out', str(tmp_path / 'm.json'),
              '--show-dir', str(tmp_path / 'shown')])
    metrics = json.loads((tmp_path / 'm.json').read_text())
    assert metrics['coco/bbox_mAP_50'] == pytest.approx(curve(read_scalars(run), 'coco/bbox_mAP_50')[1][-1], abs=1e-3)
    assert len(list((tmp_path / 'shown').iterdir())) == 8

    # Predictions: of the boxes that COCO's own annotation names, most are found with their class and IoU over 0.5.
    pictures = tmp_path / 'pictures'
    pictures.mkdir()
    for image in truth['images']:
        (pictures / image['file_name']).symlink_to(data_root / 'coco' / 'train2017' / image['file_name'])
    (pictures / 'broken.jpg').write_text('no picture')
    with pytest.raises(SystemExit) as stop:
        predict_main([str(pictures), '--config', str(config), '--checkpoint', str(run / 'epoch_100.pth'), '--out',
                      str(tmp_path / 'out')])
    assert stop.value.code == 1
    said = capsys.readouterr().out
    assert 'left out: ' in said and 'broken.jpg' in said and '8 of 9 pictures done' in said
    assert len(list((tmp_path / 'out' / 'vis').glob('*.jpg'))) == 8
    assert found_share(truth, tmp_path / 'out' / 'preds') >= 0.8


def found_share(truth, folder):
    names = {category['id']: category['name'] for category in truth['categories']}
    found = 0
    for annotation in truth['annotations']:
        image = next(image for image in truth['images'] if image['id'] == annotation['image_id'])
        predicted = json.loads((folder / f"{Path(image['file_name']).stem}.json").read_text())
        assert (predicted['height'], predicted['width']) == (image['height'], image['width'])
        found += any(item['class'] == names[annotation['category_id']] and item['score'] > 0.3
                     and iou(item['bbox'], annotation['bbox']) > 0.5 for item in predicted['detections'])
    return found / len(truth['annotations'])


def iou(corners, xywh):
    x, y, w, h = xywh
    width = max(0, min(corners[2], x + w) - max(corners[0], x))
    height = max(0, min(corners[3], y + h) - max(corners[1], y))
    area = (corners[2] - corners[0]) * (corners[3] - corners[1])
    return width * height / (area + w * h - width * height)
