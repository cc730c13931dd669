"""Multi-scale training: the size of a batch survives a resume, and mmdet's is exchanged for ours."""
import random
import time

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.structures import InstanceData

pytest.importorskip('mmdet')

from mmdet.models.data_preprocessors import BatchSyncRandomResize as MMDetBatchSyncRandomResize  # noqa: E402
from mmdet.structures import DetDataSample  # noqa: E402

from mmaffnet.engine.resume_hook import keep_input_size  # noqa: E402
from mmaffnet.models.data_preprocessors import BatchSyncRandomResize  # noqa: E402

INTERVAL = 3


@pytest.fixture
def new_hub(request):
    """Make a message hub, the current one from then on: what each run has of its own."""
    return lambda: MessageHub.get_instance(f'{request.node.name} {time.monotonic_ns()}')


def make(kind=BatchSyncRandomResize):
    return kind(random_size_range=(64, 640), interval=INTERVAL, size_divisor=32)


def run(augment, hub, iterations):
    """Sizes and first boxes of iterations; random numbers depend on the iteration, as in a training of ours."""
    found = []
    for iteration in iterations:
        random.seed(iteration)
        hub.update_info('iter', iteration)
        sample = DetDataSample(gt_instances=InstanceData(bboxes=torch.tensor([[16., 32., 48., 64.]])))
        sample.set_metainfo(dict(img_shape=(128, 128), pad_shape=(128, 128)))
        inputs, samples = augment(torch.zeros(2, 3, 128, 128), [sample])
        found.append((tuple(inputs.shape), samples[0].gt_instances.bboxes.tolist()))
    return found


def test_goes_on_with_its_size_wherever_the_run_was_interrupted(new_hub):
    straight = run(make(), new_hub(), range(12))
    assert len({shape for shape, _ in straight}) >= 3 and straight[0][0] == (2, 3, 128, 128)
    for done in range(1, 12):
        interrupted = new_hub()
        run(make(), interrupted, range(done))
        resumed = new_hub()
        resumed.load_state_dict(interrupted.state_dict())
        assert run(make(), resumed, range(done, 12)) == straight[done:]


def test_an_undisturbed_run_has_the_sizes_of_mmdets(new_hub):
    expected = run(make(MMDetBatchSyncRandomResize), new_hub(), range(12))
    assert run(make(), new_hub(), range(12)) == expected
    # What mmdet's lacks: behind an interruption it takes the pipeline's size until the next draw.
    assert run(make(MMDetBatchSyncRandomResize), new_hub(), range(4, 6)) != expected[4:6]


def test_mmdets_is_exchanged_in_a_users_config():
    for name in ('BatchSyncRandomResize', 'mmdet.BatchSyncRandomResize'):
        augments = [dict(type='Other'), dict(type=name, random_size_range=(320, 640))]
        for preprocessor in (dict(type='DetDataPreprocessor', batch_augments=augments),
                             dict(data_preprocessor=dict(batch_augments=augments))):
            cfg = Config(dict(default_scope='mmdet', model=dict(data_preprocessor=preprocessor)))
            keep_input_size(cfg)
            inner = cfg.model.data_preprocessor
            inner = inner.get('data_preprocessor', inner)
            assert [a.type for a in inner.batch_augments] == ['Other', 'mmaffnet.BatchSyncRandomResize']
    for cfg in (Config(dict(default_scope='mmseg', model=dict())), Config(dict(default_scope='mmdet', model=dict()))):
        before = cfg.to_dict()
        keep_input_size(cfg)
        assert cfg.to_dict() == before
