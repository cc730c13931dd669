"""Pictures that cannot be read count as nothing found, compared with numbers computed another way."""
import json

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.fileio import load
from mmengine.structures import InstanceData, PixelData
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmaffnet.engine.cli import test_main as run_test
from mmaffnet.engine.cli import train_main
from mmaffnet.engine.errors import UserError
from mmaffnet.engine.evaluator import CheckedEvaluator, empty_prediction
from mmaffnet.picture_log import PictureLog

THREE = ('bolt', 'nut', 'washer')


@pytest.fixture
def checked(tmp_path):
    """Wrap a metric, and log some pictures as unreadable: checked(metric, paths) -> evaluator."""
    def make(metric, unreadable, dataset_meta=None):
        log = PictureLog(tmp_path / 'log.jsonl')
        for path in unreadable:
            log.add(path, 'the file is empty (0 bytes)')
        evaluator = CheckedEvaluator(Evaluator(metric), [log.path], tmp_path)
        evaluator.dataset_meta = dataset_meta
        return evaluator

    return make


def coco_ap(truth, detections):
    evaluation = COCOeval(truth, truth.loadRes(detections), 'bbox')
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats


def test_detections_count_as_pycocotools_counts_none(checked, data_root, capsys):
    from mmdet.evaluation import CocoMetric
    from mmdet.structures import DetDataSample
    ann_file = data_root / 'coco' / 'annotations' / 'instances_val2017.json'
    truth = COCO(str(ann_file))
    ids = sorted(truth.imgs)
    rng = np.random.default_rng(0)
    names = [category['name'] for category in truth.loadCats(truth.getCatIds())]
    category_ids = truth.getCatIds()
    unreadable = set(ids[::3])
    samples, left = [], []
    for image_id in ids:
        image = truth.imgs[image_id]
        annotations = truth.imgToAnns[image_id]
        boxes = np.array([a['bbox'] for a in annotations]).reshape(-1, 4) + rng.normal(0, 3, (len(annotations), 4))
        scores = rng.uniform(0.1, 1, len(annotations)).astype(np.float32)
        labels = [category_ids.index(a['category_id']) for a in annotations]
        corners = torch.tensor(np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1), dtype=torch.float32)
        samples.append(DetDataSample(
            metainfo=dict(img_id=image_id, img_path=f'{image_id}.jpg', ori_shape=(image['height'], image['width'])),
            pred_instances=InstanceData(bboxes=corners, scores=torch.tensor(scores), labels=torch.tensor(labels))))
        if image_id not in unreadable:
            left += [dict(image_id=image_id, category_id=category_ids[k], bbox=box.tolist(), score=float(score))
                     for k, box, score in zip(labels, boxes, scores, strict=True)]
    evaluator = checked(CocoMetric(ann_file=str(ann_file), metric='bbox'), [f'{i}.jpg' for i in unreadable],
                        dict(classes=tuple(names)))
    for start in range(0, len(samples), 4):
        evaluator.process(samples[start:start + 4])
    got = evaluator.evaluate(len(ids))
    want = coco_ap(truth, left)
    assert 0.05 < want[0] < 0.95 and got['unreadable_pictures'] == len(unreadable)
    for key, value in zip(('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l'), want, strict=False):
        assert got[f'coco/bbox_{key}'] == pytest.approx(value, abs=6e-4)  # mmdet rounds to three digits


def test_segmentation_counts_the_ground_truth_and_no_prediction(checked, data_root):
    from mmcv import imread
    from mmseg.evaluation import IoUMetric
    from mmseg.structures import SegDataSample
    rng = np.random.default_rng(0)
    maps = sorted((data_root / 'camvid' / 'ann_dir' / 'val').iterdir())[:4]
    num_classes = 11
    right, predicted, true = np.zeros((3, num_classes))
    samples = []
    for path in maps:
        truth = imread(str(path), flag='unchanged')
        guess = np.where(rng.random(truth.shape) < 0.3, rng.integers(0, num_classes, truth.shape), truth)
        guess = np.where(guess == 255, 0, guess)
        samples.append(SegDataSample(
            metainfo=dict(img_path=str(path), ori_shape=truth.shape),
            pred_sem_seg=PixelData(data=torch.tensor(guess[None].astype(np.int64))),
            gt_sem_seg=PixelData(data=torch.tensor(truth[None].astype(np.int64)))))
        valid = truth != 255
        for k in range(num_classes):
            true[k] += (truth[valid] == k).sum()
            if path != maps[1]:
                predicted[k] += (guess[valid] == k).sum()
                right[k] += ((guess == k) & (truth == k))[valid].sum()
    evaluator = checked(IoUMetric(iou_metrics=['mIoU']), [str(maps[1])], dict(classes=tuple('abcdefghijk')))
    evaluator.process(samples)
    got = evaluator.evaluate(4)
    with np.errstate(invalid='ignore'):
        iou = np.nanmean(right / (true + predicted - right)) * 100
    assert got['mIoU'] == pytest.approx(iou, abs=6e-3)
    assert got['aAcc'] == pytest.approx(100 * right.sum() / true.sum(), abs=6e-3)


