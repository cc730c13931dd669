"""tools/train.py and tools/test.py with the shipped recipes on ADE20K, the merged VOC set and ImageNet's samples.

What they print is computed again from the files: masks by Pillow, labels from the list.
"""
import importlib.util
import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmaffnet import create_model
from mmaffnet.engine.cli import test_main as run_test
from mmaffnet.engine.cli import train_main

pytestmark = pytest.mark.slow
spec = importlib.util.spec_from_file_location('small_recipes', Path(__file__).with_name('small_recipes.py'))
small_recipes = importlib.util.module_from_spec(spec)
spec.loader.exec_module(small_recipes)


def mean_iou(predictions, num_classes, reduce_zero_label):
    """mIoU in percent over the classes that occur in masks or predictions, and the accuracy of all labelled pixels."""
    confusion = np.zeros((num_classes, num_classes), np.int64)
    for sample in predictions:
        mask = np.array(Image.open(sample['seg_map_path'])).astype(int)
        if reduce_zero_label:
            mask = np.where(mask == 0, 255, mask - 1)
        predicted = np.asarray(sample['pred_sem_seg']['data'])[0]
        assert predicted.shape == mask.shape, 'a prediction has its mask\'s size, not the resized picture\'s'
        known = mask != 255
        np.add.at(confusion, (mask[known], predicted[known]), 1)
    inside = np.diag(confusion)
    with np.errstate(invalid='ignore'):
        iou = inside / (confusion.sum(0) + confusion.sum(1) - inside)
    return 100 * np.nanmean(iou), 100 * inside.sum() / confusion.sum()


@pytest.mark.parametrize(('build', 'num_classes'), [(small_recipes.ade20k, 150), (small_recipes.voc, 21)],
                         ids=['ade20k', 'voc'])
def test_segmentation_is_trained_and_evaluated(build, num_classes, data_root, config_root, tmp_path, run_tool):
    config, work_dir = tmp_path / 'small.py', tmp_path / 'run'
    config.write_text(build(data_root, config_root, tmp_path))
    done = run_tool(['train.py', config, '--work-dir', work_dir, '--seed', 0, '--cfg-options',
                     'train_cfg.max_epochs=1'], cwd=tmp_path, env=dict(PYTHONPATH=str(config_root.parent)))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    lines = [json.loads(line) for file in work_dir.glob('*/vis_data/scalars.json') for line in file.open()]
    losses = [line['loss'] for line in lines if 'loss' in line]
    assert len(losses) == 3 and np.isfinite(losses).all()
    assert sum('mIoU' in line for line in lines) == 1 and (work_dir / 'epoch_1.pth').is_file()

    done = run_tool(['test.py', config, work_dir / 'epoch_1.pth', '--work-dir', tmp_path / 'test', '--out',
                     tmp_path / 'all.pkl', '--cfg-options', 'test_dataloader.dataset.indices=6'], cwd=tmp_path,
                    env=dict(PYTHONPATH=str(config_root.parent)))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    metrics = json.loads(next((tmp_path / 'test').glob('*/*.json')).read_text())
    predictions = pickle.loads((tmp_path / 'all.pkl').read_bytes())
    assert len(predictions) == 6
    miou, accuracy = mean_iou(predictions, num_classes, reduce_zero_label=num_classes == 150)
    assert metrics['mIoU'] == pytest.approx(miou, abs=0.006) and metrics['aAcc'] == pytest.approx(accuracy, abs=0.006)
    assert len({sample['ori_shape'] for sample in predictions}) > 1, 'the pictures should have several sizes'


NUM = 24


@pytest.fixture
def partly_right(data_root, tmp_path):
    """A classifier that is right, at its second to fifth guess or wrong by design; returns (file, top-1, top-5).

    Without training: each picture's own feature is the weight of the class that shall win.
    """
    torch.manual_seed(0)
    root = data_root / 'imagenet_samples'
    lines = [line.split() for line in (root / 'meta' / 'val.txt').read_text().splitlines()][:NUM]
    model = create_model('affnet_et', num_classes=1000).eval()
    features = torch.stack([feature_of(model, root / 'val' / name) for name, _ in lines])
    middle = features.mean(0)
    rows = torch.linalg.pinv(features - middle).T  # row i times the feature of picture i is the largest of all
    labels = [int(label) for _, label in lines]
    assert labels == list(range(NUM))
    # pictures 0 … 9 get their class; 10 … 23 another one, those from 20 on with their own as the runner-up
    weight = torch.zeros(1000, features.shape[1])
    for number, row in enumerate(rows):
        weight[labels[number] if number < 10 else 500 + number] += row
        if number >= 20:
            weight[labels[number]] += 0.5 * row
    model.get_classifier().weight.data = weight
    model.get_classifier().bias.data = 0.1 * torch.rand(1000) - weight @ middle  # no two classes are equal
    torch.save(dict(state_dict=model.state_dict(), meta={}), tmp_path / 'classifier.pth')
    with torch.no_grad():
        scores = torch.stack([model(picture_of(root / 'val' / name))[0] for name, _ in lines])
    order = scores.argsort(1, descending=True)
    hits = order == torch.tensor(labels)[:, None]
    top1, top5 = (100 * hits[:, :k].any(1).float().mean().item() for k in (1, 5))
    return tmp_path / 'classifier.pth', top1, top5


