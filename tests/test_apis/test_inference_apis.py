"""The examples of docs/inference.md, from the installed wheel in an empty directory, against tools/predict.py's way."""
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, DefaultScope
from PIL import Image

from mmaffnet.engine.config import import_host
from mmaffnet.engine.predict import Predictor

pytestmark = pytest.mark.slow
PAGE = (Path(__file__).resolve().parents[2] / 'docs' / 'inference.md').read_text()

# Ends each program: where mmaffnet came from, and what the examples left in their variables.
SAVE = """
import sys
import mmaffnet
import numpy
from mmengine.runner import CheckpointLoader
assert mmaffnet.__file__.startswith(sys.prefix) and config.startswith(sys.prefix), (mmaffnet.__file__, config)
assert CheckpointLoader._schemes[''].__module__.startswith('mmaffnet.'), 'the hosts load by a loader that runs code'
numpy.savez('values.npz', **{name: numpy.asarray(value) for name, value in dict(VALUES).items()})
"""


def example(title):
    """The Python of one section, as one program."""
    section = PAGE.split(f'\n## {title}\n')[1].split('\n## ')[0]
    return '\n'.join(re.findall(r'```python\n(.*?)```', section, re.DOTALL))


def write_checkpoint(config, path):
    """Save a model of a config with random weights, and the classes of its data set, as a training does.

    Args:
        config (Path): The config.
        path (Path): The file to write.

    Returns:
        dict: ``dataset_meta`` of the file.
    """
    cfg = Config.fromfile(config)
    host = import_host(cfg)
    if cfg.get('data_preprocessor'):
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    with DefaultScope.overwrite_default_scope(host):
        model = MODELS.build(cfg.model)
        model.init_weights()
        with DATASETS.switch_scope_and_registry(host) as registry:
            meta = dict(registry.get(cfg.test_dataloader.dataset.type).METAINFO)
    torch.save(dict(meta=dict(dataset_meta=meta), state_dict=model.state_dict()), path)
    return meta


