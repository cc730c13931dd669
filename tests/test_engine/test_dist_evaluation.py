"""Two ranks give the metrics of one to the last digit, and none waits for the other where they have unequal shares."""
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmaffnet.engine.cli import test_main as run_test
from mmaffnet.engine.samplers import FullBatchSampler, with_full_batches

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]

# Both ranks run the same commands, one after the other in one process group.
SCRIPT = """
import json, sys
from mmaffnet.engine.cli import test_main, train_main
for name, *arguments in json.loads(sys.argv[1]):
    dict(test=test_main, train=train_main)[name]([*arguments, '--launcher', 'pytorch'])
"""

COMMON = """
custom_imports = dict(imports=['mmaffnet'], allow_failed_imports=False)
runner_type = 'mmaffnet.AFFNetRunner'
test_cfg = dict()
load = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(64, 64), keep_ratio=False)]
sampler = dict(type='DefaultSampler', shuffle=False)
backbone = dict(type='mmaffnet.AFFNet', arch='et', out_indices=(4,))
"""
CLASSIFIER = COMMON + """
default_scope = 'mmpretrain'
data_preprocessor = dict(num_classes=2, mean=[0, 0, 0], std=[255, 255, 255], to_rgb=True)
model = dict(type='ImageClassifier', backbone=backbone, neck=dict(type='GlobalAveragePooling'), head=dict(
    type='LinearClsHead', num_classes=2, in_channels=144, topk=(1,), loss=dict(type='CrossEntropyLoss')))
test_dataloader = dict(batch_size=2, num_workers=0, sampler=sampler, dataset=dict(
    type='CustomDataset', data_root='{root}', ann_file='labels.txt', data_prefix='val2017', classes=['0', '1'],
    pipeline=[*load, dict(type='PackInputs')]))
test_evaluator = dict(type='Accuracy', topk=(1,))
"""
SEGMENTOR = COMMON + """
default_scope = 'mmseg'
model = dict(
    type='EncoderDecoder', backbone=backbone, data_preprocessor=dict(
        type='SegDataPreProcessor', mean=[0, 0, 0], std=[255, 255, 255], size=(64, 64), pad_val=0, seg_pad_val=255),
    decode_head=dict(type='FCNHead', in_channels=144, channels=16, in_index=0, num_convs=1, num_classes=3),
    train_cfg=dict(), test_cfg=dict(mode='whole'))
test_dataloader = dict(batch_size=2, num_workers=0, sampler=sampler, dataset=dict(
    type='BaseSegDataset', data_root='{root}', img_suffix='.png', metainfo=dict(classes=('a', 'b', 'c')),
    data_prefix=dict(img_path='val2017', seg_map_path='maps'),
    pipeline=[*load, dict(type='LoadAnnotations'), dict(type='PackSegInputs')]))
test_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU', 'mFscore'])
visualizer = dict(type='SegLocalVisualizer', vis_backends=[])
"""


# Of its five pictures rank 0 gets 1, 3, 5 and rank 1 gets 2 and 4: one batch less, and no box in it.
TRAINING = """
classes = ('bolt', 'nut')
optim_wrapper = dict(optimizer=dict(lr=1e-4))
train_dataloader = dict(batch_size=2, sampler=dict(type='DefaultSampler', shuffle=False, round_up=False), dataset=dict(
    ann_file='annotations/no_boxes.json', filter_cfg=dict(filter_empty_gt=False), indices=5))
val_cfg = val_dataloader = val_evaluator = None
"""


