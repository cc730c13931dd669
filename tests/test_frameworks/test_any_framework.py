"""RetinaNet, FCOS and Mask R-CNN: mmdet's own parts on AFFNet learn eight photographs, with masks where they have them.

Nothing in the backbone is tied to heads of ours. What is particular about instance masks is tested with them.
"""
import importlib.util
import json
from pathlib import Path

import pytest
import torch
from pycocotools import mask as coco_mask

pytest.importorskip('mmdet')
from mmaffnet.engine.cli import test_main as run_test  # noqa: E402
from mmaffnet.engine.cli import train_main  # noqa: E402

spec = importlib.util.spec_from_file_location(
    'small_recipes_mmdet', Path(__file__).parents[1] / 'test_engine' / 'small_recipes_mmdet.py')
small_recipes = importlib.util.module_from_spec(spec)
spec.loader.exec_module(small_recipes)

# The eight pictures as they are, squeezed to squares of 128 px, in one batch. Batch norms forget faster than the
# recipe's, whose averages would still hold what the first iterations were like.
EIGHT = """
resize = dict(type='Resize', scale=(128, 128), keep_ratio=False)
train_pipeline = [*_base_.train_pipeline[:2], resize, _base_.train_pipeline[-1]]
test_pipeline = [_base_.test_pipeline[0], resize, *_base_.test_pipeline[2:]]
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
model['backbone'] = dict(norm_cfg=dict(momentum=0.3))
param_scheduler = [dict(_base_.param_scheduler[0], end=10), _base_.param_scheduler[1]]
optim_wrapper = dict(optimizer=dict(lr=1e-3))
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=50, save_best=None))
"""
ZEBRA = '000000000034.jpg'  # one of the eight, with one object
EPOCHS = dict(retinanet=60, fcos=55, mask_rcnn=55)


@pytest.mark.slow
@pytest.mark.parametrize('name', EPOCHS)
def test_eight_photographs(name, overfit, config_root, eight):
    text = small_recipes.small_mmdet(name, config_root, eight, EPOCHS[name], more=EIGHT)
    found = overfit(text, 'coco/bbox_mAP_50', 0.5, eight / 'train2017' / ZEBRA)
    assert found.losses[-1] < 0.4 * found.losses[0]
    # a warm-up of ten iterations, then the steps at two thirds and eleven twelfths
    first, second = EPOCHS[name] * 2 // 3, EPOCHS[name] * 11 // 12
    assert max(found.rates[:10]) == pytest.approx(1e-3) == found.rates[first - 1]
    assert (found.rates[first], found.rates[second]) == (pytest.approx(1e-4), pytest.approx(1e-5))
    if name != 'mask_rcnn':
        assert not any('mask' in item for item in found.prediction['detections'])
        return
    assert found.metrics['coco/segm_mAP_50'] > 0.3
    check_masks(found.prediction, eight)


def check_masks(prediction, root):
    """Masks are in the picture's pixels and within their boxes; the likeliest lies on the zebra."""
    annotations = json.loads((root / 'annotations' / 'instances_val2017.json').read_text())
    image = next(image for image in annotations['images'] if image['file_name'] == ZEBRA)
    truth, = (a['segmentation'] for a in annotations['annotations'] if a['image_id'] == image['id'])
    truth = coco_mask.merge(coco_mask.frPyObjects(truth, image['height'], image['width']))
    found = prediction['detections']
    assert any(coco_mask.area(item['mask']) for item in found)
    for item in found:
        assert item['mask']['size'] == [image['height'], image['width']]
        left, top, width, height = coco_mask.toBbox(item['mask'])
        if width:
            assert left >= item['bbox'][0] - 2 and left + width <= item['bbox'][2] + 2
            assert top >= item['bbox'][1] - 2 and top + height <= item['bbox'][3] + 2
    assert found[0]['class'] == 'zebra' and coco_mask.iou([found[0]['mask']], [truth], [0])[0, 0] > 0.5


# Instance masks: own classes, damaged ones, test-time augmentation


@pytest.fixture
def train(config_root, eight, tmp_path):
    """One epoch of a small Mask R-CNN on the eight photographs: train(name, *options) -> its config, checkpoint."""
    def train(name, *options):
        config = tmp_path / 'small.py'
        config.write_text(small_recipes.small_mmdet('mask_rcnn', config_root, eight, epochs=1))
        train_main([str(config), '--work-dir', str(tmp_path / name), '--seed', '0', '--cfg-options', *options])
        return config, tmp_path / name / 'epoch_1.pth'

    return train


@pytest.mark.slow
def test_own_classes_with_masks(train, eight, tmp_path, capsys):
    _, checkpoint = train('three', 'classes=person,zebra,giraffe')
    state = torch.load(checkpoint, weights_only=True)['state_dict']
    assert state['roi_head.bbox_head.fc_cls.weight'].shape == (4, 256)
    assert state['roi_head.bbox_head.fc_reg.weight'].shape == (12, 256)
    assert state['roi_head.mask_head.conv_logits.weight'].shape == (3, 64, 1, 1)
    capsys.readouterr()
    config, finer = train('two', 'classes=person,bowl', f'load_from={checkpoint}')
    said = capsys.readouterr().out
    assert 'initialised anew for 2 instead of 3' in said
    for name in ('fc_cls.weight', 'fc_reg.bias', 'conv_logits.weight'):
        assert name in said
    assert torch.load(finer, weights_only=True)['state_dict']['roi_head.mask_head.conv_logits.bias'].shape == (2, )
    with pytest.raises(SystemExit) as stop:  # the config's 80 classes
        run_test([str(config), str(finer), '--work-dir', str(tmp_path / 'test')])
    assert stop.value.code == 2
    assert 'trained on 2 classes, the model has 80' in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        run_test([str(config), str(finer), '--work-dir', str(tmp_path / 'test'), '--tta'])
    assert stop.value.code == 2
    assert 'mmdet has no default that merges instance masks' in capsys.readouterr().err


@pytest.mark.slow
def test_damaged_masks_are_left_out_of_a_training_and_end_an_evaluation(train, eight, tmp_path, capsys):
    train_file, val_file = (eight / 'annotations' / f'instances_{part}2017.json' for part in ('train', 'val'))
    document = json.loads(train_file.read_text())
    # pycocotools would end the process at the first, and read beyond its memory at the second
    document['annotations'][3]['segmentation'].append([1, 1, float('nan'), 1, 9, 9])
    image = next(i for i in document['images'] if i['id'] == document['annotations'][5]['image_id'])
    document['annotations'][5]['segmentation'] = dict(size=[image['height'], image['width']], counts=[5, 5])
    train_file.write_text(json.dumps(document))
    config, checkpoint = train('run', 'max_bad_share=0.1')
    log = next((tmp_path / 'run').glob('*/*.log')).read_text()
    first, second = (document['annotations'][index]['id'] for index in (3, 5))
    assert f'not finite or beyond 1e6 (1): annotation {first} of image ' in log
    assert f'run lengths that are not those of their image (1): annotation {second} of image ' in log
    val_file.write_text(json.dumps(document))
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        run_test([str(config), str(checkpoint), '--work-dir', str(tmp_path / 'test')])
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert 'instances_val2017.json has segmentations' in said and len(said.strip().splitlines()) == 1