@pytest.fixture
def notebook(installed, config_root, data_root, tmp_path):
    """Run a section of the page: notebook(title, config, checkpoint, values) -> (output, values, folder, meta)."""
    def run(title, config, checkpoint, values):
        folder = tmp_path / 'empty'
        folder.mkdir()
        picture = sorted((data_root / 'ade20k/ADEChallengeData2016/images/validation').iterdir())[0]
        with Image.open(picture) as photograph:
            photograph.resize((200, 150)).save(folder / 'street.jpg')
        meta = write_checkpoint(next(config_root.rglob(f'{config}.py')), folder / checkpoint)
        assert config in example(title) and f"'{checkpoint}'" in example(title)
        (tmp_path / 'notebook.py').write_text(example(title) + SAVE.replace('VALUES', values))
        clean = {name: value for name, value in os.environ.items() if name not in ('PYTHONPATH', 'PYTHONHOME')}
        done = subprocess.run([installed / 'python', tmp_path / 'notebook.py'], cwd=folder, env=clean, text=True,
                              capture_output=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
        return done.stdout, np.load(folder / 'values.npz'), folder, meta

    return run


def picture_size(path):
    with Image.open(path) as picture:
        return picture.size


def test_detection(notebook):
    pytest.importorskip('mmdet')
    config = 'ssdlite_affnet-et_8xb16-200e_coco'
    said, values, folder, meta = notebook('Detection', config, 'detector.pth', """
        boxes=found.bboxes, scores=found.scores, labels=found.labels, classes=model.dataset_meta['classes'],
        kind=type(result).__name__, objects=answer['predictions'][0]['bboxes'],
        object_scores=answer['predictions'][0]['scores']""")
    assert values['kind'] == 'DetDataSample'
    assert tuple(values['classes']) == meta['classes'] and len(meta['classes']) == 80
    assert "dict_keys(['labels', 'scores', 'bboxes'])" in said
    predicted = Predictor(config, str(folder / 'detector.pth'), 'cpu')(folder / 'street.jpg').pred_instances
    assert len(predicted) == 200 == len(values['boxes'])  # random weights: as many boxes as are let through
    for name, want in (('boxes', predicted.bboxes), ('scores', predicted.scores), ('labels', predicted.labels),
                       ('objects', predicted.bboxes), ('object_scores', predicted.scores)):
        np.testing.assert_allclose(values[name], want.numpy(), rtol=1e-4, atol=1e-3)
    assert (values['boxes'] >= 0).all() and (values['boxes'] <= [200, 150, 200, 150]).all()
    assert picture_size(folder / 'boxes.jpg') == picture_size(folder / 'detected/vis/street.jpg') == (200, 150)
    assert (folder / 'detected/preds/street.json').stat().st_size > 1000


def test_segmentation(notebook):
    pytest.importorskip('mmseg')
    config = 'deeplabv3_affnet-et_8xb2-120e_ade20k-512x512'
    said, values, folder, meta = notebook('Segmentation', config, 'segmentor.pth', """
        labels=labels, drawn=drawn, classes=model.dataset_meta['classes'], palette=model.dataset_meta['palette'],
        kind=type(result).__name__, mask=answer['predictions']""")
    assert values['kind'] == 'SegDataSample' and len(meta['classes']) == 150
    assert tuple(values['classes']) == tuple(meta['classes']) and values['palette'].tolist() == list(meta['palette'])
    sample = Predictor(config, str(folder / 'segmentor.pth'), 'cpu')(folder / 'street.jpg')
    predicted = sample.pred_sem_seg.data[0].numpy()
    assert values['labels'].shape == (150, 200) and len(np.unique(values['labels'])) > 1
    # another place in memory, another order of sums: a pixel between two classes may fall to the other
    assert (values['labels'] == predicted).mean() > 0.999
    np.testing.assert_array_equal(values['mask'], values['labels'])
    for label, count in zip(*np.unique(values['labels'], return_counts=True), strict=True):
        assert f'{meta["classes"][label]} {count}\n' in said
    assert values['drawn'].dtype == np.uint8 and values['drawn'].shape[2] == 3
    assert (folder / 'segments.jpg').stat().st_size > 1000 and picture_size(folder / 'segmented/vis/street.jpg')
    with Image.open(next((folder / 'segmented/pred').iterdir())) as written:
        np.testing.assert_array_equal(np.array(written), values['labels'])


def test_classification(notebook):
    pytest.importorskip('mmpretrain')
    from mmaffnet import create_model
    config = 'affnet-et_8xb128-300e_in1k-256px'
    _, values, folder, meta = notebook('Classification', config, 'classifier.pth', """
        scores=answer['pred_scores'], label=answer['pred_label'], name=answer['pred_class'], images=images,
        logits=logits.detach(), pooled=pooled.detach(), feature=feature, final_map=final_map,
        shapes=[m.shape[1:] for m in strides_4_to_32]""")
    # by hand: Pillow, and the plain module
    shutil.copy(folder / 'classifier.pth', folder / 'plain.pth')
    model = create_model('affnet_et', checkpoint=str(folder / 'plain.pth')).eval()
    import mmcv
    photograph = Image.fromarray(mmcv.imread(str(folder / 'street.jpg'), channel_order='rgb'))
    large = photograph.resize((384, 288), Image.BICUBIC).crop((64, 16, 320, 272))
    picture = torch.from_numpy(np.array(large)).permute(2, 0, 1)[None] / 255.
    with torch.no_grad():
        final_map = model.forward_features(picture)
        scores = model(picture).softmax(1)[0]
        logits = model(torch.from_numpy(values['images']))
    np.testing.assert_allclose(values['logits'], logits, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(values['scores'], scores, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(values['final_map'], final_map[0], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(values['feature'], final_map[0].mean((1, 2)), rtol=1e-3, atol=1e-5)
    assert values['scores'].shape == (1000, ) and values['scores'].sum() == pytest.approx(1, abs=1e-4)
    assert values['label'] == scores.argmax() and values['name'] == meta['classes'][int(values['label'])]
    assert values['pooled'].shape == (2, 576)
    assert values['shapes'].tolist() == [[48, 64, 64], [64, 32, 32], [104, 16, 16], [144, 8, 8]]
    assert (folder / 'classified/street.png').stat().st_size > 1000