@pytest.fixture
def configs(tmp_path, small_config, own_set):
    """Configs and initial checkpoints for the three tasks on the same 7 pictures."""
    root = own_set(('bolt', 'nut'), num=7)
    rng = np.random.default_rng(1)
    (root / 'maps').mkdir()
    for number in range(1, 8):
        Image.fromarray(rng.integers(0, 3, (8, 10), dtype=np.uint8).repeat(10, 0).repeat(10, 1)).save(
            root / 'maps' / f'{number}.png')
    (root / 'labels.txt').write_text(''.join(f'{number}.png {number % 2}\n' for number in range(1, 8)))
    paths = dict(detector=small_config(root, 'detector', size=96, extra="classes = ('bolt', 'nut')\n"
                                       "test_dataloader = dict(val_dataloader, batch_size=2)\n"))
    for name, text in (('classifier', CLASSIFIER), ('segmentor', SEGMENTOR)):
        paths[name] = tmp_path / f'{name}.py'
        paths[name].write_text(text.format(root=root))
    for path in paths.values():
        save_initial_model(path, root)
    return paths


def save_initial_model(config, root):
    """Save a model that tells the pictures apart: random weights, with the statistics of the pictures' own maps."""
    import mmcv
    from mmengine.model import revert_sync_batchnorm
    from mmengine.registry import MODELS

    from mmaffnet.engine.config import import_host, load_config
    from mmaffnet.engine.own_data import apply_own_data
    cfg = load_config(str(config))
    apply_own_data(cfg)
    import_host(cfg)
    model = revert_sync_batchnorm(MODELS.build(cfg.model))
    model.init_weights()
    pictures = [mmcv.imresize(mmcv.imread(str(path)), (96, 96)) for path in sorted((root / 'val2017').iterdir())]
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if 'bbox_head' in name and name.endswith('pointwise_conv.conv.weight'):
                weight *= 0.1  # boxes near their anchors
        model.train()(torch.stack([torch.from_numpy(p).permute(2, 0, 1) / 255 for p in pictures]), mode='tensor')
    torch.save(model.state_dict(), config.with_suffix('.pth'))


def on_two_ranks(commands, cwd):
    """Run commands of this package on two ranks, at most two and a half minutes."""
    script = cwd / 'both_ranks.py'
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, '-m', 'mmaffnet.engine.launch', '--standalone', '--nproc_per_node', '2', script,
         json.dumps(commands)], cwd=cwd, text=True, capture_output=True, timeout=150,
        env=dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1'))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    return done.stdout


def annotate_with_predictions(path, predictions, rng):
    """Make ground truth of the model's own boxes, shrunk at random, so that the metrics are no round numbers."""
    content = json.loads(path.read_text())
    content['annotations'] = []
    for sample in predictions:
        found = sample['pred_instances']
        sound = ((found['bboxes'][:, 2:] - found['bboxes'][:, :2]) > 5).all(dim=1)
        boxes, labels = (found[key][sound][:60:3].tolist() for key in ('bboxes', 'labels'))
        for box, label in zip(boxes, labels, strict=True):
            scale = rng.uniform(0.6, 1)  # stays within the picture
            w, h = scale * (box[2] - box[0]), scale * (box[3] - box[1])
            content['annotations'].append(dict(
                id=len(content['annotations']) + 1, image_id=sample['img_id'], category_id=label + 1,
                bbox=[box[0], box[1], w, h], area=w * h, iscrowd=0))
    path.write_text(json.dumps(content))


