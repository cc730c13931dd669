"""What every framework is put through: it learns a few photographs, resumes, evaluates and predicts.

Fixtures: ``eight`` and ``few_masks`` (folders of data), ``overfit`` (the whole way), ``small_segmentor`` (a config for
it) and ``best_constant_miou`` (what a segmentor has to be better than).
"""
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from mmaffnet.analysis.logs import curve, read_scalars
from mmaffnet.engine.cli import predict_main, train_main
from mmaffnet.engine.cli import test_main as run_test

# Losses as they are: mmengine logs their mean over the last 50 iterations.
OPTIONS = ['--seed', '0', '--cfg-options', 'log_processor.window_size=1']

# Pictures and masks squeezed to one size, without augmentation. Weights as they are, since an average over a long run
# would still hold the initial ones; for the same reason batch norms whose statistics follow quickly (measured: with the
# usual 0.1 a loss of 0.36 after 40 iterations goes with an mIoU of 2 %).
SEGMENTOR = """
_base_ = '{base}'
data_root = '{root}'
resize = dict(type='Resize', scale=({size}, {size}), keep_ratio=False)
load, masks, pack = dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')
train_pipeline, test_pipeline = [load, masks, resize, pack], [load, resize, masks, pack]
train_dataloader = dict(
    batch_size=6, num_workers=0, persistent_workers=False, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
norm = dict(momentum=0.3)
model = dict(
    data_preprocessor=dict(size=({size}, {size})), backbone=dict(norm_cfg=norm), decode_head=dict(norm_cfg=norm))
custom_hooks = []
{more}
"""


@pytest.fixture
def eight(eight_photographs, tmp_path):
    """Root of a COCO-format set of eight training photographs with boxes and masks, for training and validation
    alike; its classes are COCO's 80."""
    eight_photographs(tmp_path / 'eight')
    return tmp_path / 'eight'


@pytest.fixture
def few_masks(data_root, tmp_path):
    """Root of the six training pictures of the ADE20K sample, in ADE20K's layout, for training and validation alike."""
    source, root = data_root / 'ade20k' / 'ADEChallengeData2016', tmp_path / 'few_masks'
    for kind in ('images', 'annotations'):
        (root / kind).mkdir(parents=True)
        for part in ('training', 'validation'):
            (root / kind / part).symlink_to(source / kind / 'training')
    return root


@pytest.fixture
def small_segmentor(config_root, few_masks):
    """Write the text of a config that learns the six pictures: small_segmentor(name of a shipped one, size, more)."""
    def write(name, size, more):
        base, = config_root.glob(f'*/{name}.py')
        return SEGMENTOR.format(base=base, root=few_masks, size=size, more=more)

    return write


@pytest.fixture
def best_constant_miou(few_masks):
    """mIoU in percent of the best mask that says one and the same class everywhere, over the classes that occur."""
    masks = [np.array(Image.open(path)).ravel() for path in (few_masks / 'annotations' / 'validation').iterdir()]
    pixels = np.concatenate(masks)
    pixels = pixels[pixels > 0]  # 0 is no class of ADE20K
    counts = [(pixels == label).sum() for label in range(1, 151)]
    found = []
    for guess in range(150):
        found.append(100 * np.mean([count / len(pixels) if label == guess else 0. for label, count in enumerate(counts)
                                    if label == guess or count]))
    return max(found)