@pytest.mark.parametrize('threshold', [0.0, None])
def test_classification_is_wrong_among_any_top_k(checked, threshold):
    from mmpretrain.evaluation import Accuracy
    from mmpretrain.structures import DataSample
    samples = [DataSample(metainfo=dict(img_path=f'{i}.jpg')).set_gt_label(i % 4).set_pred_score(
        torch.eye(4)[i % 4] * 0.5 + 0.1) for i in range(12)]
    evaluator = checked(Accuracy(topk=(1, 3), thrs=threshold), ['0.jpg', '5.jpg', '6.jpg'])
    evaluator.process(samples)
    got = evaluator.evaluate(12)
    assert got == {'accuracy/top1': 75.0, 'accuracy/top3': 75.0, 'unreadable_pictures': 3}


def test_the_next_evaluation_reads_pictures_anew(checked, tmp_path):
    from mmpretrain.evaluation import Accuracy
    from mmpretrain.structures import DataSample

    def sample():
        return DataSample(metainfo=dict(img_path='a.jpg')).set_gt_label(0).set_pred_score(torch.tensor([0.9, 0.1]))

    evaluator = checked(Accuracy(), ['a.jpg', 'never met.jpg'])
    evaluator.process([sample()])
    assert evaluator.evaluate(1) == {'accuracy/top1': 0, 'unreadable_pictures': 1}
    assert json.loads((tmp_path / 'unreadable_pictures.json').read_text()) == {'a.jpg': 'the file is empty (0 bytes)'}
    evaluator.process([sample()])  # mended meanwhile
    assert evaluator.evaluate(1) == {'accuracy/top1': 100}


def test_what_cannot_be_counted_ends_with_a_sentence(checked):
    from mmdet.structures import DetDataSample
    from mmpretrain.evaluation import Accuracy
    with pytest.raises(UserError, match="must keep 'img_path'"):
        checked(Accuracy(), ['a.jpg']).process([DetDataSample()])
    sample = DetDataSample(metainfo=dict(img_path='a.jpg'), pred_depth=PixelData(data=torch.zeros(1, 2, 2)))
    with pytest.raises(UserError, match='predictions of the kind pred_depth'):
        empty_prediction(sample)


@pytest.mark.slow
def test_a_set_with_unreadable_pictures_is_evaluated(own_set, small_config, tmp_path, capsys):
    root = own_set(THREE, num=6)
    extra = (f"classes = {THREE}\nmodel = dict(test_cfg=dict(score_thr=0.0))\n"
             "val_evaluator = dict(outfile_prefix=None)\ntest_evaluator = val_evaluator")
    config = small_config(root, epochs=2, extra=extra)
    empty, cut = (root / 'val2017' / f'{i}.png' for i in (2, 5))
    sound = {path: path.read_bytes() for path in (empty, cut)}
    empty.write_bytes(b'')
    cut.write_bytes(sound[cut][:500])
    train_main([str(config), '--work-dir', str(tmp_path / 'run'), '--seed', '0', '--cfg-options',
                'train_cfg.val_interval=1', 'val_dataloader.num_workers=1'])
    said = capsys.readouterr().out
    assert said.count('2 of 6 pictures could not be read and count as nothing found') == 2  # after each epoch
    assert said.count(f'{empty}: the file is empty (0 bytes)') == 2
    assert 'unreadable_pictures: 2' in said.split('Epoch(val)')[-1]

    checkpoint = str(tmp_path / 'run' / 'epoch_2.pth')

    def evaluate(name, *options):
        out = tmp_path / name
        run_test([str(config), checkpoint, '--work-dir', str(tmp_path / 'run'), '--out', str(out), *options])
        return out

    metrics = json.loads(evaluate('metrics.json', '--show-dir', str(tmp_path / 'shown')).read_text())
    assert type(metrics['unreadable_pictures']) is int and metrics['unreadable_pictures'] == 2
    shown = {path.name for path in (tmp_path / 'shown').rglob('*.png')}
    assert shown == {f'{i}.png' for i in (1, 3, 4, 6)} | {'2.png.png', '5.png.png'}
    with_bad = {tta: predictions(evaluate('bad.pkl', *tta)) for tta in ((), ('--tta', ))}
    for path, content in sound.items():
        path.write_bytes(content)
    without = predictions(evaluate('sound.pkl'))
    stats = coco_ap(COCO(str(root / 'annotations' / 'instances_val2017.json')), [
        dict(image_id=image_id, category_id=label + 1, score=score, bbox=[x, y, right - x, bottom - y])
        for image_id in (1, 3, 4, 6) for (x, y, right, bottom), score, label in zip(
            *(without[image_id][key].tolist() for key in ('bboxes', 'scores', 'labels')), strict=True)])
    assert metrics['coco/bbox_mAP_50'] == pytest.approx(stats[1], abs=6e-4)
    for found in with_bad.values():
        assert {image_id: len(found[image_id]['scores']) > 0 for image_id in range(1, 7)} == {
            1: True, 2: False, 3: True, 4: True, 5: False, 6: True}
    for image_id in (1, 3, 4, 6):
        assert torch.equal(with_bad[()][image_id]['bboxes'], without[image_id]['bboxes'])


def predictions(path):
    return {item['img_id']: item['pred_instances'] for item in load(path)}