def test_two_ranks_give_the_metrics_of_one(configs, tmp_path):
    """7 pictures in batches of 2, which neither batches nor ranks divide; then one rank without any picture.

    At 96 px the detector's scores differ by a picture's place in its batch.
    """
    torch.set_num_threads(1)
    work_dir = ['--work-dir', str(tmp_path / 'run')]

    def command(name, out, options):
        return [str(configs[name]), str(configs[name].with_suffix('.pth')), '--out', str(tmp_path / out), *work_dir,
                *(['--cfg-options', *options] if options else [])]

    run_test(command('detector', 'detector_1.pkl', []))
    run_test(command('segmentor', 'segmentor_1.pkl', []))
    predictions = pickle.loads((tmp_path / 'detector_1.pkl').read_bytes())
    annotate_with_predictions(tmp_path / 'own' / 'annotations' / 'instances_val2017.json', predictions,
                              np.random.default_rng(2))
    uneven = ['test_dataloader.sampler.round_up=False']
    cases = dict(detector=('detector', []), classifier=('classifier', []), segmentor=('segmentor', []),
                 uneven=('detector', uneven), one=('detector', [*uneven, 'test_dataloader.dataset.indices=1']))
    two = [['test', *command(name, f'{name}_2.pkl', [])] for name in ('detector', 'segmentor')]
    for case, (name, options) in cases.items():
        run_test(command(name, f'{case}_1.json', options))
        two.append(['test', *command(name, f'{case}_2.json', options)])
    training = no_boxes_on_rank_1(tmp_path, configs['detector'])
    two.append(['train', str(training), '--work-dir', str(tmp_path / 'trained')])
    on_two_ranks(two, tmp_path)

    metrics = {case: [json.loads((tmp_path / f'{case}_{ranks}.json').read_text()) for ranks in (1, 2)]
               for case in cases}
    print(metrics)
    for case, (one, both) in metrics.items():
        assert one == both, case
    assert metrics['uneven'][0] == metrics['detector'][0]
    assert 0 < metrics['detector'][0]['coco/bbox_mAP'] < 0.9
    assert 0 < metrics['segmentor'][0]['mIoU'] < 60 and 0 < metrics['classifier'][0]['accuracy/top1'] < 100
    for name in ('detector', 'segmentor'):  # to the last bit, which a metric may round away
        one, both = (pickle.loads((tmp_path / f'{name}_{ranks}.pkl').read_bytes()) for ranks in (1, 2))
        assert len(one) == 7 and same(one, both), name

    logged = [json.loads(line) for line in next((tmp_path / 'trained').glob('*/vis_data/scalars.json')).open()]
    assert [record['step'] for record in logged] == [1, 2]  # as many as rank 1 has: one in each of two epochs
    assert all(np.isfinite(record['loss']) and record['loss'] > 0 for record in logged)
    weights = torch.load(tmp_path / 'trained' / 'epoch_2.pth', weights_only=True)['state_dict']
    assert all(value.isfinite().all() for value in weights.values())


def no_boxes_on_rank_1(tmp_path, config):
    """Write the config of a training in which the second rank's pictures have no boxes."""
    source = tmp_path / 'own' / 'annotations' / 'instances_train2017.json'
    content = json.loads(source.read_text())
    content['annotations'] = [a for a in content['annotations'] if a['image_id'] not in (2, 4)]
    source.with_name('no_boxes.json').write_text(json.dumps(content))
    path = config.with_name('training.py')
    path.write_text(f"_base_ = '{config}'\ntrain_cfg = dict(max_epochs=2)\n{TRAINING}")
    return path


def same(a, b):
    """bool: Whether two predictions agree to the last bit."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else np.array_equal(a, b)


def test_all_batches_are_full_and_the_same_for_any_number_of_ranks(monkeypatch):
    """By hand: 7 samples on 2 ranks in batches of 3."""
    for rank, expected in ((0, [0, 1, 2, 6, 0, 1]), (1, [3, 4, 5, 2, 3, 4])):
        monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda rank=rank: (rank, 2))
        sampler = FullBatchSampler(range(7), batch_size=3)
        assert list(sampler) == expected and len(sampler) == 6
    monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda: (0, 1))
    assert list(FullBatchSampler(range(2), batch_size=3)) == [0, 1, 0]
    kept = dict(batch_size=3, sampler=dict(type='DefaultSampler', shuffle=False, round_up=False))
    assert with_full_batches(kept) is kept and with_full_batches(None) is None
    changed = with_full_batches(dict(kept, sampler=dict(type='DefaultSampler', shuffle=False)))
    assert changed == dict(batch_size=3, sampler=dict(type='mmaffnet.FullBatchSampler', batch_size=3))