def picture_of(path):
    """Shorter side 288 by Pillow's bicubic, the middle 256 pixels, RGB in [0, 1]."""
    import mmcv
    photograph = Image.fromarray(mmcv.imread(str(path), channel_order='rgb'))
    short = min(photograph.size)
    width, height = (int(side * 288 / short + 0.5) if side != short else 288 for side in photograph.size)
    left, top = round((width - 256) / 2), round((height - 256) / 2)
    picture = photograph.resize((width, height), Image.BICUBIC).crop((left, top, left + 256, top + 256))
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None] / 255.


@torch.no_grad()
def feature_of(model, path):
    return model.forward_features(picture_of(path)).mean((2, 3))[0]


def test_imagenet_evaluation_with_the_true_labels(partly_right, data_root, tmp_path):
    pytest.importorskip('mmpretrain')
    checkpoint, top1, top5 = partly_right
    assert 10 < top1 < 60 and top1 < top5 < 100, (top1, top5)
    run_test(['affnet-et_8xb128-300e_in1k-256px', str(checkpoint), '--work-dir', str(tmp_path), '--out',
              str(tmp_path / 'm.json'), '--cfg-options', f'data_root={data_root}/imagenet_samples',
              f'test_dataloader.dataset.indices={NUM}', 'test_dataloader.batch_size=8', 'test_dataloader.num_workers=0',
              'test_dataloader.persistent_workers=False'])
    metrics = json.loads((tmp_path / 'm.json').read_text())
    assert (metrics['accuracy/top1'], metrics['accuracy/top5']) == pytest.approx((top1, top5), abs=1e-3)


# The configs of docs/results.md on a few of their pictures


def test_cifar10_is_trained(data_root, config_root, tmp_path, monkeypatch):
    pytest.importorskip('mmpretrain')
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile(data_root / 'cifar10' / 'cifar10_images.zip') as archive:
        few = [name for name in archive.namelist() if name.endswith(('/0000.jpg', '/0001.jpg'))]
        archive.extractall('data/cifar10', few)
    for name in ('affnet-et', 'mobilevit-xxs', 'mobilenet-v2'):
        config = config_root / 'cifar10' / f'{name}_1xb64-18e_cifar10.py'
        train_main([str(config), '--seed', '0', '--work-dir', name, '--cfg-options', 'train_dataloader.batch_size=10',
                    'train_cfg.max_epochs=1', 'param_scheduler.warmup_iters=1', 'default_hooks.logger.interval=1'])
        checkpoint = torch.load(f'{name}/epoch_1.pth', weights_only=True)
        assert len(checkpoint['state_dict']['head.fc.bias']) == 10
        assert sorted(path.name for path in Path('data/cifar10/test').iterdir()) == list(
            checkpoint['meta']['dataset_meta']['classes'])
        lines = [json.loads(line) for file in Path(name).glob('*/vis_data/scalars.json') for line in file.open()]
        # twenty pictures of training and of testing: batches of 10
        assert [line['iter'] for line in lines if 'loss' in line] == [1, 2] and 'accuracy/top1' in lines[-1]


def test_camvid_is_trained(data_root, config_root, tmp_path, monkeypatch):
    pytest.importorskip('mmseg')
    monkeypatch.chdir(tmp_path)
    config, = (config_root / 'camvid').glob('*.py')
    train_main([str(config), '--seed', '0', '--work-dir', 'run', '--cfg-options', f'data_root={data_root}/camvid',
                'train_dataloader.batch_size=2', 'train_dataloader.dataset.indices=4',
                'val_dataloader.dataset.indices=3', 'train_cfg.max_epochs=1', 'train_cfg.val_interval=1',
                'default_hooks.logger.interval=1'])
    meta = torch.load('run/epoch_1.pth', weights_only=True)['meta']['dataset_meta']
    lines = [line.split() for line in (data_root / 'camvid' / 'classes.txt').read_text().splitlines()[1:]]
    assert list(meta['classes']) == [line[1] for line in lines if int(line[0]) < 255][:11]
    assert [list(colour) for colour in meta['palette']] == [[int(part) for part in line[2:5]] for line in lines][:11]
    lines = [json.loads(line) for file in Path('run').glob('*/vis_data/scalars.json') for line in file.open()]
    assert [line['iter'] for line in lines if 'loss' in line] == [1, 2] and 0 <= lines[-1]['mIoU'] <= 100