@pytest.fixture
def overfit(tmp_path):
    """Train a config on few pictures, resume it exactly from its last checkpoint but one, evaluate and predict.

    overfit(text, metric, least, picture) -> SimpleNamespace:

    - text (str): A config of a run that logs each iteration, validates at its end only, and writes one checkpoint on
      its way, late, and one at the end: ``default_hooks = dict(logger=dict(interval=1),
      checkpoint=dict(interval=50, save_best=None))`` with a length of 60. What is trained behind the first is trained
      twice.
    - metric (str), least (float): What the last validation must show.
    - picture (Path): For the prediction.

    Returns ``run`` (work directory), ``losses``, ``rates`` (learning rates, one for each iteration), ``metrics``
    (of the evaluation), ``prediction`` (the JSON).
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums depend on their number; and maps so small gain little by a second one

    def go(text, metric, least, picture):
        config, run = tmp_path / 'config.py', tmp_path / 'run'
        config.write_text(text)
        train_main([str(config), '--work-dir', str(run), *OPTIONS])
        losses, rates = (values_of(run, key) for key in ('loss', 'lr'))
        print(f'{metric} {list(values_of(run, metric).values())}, loss {losses[1]:.3f} to {losses[len(losses)]:.3f}')
        assert all(math.isfinite(loss) for loss in losses.values()) and losses[len(losses)] < losses[1]
        reached, = values_of(run, metric).values()
        assert reached >= least

        middle, last = checkpoints(run)[-2:]
        resumed = tmp_path / 'resumed'
        train_main([str(config), '--work-dir', str(resumed), '--resume', str(middle), *OPTIONS])
        check_resumed(run, resumed, metric)

        run_test([str(config), str(last), '--work-dir', str(tmp_path / 'test'), '--out', str(tmp_path / 'all.json')])
        metrics = json.loads((tmp_path / 'all.json').read_text())
        assert metrics[metric] == pytest.approx(reached, rel=1e-3)

        predict_main([str(picture), '--config', str(config), '--checkpoint', str(last), '--out', str(tmp_path / 'out')])
        prediction = json.loads((tmp_path / 'out' / 'preds' / f'{picture.stem}.json').read_text())
        check_prediction(prediction, picture)
        assert (tmp_path / 'out' / 'vis' / f'{picture.stem}.jpg').is_file()
        return SimpleNamespace(run=run, losses=list(losses.values()), rates=list(rates.values()), metrics=metrics,
                               prediction=prediction)

    yield go
    torch.set_num_threads(threads)


def values_of(run, key):
    """dict[int, float]: What a run logged under a key, by iteration (metrics by epoch, where those count)."""
    return dict(zip(*curve(read_scalars(run), key)[:2], strict=True))


def checkpoints(run):
    """Regular checkpoints of a run, the oldest first."""
    return sorted([*run.glob('epoch_*.pth'), *run.glob('iter_*.pth')], key=lambda path: int(path.stem.split('_')[1]))


def check_resumed(run, resumed, metric):
    """The resumed run logged what the straight one did, and ends with the same weights, bit by bit. (All else of the
    state, and other places to interrupt at: tests/test_engine/test_exact_resume.py.)"""
    straight, again = ({key: values_of(folder, key) for key in ('loss', 'lr', metric)} for folder in (run, resumed))
    first = min(again['loss'])
    assert 1 < first, 'nothing was resumed'
    for key, values in straight.items():
        late = {step: value for step, value in values.items() if key == metric or step >= first}
        assert again[key] == late, key
    ends = [torch.load(checkpoints(folder)[-1], weights_only=True)['state_dict'] for folder in (run, resumed)]
    assert ends[0].keys() == ends[1].keys() and all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def check_prediction(prediction, picture):
    """The JSON of a prediction says something of the whole picture, in its own pixels."""
    width, height = Image.open(picture).size
    assert (prediction['width'], prediction['height']) == (width, height)
    if 'segments' in prediction:
        assert sum(segment['pixels'] for segment in prediction['segments']) == width * height
        assert all(isinstance(segment['class'], str) for segment in prediction['segments'])
        return
    assert prediction['detections'], 'no box at all'
    for found in prediction['detections']:
        left, top, right, bottom = found['bbox']
        assert -1 <= left <= right <= width + 1 and -1 <= top <= bottom <= height + 1
        assert 0 <= found['score'] <= 1 and isinstance(found['class'], str)
